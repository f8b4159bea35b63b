"""Pairs on a disk: both layouts, the audit with every planted error found in one pass, and the builders of pairs."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms

from emohelpers.config.errors import SuiteError
from emohelpers.config.paths import InputNotFound
from emohelpers.datasets import decoding, pairing, pairs, pairs_audit
from emohelpers.datasets import pixels as store
from emohelpers.datasets.drawn import defects, photos
from emohelpers.datasets.locate import ManifestError
from emohelpers.datasets.pairs import PARTS, PairError

SIDE = 120


def picture(seed: int, width: int = 160, height: int = SIDE) -> np.ndarray:
    """A picture that is like no other: coarse random patches."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write(root: Path, folder: str, seed: int, layout: str = "folders", kind: str = "png") -> Path:
    """One pair; returns the path of its good picture."""
    for side, worse in (("good", 0.0), ("bad", 0.8)):
        made = defects.spoil(picture(seed), "blur", worse, np.random.default_rng(0))
        path = root / folder / (f"{side}/p{seed}.{kind}" if layout == "folders" else f"{side}.{kind}")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made).save(path)
    return root / folder / (f"good/p{seed}.{kind}" if layout == "folders" else f"good.{kind}")


def sound(root: Path, layout: str = "folders", n: int = 9) -> dict[str, list[str]]:
    """A data set without a flaw; returns its splits."""
    names = [f"folder_{i:03d}" for i in range(n)]
    for i, name in enumerate(names):
        write(root, name, i, layout)
    splits = {part: names[i::3] for i, part in enumerate(PARTS)}
    (root / "splits.json").write_text(json.dumps(splits))
    return splits


def audited(root: Path, tmp: Path, **options) -> pd.DataFrame:
    data = pairs.read(root)
    pixels = store.build(data, 64, tmp / "cache")
    look = {"min_side": SIDE, "likeness": 0.96, "min_delta": 0.005} | options
    return pairs_audit.audit(data, pixels, **look)


@pytest.mark.parametrize("layout", ["folders", "files"])
def test_both_layouts_are_read_alike(tmp_path, layout):
    splits = sound(tmp_path / "training_files", layout)
    data = pairs.read(tmp_path)
    assert {part: list(data.part(part)["folder"]) for part in PARTS} == splits and not data.problems
    assert len(data.table) == 18 and data.pairs["good_score"].isna().all()
    assert list(data.pairs["scene"]) == list(data.pairs["folder"])
    found = audited(tmp_path, tmp_path)
    assert not found["stops"].any() and list(found["kind"]) == ["small validation set"]
    pairs_audit.check(found, tmp_path)


def test_every_planted_error_is_found_in_one_pass(tmp_path):
    root = tmp_path / "pairs"
    splits = sound(root)
    shutil.rmtree(root / "folder_000" / "bad")  # a folder without bad
    shutil.copy(root / "folder_001/good/p1.png", root / "folder_002/bad/p2.png")  # one picture in two splits
    mirrored = picture(3)[:, ::-1]
    Image.fromarray(mirrored).save(root / "folder_004/good/p4.png")  # a mirrored copy in another split
    Image.fromarray(picture(5)).convert("CMYK").save(root / "folder_005/good/p5.jpg")
    (root / "folder_005/good/p5.png").unlink()
    deep = cv2.cvtColor(picture(6), cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    Image.fromarray(deep).save(root / "folder_006/good/p6.png")  # 16-bit
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(7)).save(root / "folder_007/good/p7.png", exif=exif)
    Image.fromarray(picture(8, 130, 100)).save(root / "folder_008/good/p8.png")  # 100 pixels
    write(root, "folder_009", 9)  # in no split
    splits["val"].append("folder_003")  # named twice: it is a training folder, too
    (root / "splits.json").write_text(json.dumps(splits))
    found = audited(root, tmp_path)
    where = {kind: " ".join(rows["where"]) for kind, rows in found.groupby("kind")}
    planted = {
        "side missing": "folder_000", "picture in two splits": "folder_00", "mirrored copy across splits": "folder_00",
        "CMYK": "folder_005", "16-bit": "folder_006", "turned by EXIF": "folder_007", "too small": "folder_008",
        "split missing": "folder_009", "folder named twice": "folder_003",
    }  # fmt: skip
    for kind, folder in planted.items():
        assert folder in where.pop(kind), kind
    blurred = "near-duplicate across splits"  # the bad side of what was copied is alike, too
    assert set(where) == {"small validation set", blurred}, "found what is not there"
    notes = found[~found["stops"]]["kind"]
    assert set(notes) == {"CMYK", "16-bit", "turned by EXIF", "small validation set"}
    with pytest.raises(PairError) as error:
        pairs_audit.check(found, root)
    assert all(kind in str(error.value) for kind in planted if kind not in pairs_audit.NOTES)


def test_torn_scenes_contradictions_and_equal_sides_are_found(tmp_path):
    splits = sound(tmp_path, n=6)
    (tmp_path / "scores.csv").write_text(
        " folder, scene, good_score, bad_score\nfolder_000,beach,4,2\nfolder_001,beach,3,3.5\nfolder_002,city,4,1\n"
    )
    for side, other in (("good", "bad"), ("bad", "good")):
        shutil.copy(tmp_path / f"folder_000/{side}/p0.png", tmp_path / f"folder_003/{other}/p3.png")
    shutil.copy(tmp_path / "folder_005/good/p5.png", tmp_path / "folder_005/bad/p5.png")
    (tmp_path / "splits.json").write_text(json.dumps(splits | {"golden": []}))
    found = audited(tmp_path, tmp_path).groupby("kind")["where"].first()
    assert found["scene in two splits"] == "beach" and found["pairs contradict"] == "folder_003"
    assert found["both sides equal"] == "folder_005" and found["scores contradict"] == "folder_001"
    assert found["unknown split"] == "golden"


def test_no_pairs_and_no_splits_say_what_is_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairError, match="<folder>/good.jpg"):
        pairs.read(tmp_path / "empty")
    write(tmp_path / "one", "a", 1)
    kinds = {kind for kind, *_ in pairs.read(tmp_path / "one").problems}
    assert kinds == {"splits.json missing", "split missing"}
    (tmp_path / "one" / "splits.json").write_text('{"train": "a"}')
    with pytest.raises(PairError, match="must be"):
        pairs.read(tmp_path / "one")
    with pytest.raises(PairError, match="no pairs are named"):
        pairing.find(SimpleNamespace(dataset_root="", drawn_scenes=0))


def test_unreadable_and_empty_files_are_problems(tmp_path):
    sound(tmp_path, n=3)
    (tmp_path / "folder_000/good/p0.png").write_bytes(b"")
    whole = (tmp_path / "folder_001/good/p1.png").read_bytes()
    (tmp_path / "folder_001/good/p1.png").write_bytes(whole[: len(whole) // 2])
    found = audited(tmp_path, tmp_path)
    assert len(found[found["kind"] == "unreadable"]) == 2 and found["stops"].any()


def test_pictures_of_any_kind_become_eight_bit_srgb(tmp_path):
    grey = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(grey).save(tmp_path / "deep.png")
    made = decoding.decode((tmp_path / "deep.png").read_bytes())
    assert abs(made[0, :, 0].astype(int) - np.linspace(0, 255, 64)).max() <= 1, "16-bit grey was clipped"
    red = Image.new("RGB", (8, 8), (200, 30, 30))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red.save(tmp_path / "srgb.png", icc_profile=lab)
    assert (decoding.decode((tmp_path / "srgb.png").read_bytes()) == (200, 30, 30)).all(), "sRGB must stay as it is"
    assert not decoding.foreign(lab) and not decoding.foreign(None) and not decoding.foreign(b"no profile")


def test_pairs_of_scored_pictures_keep_to_scene_gap_and_order(tmp_path):
    rows = []
    for scene in range(6):
        for i, score in enumerate((1.0, 2.0, 4.0)):
            Image.fromarray(picture(10 * scene + i)).save(tmp_path / f"{scene}_{i}.png")
            rows.append((f"{scene}_{i}.png", f"s{scene}", score))
    scored = pd.DataFrame(rows, columns=["path", "scene", "score"])
    data = pairs.read(pairing.from_scores(tmp_path, scored, tmp_path / "made", min_gap=1.5))
    assert len(data.pairs) == 12 and not data.problems, "1 and 2 are too close"
    assert (data.pairs["good_score"] - data.pairs["bad_score"] >= 1.5).all()
    assert data.pairs.groupby("scene")["split"].nunique().max() == 1 and set(data.pairs["split"]) == set(PARTS)
    with pytest.raises(PairError, match="lower min_gap"):
        pairing.from_scores(tmp_path, scored, tmp_path / "none", min_gap=9)
    with pytest.raises(FileExistsError, match="holds something already: name another"):
        pairing.from_scores(tmp_path, scored, tmp_path / "made", min_gap=1)


@pytest.mark.parametrize("way", ["absolute", "dots", "link", "linked folder"])
def test_no_path_of_a_table_leads_out_of_its_folder_unless_that_is_allowed(way, tmp_path, monkeypatch):
    home = tmp_path / "scored"
    for place in (home, tmp_path / "private"):
        place.mkdir()
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(place / "a.png")
    private = tmp_path / "private" / "a.png"
    (home / "link.png").symlink_to(private)
    (home / "folder").symlink_to(private.parent)
    names = {"absolute": str(private), "dots": "../private/a.png", "link": "link.png", "linked folder": "folder/a.png"}
    scored = pd.DataFrame({"path": ["a.png", names[way]], "scene": "../../s", "score": [2.0, 1.0]})
    with pytest.raises(InputNotFound, match="leads to .*private/a.png, out of"):
        pairing.from_scores(home, scored, tmp_path / "out", min_gap=0.5)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("EMOHELPERS_INPUTS", str(private.parent))
    made = pairing.from_scores(home, scored, tmp_path / "out", min_gap=0.5)
    assert len([path for path in made.rglob("*.png") if path.is_file()]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"scored", "private", "out"}


def test_drawn_splits_hold_together_what_belongs_together(tmp_path):
    root = tmp_path / "pairs"
    for i in range(12):
        write(root, f"f{i:02d}", i)
    shutil.copy(root / "f00/good/p0.png", root / "f05/good/p5.png")
    Image.fromarray(picture(1)[:, ::-1]).save(root / "f07/good/p7.png")
    data = pairs.read(root)
    pixels = store.build(data, 64, tmp_path / "cache")
    made = pairing.draw_splits(data, pixels, 0.96)
    assert sorted(sum(made.values(), [])) == [f"f{i:02d}" for i in range(12)] and all(made.values())
    (root / "splits.json").write_text(json.dumps(made))
    found = audited(root, tmp_path)
    assert not found["stops"].any(), pairs_audit.summary(found)


@pytest.mark.parametrize("kind", list(defects.KINDS))
def test_defects_grow_with_their_strength(kind):
    world, subject = photos.draw_scene(5)
    good = photos.take(world, subject, {}, np.random.default_rng(1))
    assert (defects.spoil(good, kind, 0, np.random.default_rng(0)) == good).all()
    apart = [
        np.abs(defects.spoil(good, kind, s, np.random.default_rng(0)).astype(int) - good).mean() for s in (0.2, 0.6, 1)
    ]
    assert 0 < apart[0] < apart[1] < apart[2], apart
    with pytest.raises(ValueError, match="strength is in 0..1"):
        defects.spoil(good, kind, 1.5, np.random.default_rng(0))


def test_photographs_are_spoiled_and_paired(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(4):
        Image.fromarray(picture(i, 200, 150)).save(tmp_path / "in" / f"{i}.jpg")
    table, listing = pairing.spoiled(tmp_path / "in", tmp_path / "out")
    assert listing.note() == ""
    assert len(table) == 4 * 5 and (table["wrong"] == "").sum() == 4
    data = pairs.read(pairing.from_scores(tmp_path / "out", table, tmp_path / "pairs", min_gap=0.3))
    assert len(data.pairs) == 4 * 8 and data.table.loc[data.table["score"] == 1, "wrong"].eq("").all()
    assert data.table.loc[data.table["score"] < 1, "wrong"].ne("").all()


def test_spoiled_photographs_keep_their_scenes_apart_and_a_broken_one_costs_itself_alone(tmp_path):
    names = ["a.jpg", "a.png", "deep/a.jpg", "\u622a" * 80 + ".png", b"\xc0\xee.png".decode(errors="surrogateescape")]
    for i, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture_file = Image.fromarray(picture(i, 200, 150))
        picture_file.save(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "in" / "._a.jpg").write_bytes(b"x")
    table, listing = pairing.spoiled(tmp_path / "in", tmp_path / "out")
    assert table["scene"].nunique() == 5 and table["path"].nunique() == len(table) == 25
    assert list(listing.left_out) == ["broken.jpg"] and "broken.jpg" in listing.note() and "1 hidden" in listing.note()
    data = pairs.read(pairing.from_scores(tmp_path / "out", table, tmp_path / "pairs", min_gap=0.3))
    assert data.pairs["scene"].nunique() == 5 and not data.problems
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(PairError, match="none of the photographs can be read; left out .*broken.jpg"):
        pairing.spoiled(tmp_path / "all", tmp_path / "none")


def test_drawn_photographs_are_the_same_again_and_their_scores_follow_the_defects(tmp_path):
    one = photos.write_photos(tmp_path / "a", scenes=3)
    two = photos.write_photos(tmp_path / "b", scenes=3)
    names = sorted(p.name for p in one.iterdir())
    assert len(names) == 3 * len(photos.SEVERITY) + 2
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    table = pd.read_csv(one / "photos.csv")
    ranked = table.sort_values(["scene", "path"])["score"].to_numpy().reshape(3, -1)
    assert (np.diff(ranked) < -1).all(), "worse shots must score less"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("x")
    with pytest.raises(FileExistsError, match="not a data set made by code"):
        photos.write_photos(tmp_path / "c", scenes=3)


def numbered(root: Path) -> list[str]:
    """Six pairs in folders 0001 ... 0006, two a scene, split within scenes."""
    names = [f"{i:04d}" for i in range(1, 7)]
    for i, name in enumerate(names):
        write(root, name, i)
    (root / "splits.json").write_text(json.dumps({"train": names[:3], "val": names[3:5], "test": names[5:]}))
    return names


@pytest.mark.parametrize(("first", "comma"), [("0001", "."), ("1", "."), ("1.0", "."), ("0001", ",")])
def test_folders_named_by_numbers_get_their_scores_and_scenes(tmp_path, first, comma):
    names = numbered(tmp_path)
    scenes = ["beach", "Beach ", "hill", "hill", "town", "TOWN"]
    rows = [[first, *names[1:]], scenes, [f"4{comma}5"] * 6, [f"2{comma}0"] * 6]
    text = "folder;scene;good_score;bad_score\n" + "".join(";".join(row) + "\n" for row in zip(*rows, strict=True))
    (tmp_path / "scores.csv").write_bytes(text.encode("utf-16"))
    for mark in ("utf-8-sig", "utf-16"):
        (tmp_path / "splits.json").write_text((tmp_path / "splits.json").read_text(), encoding=mark)
        data = pairs.read(tmp_path)
        assert data.pairs["scene"].tolist() == ["beach", "beach", "hill", "hill", "town", "town"]
        assert set(data.pairs["good_score"]) == {4.5} and not data.problems
        (tmp_path / "splits.json").write_text(json.dumps({"train": [1, 2, 3], "val": [4, 5], "Test": [6]}))
    found = audited(tmp_path, tmp_path)
    assert list(found["where"][found["kind"] == "scene in two splits"]) == ["hill", "town"]


def test_what_scores_cannot_say_is_said(tmp_path):
    names = numbered(tmp_path)
    (tmp_path / "__MACOSX" / "0001").mkdir(parents=True)
    rows = ["0001,unknown,4,2", "2,-,4,2", "0003,hill,,", "0004,hill,4,2", "4,hill,3,2", "0099,hill,4,2"]
    (tmp_path / "scores.csv").write_text("folder,scene,good_score,bad_score\n" + "\n".join(rows) + "\n")
    data = pairs.read(tmp_path)
    assert data.pairs["scene"].tolist() == ["0001", "0002", "hill", "hill", *names[4:]]
    assert [(kind, where) for kind, where, _ in data.problems] == [
        ("folder named twice", "0004"), ("folder missing", "0099"), ("scene unknown", "scores.csv"),
        ("scores missing", "0005"), ("scores missing", "0006"),
    ]  # fmt: skip
    (tmp_path / "scores.csv").write_text("folder,scene,good_score,bad_score\n0001,a,4,2\n0002,a,n.a.,2\n")
    with pytest.raises(ManifestError, match=r"scores\.csv line 3, column good_score: 'n\.a\.' is no number"):
        pairs.read(tmp_path)


def rated(home: Path, scenes: list[str], head: str = "path;Scene;score") -> Path:
    """A table of pictures, three a scene, with decimal commas as Excel saves it."""
    lines = [head]
    for i in range(3 * len(scenes)):
        home.mkdir(exist_ok=True)
        Image.fromarray(picture(i)).save(home / f"{i}.png")
        lines.append(f"{i}.PNG;{scenes[i // 3]};{1 + i % 3},5")
    path = home / "rated.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_scenes_of_any_name_are_written_where_they_can_be_read_back(tmp_path):
    scenes = ["trip/beach", "trip:beach", "../../up", "/", ".hidden", "__MACOSX", "C:\\x", "é" * 200]
    table = rated(tmp_path / "in", scenes)
    pairing.from_scores(table.parent, pairing.read_scored(table), tmp_path / "out", min_gap=0.8)
    data = pairs.read(tmp_path / "out")
    assert len(data.pairs) == 24 and not data.problems and sorted(set(data.pairs["scene"])) == sorted(scenes)
    assert set(data.pairs["good_score"]) == {2.5, 3.5}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda text: text.replace("Scene", "group"), ["no column 'scene'", "group", "Rename"]),
        (lambda text: text.replace("2,5", "n/a", 1), ["line 3", "score", "'n/a'"]),
        (lambda text: text.replace("2,5", "", 1), ["line 3", "score"]),
        (lambda text: text.replace("1.PNG", "gone.png"), ["1 of 3 rows", "no picture below", "line 3", "'gone.png'"]),
        (lambda text: text.replace("1.PNG", "../in/../../x.png"), ["no picture below", "line 3"]),
        (lambda text: text.replace("1.PNG", "0.png"), ["stands there before", "line 3"]),
        (lambda text: text.replace("hill", "unknown"), ["3 of 3 rows", "no scene", "line 2", "'unknown'"]),
    ],
)
def test_a_table_for_pairs_that_cannot_be_used_is_refused_with_the_line(tmp_path, change, parts):
    table = rated(tmp_path / "in", ["hill"])
    table.write_text(change(table.read_text()))
    with pytest.raises(SuiteError) as error:
        pairing.read_scored(table)
    assert all(part in str(error.value) for part in [*parts, str(table)]), str(error.value)


def test_known_defects_are_found_for_pictures_in_folders(tmp_path):
    numbered(tmp_path)
    (tmp_path / "pictures.csv").write_text("path,wrong\nsome/where/p0.png,blur 0.50\n")
    table = pairs.read(tmp_path).table
    assert set(table["wrong"][table["path"].str.contains("/p0.png")]) == {"blur 0.50"}

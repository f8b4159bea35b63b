"""Manifests: every layout, every mount, every mistake a table can hold. All data is made here."""

import os
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from emohelpers.datasets import decoding, labels, locate, manifest, ratings
from emohelpers.datasets import faces as manifests
from emohelpers.datasets.drawn import faces as drawn
from emohelpers.datasets.faces import ManifestError
from emohelpers.datasets.labels import EMOTIONS

HANDLES = {name: manifests.read(name).kaggle for name in manifests.names()}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A Kaggle-like input root and a cache of this test's own."""
    monkeypatch.setenv("EMOHELPERS_INPUTS", str(tmp_path / "input"))
    monkeypatch.setenv("EMOHELPERS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "input").mkdir()
    return tmp_path


def mount(tmp_path: Path, handle: str, style: str) -> Path:
    owner, slug = handle.split("/")
    folder = tmp_path / "input" / (slug if style == "old" else f"datasets/{owner}/{slug}")
    folder.mkdir(parents=True)
    return folder


def picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, np.full((8, 8, 3), value % 256, np.uint8))
    assert done
    path.write_bytes(data.tobytes())


def affectnet(folder: Path, n: int = 4, header: str = ",pth,label,relFCs") -> list[tuple[str, str]]:
    """AffectNet's Kaggle layout: `n` pictures an emotion, each in a folder that is right for three of four."""
    rows = []
    for e, emotion in enumerate(EMOTIONS):
        for i in range(n):
            place = emotion if i % 4 else EMOTIONS[(e + 1) % 8]
            rows.append((f"{place}/{emotion}{i}.png", emotion))
            picture(folder / rows[-1][0], 10 * e + i)
    lines = [header, *(f"{i},{path},{label},0.5" for i, (path, label) in enumerate(rows))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return rows


def own(tmp_path: Path, **keys) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "layout": {"kind": "table"}, **keys}), encoding="utf-8")
    return path


def table(
    folder: Path, rows: list[tuple], header: str = "path,label", name: str = "labels.csv", draw: bool = True
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(rows):
        if draw:
            picture(folder / row[0], i)
    text = "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"
    (folder / name).write_text(text, encoding="utf-8")


def faces(n: int = 3, names: tuple[str, ...] = ("happy", "sad")) -> list[tuple[str, str]]:
    return [(f"{name}/{name}{i}.png", name) for name in names for i in range(n)]


def message(call, *args, **kwargs) -> str:
    with pytest.raises(ManifestError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("style", ["old", "new"])
@pytest.mark.parametrize("name", ["affectnet", "affectnet_noamsegal"])
def test_affectnet_is_found_where_kaggle_mounts_it(places, name, style):
    rows = affectnet(mount(places, HANDLES[name], style))
    data = manifests.check(manifests.load(name))
    assert dict(zip(data.table["path"], data.table["label"], strict=True)) == dict(rows)
    assert list(data.table.columns) == ["path", "label", "split", "source", "parent", "group", "relFCs"]
    assert list(data.table["path"]) == sorted(data.table["path"])
    assert isinstance(data.table.index, pd.RangeIndex)
    assert set(data.table["source"]) == {"original"} and set(data.table["parent"]) == {""}
    assert data.table["relFCs"].dtype == float and data.classes == EMOTIONS and not data.demo
    assert any("agree on 75.0% of 32 rows" in note for note in data.notes)


def test_the_data_sets_ids_do_not_depend_on_how_high_the_root_was_given(places):
    folder = places / "a" / "b" / "affectnet"
    affectnet(folder)
    exact = manifests.load("affectnet", folder)
    for root in (folder.parent, folder.parent.parent):
        high = manifests.load("affectnet", root)
        assert high.root == exact.root == folder
        pd.testing.assert_frame_equal(high.table, exact.table)
    text = message(manifests.load, "affectnet", folder / "happy")
    assert "labels.csv was not found" in text and f"It lies in {folder}" in text and "DATASET_ROOT" in text


def test_train_and_test_folders_that_the_table_does_not_name(places):
    folder = mount(places, HANDLES["affectnet_mstjebashazida"], "new")
    rows = []
    for i, emotion in enumerate(EMOTIONS):
        for k in range(4):
            split, inside = ("Test", emotion.capitalize()) if k == 3 else ("Train", emotion)
            picture(folder / "archive (3)" / split / inside / f"{emotion}{k}.jpg", 8 * i + k)
            rows.append((f"{emotion}/{emotion}{k}.jpg", emotion))
    table(folder, rows, "pth,label", draw=False)
    data = manifests.check(manifests.load("affectnet_mstjebashazida"))
    assert "archive (3)/Test/Anger/anger3.jpg" in set(data.table["path"])
    assert data.table["split"].value_counts().to_dict() == {"train": 24, "test": 8}
    assert any("agree on 100.0%" in note for note in data.notes)


def test_a_path_that_fits_two_different_pictures_is_a_problem_and_two_equal_ones_are_not(places):
    rows = faces()
    table(places / "d", rows, draw=False)
    for i, (path, _) in enumerate(rows):
        picture(places / "d" / "Train" / path, i)
    picture(places / "d" / "Test" / "Happy" / "happy0.png", 0)  # the same picture again
    manifests.check(manifests.load(own(places), places / "d"))
    picture(places / "d" / "Test" / "Happy" / "happy1.png", 99)  # another one
    text = message(manifests.check, manifests.load(own(places), places / "d"))
    assert "1 paths" in text and "fit several different pictures" in text and "Test/Happy/happy1.png" in text


def test_aligned_affectnet_has_affectnets_own_integer_order(places):
    folder = mount(places, HANDLES["affectnet_yakhyokhuja"], "old")
    for split in ("train", "val"):
        for i in range(8):
            for k in range(3):
                picture(folder / split / str(i) / f"{split}{i}{k}.jpg", i)
    (folder / "train" / "0" / "Thumbs.db").write_bytes(b"x")
    data = manifests.check(manifests.load("affectnet_yakhyokhuja"))
    found = data.table.set_index("path")
    assert found.loc["train/0/train00.jpg", "label"] == "neutral"
    assert found.loc["val/7/val70.jpg", "label"] == "contempt"
    assert found.loc["val/7/val70.jpg", "split"] == "val" and len(found) == 48
    assert any("1 files are no pictures" in note for note in data.notes)


FER = labels.ORDERS["fer2013"]


def pixel_csv(path: Path, codes: list[int], spoil: dict[int, str] | None = None, side: int = 48) -> None:
    usage = ["Training", "PublicTest", "PrivateTest"]
    lines = ["emotion, pixels, Usage"]  # the header of one re-upload has spaces
    for i, code in enumerate(codes):
        values = (spoil or {}).get(i, " ".join([str(i % 256)] * side * side))
        lines.append(f"{code},{values},{usage[i % 3]}")
    path.write_text("\n".join(lines) + "\n")


def test_fer2013_csv_becomes_png_files_once(places):
    source = mount(places, HANDLES["fer2013_csv"], "new") / "fer2013.csv"
    pixel_csv(source, list(range(7)) * 3)
    data = manifests.check(manifests.load("fer2013_csv"))
    assert list(data.table["label"][:7]) == list(FER)
    assert list(data.table["split"][:3]) == ["train", "val", "test"]
    first = cv2.imread(str(data.root / data.table["path"][5]), cv2.IMREAD_GRAYSCALE)
    assert first.shape == (48, 48) and (first == 5).all()
    before = (data.root / "rows.csv").stat().st_mtime_ns
    again = manifests.load("fer2013_csv", source.parent, labels_csv=str(source))
    assert again.root == data.root and (data.root / "rows.csv").stat().st_mtime_ns == before
    assert [p.name for p in data.root.parent.iterdir()] == [data.root.name]  # nothing half-written beside it


def test_pixels_in_other_dresses_are_read_or_named(places):
    """Brackets, commas, whole floats: read. Fractions, texts, numbers beyond 64 bits: named. No folder is compared."""
    plain = [" ".join(str((i + v) % 256) for v in range(64)) for i in range(14)]
    home = places / "d"
    home.mkdir()
    (places / "m.yaml").write_text("name: m\nlayout: {kind: pixels, file: t.csv, side: 8}\nlabels: fer2013\n")

    def load(change):
        rows = [f'{i % 7},"{change(text) if i == 3 else text}"' for i, text in enumerate(plain)]
        (home / "t.csv").write_text("emotion,pixels\n" + "\n".join(rows) + "\n")
        data = manifests.load(places / "m.yaml", home)
        assert not data.notes
        return data

    first = load(lambda text: text)
    for change in (lambda t: f"[{t.replace(' ', ', ')}]", lambda t: t.replace(" ", ".0 "), lambda t: f"({t})"):
        data = load(change)
        assert not data.unreadable
        path = data.table["path"][3]
        assert (data.root / path).read_bytes() == (first.root / path).read_bytes()
    for value, reason in (("0.5", "'0.5' is no whole"), ("x", "'x' is no whole"), ("9" * 30, "to 1e+30, allowed")):
        data = load(lambda text, value=value: f"{value} {text.split(' ', 1)[1]}")
        (told,) = data.unreadable.values()
        assert told.startswith("t.csv line 5") and reason in told


def test_a_malformed_pixel_row_is_named_and_may_be_left_out(places):
    source = mount(places, HANDLES["fer2013_csv"], "old") / "fer2013.csv"
    full = " ".join(["7"] * 2304)
    spoil = {4: "1 2 3", 9: full.replace("7", "x", 1), 11: full.replace("7", "300", 1)}
    pixel_csv(source, list(range(7)) * 20, spoil)
    data = manifests.load("fer2013_csv")
    text = message(manifests.check, data)
    assert "3 of 140 pictures (2.14%)" in text and "fer2013.csv line 6: 3 pixel values instead of 2304" in text
    assert "line 11: pixel value 'x' is no whole number" in text and "line 13: pixel values from 7 to 300" in text
    assert 'OVERRIDES = {"max_unreadable": 0.03}' in text
    assert len(manifests.check(data, None, 0.03).table) == 137


def test_fer2013_folders(places):
    folder = mount(places, HANDLES["fer2013_folders"], "new")
    for split in ("train", "test"):
        for name in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"):
            for k in range(3):
                picture(folder / split / name / f"{split}_{name}_{k}.jpg")
    data = manifests.check(manifests.load("fer2013_folders"))
    assert set(data.table["label"]) == set(FER) and data.table["split"].value_counts().to_dict() == {
        "train": 21,
        "test": 21,
    }


VOTE_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def ferplus(places: Path, votes: list[list[int]]) -> Path:
    folder = mount(places, HANDLES["ferplus"], "new")
    pixel_csv(folder / "fer2013.csv", [0] * len(votes))
    usage = ["Training", "PublicTest", "PrivateTest"]
    rows = [f"{usage[i % 3]},fer{i:07d}.png,{','.join(map(str, row))}" for i, row in enumerate(votes)]
    (places / "fer2013new.csv").write_text("\n".join([VOTE_HEADER, *rows]) + "\n")
    return places / "fer2013new.csv"


def test_ferplus_takes_the_majority_of_the_votes(places):
    sure = [[10 if c == k else 0 for c in range(10)] for k in range(8) for _ in range(3)]
    single = [0, 4, 1, 1, 1, 1, 1, 1, 0, 0]  # 4 of 10, and all of what is left without single votes
    tied, split = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0], [4, 3, 3, 0, 0, 0, 0, 0, 0, 0]
    unknown, no_face = [2, 0, 0, 0, 0, 0, 0, 0, 8, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]
    votes = ferplus(places, [*sure, single, tied, split, unknown, no_face])
    data = manifests.check(manifests.load("ferplus", labels_csv=votes))
    assert len(data.table) == 25 and data.table["label"].value_counts()["happy"] == 4
    assert "4 of 29 rows" in data.notes[0] and "2 without a majority, 2 for unknown or NF" in data.notes[0]
    happy = data.table.set_index("path").loc["000/row000024.png"]
    assert happy["votes_happy"] == 4 and happy["votes_unknown"] == 0 and happy["label"] == "happy"


def test_ferplus_files_that_do_not_belong_together(places):
    votes = ferplus(places, [[10] + [0] * 9] * 6)
    text = message(manifests.load, "ferplus")
    assert "fer2013new.csv was not found" in text and "LABELS_CSV" in text and "FERPlus" in text
    lines = votes.read_text().splitlines()
    votes.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert "disagree on Usage" in message(manifests.load, "ferplus", labels_csv=votes)
    votes.write_text("\n".join(lines[:-1]))
    assert "5 rows" in message(manifests.load, "ferplus", labels_csv=votes)


def test_rafdb_counts_from_one_and_has_a_table_a_split(places):
    folder = mount(places, HANDLES["rafdb"], "old")
    for split in ("train", "test"):
        rows = [(f"{split}_{i}{k}_aligned.jpg", i) for i in range(1, 8) for k in range(3)]
        for name, label in rows:
            picture(folder / "DATASET" / split / str(label) / name)
        table(folder, rows, "image,label", f"{split}_labels.csv", draw=False)
    data = manifests.check(manifests.load("rafdb"))
    found = data.table.set_index("path")
    assert found.loc["DATASET/train/1/train_10_aligned.jpg", ["label", "split"]].tolist() == ["surprise", "train"]
    assert found.loc["DATASET/test/7/test_72_aligned.jpg", ["label", "split"]].tolist() == ["neutral", "test"]


def test_ckplus_has_neutral_before_contempt(places):
    pixel_csv(mount(places, HANDLES["ckplus_csv"], "new") / "ckextended.csv", list(range(8)) * 3)
    data = manifests.check(manifests.load("ckplus_csv"))
    assert list(data.table["label"][6:8]) == ["neutral", "contempt"]


@pytest.mark.parametrize("shape", ["path,label", "path,label,origin", "filepath,label,label_id,split"])
def test_ann_visual_emotions_tables(places, shape):
    names = ["angry", "fearful", "happy", "neutral", "sad", "surprised"]
    rows = []
    for i, name in enumerate(names):
        for k in range(3):
            picture(places / "ann" / "raw_all" / name / f"{name}{k}.png", 10 * i + k)
            start = f"/data/processed/EmoSet_splits_gen/raw_all/{name}/{name}{k}.png"
            rows.append([start, name, "synthetic" if k else "original"])
            if shape.startswith("filepath"):
                rows[-1] = [f"raw_all/{name}/{name}{k}.png", name, i, "val" if k == 2 else "train"]
    rows = [row[: shape.count(",") + 1] for row in rows]
    if shape == "path,label":
        for split in ("train", "val", "test"):
            part = rows[["train", "val", "test"].index(split) :: 3]
            table(places / "ann", part, shape, f"{split}.csv", draw=False)
    else:
        table(places / "ann", rows, shape, draw=False)
    data = manifests.check(manifests.load("ann_visual_emotion", places / "ann"))
    assert data.classes == ("anger", "fear", "happy", "neutral", "sad", "surprise")
    row = next(row for row in data.table.itertuples() if row.path.endswith("fearful/fearful2.png"))
    assert row.label == "fear"
    assert row.split == {"path,label": "test", "path,label,origin": ""}.get(shape, "val")
    assert row.source == ("synthetic" if "origin" in shape else "original")


def test_copies_of_one_face_form_a_group(places):
    names = ["a.png", "a_aug00001.png", "a.rf.0f3e.jpg", "b.png", "c.png"]
    table(
        places / "ann",
        [(f"{label}/{label}_{n}", label) for label in labels.ORDERS["ann_visual_emotion"] for n in names],
    )
    data = manifests.check(manifests.load("ann_visual_emotion", places / "ann"))
    assert data.table.groupby("label")["group"].nunique().eq(3).all()


def test_demo_faces_bring_identity_and_keep_what_the_drawing_knows(places):
    drawn.write_faces(places / "faces", n=160, workers=1)
    data = manifests.load("demo_faces", places / "faces")
    assert data.demo and len(data.table) == 160 and "demo" in data.title
    assert {"identity", "skin_group", "age_group", "intensity", "emotion"} <= set(data.table.columns)
    assert data.table.groupby("identity")["group"].nunique().eq(1).all()
    assert not data.unreadable and not any("no row in" in p for p in data.problems)


# ---------------------------------------------------------------- labels, groups, paths


@pytest.mark.parametrize("spelling", [*labels.ALIASES, "Anger", " HAPPY ", *EMOTIONS])
def test_every_spelling(places, spelling):
    table(places / "d", [*faces(), *((f"x/{i}.png", spelling) for i in range(3))])
    data = manifests.load(own(places, group={"stem": False}), places / "d")
    assert not data.problems and labels.canonical(spelling) in data.classes


@pytest.mark.parametrize("order", labels.ORDERS)
def test_every_declared_order(places, order):
    meant = {i: name for i, name in enumerate(labels.ORDERS[order]) if name}
    table(places / "d", [(f"x/{i}_{k}.png", f"{i}.0" if k else i) for i in meant for k in range(3)])
    data = manifests.check(manifests.load(own(places, labels=order), places / "d"))
    assert {int(p[2]): name for p, name in zip(data.table["path"], data.table["label"], strict=True)} == meant


def test_an_own_mapping_with_rows_to_leave_out(places):
    table(places / "d", [(f"x/{m}{k}.png", m) for m in ("Freude", "7", "8") for k in range(3)])
    yaml_path = own(places, labels={"freude": "joy", 7: "sad", 8: None})
    data = manifests.check(manifests.load(yaml_path, places / "d"))
    assert data.classes == ("happy", "sad") and len(data.table) == 6
    assert any("3 rows labelled '8' were left out" in note for note in data.notes)


def test_stems_and_columns_join_over_several_steps(places):
    rows = [
        ("happy/ffhq_1.png", "happy", "anna"),
        ("sad/ffhq_1.jpg", "sad", "bert"),
        ("sad/x.png", "sad", "bert"),
        ("happy/y.png", "happy", ""),
        ("sad/z.png", "sad", ""),
        ("happy/w.png", "happy", "carl"),
        ("sad/v.png", "sad", "dora"),
    ]
    table(places / "d", rows, "path,label,subject")
    yaml_path = own(places, group={"columns": ["subject"]}, keep=["subject"])
    data = manifests.check(manifests.load(yaml_path, places / "d"))
    group = data.table.set_index("path")["group"]
    assert group["happy/ffhq_1.png"] == group["sad/ffhq_1.jpg"] == group["sad/x.png"]
    assert group.nunique() == 5 and all(isinstance(g, str) for g in group)
    by_stem_only = manifests.load(own(places), places / "d").table.set_index("path")["group"]
    assert by_stem_only["sad/ffhq_1.jpg"] != by_stem_only["sad/x.png"]


@pytest.mark.parametrize(
    "spell",
    [
        lambda name, n: name,
        lambda name, n: f" {name}  ",
        lambda name, n: name.upper(),
        lambda name, n: unicodedata.normalize("NFD", name),
        lambda name, n: f"{n}.0",
        lambda name, n: f"{n:04d}",
    ],
)
def test_one_person_in_two_spellings_is_one_group(places, spell):
    rows = []
    for i in range(12):
        plain = str(i % 6) if spell("", 1) in ("1.0", "0001") else f"José {i % 6}"
        rows.append((f"p/{i}.png", ("happy", "sad")[i % 2], plain if i < 6 else spell(plain, i % 6)))
    table(places / "d", rows, "path,label,Subject")
    data = manifests.check(manifests.load(own(places, group={"columns": ["subject"]}), places / "d"))
    assert data.table["group"].nunique() == 6 and not data.notes


def test_an_unknown_person_joins_nobody_and_is_said(places):
    words = ["unknown", "NA", "n/a", "None", "null", "nan", "-1", "-1.0", "?", "", "-"]
    rows = [(f"p/{i}.png", ("happy", "sad")[i % 2], word) for i, word in enumerate([*words * 2, "7", "07", "8"])]
    table(places / "d", rows, "path,label,subject")
    data = manifests.check(manifests.load(own(places, group={"columns": ["subject"]}), places / "d"))
    assert data.table["group"].nunique() == len(words) * 2 + 2
    assert any("22 of 25 rows have no subject ('unknown', 'NA'" in note for note in data.notes)
    for i, (person, label) in enumerate((p, e) for p in ("anna", "Anna", "unknown") for e in ("happy", "sad")):
        picture(places / "f" / person / label / f"{i}.png", i)
    data = manifests.load(own(places, layout={"kind": "folders", "pattern": "{group}/{label}"}), places / "f")
    assert data.table["group"].nunique() == 3 and any("2 of 6 rows have no {group}" in note for note in data.notes)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_folders_labels_and_columns_in_either_encoding_of_accents(places, form):
    words = {"colère": "anger", "dégoût": "disgust"}
    for k, word in enumerate(words):
        for i in range(4):
            picture(places / "d" / unicodedata.normalize(form, word.upper()) / f"{k}{i}.png", 4 * k + i)
    data = manifests.check(manifests.load(own(places, layout={"kind": "folders"}, labels=words), places / "d"))
    assert data.table["label"].value_counts().to_dict() == {"anger": 4, "disgust": 4}
    rows = [(f"p/{k}{i}.png", word, f"{i}") for k, word in enumerate(words) for i in range(4)]
    rows = [tuple(unicodedata.normalize(form, text) for text in row) for row in rows]
    table(places / "t", rows, unicodedata.normalize(form, "path,label,âge"))
    data = manifests.check(manifests.load(own(places, labels=words, keep=["âge"]), places / "t"))
    assert data.table["âge"].tolist() == [0, 1, 2, 3] * 2


def test_equal_file_names_that_leave_too_few_groups_are_named_with_the_remedy(places):
    rows = [(f"S{p:02d}/{e}.png", e) for p in range(6) for e in ("happy", "sad")]
    table(places / "d", rows)
    text = message(manifests.check, manifests.load(own(places), places / "d"))
    assert "12 pictures are joined by equal file names, e.g. S00/happy.png and S01/happy.png" in text
    assert "group: {stem: false}" in text
    data = manifests.check(manifests.load(own(places, group={"stem": False}), places / "d"))
    assert data.table["group"].nunique() == 12
    table(places / "e", [("a/1.png", "happy"), ("a/2.png", "happy"), ("a/3.png", "sad")])
    text = message(manifests.check, manifests.load(own(places), places / "e"))
    assert "too few" in text and "file names" not in text


def test_a_text_among_numbers_is_said(places):
    rows = [
        (path, label, age, 3) for (path, label), age in zip(faces(), ["3,5", "4", "", "n/a", "7", "8"], strict=True)
    ]
    (places / "d").mkdir()
    table(places / "d", rows, "path,label,age,votes_happy")
    csv = places / "d" / "labels.csv"
    csv.write_text(csv.read_text().replace("3,5", '"3,5"'))
    data = manifests.load(own(places, keep=["age"]), places / "d")
    path, line = rows[3][0], "labels.csv line 5"
    assert any(
        f"age of 1 rows is no number, first 'n/a' of {path} ({line}): the column stays text" in n for n in data.notes
    )
    csv.write_text(csv.read_text().replace('"3,5"', "").replace("4,3", "young,3").replace("7,3", "old,3"))
    assert not manifests.load(own(places, keep=["age"]), places / "d").notes[1:]  # a column of words with gaps
    csv.write_text(csv.read_text().replace(",,3", ',"3,5",3', 1).replace("young", "4").replace("old", "7"))
    csv.write_text(csv.read_text().replace("n/a,3", "5,many"))
    data = manifests.load(own(places, keep=["age"]), places / "d")
    assert data.table["age"].tolist()[:2] == [3.5, 4]
    assert f"first 'many' of {path} ({line})" in message(manifests.check, data)
    csv.write_text(csv.read_text().replace("many", "-1").replace(",4,", ",004,"))
    data = manifests.load(own(places, keep=["age"]), places / "d")
    assert "004" in set(data.table["age"]) and "votes are 0 or more" in message(manifests.check, data)


def test_a_pattern_that_never_ends_is_stopped(places, monkeypatch):
    monkeypatch.setattr("emohelpers.datasets.audit.PATIENCE", 1)
    table(places / "d", [(f"{'a' * 40}{i}!.png", "happy") for i in range(3)])
    text = message(manifests.load, own(places, group={"strip": "(a+)+$"}), places / "d")
    assert "group.strip = '(a+)+$' took longer than 1 s" in text


def test_votes_in_a_table_are_kept_as_numbers(places):
    """What `soft_labels` learns from, without a manifest that names the columns."""
    told = [(path, label, 7 - i, 3 + i) for i, (path, label) in enumerate(faces())]
    table(places / "d", told, "path,label,votes_happy,votes_sad")
    data = manifests.check(manifests.load(own(places), places / "d"))
    assert data.table[["votes_happy", "votes_sad"]].to_numpy().tolist() == [[7 - i, 3 + i] for i in range(6)]


def test_a_missing_picture_is_never_answered_by_its_namesake(places):
    rows = [("happy/ffhq_1.png", "happy"), ("neutral/ffhq_1.png", "neutral"), *faces(3, ("happy", "neutral"))]
    table(places / "d", rows)
    (places / "d" / "happy" / "ffhq_1.png").unlink()
    assert manifests.load(own(places), places / "d").unreadable.keys() == {"happy/ffhq_1.png"}
    split = [(f"{s}/happy/{i}.png", "happy") for s in ("train", "val") for i in range(3)]
    table(places / "s", [*split, *faces(3, ("sad",))])
    for path in (places / "s" / "val" / "happy").iterdir():
        path.unlink()
    (places / "s" / "val" / "happy").rmdir()
    assert len(manifests.load(own(places, group={"stem": False}), places / "s").unreadable) == 3


def test_paths_of_other_machines(places):
    composed, split_up = (unicodedata.normalize(form, "Gesichter/é ü/Ñandú.png") for form in ("NFC", "NFD"))
    rows = [
        (r"C:\Users\me\faces\Happy\ONE.PNG", "happy"),
        ("/kaggle/input/x/happy/two.webp", "happy"),
        ("./happy/three.bmp", "happy"),
        (composed, "sad"),
        ("../sad/four.jpeg", "sad"),
        ("sad/顔.png", "sad"),
    ]
    table(places / "d", rows, draw=False)
    for i, path in enumerate(
        ["happy/one.png", "happy/two.webp", "happy/three.bmp", split_up, "sad/four.jpeg", "sad/顔.png"]
    ):
        picture(places / "d" / "faces" / path, i)
    data = manifests.check(manifests.load(own(places), places / "d"))
    assert {"faces/happy/one.png", "faces/sad/顔.png", f"faces/{split_up}"} < set(data.table["path"])
    assert all((data.root / path).is_file() for path in data.table["path"])


def test_bare_names_may_lie_in_any_folder_and_a_lost_folders_pictures_beside_the_table(places):
    rows = [("/mnt/c/photos/h1.png", "happy"), *((f"{n}.png", n[:-1]) for n in ("happy2", "happy3", "sad1", "sad2"))]
    rows += [("sad3.png", "sad")]
    table(places / "d", rows, draw=False)
    for i, (path, _) in enumerate(rows):
        picture(places / "d" / "pictures" / path.split("/")[-1], i)
    data = manifests.load(own(places), places / "d")
    assert data.unreadable.keys() == {"mnt/c/photos/h1.png"}  # the folder that the table names is nowhere
    assert any("5 pictures lie in another folder" in note and "pictures/happy2.png" in note for note in data.notes)
    (places / "d" / "pictures" / "h1.png").rename(places / "d" / "h1.png")
    data = manifests.check(manifests.load(own(places), places / "d"))
    assert any("/mnt/c/photos/h1.png -> h1.png" in note for note in data.notes)


@pytest.mark.parametrize("written", ["images/{}.png", "images/happy/{}.png", "{}.png", "/data/images/{}.png"])
def test_masks_are_never_taken_for_images(places, written):
    rows = [(written.format(f"{name}{i}"), name) for name in ("happy", "sad") for i in range(3)]
    table(places / "d", rows, draw=False)
    for i, (path, _) in enumerate(rows):
        picture(places / "d" / "masks" / path.removeprefix("/data/").removeprefix("images/"), i)
    assert "none of the 6 pictures" in message(manifests.load, own(places), places / "d")
    for i, (path, _) in enumerate(rows[1:]):
        name = path.removeprefix("/data/")
        picture(places / "d" / (name if "/" in name else f"images/{name}"), 10 + i)
    data = manifests.load(own(places), places / "d")  # one of the images is missing, and its mask is there
    assert len(data.unreadable) == 1 and "happy0" in min(data.unreadable)


def test_a_picture_missing_in_its_folder_is_missing_and_no_other_folder_answers(places):
    rows = faces(3)
    table(places / "d", rows)
    for i, (path, _) in enumerate(rows):
        picture(places / "d" / "old" / path, 20 + i)
    (places / "d" / "happy" / "happy0.png").unlink()
    assert manifests.load(own(places), places / "d").unreadable.keys() == {"happy/happy0.png"}
    for i, (path, _) in enumerate(rows):
        (places / "d" / path).unlink(missing_ok=True)
        picture(places / "d" / "new" / path, 20 + i)
    assert manifests.load(own(places), places / "d").unreadable == {}  # the same pictures in both
    (places / "d" / "old" / "happy" / "happy0.png").unlink()
    (places / "d" / "new" / "happy" / "happy1.png").unlink()
    text = message(manifests.check, manifests.load(own(places), places / "d"))
    assert "of which none has them all" in text and "new/happy or" in text and "old/happy" in text


def test_the_split_tells_apart_equal_names(places):
    for split in ("train", "test"):
        rows = [(f"{name[0]}{i}.jpg", name) for name in ("happy", "sad") for i in range(3)]
        for i, (path, name) in enumerate(rows):
            picture(places / "d" / split / name / path, i if split == "train" else 100 + i)
        table(places / "d", rows, name=f"{split}.csv", draw=False)
    layout = {"kind": "table", "file": {"train": "train.csv", "test": "test.csv"}}
    data = manifests.check(manifests.load(own(places, layout=layout), places / "d"))
    assert all(path.startswith(split) for path, split in zip(data.table["path"], data.table["split"], strict=True))
    (places / "e").mkdir()
    (places / "d" / "test.csv").rename(places / "d" / "test" / "test.csv")
    assert "different folders" in message(manifests.load, own(places, layout=layout), places / "d")


def test_windows_files_excel_files_and_byte_order_marks(places):
    table(places / "d", faces())
    text = (places / "d" / "labels.csv").read_text()
    for changed in (
        "\ufeff" + text.replace("\n", "\r\n"),
        text.replace(",", ";"),
        text.replace("path,label", " Path , LABEL "),
    ):
        (places / "d" / "labels.csv").write_text(changed, encoding="utf-8", newline="")
        assert len(manifests.check(manifests.load(own(places), places / "d")).table) == 6
    (places / "d" / "labels.csv").write_bytes(text.replace("happy0", "hüpfy").encode("latin-1"))
    assert "is not UTF-8" in message(manifests.load, own(places), places / "d")


def test_lineage_of_synthetic_rows(places):
    rows = [(f"{n}/{n}{i}.png", n, "original", "") for n in ("happy", "sad") for i in range(3)]
    rows.append(("made/aug_sad0.png", "happy", "saga", "sad/sad0.png"))
    table(places / "d", rows, "filepath,label,source,parent", "combined.csv")
    table(places / "d", [row[:2] for row in rows[:6]], draw=False)
    data = manifests.check(manifests.load(own(places), places / "d", labels_csv="combined.csv"))
    child = data.table.set_index("path").loc["made/aug_sad0.png"]
    assert child[["source", "parent", "group"]].tolist() == ["saga", "sad/sad0.png", "made/aug_sad0.png"]
    assert data.table.set_index("path").loc["sad/sad0.png", "group"] == "made/aug_sad0.png"
    table(places / "d", [*rows[:6], (*rows[6][:3], "gone/g.png")], "filepath,label,source,parent", "combined.csv")
    lost = manifests.load(own(places), places / "d", labels_csv=places / "d" / "combined.csv")
    assert "name a parent that is not in the table, e.g. gone/g.png" in message(manifests.check, lost)


def test_folders_with_a_group_a_fixed_name_and_an_own_split_word(places):
    for subject in ("S1", "S2", "S3"):
        for name in ("happy", "sad"):
            picture(places / "d" / "Faces" / subject / name / f"{subject}{name}.png")
    layout = {"kind": "folders", "pattern": "faces/{group}/{label}"}
    data = manifests.check(manifests.load(own(places, layout=layout), places))
    assert data.table["group"].nunique() == 3 and data.table["path"][0] == "Faces/S1/happy/S1happy.png"
    for fold in ("fold1", "fold2"):
        for path, _ in faces():
            picture(places / "f" / fold / path)
    layout = {"kind": "folders", "pattern": "{split}/{label}"}
    assert "no folder below" in message(manifests.load, own(places, layout=layout), places / "f")
    data = manifests.load(own(places, layout=layout, splits={"fold1": "train", "fold2": "test"}), places / "f")
    assert set(data.table["split"]) == {"train", "test"}
    table(
        places / "f",
        [(p.replace("happy", "fold1/happy").replace("sad", "fold2/sad", 1), n) for p, n in faces()],
        draw=False,
    )
    assert len(manifests.load(own(places, layout=layout), places / "f", labels_csv="labels.csv").table) == 6


def test_a_users_own_data_set_as_the_readme_shows_it(places):
    readme = (Path(manifests.__file__).parents[2] / "data_manifests" / "README.md").read_text(encoding="utf-8")
    text = readme.split("```yaml\n")[1].split("```")[0]
    (places / "my_faces.yaml").write_text(text, encoding="utf-8")
    rows = [(f"D:\\scans\\studio\\{i:04d}.jpg", 1 + i % 3, f"s{i}", 20 + i) for i in range(9)]
    for i in range(9):
        picture(places / "portraits" / "studio" / f"{i:04d}.jpg", i)
    lines = ["file;mood;subject;age", *(";".join(map(str, row)) for row in rows)]
    (places / "portraits" / "ratings.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8", newline="")
    data = manifests.check(manifests.load(places / "my_faces.yaml"))
    assert data.classes == ("happy", "neutral", "sad") and data.table["age"].sum() == sum(range(20, 29))
    for key in manifests.Manifest.model_fields:
        assert f"`{key}" in readme, key
    for name in manifests.names():
        assert f"`{name}`" in readme


def test_a_folder_of_pictures_is_read_in_one_way(places):
    folder = places / "d"
    names = ["a/1.PNG", "a/2.jfif", "b/c/3.tif", "b/c/4.webp", "b/5.gif", "6.jpg", "link/7.png"]
    hidden = [".7.png", "._6.jpg", ".hidden/8.png", "__MACOSX/9.jpg", "a/.ipynb_checkpoints/1.png", "@eaDir/6.jpg"]
    others = ["Thumbs.db", "notes.txt", "film.mpg", "drawing.eps", "IMG_1.HEIC"]
    for name in [*names[:-1], *hidden, *others, "../elsewhere/7.png"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "10.png").mkdir()
    (folder / "link").symlink_to(places / "elsewhere")
    (places / "elsewhere" / "back").symlink_to(folder)
    (folder / "a" / "again").symlink_to(folder / "b")
    (folder / "gone.png").symlink_to(places / "nowhere")
    (folder / "round.png").symlink_to(folder / "round.png")
    os.mkfifo(folder / "pipe.png")
    listing = locate.pictures(folder)
    assert listing.names == sorted(names) and listing.files == [folder / name for name in listing.names]
    broken = ["gone.png", "round.png", "pipe.png", "link/back", "a/again"]
    assert sorted(listing.left_out) == sorted([*others, *broken]) and listing.hidden == len(hidden)
    assert listing.note().endswith("5 more, 6 hidden")
    assert listing.left_out["IMG_1.HEIC"] == "no kind of picture that is read"
    assert locate.pictures(folder / "6.jpg").names == ["6.jpg"]
    with pytest.raises(FileNotFoundError, match=r"no picture .* below .*10\.png") as caught:
        locate.pictures(folder / "10.png")
    assert "Give the folder that holds the pictures" in str(caught.value)
    tree = locate.Tree()
    assert "round.png" in tree.files(str(folder)) and "@eaDir" not in tree.folders(str(folder))


def test_a_picture_whose_name_no_table_can_keep_is_refused_with_the_remedy(places):
    for label in ("happy", "sad"):
        picture(places / "d" / label / "0.png")
    old_zip = b"\xc0\xee.png".decode(errors="surrogateescape")
    (places / "d" / "happy" / "0.png").rename(places / "d" / "happy" / old_zip)
    tree = locate.Tree()
    with pytest.raises(ManifestError, match=r"happy holds '.udcc0.udcee.png', which is no UTF-8: rename it"):
        tree.files(f"{places}/d/happy")


def test_every_kind_that_is_read_is_a_picture_and_no_other(places):
    grey = Image.new("RGB", (8, 8), (7, 7, 7))
    Image.init()
    written = 0
    for suffix, kind in Image.registered_extensions().items():
        if kind in (*decoding.FORMATS, "MPO"):
            grey.save(places / f"x{suffix}")
            assert (decoding.picture(places / f"x{suffix}") < 12).all() and locate.is_picture(f"X{suffix.upper()}")
            written += 1
        else:
            assert not locate.is_picture(f"x{suffix}")
    assert written > 20 and not locate.is_picture("x.eps")


# ---------------------------------------------------------------- bad input


def test_a_cache_that_cannot_be_written(places, monkeypatch):
    pixel_csv(mount(places, HANDLES["ckplus_csv"], "new") / "ckextended.csv", list(range(8)) * 3)
    (places / "file").write_text("x")
    monkeypatch.setenv("EMOHELPERS_CACHE", str(places / "file"))
    text = message(manifests.load, "ckplus_csv")
    assert "ckextended.csv cannot be written to" in text and "EMOHELPERS_CACHE" in text


def test_an_unknown_folder_is_an_unknown_label(places):
    for path, _ in [*faces(), ("bored/b.png", "bored")]:
        picture(places / "d" / path)
    text = message(manifests.check, manifests.load(own(places, layout={"kind": "folders"}), places / "d"))
    assert text.startswith("1 problem in own") and "1 unknown labels" in text and "'bored' (1 rows)" in text


def test_a_second_table_must_cover_the_first(places):
    table(places / "d", faces())
    table(places / "d", [(path, i) for i, (path, _) in enumerate(faces()[:5])], "path,age", "more.csv", draw=False)
    yaml_path = own(places, layout={"kind": "table", "join": {"file": "more.csv"}}, keep=["age"])
    text = message(manifests.check, manifests.load(yaml_path, places / "d"))
    assert "1 pictures of" in text and "have no row in" in text and "sad/sad2.png" in text
    assert manifests.load(yaml_path, places / "d").table["age"].notna().sum() == 5


def test_nothing_attached_names_the_handle():
    for name, handle in HANDLES.items():
        if handle:
            text = message(manifests.load, name)
            assert f"attach {handle}" in text and "Places tried" in text and "DATASET_ROOT" in text
    assert "DATASET_ROOT" in message(manifests.load, "ann_visual_emotion")


def test_wrong_folder(places):
    affectnet(places / "affectnet")
    assert "was not found" in message(manifests.load, "affectnet", places / "nowhere")
    assert "is a file" in message(manifests.load, "affectnet", places / "affectnet" / "labels.csv")
    (places / "other").mkdir()
    picture(places / "other" / "x.png")
    text = message(manifests.load, "affectnet", places / "other")
    assert "labels.csv was not found" in text and "x.png" in text and "manavukani/affectnet" in text
    text = message(manifests.load, "affectnet", places / "other", labels_csv=places / "affectnet" / "labels.csv")
    assert "none of the 32 pictures" in text and str(places / "other") in text and "DATASET_ROOT" in text
    assert "LABELS_CSV" in message(manifests.load, "affectnet", places / "other", labels_csv="gone.csv")
    layout = own(places, layout={"kind": "folders"})
    text = message(manifests.load, layout, places / "affectnet" / "happy")
    assert "no folder below" in text and f"{places / 'affectnet'} fits" in text


def test_two_tables_on_one_level_are_not_guessed(places):
    affectnet(places / "a")
    affectnet(places / "b")
    text = message(manifests.load, "affectnet", places)
    assert "2 files called labels.csv" in text and "LABELS_CSV" in text
    told = manifests.load("affectnet", places, labels_csv=places / "b" / "labels.csv")  # what the message asks for
    assert told.root == places / "b" and not told.problems
    folders = own(places, layout={"kind": "folders"})
    assert "several folders" in message(manifests.load, folders, places)


def test_empty_tables_and_missing_columns(places):
    affectnet(places / "d")
    csv = places / "d" / "labels.csv"
    for text in ("", ",pth,label,relFCs\n"):
        csv.write_text(text)
        found = message(manifests.load, "affectnet", places / "d")
        assert str(csv) in found and ("is empty" in found or "no rows" in found) and "download" in found
    csv.write_text("pth,emotion_name\nhappy/happy0.png,happy\n")
    text = message(manifests.load, "affectnet", places / "d")
    assert "has no column 'label'" in text and "its columns: pth, emotion_name" in text and "YAML" in text
    csv.write_text("pth,label\nhappy/a,b.png,happy\n")
    assert "is not a regular CSV" in message(manifests.load, "affectnet", places / "d")
    table(places / "e", faces())
    assert "no column 'subject'" in message(manifests.load, own(places, group={"columns": ["subject"]}), places / "e")


def test_integer_labels_without_an_order(places):
    table(places / "d", [(f"x/{i}.png", i % 3) for i in range(9)])
    text = message(manifests.load, own(places), places / "d")
    assert "integer labels (0, 1, 2)" in text and "declares no order" in text
    assert "labels: affectnet" in text and "0=neutral" in text and "labels: {0: happy" in text
    for path in (places / "d" / "x").iterdir():
        path.rename(places / "d" / path.name)
    for i in range(3):
        picture(places / "f" / str(i) / f"{i}.png")
    assert "declares no order" in message(manifests.load, own(places, layout={"kind": "folders"}), places / "f")


def test_every_problem_is_said_at_once(places):
    rows = [*faces(200), ("sad/bored.png", "bored"), ("sad/calm.png", "calm"), ("sad/calm2.png", "calm")]
    rows += [
        ("fear/only.png", "fear"),
        ("happy/happy0.png", "sad"),
        ("happy/happy1.png", "happy"),
        ("happy/gone.png", "happy"),
    ]
    table(places / "d", rows, draw=False)
    for i, (path, _) in enumerate(rows[:-1]):
        picture(places / "d" / path, i % 256)
    csv = places / "d" / "labels.csv"
    csv.write_text(csv.read_text() + ",happy\nhappy/notes.txt,happy\n")
    (places / "d" / "happy" / "notes.txt").write_text("x")
    data = manifests.load(own(places, classes=["happy", "sad", "fear", "disgust"]), places / "d")
    text = message(manifests.check, data, SimpleNamespace(unreadable={"sad/sad1.png": "truncated"}))
    assert text.startswith("7 problems in own")
    for part in (
        "2 unknown labels",
        "'calm' (2 rows), 'bored' (1 rows)",
        "spellings: angry",
        "null",
        "1 pictures stand in",
        "happy/happy0.png is happy / sad",
        "1 rows without a path",
        "line 409",
        "happy/notes.txt",
        "no picture of disgust",
        "fear has 1",
        "validation and golden set",
        "2 of 403 pictures (0.50%)",
        "happy/gone.png: no such file (looked below",
        "sad/sad1.png: truncated",
        'OVERRIDES = {"max_unreadable": 0.02}',
    ):
        assert part in text, (part, text)
    assert any("2 repeated rows" in note for note in data.notes)


def test_a_stated_share_may_be_unreadable(places):
    table(places / "d", faces(50))
    (places / "d" / "sad" / "sad7.png").unlink()
    data = manifests.load(own(places), places / "d")
    assert list(data.unreadable) == ["sad/sad7.png"] and len(data.table) == 100 and not data.problems
    pixels = SimpleNamespace(unreadable={"sad/sad7.png": "file is missing", "happy/happy3.png": "zero bytes"})
    text = message(manifests.check, data, pixels, 0.01)
    assert "2 of 100 pictures (2.00%)" in text and "happy/happy3.png: zero bytes" in text and "0.02" in text
    kept = manifests.check(data, pixels, 0.02)
    assert len(kept.table) == 98 and isinstance(kept.table.index, pd.RangeIndex)
    assert any("2 of 100" in note and "left out" in note for note in kept.notes)
    written = manifests.write_unreadable(places / "unreadable.csv", kept.unreadable)
    assert pd.read_csv(written).to_dict("list")["path"] == ["happy/happy3.png", "sad/sad7.png"]
    assert len(data.table) == 100  # the data set given stays as it was


def test_skipping_must_not_empty_a_class(places):
    table(places / "d", [*faces(200), *faces(3, ("fear",))])
    data = manifests.load(own(places), places / "d")
    bad = SimpleNamespace(unreadable={"fear/fear0.png": "truncated"})
    assert "fear has 2" in message(manifests.check, data, bad, 0.02)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"lables": "names"}, ["lables: no such key", "did you mean labels"]),
        ({"layout": {"kind": "table", "pathh": "x"}}, ["layout.pathh: no such key", "did you mean path"]),
        ({"layout": {"kind": "tables"}}, ["layout = {'kind': 'tables'}: its kind must be table, folders or pixels"]),
        ({"layout": {"file": "x.csv"}}, ["layout = {'file': 'x.csv'}: its kind must be"]),
        ({"layout": {"kind": "folders", "pattern": "{spilt}/{label}"}}, ["layout.pattern", "{spilt}"]),
        ({"layout": {"kind": "pixels"}}, ["layout.file: is needed"]),
        ({"labels": "affectnett"}, ["labels", "declared order (alphabetical, affectnet"]),
        ({"labels": {0: "joyful"}}, ["unknown emotion 'joyful'", "known names"]),
        ({"labels": {True: "happy"}}, ["quotes"]),
        ({"classes": ["happy", "bliss"]}, ["classes", "'bliss'"]),
        ({"splits": {"fold1": "training"}}, ["splits", "'training'"]),
        ({"keep": ["path"]}, ["keep", "'path'"]),
        ({"group": {"strip": "("}}, ["group.strip = '(': not a regular expression"]),
        ({"labels": ["happy"]}, ["labels", "a declared order"]),
        ({"layout": {"kind": "table", "file": {}}}, ["layout.file"]),
        ({"layout": {"kind": "table", "file": []}}, ["layout.file"]),
        ({"group": {"strip": "a{99999999999}"}}, ["not a regular expression"]),
        ({"labels": {"Happy": "happy", " happy": "sad"}}, ["labels", "in two spellings and with two meanings"]),
        ({"labels": {1: "happy", "01": "sad"}}, ["labels", "in two spellings and with two meanings"]),
        (
            {"group": {"colums": ["a"]}, "name": "a b", "task": "ranking"},
            ["3 wrong", "group.colums: no such key; did you mean columns", "name = 'a b'", "task = 'ranking'"],
        ),
    ],
)
def test_wrong_yaml(places, change, parts):
    text = message(manifests.read, own(places, **change))
    for part in [*parts, "own.yaml", "data_manifests/README.md"]:
        assert part in text, text


def test_manifests_that_are_none(places):
    assert "did you mean affectnet" in message(manifests.read, "afectnet")
    assert str(places / "no.yaml") in message(manifests.read, places / "no.yaml")
    (places / "list.yaml").write_text("- a\n")
    assert "must be a mapping" in message(manifests.read, places / "list.yaml")
    (places / "broken.yaml").write_text("name: [a\nlayout: x")
    assert "line" in message(manifests.read, places / "broken.yaml")


def test_songs_are_described_by_the_same_reader(places):
    (places / "songs.yaml").write_text("name: mine\ntables: a.csv\nscale: [0, high]\nroot: audio\n")
    text = message(manifest.read, ratings.Ratings, places / "songs.yaml")
    assert text.startswith("2 wrong in") and "tables = 'a.csv'" in text and "scale = [0, 'high']" in text
    (places / "songs.yaml").write_text("name: mine\ntables: [a.csv, [b.csv, c.csv]]\nscale: [0, 100]\nroot: audio\n")
    spec = manifest.read(ratings.Ratings, places / "songs.yaml")
    assert spec.tables == [["a.csv"], ["b.csv", "c.csv"]] and spec.scale == (0, 100)
    assert spec.title == "mine" and spec.root == str(places / "audio")
    assert set(manifest.names(ratings.Ratings)).isdisjoint(manifests.names())


@pytest.mark.parametrize("name", manifests.names())
def test_every_manifest_says_what_a_reader_must_know(name):
    spec = manifests.read(name)
    assert spec.name == name
    for key in ("title", "licence", "citation", "source", "classes", "traps"):
        assert getattr(spec, key), key


def test_a_data_set_of_one_class_is_a_problem(places):
    table(places / "d", faces(4, ("happy",)))
    assert "all pictures are of one class (happy)" in message(
        manifests.check, manifests.load(own(places), places / "d")
    )


@pytest.mark.parametrize("layout", [{"split": "usage"}, {"split_folders": True}, {"source": "origin"}])
def test_what_a_manifest_declares_and_no_row_has_is_told(places, layout):
    table(places / "d", faces())
    data = manifests.load(own(places, layout={"kind": "table", **layout}), places / "d")
    ((key, value),) = layout.items()
    assert any("no row has a" in note and f"{key}: {value}" in note for note in data.notes)

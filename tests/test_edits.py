"""Lineage and combining: planted leaks of every kind are removed and no clean row is lost; no torch is needed."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emohelpers import config
from emohelpers.config import files
from emohelpers.config.saga import Saga
from emohelpers.datasets import faces, groups, lineage, splits, thumbnails
from emohelpers.datasets.decoding import decode, fit_square
from emohelpers.datasets.edits import add, combine, read
from emohelpers.datasets.golden import golden_set
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.datasets.locate import ManifestError
from emohelpers.datasets.pixels import build

SIDE = 48


def face(rng):
    """A smooth random picture (48, 48, 3): no two are alike."""
    return cv2.resize(rng.integers(0, 256, (7, 7, 3)).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def edited(picture, rng):
    """The same picture with another patch where a mouth would be: still a near-duplicate."""
    made = picture.copy()
    made[34:40, 18:30] = (made[34:40, 18:30] * 0.6 + rng.integers(0, 256, (1, 1, 3)) * 0.4).astype(np.uint8)
    return made


def save(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **options)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """2,640 photographs in AffectNet's layout, split; and the pictures by path."""
    home = tmp_path_factory.mktemp("affectnet")
    rng, rows, seen = np.random.default_rng(1), [], {}
    for i in range(2640):
        label = EMOTIONS[i % 8]
        path = f"{EMOTIONS[(i * 5) % 8]}/image_{i:05d}.png"
        seen[path] = face(rng)
        save(home / path, seen[path])
        rows.append((path, label, 0.5))
    pd.DataFrame(rows, columns=["pth", "label", "relFCs"]).to_csv(home / "labels.csv")
    dataset = faces.load("affectnet", home)
    pixels = build(dataset, SIDE, tmp_path_factory.mktemp("cache"))
    cfg = config.make(Saga, "full", golden="balanced:5", augmented_root="-", gates_off=["clip"])
    table = groups.grouped(dataset.table, pixels, cfg.twin_similarity)
    golden = golden_set(table, pixels, cfg, tmp_path_factory.mktemp("golden"), "x")
    return SimpleNamespace(home=home, dataset=dataset, pixels=pixels, cfg=cfg, golden=golden, seen=seen,
                           table=splits.split(table, golden, cfg))  # fmt: skip


def of(world, part):
    return world.table[world.table["split"] == part]


def edits_of(world, rows, root, folder, seed=3):
    """Edits of these photographs to the next emotion in SAGA's layout; returns path -> parent."""
    rng, made = np.random.default_rng(seed), {}
    for path, label in rows[["path", "label"]].itertuples(index=False):
        target = EMOTIONS[(EMOTIONS.index(label) + 1) % 8]
        name = f"{folder.format(target)}/aug_{path.split('/')[1][:-4]}_{label}_to_{target}.jpg"
        save(root / name, edited(world.seen[path], rng), quality=92)
        made[name] = path
    return made


@pytest.mark.parametrize("spelling", ["augmented_affectnet/aug_{}", "augmented/{}"])
@pytest.mark.parametrize("told", [False, True])
def test_both_spellings_with_and_without_a_table(world, tmp_path, spelling, told):
    made = edits_of(world, world.table.head(40), tmp_path, spelling)
    if told:
        rows = [
            (f"/kaggle/input/affectnet/{parent}", "-", name.split("_to_")[1][:-4], f"/kaggle/working/{name}", "balance")
            for name, parent in made.items()
        ]
        pd.DataFrame(rows, columns=lineage.COLUMNS).to_csv(tmp_path / "augmented_labels.csv", index=False)
    found = lineage.attached(tmp_path, world.dataset)
    assert dict(zip(found.table["path"], found.table["parent"], strict=True)) == {
        name.split("/", 1)[1]: parent for name, parent in made.items()
    }
    assert set(found.table["via"]) == {"table" if told else "name"} and len(found.left_out) == 0


def test_the_data_sets_own_folders_are_no_edits(world, tmp_path):
    """Upstream keeps `augmented/` beside the photographs' folders."""
    shutil.copytree(world.home, tmp_path / "data")
    dataset = faces.load("affectnet", tmp_path / "data")
    made = edits_of(world, world.table.head(10), tmp_path / "data", "augmented/{}")
    assert len(lineage.attached(tmp_path / "data", dataset).table) == len(made)
    with pytest.raises(ManifestError, match="no folders aug_<emotion>"):
        lineage.attached(tmp_path / "data" / "anger", dataset)


def test_what_cannot_be_used_is_told(world, tmp_path):
    (made,) = edits_of(world, world.table.head(1), tmp_path, "augmented/{}")
    wrong = made.replace(made.split("/")[1], "contempt" if "contempt" not in made.split("/")[1] else "sad", 1)
    (tmp_path / wrong).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / made).rename(tmp_path / wrong)
    (tmp_path / "augmented_labels.csv").write_text(
        ",".join(lineage.COLUMNS) + "\na.png,sad,fear,augmented/fear/gone.jpg,x\n"
    )
    found = lineage.attached(tmp_path, world.dataset)
    assert len(found.table) == 0 and len(found.left_out) == 2
    assert "labelled" in found.left_out["reason"].str.cat() and "no such file" in found.left_out["reason"].str.cat()


def test_lost_names_and_shared_stems_are_matched_by_looks(world, tmp_path):
    """Renamed and mirrored edits find their face; a stranger finds none; of two faces with one stem the right one."""
    rng = np.random.default_rng(5)
    rows = world.table.iloc[[3, 50, 90]]
    for i, path in enumerate(rows["path"]):
        picture = edited(world.seen[path], rng)
        save(tmp_path / f"augmented/fear/{i:05d}.jpg", picture[:, ::-1] if i == 1 else picture, quality=90)
    save(tmp_path / "augmented/fear/99999.jpg", face(np.random.default_rng(999)))
    found = lineage.matched(tmp_path, world.dataset, world.pixels, 0.96, tmp_path / "cache")
    assert list(found.table["parent"]) == [*rows["path"], ""] and list(found.table["via"]) == ["looks"] * 3 + [""]
    home = tmp_path / "twice"
    for folder, path in (("happy", rows["path"].iloc[0]), ("neutral", rows["path"].iloc[1])):
        save(home / f"{folder}/ffhq_1.png", world.seen[path])
    shutil.copy(home / "happy/ffhq_1.png", home / "sad.png")
    (home / "labels.csv").write_text("pth,label\nhappy/ffhq_1.png,sad\nneutral/ffhq_1.png,sad\n")
    table = pd.DataFrame({"path": ["happy/ffhq_1.png", "neutral/ffhq_1.png"], "label": "sad", "group": "ffhq_1"})
    both = SimpleNamespace(name="two", root=home, table=table)
    save(tmp_path / "set/augmented/fear/aug_ffhq_1_sad_to_fear.jpg", edited(world.seen[rows["path"].iloc[1]], rng))
    pixels = build(both, SIDE, tmp_path / "cache")
    found = lineage.matched(tmp_path / "set", both, pixels, 0.96, tmp_path / "cache")
    assert list(found.table["parent"]) == ["neutral/ffhq_1.png"] and list(found.table["via"]) == ["name and looks"]


def test_a_parent_is_told_by_its_whole_path(tmp_path):
    """Train/ and Test/ hold equal names: the table's path decides, looks where it leaves out the split."""
    rng = np.random.default_rng(6)
    pictures = {f"{split}/happy/{i}.png": face(rng) for split in ("Train", "Test") for i in range(3)}
    pictures.pop("Train/happy/2.png")  # its edit is nobody's, above all not the other split's
    for path, picture in pictures.items():
        save(tmp_path / "data" / path, picture)
    table = pd.DataFrame({"path": list(pictures), "label": "happy", "group": list(pictures)})
    dataset = SimpleNamespace(name="two", root=tmp_path / "data", table=table)
    written = ["/kaggle/x/Train/happy/0.png", "test/happy/0.png", "happy/1.png", "/y/Train/happy/2.png"]
    rows = []
    for i, path in enumerate(written):
        save(
            tmp_path / f"set/augmented/fear/e{i}.jpg",
            edited(pictures["Train/happy/1.png"], rng) if i == 2 else face(rng),
        )
        rows.append((path, "happy", "fear", f"augmented/fear/e{i}.jpg", "x"))
    pd.DataFrame(rows, columns=lineage.COLUMNS).to_csv(tmp_path / "set/augmented_labels.csv", index=False)
    pixels = build(dataset, SIDE, tmp_path / "cache")
    edits = lineage.matched(tmp_path / "set", dataset, pixels, 0.96, tmp_path / "cache").table
    assert list(edits["parent"]) == ["Train/happy/0.png", "Test/happy/0.png", "Train/happy/1.png", ""]
    assert list(edits["via"]) == ["table", "table", "name and looks", ""]


@pytest.fixture(scope="module")
def planted(world, tmp_path_factory):
    """Edits of training faces, and every kind of leak: path -> (label, parent) of each."""
    root, rng = tmp_path_factory.mktemp("edits"), np.random.default_rng(8)
    clean = edits_of(world, of(world, "train"), root, "{}")
    held = pd.concat([of(world, "golden"), of(world, "val")])
    children = edits_of(world, held, root, "{}", seed=4)
    stolen, train = {}, list(of(world, "train")["path"])
    for i, path in enumerate(held["path"]):
        picture, name = world.seen[path], f"fear/{i:05d}"
        kind = i % 4
        if kind == 0:  # a renamed copy
            (root / "fear").mkdir(exist_ok=True)
            shutil.copy(world.home / path, root / f"{name}.png")
            stolen[f"{name}.png"] = train[i]
        else:  # compressed again; mirrored; an edited twin: each with a wrong parent
            made = (picture, picture[:, ::-1], edited(picture, rng))[kind - 1]
            save(root / f"{name}.jpg", made, quality=60 if kind == 1 else 92)
            stolen[f"{name}.jpg"] = train[i]
    rows = [(path, "fear", parent) for path, parent in {**clean, **children, **stolen}.items()]
    edits = pd.DataFrame(rows, columns=["path", "label", "parent"])
    return add(world.dataset, edits, root), set(clean), set(children) | set(stolen)


def test_every_planted_leak_is_removed_and_no_clean_edit_lost(world, planted, tmp_path):
    both, clean, leaks = planted
    done = combine(both, build(both, SIDE, tmp_path / "cache"), world.table, world.cfg)
    kept = set(done.table.loc[done.table["source"] == "synthetic", "filepath"])
    assert len(clean) > 2000 and kept == clean and set(done.removed["path"]) == leaks and done.left == 0
    assert set(done.table.loc[done.table["source"] == "original", "filepath"]) == set(world.dataset.table["path"])
    assert done.counts.loc["all", "edits kept"] == len(clean)
    assert {"content", "near-duplicate"} <= set(done.removed["reason"])


def test_an_edit_that_resembles_a_golden_face_is_removed_whatever_its_table_says(world, tmp_path):
    """Changed too much to be a near-duplicate, and with a false parent: it still is nobody else's edit."""
    held, train = of(world, "golden")["path"].iloc[3], of(world, "train")["path"].iloc[0]
    made = world.seen[held].copy()
    made[26:44, 10:38] = (made[26:44, 10:38] * 0.3 + 60).astype(np.uint8)
    alike = float(thumbnails.thumbnail(made) @ thumbnails.thumbnail(world.seen[held]))
    assert alike < 0.96
    save(tmp_path / "aug_fear/x.png", made)
    both = add(
        world.dataset, pd.DataFrame([("aug_fear/x.png", "fear", train)], columns=["path", "label", "parent"]), tmp_path
    )
    done = combine(both, build(both, SIDE, tmp_path / "cache"), world.table, world.cfg)
    assert list(done.removed["reason"]) == ["resemblance"] and done.removed["partner"][0] == held
    (tmp_path / "aug_fear/x.png").rename(tmp_path / f"aug_fear/aug_{Path(train).stem}_happy_to_fear.png")
    found = lineage.matched(tmp_path, world.dataset, world.pixels, 0.96, tmp_path / "cache")
    assert list(found.table["parent"]) == [held] and found.table["via"][0] == "looks, against its name"


def test_edits_change_no_part_of_the_photographs(world, planted, tmp_path):
    """Not even where an edit looks like two faces at once: groups, validation part and golden set stay."""
    both, _, _ = planted
    pixels = build(both, SIDE, tmp_path / "cache")
    table = splits.split(groups.grouped(both.table, pixels, 0.96), world.golden, world.cfg)
    again = table[table["source"] == "original"].set_index("path")[["split", "group"]]
    pd.testing.assert_frame_equal(again, world.table.set_index("path")[["split", "group"]])


def test_written_and_read_again(world, tmp_path):
    root = tmp_path / "run" / "augmented_affectnet"
    edits = edits_of(world, of(world, "train").head(60), root, "aug_{}")
    rows = [(path, path.split("/")[0].removeprefix("aug_"), parent) for path, parent in edits.items()]
    both = add(world.dataset, pd.DataFrame(rows, columns=["path", "label", "parent"]), root)
    done = combine(both, build(both, SIDE, tmp_path / "cache"), world.table, world.cfg)
    file = done.save(tmp_path / "run", world.dataset.classes)
    assert list(pd.read_csv(file).columns) == ["filepath", "label", "source", "parent"]
    assert (tmp_path / "run" / "label_map.json").is_file()
    again = read(world.dataset, file)  # the edits lie beside the table
    assert set(again.table["path"]) == set(both.table["path"]) and set(again.elsewhere) == set(edits)
    twice = combine(both, build(both, SIDE, tmp_path / "cache"), world.table, world.cfg)
    first = pd.read_csv(twice.save(tmp_path / "b", world.dataset.classes))
    pd.testing.assert_frame_equal(first, pd.read_csv(file))


def test_a_table_of_other_photographs_is_refused(world, tmp_path):
    rows = [
        (path, label, "original", "") for path, label in world.dataset.table[["path", "label"]].itertuples(index=False)
    ]
    rows[0] = ("fear/strange.png", "fear", "original", "")
    rows[1] = (rows[1][0], "fear" if rows[1][1] != "fear" else "sad", "original", "")
    rows.append(("aug_fear/a.jpg", "fear", "synthetic", "nobody.png"))
    file = files.write_csv(pd.DataFrame(rows, columns=["filepath", "label", "source", "parent"]), tmp_path / "c.csv")
    with pytest.raises(
        ManifestError, match="(?s)not in the data set.*another label.*parents are not.*notebook 02 again"
    ):
        read(world.dataset, file, tmp_path)


def test_the_original_projects_table_is_read_and_its_lack_of_lineage_said(world, tmp_path):
    """`filepath,label,source` with source "augmented" and no parent column."""
    made = edits_of(world, of(world, "train").head(5), tmp_path, "augmented/{}")
    rows = [(path, label, "original") for path, label in world.dataset.table[["path", "label"]].itertuples(index=False)]
    rows += [(path, path.split("/")[1], "augmented") for path in made]
    file = files.write_csv(pd.DataFrame(rows, columns=["filepath", "label", "source"]), tmp_path / "c.csv")
    done = read(world.dataset, file, tmp_path)
    assert len(done.table) == len(rows) and "5 of them name no parent" in done.notes[-1]
    assert set(done.table.loc[done.table["path"].isin(made), "source"]) == {"synthetic"}


def test_a_combined_table_in_other_spellings_is_read_and_a_wrong_label_named(world, tmp_path):
    made = edits_of(world, of(world, "train").head(3), tmp_path, "aug_{}")
    known = world.dataset.table[["path", "label"]].itertuples(index=False)
    rows = [(path.upper(), f" {label} ", "Original", "") for path, label in known]
    rows += [(path, path.split("/")[0].removeprefix("aug_"), "synthetic", made[path].upper()) for path in made]
    table = pd.DataFrame(rows, columns=["filepath", "label", "source", "parent"])
    file = tmp_path / "c.csv"
    file.write_bytes(table.to_csv(sep=";", index=False).encode("utf-16"))
    assert dict(read(world.dataset, file, tmp_path).table[-3:][["path", "parent"]].to_numpy()) == made
    file.write_bytes(table.replace("synthetic", "x").replace(" fear ", "panic").to_csv(index=False).encode())
    with pytest.raises(ManifestError, match=r"c\.csv has a label that is none: unknown emotion 'panic'"):
        read(world.dataset, file, tmp_path)


def test_pictures_of_two_roots_are_read_as_one(world, tmp_path):
    made = edits_of(world, world.table.head(20), tmp_path, "aug_{}")
    rows = pd.DataFrame([(p, "fear", q) for p, q in made.items()], columns=["path", "label", "parent"])
    both = add(world.dataset, rows, tmp_path)
    pixels = build(both, SIDE, tmp_path / "cache")
    wanted = [rows["path"][7], world.dataset.table["path"][0], rows["path"][0]]
    taken = pixels.take(pixels.rows(wanted))
    alone = [fit_square(decode((both.elsewhere.get(p, both.root) / p).read_bytes()), SIDE) for p in wanted]
    assert np.array_equal(taken, np.stack(alone)) and len(pixels.sha256) == len(pixels.thumbs) == len(both.table)
    assert np.array_equal(pixels.array[pixels.rows(wanted)[1]], alone[1]) and pixels.array[:3].shape == (
        3,
        SIDE,
        SIDE,
        3,
    )
    (tmp_path / wanted[0]).unlink()
    assert wanted[0] in build(both, SIDE, tmp_path / "cache").unreadable


def test_an_edit_of_an_edit_of_a_golden_face_is_found(world, tmp_path):
    held, rng = of(world, "golden")["path"].iloc[0], np.random.default_rng(2)
    for name in ("a.jpg", "b.jpg"):
        save(tmp_path / name, face(rng))
    rows = pd.DataFrame([("a.jpg", "fear", held), ("b.jpg", "sad", "a.jpg")], columns=["path", "label", "parent"])
    both = add(world.dataset, rows, tmp_path)
    done = combine(both, build(both, SIDE, tmp_path / "cache"), world.table, world.cfg)
    assert set(done.removed["path"]) == {"a.jpg", "b.jpg"} and done.left == 0


def test_combining_needs_no_torch():
    program = "import sys; from emohelpers.datasets import lineage; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"

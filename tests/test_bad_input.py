"""Every bad input through the cells of notebook 01: one clear message, and nothing half-written is left behind.

Most cases run the notebook's own code cells in this process; some run the notebook itself by papermill, one of them
killed while it trains. Pictures are bars (see pictures.py) laid out as AffectNet on Kaggle.
"""

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
from fnmatch import fnmatch
from pathlib import Path

import nbformat
import pandas as pd
import pictures
import pytest
import torch

from emohelpers import config, models, train
from emohelpers.config import files
from emohelpers.datasets import faces as manifests
from emohelpers.datasets.groups import SplitError
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.suite import execution

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "notebooks" / "01_baseline_training.ipynb"
SMALL = {
    "backbone": "test_vit", "weights": "random", "trainable": "all", "img_size": 32, "head_width": 32, "epochs": 1,
    "batch_size": 32, "golden": "balanced:3", "bootstrap": 100,
}  # fmt: skip
OURS = (
    manifests.ManifestError,
    config.ConfigError,
    SplitError,
    models.WeightsError,
    train.TrainingError,
    OSError,
)
CHECKPOINT = "vit_baseline_best_model.pth"
EACH = 25  # pictures a class
LOCK = ".run.lock"  # keeps other trainings out of the folder; hidden, and empty


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Golden sets and decoded pictures of this test's own, one thread."""
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path / "outputs"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


MAGIC = re.compile(r"^%.*\n", re.M)  # what IPython alone understands


def faces(folder: Path, *, each: int = EACH, classes: tuple[str, ...] = EMOTIONS) -> pd.DataFrame:
    """`each` pictures a class and labels.csv in AffectNet's Kaggle layout; returns its table."""
    data = pictures.write(folder, each=each, classes=classes)
    rows = data.table[["path", "label"]].rename(columns={"path": "pth"}).assign(relFCs=0.5)
    rows.to_csv(folder / "labels.csv", index_label="")
    return rows


def training_cells() -> nbformat.NotebookNode:
    """Notebook 01 from its parameters to its training, without the figures."""
    book = nbformat.read(BOOK, 4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    last = next(i for i, cell in enumerate(code) if "train.fit(" in cell.source)
    book.cells = code[: last + 1]
    for cell in book.cells:
        cell.source = MAGIC.sub("", cell.source)
        if "run.show(" in cell.source:
            tree = ast.parse(cell.source)
            tree.body = [line for line in tree.body if not ast.unparse(line).startswith("run.show(")]
            cell.source = ast.unparse(tree)
    return book


def parameters(home: Path, **values) -> dict:
    """`values` with the small settings, data in home/faces and results in home/results unless they say otherwise."""
    places = {"DATASET_ROOT": str(home / "faces"), "OUTPUT_DIR": str(home / "results")}
    return {**places, **values, "OVERRIDES": {**SMALL, **values.get("OVERRIDES", {})}}


def go(home: Path, **values) -> dict:
    """Executes the cells in this process; returns their names."""
    names: dict = {}
    given = parameters(home, **values)
    for cell in training_cells().cells:
        tags = cell.metadata.get("tags", [])
        if "setup" not in tags:
            exec(compile(cell.source, "01", "exec"), names)
        if "parameters" in tags:
            assert given.keys() <= names.keys()
            names |= given
    return names


def left(*folders: Path) -> set[str]:
    return {p.relative_to(f).as_posix() for f in folders for p in f.rglob("*") if p.is_file()}


def refused(home: Path, kept: tuple[str, ...] = ("config.json",), **values) -> str:
    """The one message of a run that must stop, with at most the files `kept` (patterns) in its results folder."""
    with pytest.raises(OURS) as caught:
        go(home, **values)
    results = Path(values.get("OUTPUT_DIR") or home / "results")
    more = [name for name in left(results) if not any(fnmatch(name, pattern) for pattern in (*kept, LOCK))]
    assert not more, "the results folder holds more than a refused run may leave"
    assert not list(home.rglob("*.part*")), "half a file was left"
    return str(caught.value)


def tells(text: str, *parts: str) -> None:
    absent = [part for part in parts if part not in text]
    assert not absent, f"not told: {absent}\n{text}"


# ---------------------------------------------------------------- settings


def test_an_unknown_override_names_what_was_meant_before_anything_is_made(tmp_path):
    text = refused(tmp_path, kept=(), OVERRIDES={"epoch": 3, "imgsize": 32})
    tells(
        text, "2 wrong in Baseline settings", "epoch: no such setting; did you mean epochs", "imgsize", "All settings:"
    )
    assert not (tmp_path / "results").exists() and not (tmp_path / "outputs").exists()


def test_a_wrong_type_says_what_was_given_and_what_is_allowed(tmp_path):
    text = refused(tmp_path, kept=(), OVERRIDES={"epochs": "10", "flip": 50}, LABELS_CSV=7)
    tells(text, "3 wrong", "epochs = '10': Input should be a valid integer", "flip = 50: ", "labels_csv = 7: ")


# ---------------------------------------------------------------- tables


def test_a_wrong_folder(tmp_path):
    faces(tmp_path / "faces", each=3)
    text = refused(tmp_path, DATASET_ROOT=str(tmp_path / "absent"))
    tells(text, f"{tmp_path / 'absent'}' was not found", "manavukani/affectnet", "DATASET_ROOT")
    text = refused(tmp_path, DATASET_ROOT=str(tmp_path / "faces" / "happy"))
    tells(text, "labels.csv was not found below", f"It lies in {tmp_path / 'faces'}", "DATASET_ROOT")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    text = refused(tmp_path, DATASET_ROOT=str(tmp_path / "other"))
    tells(text, "labels.csv was not found below", "notes.txt", "manavukani/affectnet")


@pytest.mark.parametrize("content, told", [("", "is empty"), (",pth,label,relFCs\n", "has a header but no rows")])
def test_an_empty_table(tmp_path, content, told):
    faces(tmp_path / "faces", each=1)
    (tmp_path / "faces" / "labels.csv").write_text(content)
    tells(refused(tmp_path), str(tmp_path / "faces" / "labels.csv"), told, "download it again")


def test_a_missing_column(tmp_path):
    rows = faces(tmp_path / "faces", each=1).rename(columns={"label": "emotion"})
    rows.to_csv(tmp_path / "faces" / "labels.csv")
    text = refused(tmp_path)
    tells(text, "labels.csv has no column 'label'", "its columns: ", "pth, emotion, relFCs", "YAML", "LABELS_CSV")


def test_unknown_labels_are_counted_and_the_known_ones_told(tmp_path):
    rows = faces(tmp_path / "faces")
    rows.loc[:4, "label"] = "joyful"
    rows.loc[7, "label"] = ""
    rows.to_csv(tmp_path / "faces" / "labels.csv")
    text = refused(tmp_path)
    tells(text, "2 unknown labels in", "labels.csv", "'joyful' (5 rows)", "'(empty)' (1 rows)", "surprise", "happiness")
    tells(text, "labels: {<label>: <emotion>")


def test_integer_labels_without_an_order_are_never_guessed(tmp_path):
    rows = faces(tmp_path / "faces", each=3)
    rows["label"] = rows["label"].map(EMOTIONS.index)
    rows.to_csv(tmp_path / "faces" / "labels.csv")
    text = refused(tmp_path)
    tells(
        text, "integer labels (0, 1, 2", "declares no order", "labels: affectnet", "0=neutral", "labels: alphabetical"
    )


def test_a_class_with_one_image(tmp_path):
    rows = faces(tmp_path / "faces")
    rows = rows[(rows["label"] != "contempt") | (rows["pth"] == "contempt/0000contempt.png")]
    rows.to_csv(tmp_path / "faces" / "labels.csv")
    tells(refused(tmp_path), "too few independent pictures", "contempt has 1", "Add pictures, or leave the class out")


def test_all_problems_are_told_at_once(tmp_path):
    rows = faces(tmp_path / "faces")
    rows.loc[0, "label"] = "joyful"
    rows = rows[rows["label"] != "fear"]
    rows.to_csv(tmp_path / "faces" / "labels.csv")
    (tmp_path / "faces" / rows["pth"].iloc[-1]).write_bytes(b"")
    tells(refused(tmp_path), "3 problems in AffectNet", "'joyful' (1 rows)", "no picture of fear", "empty file")


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    rows = faces(tmp_path / "faces", each=12)
    calm = go(tmp_path)
    rows.to_csv(tmp_path / "faces" / "labels.csv", encoding="utf-8-sig", lineterminator="\r\n", index_label="")
    assert (tmp_path / "faces" / "labels.csv").read_bytes().startswith(b"\xef\xbb\xbf,pth,label,relFCs\r\n")
    again = go(tmp_path, OUTPUT_DIR=str(tmp_path / "again"))
    pd.testing.assert_frame_equal(again["faces"].table, calm["faces"].table)
    assert again["fit"].checkpoint.is_file() and again["run"].folder == tmp_path / "again"


def test_unicode_paths_work_even_where_table_and_disk_write_accents_differently(tmp_path):
    root = tmp_path / "gesichter – données – 日本"
    rows = faces(root / "faces", each=12)
    (root / "faces" / "happy").rename(root / "faces" / unicodedata.normalize("NFD", "fröhlich 笑"))
    rows["pth"] = rows["pth"].str.replace("happy/", unicodedata.normalize("NFC", "fröhlich 笑/"))
    rows.to_csv(root / "faces" / "labels.csv")
    done = go(root)
    assert done["fit"].checkpoint == root / "results" / CHECKPOINT and done["fit"].checkpoint.is_file()
    assert done["faces"].table["path"].str.contains("笑").sum() >= 8


# ---------------------------------------------------------------- pictures


def spoil(folder: Path, rows: pd.DataFrame) -> list[str]:
    """1 % of the pictures: one cut short, one without a byte."""
    whole = folder / rows["pth"].iloc[40]
    whole.write_bytes(whole.read_bytes()[:-200])
    (folder / rows["pth"].iloc[140]).write_bytes(b"")
    return [rows["pth"].iloc[40], rows["pth"].iloc[140]]


def test_one_percent_of_broken_pictures_is_refused_listed_and_left_out_when_allowed(tmp_path):
    bad = spoil(tmp_path / "faces", faces(tmp_path / "faces"))
    text = refused(tmp_path)
    tells(text, "2 of 200 pictures (1.00%)", f"{bad[0]}: ", f"{bad[1]}: empty file", str(tmp_path / "faces"))
    tells(text, 'OVERRIDES = {"max_unreadable": 0.02}', "max_unreadable allows 0.00%")
    done = go(tmp_path, OVERRIDES={"max_unreadable": 0.02})
    listed = pd.read_csv(tmp_path / "results" / "unreadable.csv")
    assert list(listed["path"]) == bad and listed["reason"].str.len().min() > 5
    assert len(done["faces"].dataset.table) == 198 and not set(bad) & set(done["faces"].table["path"])
    assert done["fit"].status == "finished" and (tmp_path / "results" / CHECKPOINT).is_file()
    tells(" ".join(done["faces"].dataset.notes), "2 of 200 pictures (1.00%)", "left out")


@pytest.mark.parametrize("cut, told", [(-200, "image file is truncated"), (40, ""), (0, "empty file")])
def test_one_broken_picture_is_enough_to_stop(tmp_path, cut, told):
    victim = tmp_path / "faces" / faces(tmp_path / "faces", each=5)["pth"].iloc[7]
    victim.write_bytes(victim.read_bytes()[:cut])
    tells(refused(tmp_path), "1 of 40 pictures", f"{victim.parent.name}/{victim.name}: {told}", "max_unreadable")


def test_a_missing_picture_is_told_with_the_place_searched(tmp_path):
    victim = tmp_path / "faces" / faces(tmp_path / "faces", each=5)["pth"].iloc[7]
    victim.unlink()
    tells(refused(tmp_path), "1 of 40 pictures", f"{victim.name}: no such file", str(tmp_path / "faces"))


# ---------------------------------------------------------------- earlier results


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run: its home, and its names."""
    home = tmp_path_factory.mktemp("trained")
    faces(home / "faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOHELPERS_OUTPUTS", str(home / "outputs"))
        torch.set_num_threads(1)
        return home, go(home)


def test_a_golden_file_that_was_edited(trained, tmp_path, monkeypatch):
    home, names = trained
    shutil.copytree(home / "outputs", tmp_path / "outputs")
    golden = tmp_path / "outputs" / names["faces"].golden.file.relative_to(home / "outputs")
    golden.write_text(golden.read_text().replace(",anger,", ",happy,", 1))
    kept = ("config.json", "unreadable.csv")
    text = refused(tmp_path, kept, DATASET_ROOT=str(home / "faces"))
    tells(text, f"{golden} was changed after it was written", f"Restore both files, or remove {golden.parent}")
    copy = tmp_path / "copy" / "testset_saved.csv"  # as notebook 03 is given it
    names["faces"].golden.save(copy.parent)
    files.write_text(copy, "\n".join(copy.read_text().splitlines()[:-1]) + "\n")
    text = refused(tmp_path, kept, DATASET_ROOT=str(home / "faces"), TESTSET_CSV=str(copy))
    tells(text, f"{copy} was changed after it was written")
    text = refused(tmp_path, kept, DATASET_ROOT=str(home / "faces"), TESTSET_CSV=str(tmp_path / "none.csv"))
    tells(text, f"'{tmp_path / 'none.csv'}' was not found", "TESTSET_CSV must be a golden set", "empty: one is drawn")


def test_a_checkpoint_of_another_label_order_or_architecture(trained, tmp_path):
    home, _ = trained
    file = home / "results" / CHECKPOINT
    assert models.load(file, classes=EMOTIONS, backbone="test_vit")
    with pytest.raises(models.WeightsError) as caught:
        models.load(file, classes=sorted(EMOTIONS, reverse=True))
    tells(str(caught.value), str(file), "label order", "'surprise', 'sad'", "use the checkpoint's own order")
    with pytest.raises(models.WeightsError) as caught:
        models.load(file, backbone="test_resnet")
    tells(str(caught.value), str(file), "holds a test_vit, asked for a test_resnet")
    (tmp_path / "half.pth").write_bytes(file.read_bytes()[:5000])
    with pytest.raises(models.WeightsError) as caught:
        models.load(tmp_path / "half.pth")
    tells(str(caught.value), "half.pth is not a checkpoint of this suite")


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_a_suites_checkpoint_is_no_trunk_for_timm(trained, tmp_path, backbone):
    home, _ = trained
    weights = str(home / "results" / CHECKPOINT)
    kept = ("config.json", "*.csv", "testset_saved.json")  # the data were read and split: nothing wrong with them
    text = refused(
        tmp_path, kept, DATASET_ROOT=str(home / "faces"), OVERRIDES={"weights": weights, "backbone": backbone}
    )
    tells(text, f"{weights} does not hold weights of")


@pytest.mark.parametrize("damage", ["other", "half"])
def test_a_checkpoint_that_is_not_this_runs_is_never_resumed(trained, tmp_path, damage):
    home, names = trained
    shutil.copytree(home / "results", tmp_path / "results")
    last = next((tmp_path / "results").glob("checkpoints/*/last.pth"))
    if damage == "other":
        state = torch.load(last, weights_only=True)
        state["weights"] = {f"layers.{name}": tensor for name, tensor in state["weights"].items()}
        torch.save(state, last)
    else:
        last.write_bytes(last.read_bytes()[:5000])
    before = (tmp_path / "results" / CHECKPOINT).read_bytes()
    shutil.copytree(home / "outputs", tmp_path / "outputs")
    with pytest.raises(train.TrainingError) as caught:
        go(tmp_path, DATASET_ROOT=str(home / "faces"))
    tells(str(caught.value), f"{last} cannot be resumed", f"remove {last.parent}")
    assert (tmp_path / "results" / CHECKPOINT).read_bytes() == before


def test_a_kill_between_the_last_checkpoint_and_the_history_leaves_a_whole_history(trained, tmp_path):
    home, names = trained
    for part in ("results", "outputs"):
        shutil.copytree(home / part, tmp_path / part)
    (tmp_path / "results" / CHECKPOINT).unlink()
    (tmp_path / "results" / "history.csv").write_text("epoch\n")
    go(tmp_path, DATASET_ROOT=str(home / "faces"))
    assert left(tmp_path / "results") == left(home / "results")
    assert len(pd.read_csv(tmp_path / "results" / "history.csv")) == len(names["fit"].history)


# ---------------------------------------------------------------- disks

NAMESPACE = ["unshare", "--user"]  # root's rights end at its door; in it our own files are still ours
MOUNTS = [*NAMESPACE, "--map-root-user", "--mount"]  # mounts that nobody else sees and that end with the process


def child(prefix: list[str], code: str, *arguments) -> list:
    """What a Python process prints as JSON, a line each."""
    line = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    where = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    ran = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": where})
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(text) for text in ran.stdout.splitlines() if text.startswith(("{", '"'))]


def permitted(command: list[str]) -> None:
    """Skips where a container does not let its users make name spaces or mounts."""
    if shutil.which(command[0]) is None:
        pytest.skip("needs unshare (util-linux)")
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        pytest.skip(f"not permitted here: {' '.join(command)}: {ran.stderr.strip()}")


WRITE = """
import json, sys, subprocess
from emohelpers.config import paths
if sys.argv[2] == "mount":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", sys.argv[1]], check=True)
for place in (sys.argv[1], sys.argv[1] + "/below"):
    try:
        paths.run_folder("01_baseline_training", output_dir=place)
    except PermissionError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.parametrize("how", ["rights", "mount"])
def test_a_read_only_results_folder_is_told_before_any_work(tmp_path, how):
    folder = tmp_path / "results"
    folder.mkdir()
    prefix = MOUNTS if how == "mount" else NAMESPACE if os.geteuid() == 0 else []
    if prefix:
        permitted([*prefix, *(["mount", "-t", "tmpfs", "none", str(folder)] if how == "mount" else ["true"])])
    if how == "rights":
        folder.chmod(0o555)
    told = child(prefix, WRITE, folder, how)
    folder.chmod(0o755)
    assert len(told) == 2 and list(folder.iterdir()) == []
    tells(
        told[0], f"cannot write results to {folder} (", "Permission" if how == "rights" else "Read-only", "OUTPUT_DIR"
    )
    tells(told[1], f"cannot write results to {folder / 'below'} (")


def test_a_file_where_the_results_should_go(tmp_path):
    (tmp_path / "results").write_text("mine")
    with pytest.raises(PermissionError) as caught:
        go(tmp_path)
    tells(str(caught.value), f"cannot write results to {tmp_path / 'results'}", "Give OUTPUT_DIR a folder")
    assert (tmp_path / "results").read_text() == "mine"


def test_results_can_be_written_and_the_decoded_pictures_cannot(tmp_path, monkeypatch):
    faces(tmp_path / "faces", each=3)
    (tmp_path / "taken").touch()
    monkeypatch.setenv("EMOHELPERS_CACHE", str(tmp_path / "taken" / "cache"))
    tells(refused(tmp_path), str(tmp_path / "taken" / "cache"), "EMOHELPERS_CACHE")
    monkeypatch.delenv("EMOHELPERS_CACHE")
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path / "outputs"))
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "golden").touch()
    text = refused(tmp_path, ("config.json", "unreadable.csv"), OVERRIDES={"golden": "stratified:0.34"})
    tells(text, f"cannot write {tmp_path / 'outputs' / 'golden'}", "EMOHELPERS_OUTPUTS")


FULL = """
import json, subprocess, sys
from pathlib import Path
import numpy as np
import torch
import training_job
from emohelpers import models, train
from emohelpers.datasets import pixels as store
from emohelpers.train import objectives

torch.set_num_threads(1)
home = Path(sys.argv[1])

def say(**line):
    print(json.dumps(line), flush=True)

def disk(name, size):
    (home / name).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(home / name)], check=True)
    return home / name

def fill(place):
    with open(place / "filler", "wb", buffering=0) as sink:
        for size in (1 << 16, 1 << 12):
            try:
                while sink.write(bytes(size)) == size:
                    pass
            except OSError:
                pass

def told(case, call, place):
    try:
        call()
        error = None
    except OSError as caught:
        error = caught
    files = sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())
    say(case=case, text=str(error), files=files)

def job(**values):
    return training_job.job(home, epochs=3, **values)

calm = train.fit(*job(), home / "calm", quiet=True)

small = disk("small", "3m")  # too small for the first checkpoint
told("small", lambda: train.fit(*job(), small, quiet=True), small)

large = disk("large", "40m")  # somebody fills it while the second epoch is validated
class Filling(objectives.Classification):
    def scores(self, *results):
        if any(large.glob("checkpoints/*/last.pth")):
            fill(large)
        return super().scores(*results)
parts = job()
parts[3].__class__ = Filling
told("large", lambda: train.fit(*parts, large, quiet=True), large)
(large / "filler").unlink()
last = torch.load(next(large.glob("checkpoints/*/last.pth")), weights_only=True)
done = train.fit(*job(), large, quiet=True)
ours, theirs = (torch.load(fit.checkpoint, weights_only=True)["weights"] for fit in (done, calm))
same = ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
say(case="after", kept=len(last["history"]), same=same, epochs=len(done.history))

cache = disk("cache2", "3m")  # somebody fills it while pictures are decoded
data = training_job.pictures.known(home / "in", each=16)
told("ahead", lambda: store.build(data, 96, cache), cache)
real, calls = store.decode, []
def decode(data):
    calls.append(1)
    if len(calls) == 20:
        fill(cache)
    return real(data)
store.decode = decode
told("store", lambda: store.build(data, 32, cache, workers=1), cache)
(cache / "filler").unlink(missing_ok=True)
again, whole = store.build(data, 32, cache), store.build(data, 32, home / "cache")
same = np.array_equal(again.array, whole.array) and again.sha256 == whole.sha256
say(case="decoded", same=bool(same))
"""


def test_a_full_disk_is_told_and_costs_at_most_one_epoch(tmp_path):
    permitted([*MOUNTS, "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)])
    told = {line["case"]: line for line in child(MOUNTS, FULL, tmp_path)}
    assert {Path(file).name for file in told["small"]["files"]} <= {"steps.csv", "best-1.pth", LOCK}, (
        "whole files or none"
    )
    tells(told["small"]["text"], f"cannot write {tmp_path / 'small' / 'checkpoints'}", "The disk is full", "OUTPUT_DIR")
    tells(
        told["large"]["text"], f"cannot write {tmp_path / 'large' / 'checkpoints'}", "The disk is full: free some space"
    )
    kept = {Path(file).name for file in told["large"]["files"]}
    assert kept == {"best-1.pth", "last.pth", "steps.csv", "history.csv", "filler", LOCK}, (
        "more or less than the first epoch's files"
    )
    assert told["after"] == {"case": "after", "kept": 1, "same": True, "epochs": 3}
    tells(told["ahead"]["text"], "decoded pictures need", str(tmp_path / "cache2"), "EMOHELPERS_CACHE")
    tells(told["store"]["text"], f"cannot write {tmp_path / 'cache2'}", "The disk is full", "EMOHELPERS_")
    assert not [file for file in told["store"]["files"] if ".part" in file] and told["decoded"]["same"]


# ---------------------------------------------------------------- the notebook itself, by papermill


def papermill(home: Path, book: Path = BOOK, **values) -> tuple[subprocess.Popen, Path]:
    """Starts a notebook as the runner does; returns its process and the folder of its log and its executed copy."""
    place = home / "papermill"
    place.mkdir(parents=True, exist_ok=True)
    (place / "part.ipynb").unlink(missing_ok=True)
    given = parameters(home, **values)
    env = {"EMOHELPERS_OUTPUTS": str(place / "outputs"), "OMP_NUM_THREADS": "1"}
    return execution.start(book, place / "part.ipynb", given, place / "run.log", env), place


def outcome(process: subprocess.Popen, place: Path) -> str:
    try:
        code = process.wait(300)
    finally:
        execution.end_tree(process)
    return execution.outcome(place / "part.ipynb", place / "run.log", code)


@pytest.mark.parametrize(
    "values, parts",
    [
        ({}, ["ManifestError", "2 of 200 pictures (1.00%)", "empty file", '{"max_unreadable": 0.02}']),
        pytest.param(
            {"DATASET_ROOT": "/absent/faces"},
            ["ManifestError", "'/absent/faces' was not found", "manavukani/affectnet"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"OVERRIDES": {"epoch": 3}},
            ["ConfigError", "epoch: no such setting; did you mean epochs"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["corrupt", "wrong folder", "unknown override"],
)
def test_the_notebook_shows_the_message_and_stops_before_training(tmp_path, values, parts):
    spoil(tmp_path / "faces", faces(tmp_path / "faces"))
    tells(outcome(*papermill(tmp_path, **values)), *parts)
    assert left(tmp_path / "results") <= {"config.json", LOCK} and not list(tmp_path.rglob(".*.part*"))


def test_killed_while_it_trains_and_run_again_it_ends_in_the_same_bits(tmp_path):
    drill(tmp_path, kills=1)


@pytest.mark.slow
def test_killed_three_times_while_it_trains_it_ends_in_the_same_bits(tmp_path):
    drill(tmp_path, kills=3)


def drill(home: Path, kills: int) -> None:
    """SIGKILL to papermill and its kernel at random moments of the training, against a run left in peace."""
    faces(home / "faces")
    book = home / "01.ipynb"
    nbformat.write(training_cells(), book)  # figures take longer than this training and change nothing in it
    settings = {"epochs": 12, "batch_size": 16, "patience": 0, "ema": 0.99, "mixup": 0.4, "schedule": "onecycle"}
    shaky, calm, dice, killed = home / "results", home / "calm", random.Random(), 0
    while killed < kills:
        wanted = epochs(shaky) + dice.randint(1, 12 // (kills + 1))
        process, place = papermill(home, book, OVERRIDES=settings)
        try:
            while process.poll() is None and epochs(shaky) < wanted:
                time.sleep(0.01)
            assert epochs(shaky) >= wanted, outcome(process, place)
            time.sleep(dice.uniform(0, pd.read_csv(shaky / "history.csv")["seconds"].iloc[-1]))
        finally:
            execution.end_tree(process)
        assert not list(Path(tempfile.gettempdir()).glob(f"kernel-{process.pid}-*"))
        killed += 1
        if (shaky / CHECKPOINT).is_file():  # this machine was faster than the dice
            shutil.rmtree(shaky)
            killed = 0
    process, place = papermill(home, book, OVERRIDES=settings)
    try:
        done = go(home, OVERRIDES=settings, OUTPUT_DIR=str(calm))["fit"]  # in this process, while the kernel starts
        assert outcome(process, place) == ""
    finally:
        execution.end_tree(process)
    assert "Resumed after epoch" in (place / "run.log").read_text()
    for name in (CHECKPOINT, *(p.relative_to(calm).as_posix() for p in calm.glob("checkpoints/*/*.pth"))):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (calm, shaky))
        ours, theirs = (state.get("weights", state) for state in (ours, theirs))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours), name
    tables = [pd.read_csv(folder / "history.csv").drop(columns=["seconds", "images_per_s"]) for folder in (calm, shaky)]
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) == len(done.history) == 12
    assert not list(home.rglob(".*.part*")), "a kill left half a file that was never swept"


def epochs(results: Path) -> int:
    """Finished epochs so far."""
    file = results / "history.csv"
    return len(file.read_text().splitlines()) - 1 if file.is_file() else 0

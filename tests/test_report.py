"""metrics.json, the receipt, and figures that say what they show."""

import json
import subprocess
import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emohelpers import metrics, report
from emohelpers.config import versions
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.report import facts

DEMO = "demo data (drawn faces)"


def stored(pixels: np.ndarray, paths) -> SimpleNamespace:
    """Pictures with their paths, as a figure reads them from the store."""
    return SimpleNamespace(array=pixels, paths=list(paths))


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(8), 15)
    return metrics.predictions([f"{i}.png" for i in range(120)], true, rng.dirichlet([0.5] * 8, 120), EMOTIONS)


@pytest.fixture
def history():
    """Six epochs in two phases, the best one the fourth."""
    epoch = np.arange(1, 7)
    f1 = [0.2, 0.4, 0.5, 0.6, 0.55, 0.5]
    fall = {"train_loss": 2 / epoch, "val_loss": 2.2 / epoch, "train_accuracy": epoch / 7, "val_accuracy": f1}
    return pd.DataFrame({"epoch": epoch, "phase": ["head"] * 3 + ["all"] * 3, **fall, "val_macro_f1": f1})


def test_metrics_json_says_how_each_figure_came_about(tmp_path, predictions):
    found = metrics.classification(predictions, EMOTIONS, resamples=100)
    told = {"data": "demo_faces", "demo": True, "split": "abc123", "seconds": 12.34}
    content = json.loads(facts.save_metrics(tmp_path, found, **told, best_epoch=7).read_text())
    assert content["data"] == "demo_faces (drawn, demo)" and content["demo"] is True and content["split"] == "abc123"
    assert content["seconds"] == 12.3 and content["best_epoch"] == 7
    assert content["figures"]["accuracy"] == found["accuracy"]
    assert set(content["figures"]["macro_f1"]) == {"value", "low", "high", "n"} and content["figures"]["absent"] == []
    assert {"python", "emohelpers", "torch", "timm", "numpy"} <= set(content["versions"])
    assert content["device"] and "commit" in content
    real = facts.save_metrics(tmp_path, found, **{**told, "data": "affectnet", "demo": False}, name="real.json")
    assert json.loads(real.read_text())["data"] == "affectnet"


def test_the_commit_is_that_of_our_checkout_or_none(tmp_path, monkeypatch):
    package = tmp_path / "emohelpers"
    package.mkdir()
    monkeypatch.setattr(versions.emohelpers, "__file__", str(package / "__init__.py"))
    assert versions.commit() is None  # no repository

    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    git("init")
    assert versions.commit() is None  # no commit
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-m", "a")
    assert versions.commit() is None  # somebody else's repository
    (tmp_path / "data_manifests").mkdir()
    assert len(versions.commit()) == 40
    (tmp_path / "a.txt").write_text("b")
    assert versions.commit().endswith("-dirty")
    monkeypatch.setenv("PATH", "")
    assert versions.commit() is None  # no git


def test_class_table_counts_every_part_and_class():
    train = pd.DataFrame({"label": ["anger", "anger", "fear"]})
    found = facts.class_table({"train": train, "val": train.tail(1)}, ("anger", "fear", "happy"))
    assert list(found.index) == ["anger", "fear", "happy", "all"] and list(found) == ["train", "val", "all"]
    assert found.to_numpy().tolist() == [[2, 0, 2], [1, 1, 2], [0, 0, 0], [3, 1, 4]]


def test_receipt_prints_what_does_not_vary(tmp_path, capsys):
    for name in ("metrics.json", "config.json"):
        (tmp_path / name).write_text("{}")
    told = {"counts": {"train": 480, "val": 120}, "classes": ("anger", "fear"), "leaks": 0}
    within = {"accuracy": (0.731, 0.6, 0.9), "macro F1": (0.5, 0.6, 0.9), "loss": (float("nan"), 0, 1)}
    facts.receipt(tmp_path, **told, files=["metrics.json", "config.json"], within=within)
    assert capsys.readouterr().out.splitlines() == [
        "train: 480",
        "val: 120",
        "classes: anger, fear",
        "leaks: 0",
        "written: config.json",
        "written: metrics.json",
        "accuracy within 0.60 .. 0.90: True",
        "macro F1 within 0.60 .. 0.90: False",
        "loss within 0.00 .. 1.00: False",
    ]
    (tmp_path / "empty.csv").touch()
    with pytest.raises(FileNotFoundError, match=r"empty\.csv, history\.csv\. It holds config\.json, .*metrics\.json"):
        facts.receipt(tmp_path, **told, files=["history.csv", "config.json", "empty.csv"])
    assert capsys.readouterr().out == ""


def drawn(path, width):
    """The picture at `path`, checked to be a real one of sensible size that is not blank."""
    with Image.open(path) as picture:
        picture.load()
        assert width[0] <= picture.width <= width[1] and picture.height >= 300
        assert np.asarray(picture.convert("L")).std() > 5
    assert [p.suffix for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_figures_are_written_say_demo_and_do_not_stay_open(tmp_path, predictions, history):
    pixels = np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), np.uint8)
    parts = {"train": predictions, "golden": predictions.head(30)}
    run = report.Run("figures", None, tmp_path)
    run.data = SimpleNamespace(name="faces", demo=True)
    before = dict(plt.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = {
            "confusion": report.confusion_matrices(predictions, EMOTIONS, title="ViT"),
            "curves": report.curves(history, title="ViT"),
            "classes": report.class_bars(facts.class_table(parts, EMOTIONS), title="ViT"),
            "each": report.per_class_bars(metrics.per_class(predictions, EMOTIONS), title="ViT"),
            "gallery": report.gallery(pixels[:10], list("abcdefghij"), columns=5, title="ViT"),
            "errors": report.errors(predictions, EMOTIONS, stored(pixels, predictions["path"]), title="ViT"),
        }
        for name, figure in figures.items():
            assert DEMO not in figure.get_suptitle()
            run.picture(name, figure)
            assert figure.get_suptitle().startswith("ViT") and figure.get_suptitle().endswith(DEMO)
            drawn(tmp_path / f"{name}.png", (700, 2000))
    assert plt.get_fignums() == [] and dict(plt.rcParams) == before


def test_confusion_matrix_shows_counts_and_percent(predictions):
    left, right = report.confusion_matrices(predictions, EMOTIONS).axes
    counts = metrics.confusion(predictions, EMOTIONS)
    assert [int(t.get_text()) for t in left.texts] == counts.ravel().tolist()
    assert [float(t.get_text()) for t in right.texts] == [round(100 * c / 15) for c in counts.ravel()]
    lone = predictions[predictions["label"] != "sad"]
    assert len(report.confusion_matrices(lone, EMOTIONS).axes[1].texts) == 56  # no percent of nothing


def test_curves_mark_the_best_epoch_and_the_phases(history):
    loss, f1 = report.curves(history).axes
    assert "best epoch (4): 0.600" in [t.get_text() for t in f1.get_legend().get_texts()]
    assert [t.get_text() for t in loss.texts] == ["head", "all"]
    by_loss = report.curves(history, monitor="val_loss").axes[1]
    assert "best epoch (6): 0.500" in [t.get_text() for t in by_loss.get_legend().get_texts()]
    with pytest.raises(KeyError, match="no column val_f1; it has epoch, phase"):
        report.curves(history, monitor="val_f1")


def test_errors_shows_the_surest_mistakes_first(predictions):
    pixels = np.zeros((120, 8, 8, 3), np.uint8)
    order = predictions["path"][::-1].reset_index(drop=True)
    figure = report.errors(predictions, EMOTIONS, stored(pixels, order), count=3)
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    sure = wrong[metrics.columns(EMOTIONS)].max(axis=1)
    first = wrong.loc[sure.idxmax()]
    label = f"labelled {first['label']} {first['p_' + first['label']]:.0%}"
    assert figure.axes[0].get_xlabel() == f"{label}\nsaid {first['predicted']} {sure.max():.0%}"
    assert len(figure.axes) == 3
    with pytest.raises(KeyError, match="no picture"):
        report.errors(predictions, EMOTIONS, stored(pixels[:2], order[:2]))
    right = predictions.assign(label=predictions["predicted"])
    assert "(0 of 0)" in report.errors(right, EMOTIONS, stored(pixels, order)).get_suptitle()

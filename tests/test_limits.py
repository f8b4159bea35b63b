from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from emohelpers import metrics
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.metrics import calibrate
from emohelpers.report import galleries, limits, training


def history():
    phases = ["head", "head", "all", "all"]
    columns = {"train_loss": [2, 1.8, 1.5, 1.2], "val_loss": [1.9, 1.6, 1.3, 1.2],
               "train_accuracy": [0.2, 0.3, 0.5, 0.6],
               "val_accuracy": [0.3, 0.4, 0.6, 0.7], "val_macro_f1": [0.2, 0.3, 0.5, 0.6],
               "lr_backbone": [1e-4, 5e-5, 2e-5, 0], "lr_head": [1e-3, 5e-4, 2e-4, 0]}  # fmt: skip
    return pd.DataFrame({"epoch": [1, 2, 3, 4], "phase": phases, **columns})


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    true = rng.integers(8, size=200)
    shares = rng.dirichlet(np.ones(8) * 0.4, 200) * 0.7 + 0.3 * np.eye(8)[true]
    return metrics.predictions([f"{i}.png" for i in range(200)], true, shares, EMOTIONS)


def test_the_three_plots_mark_the_stages():
    figure = training.curves(history())
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["Loss", "Accuracy and macro F1", "Learning rate"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["head", "all"]


def test_reliability_shows_the_ece_of_both(predictions):
    mended = calibrate.rescale(predictions, EMOTIONS, 0.7)
    figure = limits.reliability(predictions, mended, EMOTIONS, 0.7)
    for axis, table in zip(figure.axes, (predictions, mended), strict=True):
        ece = metrics.classification(table, EMOTIONS, resamples=100)["ece"]["value"]
        assert f"ECE {ece:.3f}" in axis.get_title(loc="left")


def test_suspects_are_the_widest_disagreements(predictions):
    paths = list(predictions["path"])
    pixels = np.zeros((200, 8, 8, 3), np.uint8)
    store = SimpleNamespace(array=pixels, paths=paths)
    figure = galleries.suspects(predictions, EMOTIONS, store, count=4)
    shares = predictions[metrics.columns(EMOTIONS)].to_numpy()
    own = shares[np.arange(200), [EMOTIONS.index(name) for name in predictions["label"]]]
    margin = np.where(predictions["label"] == predictions["predicted"], -1, shares.max(1) - own)
    captions = [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()]
    first = predictions.iloc[margin.argmax()]
    assert len(captions) == 4 and captions[0].startswith(f"labelled {first['label']} ")
    assert f"said {first['predicted']} " in captions[0]
    right = predictions.assign(predicted=predictions["label"])
    assert isinstance(galleries.suspects(right, EMOTIONS, SimpleNamespace(array=pixels, paths=paths)), Figure)


def test_groups_differences_movement_and_steps_are_drawn():
    groups = pd.DataFrame({"by": ["age", "age"], "group": ["old", "young"], "n": [10, 20], "accuracy": [0.5, 0.6],
                           "low": [0.4, 0.5], "high": [0.6, 0.7]})  # fmt: skip
    assert len(limits.groups(groups).axes) == 1
    assert limits.groups(groups[:0]).axes[0].texts[0].get_text() == "the data set has no group column"
    table = pd.DataFrame({"variant": ["recipe", "a", "b"], "difference": [0, 0.1, -0.2], "low": [0, 0.02, -0.3],
                          "high": [0, 0.2, 0.1], "verdict": ["undecided", "better", "undecided"]})  # fmt: skip
    drawn = limits.differences(table)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["a", "b"]
    assert isinstance(limits.differences(table[:0]), Figure)
    moved = pd.DataFrame({"epoch": [1, 2] * 2, "name": ["a", "a", "b", "b"], "l2": [1, 2, 3, 4],
                          "gradient_l2": [0.1, 0.2, np.nan, np.nan]})  # fmt: skip
    figure = training.movement(moved)
    assert [len(axis.lines) for axis in figure.axes] == [2, 1]
    steps = pd.DataFrame({"loss": np.linspace(2, 1, 50), "accuracy": np.linspace(0, 1, 50)})
    assert len(training.steps(steps.assign(gradient=1.0), 1.0).axes) == 3
    assert len(training.steps(steps, 0.0).axes) == 2

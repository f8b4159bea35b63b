"""What a run showed, in sentences that follow from its figures, and the text blocks of the seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from emohelpers import metrics
from emohelpers.report import templates
from emohelpers.train import Fit

TEXTS = templates.sentences(Path(__file__).with_name("sentences.jinja"))
PARTS = ("train", "val", "golden")


def learned(figures: Mapping[str, Any], classes: DataFrame, *, demo: bool, status: str = "finished") -> str:
    """What a classifier showed.

    Args:
        figures: of `metrics.classification`; `classes` of `metrics.per_class`.
        status: of the training; "paused" is said first.
    """
    ranked = classes.dropna(subset=["f1"]).sort_values("f1").to_dict("records")
    commonest = classes["n"].max() / classes["n"].sum()
    return TEXTS.learned(figures, ranked[-1], ranked[0], commonest, demo, status)


def verdict(compared: DataFrame, earlier: str) -> str:
    """One sentence a figure that follows from `compare.compare`; "not shown" where the interval holds zero."""
    overall = compared[compared["class"] == "all"]
    changed = compared[(compared["figure"] == "f1") & (compared["verdict"] != "undecided")]
    return TEXTS.verdict(overall.to_dict("records"), changed.to_dict("records"), earlier)


def promise(test: Mapping[str, Any], target: float) -> str:
    """What the original promised, beside what was measured."""
    return TEXTS.promise(test["accuracy"], target)


def block(fit: Fit, test: Mapping[str, Any], table: DataFrame) -> str:
    """Section 14 of seed 001, with the synthetic share that its section 24 asks for."""
    parts = table["split"].value_counts()
    synthetic = table.loc[table["split"] == "train", "source"] != "original"
    return TEXTS.block(fit, test, [parts.get(part, 0) for part in PARTS], synthetic.mean())


def console(fit: Fit, test: Mapping[str, Any], monitor: str) -> str:
    """The labels of seed 001 section 22, under which its scripts look for figures."""
    return TEXTS.console(fit, test, monitor)


def notes(predictions: DataFrame, classes: Sequence[str], figures: Sequence[str] = ()) -> str:
    """Section 15 of seed 001 as far as a run can know it: what is taken for what, how sure it was, and doubtful labels.

    Args:
        figures: files of notebook 06 about this model, where it has run.
    """
    counts = metrics.confusion(predictions, classes)
    support = counts.sum(axis=1)
    mistakes = counts * (1 - np.eye(len(classes), dtype=int))
    shares = mistakes / support.clip(1)[:, None]
    confusions = []
    for position in np.argsort(shares, axis=None)[::-1][:3]:
        true, guess = np.unravel_index(position, shares.shape)
        if mistakes[true, guess]:
            confusions.append(f"{classes[true]} as {classes[guess]} ({mistakes[true, guess]} of {support[true]})")
    confidence = predictions[metrics.columns(classes)].max(axis=1)
    right = predictions["label"] == predictions["predicted"]
    return TEXTS.notes(confusions, confidence[right], confidence[~right], figures)

"""What a classifier got right, and how sure we may be of it: figures, every class, the confusion matrix.

Intervals are percentiles of a bootstrap, 95 %; where the table has groups, whole groups are drawn, since faces of one
person are not independent.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers.metrics import bootstrap, reliability
from emohelpers.metrics.table import Arrays, PredictionError, indices, read

SHARES = ("accuracy", "macro_f1", "weighted_f1")  # figures between 0 and 1 that stand on a number of faces


def classification(predictions: DataFrame, classes: Sequence[str], *, resamples: int = 2000) -> dict[str, Any]:
    """Accuracy, macro and weighted F1, ECE, NLL and Brier score, each `{"value", "low", "high", "n"}`.

    Macro F1 is over the declared classes: one without pictures counts 0 and is named in `absent`. A finite set shows
    an ECE even for a perfectly calibrated model; `ece["floor"]` is how much, given these confidences.
    """
    arrays = read(predictions, classes)
    present = _present(arrays.true, len(classes))
    independent = len(np.unique(arrays.groups))
    figures: dict[str, Any] = bootstrap.figures(
        _columns(arrays, len(classes)),
        arrays.groups,
        partial(_figures, present=present),
        units=dict.fromkeys(SHARES, independent),
        raised=("ece",),  # or its interval lies above its value
        resamples=resamples,
    )
    figures["ece"]["floor"] = reliability.floor(arrays.confidence)
    figures["absent"] = [name for name, has_pictures in zip(classes, present, strict=True) if not has_pictures]
    return figures


def values(predictions: DataFrame, classes: Sequence[str]) -> dict[str, float]:
    """The figures of `classification` without intervals, for choices that are made many times."""
    arrays = read(predictions, classes)
    present = _present(arrays.true, len(classes))
    return bootstrap.values(_columns(arrays, len(classes)), partial(_figures, present=present))


def per_class(predictions: DataFrame, classes: Sequence[str], *, resamples: int = 2000) -> DataFrame:
    """One row a class: n, precision, recall and F1, the last two with intervals; NaN where nothing defines a figure."""
    true, guess, _, groups = read(predictions, classes)
    columns = {"confusion": one_hot(true, guess, len(classes))}
    # A recall of 0 or 1 gets its exact bound from the independent faces of the class.
    independent = [len(np.unique(groups[true == i])) for i in range(len(classes))]
    units = {(name, figure): n for name, n in zip(classes, independent, strict=True) for figure in ("recall", "f1")}
    figures = bootstrap.figures(
        columns, groups, partial(_figures_of_classes, classes=classes), units=units, resamples=resamples
    )
    counts = columns["confusion"].sum(axis=0)[None]
    support, precision, _, _ = class_scores(counts)
    table = DataFrame({"class": list(classes), "n": support[0].astype(int), "precision": precision[0]})
    for figure in ("recall", "f1"):
        rows = [figures[name, figure] for name in classes]
        table[figure] = [row["value"] for row in rows]
        table[f"{figure}_low"] = [row["low"] for row in rows]
        table[f"{figure}_high"] = [row["high"] for row in rows]
    return table


def confusion(predictions: DataFrame, classes: Sequence[str]) -> ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    true, guess, _, _ = read(predictions, classes)
    k = len(classes)
    return np.bincount(true * k + guess, minlength=k**2).reshape(k, k)


def quick(labels: ndarray, scores: ndarray, n_classes: int) -> dict[str, float]:
    """Accuracy, macro and weighted F1 for every epoch; `scores` are (n, K) of any scale, or (n,) predicted indices."""
    true = np.asarray(labels)
    guess = np.asarray(scores)
    if guess.ndim == 2:
        guess = guess.argmax(axis=1)
    counts = np.bincount(true * n_classes + guess, minlength=n_classes**2)
    support, _, _, f1 = class_scores(counts[None])
    return {
        "accuracy": float((true == guess).mean()),
        "macro_f1": float(np.nan_to_num(f1).mean()),
        "weighted_f1": float(np.nansum(f1 * support) / support.sum()),
    }


def weights(labels: Sequence[str], classes: Sequence[str], power: float) -> ndarray:
    """Class weights (1/frequency)**power, (K,), with mean 1 over the training rows; power 0: ones."""
    if power == 0:
        return np.ones(len(classes))
    counts = np.bincount(indices(labels, classes, "label"), minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise PredictionError(
            f"no training picture of {', '.join(empty)}: no weight can make up for that. Leave these classes out"
        )
    raw = (1 / counts) ** power
    return raw * counts.sum() / (raw * counts).sum()


def one_hot(true: ndarray, guess: ndarray, k: int) -> ndarray:
    """The confusion matrix of each row alone, flat: (n, K*K)."""
    rows = np.zeros((len(true), k * k))
    rows[np.arange(len(true)), true * k + guess] = 1
    return rows


def class_scores(flat: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Support, precision, recall, F1, each (R, K), of flat confusion matrices (R, K*K); 0/0 is NaN."""
    k = round(flat.shape[-1] ** 0.5)
    counts = flat.reshape(-1, k, k)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    support = counts.sum(axis=2)
    guessed = counts.sum(axis=1)
    # This form of F1 is 0, not 0/0, for a class that has pictures and is never predicted.
    with np.errstate(invalid="ignore", divide="ignore"):
        return support, hits / guessed, hits / support, 2 * hits / (support + guessed)


def overall(flat: ndarray, present: ndarray) -> dict[str, ndarray]:
    """Accuracy, macro F1 and weighted F1 (R,) of flat confusion matrices (R, K*K)."""
    support, _, recall, f1 = class_scores(flat)
    total = support.sum(axis=1)
    # A class of few pictures can miss a resample altogether: then the others speak. One that the set lacks counts 0.
    macro = np.nanmean(f1[:, present], axis=1) * present.mean()
    return {
        "accuracy": np.nansum(recall * support, axis=1) / total,
        "macro_f1": macro,
        "weighted_f1": np.nansum(f1 * support, axis=1) / total,
    }


def every_figure(sums: Mapping[str, ndarray], classes: Sequence[str], present: ndarray) -> dict[Hashable, ndarray]:
    """(class, figure) -> (R,) of the column "confusion", (R, K*K); accuracy and macro F1 are of the class "all"."""
    whole = overall(sums["confusion"], present)
    figures = {("all", name): whole[name] for name in ("accuracy", "macro_f1")}
    return figures | _figures_of_classes(sums, classes)


def _figures_of_classes(sums: Mapping[str, ndarray], classes: Sequence[str]) -> dict[Hashable, ndarray]:
    _, _, recall, f1 = class_scores(sums["confusion"])
    figures = {}
    for i, name in enumerate(classes):
        figures[name, "recall"] = recall[:, i]
        figures[name, "f1"] = f1[:, i]
    return figures


def _columns(arrays: Arrays, k: int) -> dict[str, ndarray]:
    """What the figures of a classifier are functions of the sums of."""
    true, guess, scores, _ = arrays
    of_label = scores[np.arange(len(true)), true]
    return {
        "confusion": one_hot(true, guess, k),
        "gaps": reliability.gaps(arrays.confidence, arrays.right),
        "nll": -np.log(np.clip(of_label, 1e-12, None)),
        "brier": ((scores - np.eye(k)[true]) ** 2).sum(axis=1),
    }


def _figures(sums: Mapping[str, ndarray], present: ndarray) -> dict[str, ndarray]:
    n = sums["confusion"].sum(axis=1)
    return {
        **overall(sums["confusion"], present),
        "ece": abs(sums["gaps"]).sum(axis=1) / n,
        "nll": sums["nll"] / n,
        "brier": sums["brier"] / n,
    }


def _present(true: ndarray, k: int) -> ndarray:
    """(K,) whether a class has pictures."""
    return np.bincount(true, minlength=k) > 0

"""Is a fraction of the edits better than none? By trainings over several seeds, judged on the same golden faces."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers import metrics
from emohelpers.metrics import bootstrap, compare
from emohelpers.saga.sentences import SENTENCES

Key = tuple[float, int]  # fraction of the edits, seed
Tables = Mapping[Key, DataFrame]  # predictions of each training
FIGURES = ("macro_f1", "accuracy")


def over_seeds(tables: Tables, classes: Sequence[str], fraction: float, resamples: int) -> DataFrame:
    """Each figure's mean over the seeds, without edits and with `fraction` of them.

    `low`, `high`: 95 % bootstrap interval of the mean difference over resampled groups of golden faces, all seeds on
    the same faces. `better` counts the seeds whose difference is positive; `spread` is their standard deviation.
    """
    seeds = sorted(seed for part, seed in tables if part == fraction and (0.0, seed) in tables)
    first = tables[0.0, seeds[0]]
    true, _, _, groups = metrics.read(first, classes)
    present = np.bincount(true, minlength=len(classes)) > 0
    of_counts = partial(compare.every_figure, classes=classes, present=present)

    def confusions(fraction: float) -> dict[str, ndarray]:
        columns = {}
        for seed in seeds:
            predictions = compare.aligned(first, tables[fraction, seed])
            # A one-hot cell a face: summed over any resample they are its confusion matrix.
            columns[str(seed)] = metrics.one_hot(true, metrics.read(predictions, classes).guess, len(classes))
        return columns

    def each(sums: bootstrap.Columns) -> dict[tuple[str, str], ndarray]:
        figures = [of_counts({"confusion": counts}) for counts in sums.values()]
        return {name: np.stack([of_seed[name] for of_seed in figures]) for name in figures[0]}

    def means(sums: bootstrap.Columns) -> dict[tuple[str, str], ndarray]:
        return {name: values.mean(axis=0) for name, values in each(sums).items()}

    without = confusions(0.0)
    edited = confusions(fraction)
    before, after = (each(_observed(columns)) for columns in (without, edited))
    rows = []
    for name, pair in bootstrap.paired(without, edited, groups, means, resamples=resamples).items():
        # One value a seed, of the faces as observed and not of a resample.
        gains = (after[name] - before[name])[:, 0]
        row = {
            "class": name[0],
            "figure": name[1],
            "without": pair["a"],
            "with": pair["b"],
            "difference": pair["difference"],
            "low": pair["low"],
            "high": pair["high"],
            "seeds": len(seeds),
            "verdict": pair["verdict"],
            "better": int((gains > 0).sum()),
            "spread": gains.std(ddof=1) if len(seeds) > 1 else np.nan,
        }
        rows.append(row)
    return DataFrame(rows)


def ablation(tables: Tables, classes: Sequence[str], resamples: int) -> DataFrame:
    """One row a fraction: figures as means over seeds, and the difference to none with its interval."""
    rows = []
    for fraction in sorted({part for part, _ in tables}):
        gains = over_seeds(tables, classes, fraction, resamples)
        row = {"fraction": fraction, "seeds": sum(part == fraction for part, _ in tables)}
        for name in ("accuracy", "macro_f1"):
            gain = compare.overall(gains, name)
            row[name] = gain["with"]
            row |= {f"{name}_{key}": gain[key] if fraction else 0.0 for key in ("difference", "low", "high")}
            row[f"{name}_verdict"] = gain["verdict"]
        rows.append(row)
    return DataFrame(rows)


def verdict(gains: DataFrame, edits: int, demo: bool) -> str:
    """What `over_seeds` shows, as sentences that follow from its numbers.

    "Helped" and "hurt" need an interval on one side of zero, and every seed on that side.
    """
    rows = [compare.overall(gains, figure) for figure in FIGURES]
    of_classes = gains[gains["figure"] == "f1"]
    better = list(of_classes.loc[of_classes["low"] > 0, "class"])
    worse = list(of_classes.loc[of_classes["high"] < 0, "class"])
    return SENTENCES.verdict(rows, [_word(row) for row in rows], better, worse, edits, demo)


def _observed(columns: Mapping[str, ndarray]) -> dict[str, ndarray]:
    return {name: rows.sum(axis=0, keepdims=True) for name, rows in columns.items()}


def _word(row: Mapping) -> str:
    if row["low"] > 0 and row["better"] == row["seeds"]:
        return "helped"
    if row["high"] < 0 and row["better"] == 0:
        return "hurt"
    return "were not shown to help"

"""Is it as good for everybody? Figures by group of people, and whether the gap is more than chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame, Series

from emohelpers.metrics import bootstrap
from emohelpers.metrics.classes import class_scores, one_hot
from emohelpers.metrics.table import Arrays, read


def audit(
    predictions: DataFrame, groups: Sequence[str] | Series, classes: Sequence[str], *, resamples: int = 2000
) -> DataFrame:
    """One row a group: n, accuracy with its interval, macro F1, mean confidence, and `gap` to everybody else with its
    95 % interval; `verdict` is "worse" or "better" where that excludes zero.

    Args:
        groups: a value a row of `predictions`; empty ones are left out.
    """
    arrays = read(predictions, classes)
    names = Series(groups, dtype=object).fillna("").astype(str).to_numpy()
    rows = []
    for name in sorted(set(names) - {""}):
        inside = names == name
        # A picture without a value is on neither side.
        outside = (names != name) & (names != "")
        rows.append({"group": name, **_row(arrays, inside, outside, len(classes), resamples)})
    return DataFrame(rows)


def by_columns(
    predictions: DataFrame,
    table: DataFrame,
    columns: Sequence[str],
    classes: Sequence[str],
    *,
    resamples: int = 2000,
) -> DataFrame:
    """The audits of those of `columns` that `table` (with its `path`) has, below each other; empty if it has none."""
    rows = table.set_index("path").loc[predictions["path"]]
    audits = [DataFrame(columns=["by", "group", "n", "accuracy"])]
    for name in columns:
        if name in rows:
            audits.append(audit(predictions, rows[name].to_numpy(), classes, resamples=resamples).assign(by=name))
    return pd.concat(audits[1:] or audits, ignore_index=True)


def _row(arrays: Arrays, inside: ndarray, outside: ndarray, k: int, resamples: int) -> dict[str, Any]:
    """The figures of the rows `inside`, (n,) booleans, and their gap to those `outside`."""
    # Both sides in one bootstrap: a gap needs the two accuracies of the same resample.
    columns = {
        "right_inside": arrays.right & inside,
        "inside": inside,
        "right_outside": arrays.right & outside,
        "outside": outside,
    }
    units = {"accuracy": len(np.unique(arrays.groups[inside]))}
    figures = bootstrap.figures(columns, arrays.groups, _figures, units=units, resamples=resamples)
    accuracy = figures["accuracy"]
    gap = figures["gap"]

    true = arrays.true[inside]
    guess = arrays.guess[inside]
    _, _, _, f1 = class_scores(one_hot(true, guess, k).sum(axis=0)[None])
    # Classes that the group lacks are left out: as 0 in the mean they would count against it.
    present = np.unique(true)
    row = {
        "n": int(inside.sum()),
        "accuracy": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "macro_f1": float(np.nan_to_num(f1[0, present]).mean()),
        "confidence": arrays.confidence[inside].mean(),
    }
    if outside.any():
        row |= {"gap": gap["value"], "gap_low": gap["low"], "gap_high": gap["high"]}
        row["verdict"] = bootstrap.verdict(gap["low"], gap["high"])
    return row


def _figures(sums: Mapping[str, ndarray]) -> dict[str, ndarray]:
    with np.errstate(invalid="ignore"):  # 0/0: a resample without the group says nothing of it
        accuracy = sums["right_inside"] / sums["inside"]
        return {"accuracy": accuracy, "gap": accuracy - sums["right_outside"] / sums["outside"]}

"""Is it as good for everybody? Figures by group of people, and whether the gap is more than chance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emohelpers.metrics import bootstrap
from emohelpers.metrics import classes as metrics


def audit(
    predictions: pd.DataFrame, groups: Sequence[str] | pd.Series, classes: Sequence[str], *, resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One row a group: n, accuracy with its interval, macro F1, mean confidence, and `gap` to everybody else with its
    95 % interval; `verdict` is "worse" or "better" where that excludes zero.

    Args:
        groups: a value a row of `predictions`; empty ones are left out.
    """
    true, guess, scores, units = metrics.read(predictions, classes)
    right, sure = (true == guess).astype(float), scores[np.arange(len(true)), guess]
    named = pd.Series(groups, dtype=object).fillna("").astype(str).to_numpy()
    rows = []
    for name in sorted(set(named) - {""}):
        inside, outside = named == name, (named != name) & (named != "")
        sums = np.column_stack([right * inside, inside, right * outside, outside]).astype(float)
        drawn = bootstrap.resampled(sums, units, resamples, seed)
        own = right[inside].mean()
        drawn[:, 1::2][drawn[:, 1::2] == 0] = np.nan  # a resample without the group says nothing of it
        low, high = bootstrap.interval(drawn[:, 0] / drawn[:, 1], own, len(np.unique(units[inside])))
        row = {"group": name, "n": int(inside.sum()), "accuracy": own, "low": low, "high": high}
        present = [i for i in range(len(classes)) if (true[inside] == i).any()]
        f1 = metrics.class_scores(metrics.one_hot(true[inside], guess[inside], len(classes)).sum(0)[None])[3][0]
        row |= {"macro_f1": float(np.nan_to_num(f1[present]).mean()), "confidence": sure[inside].mean()}
        if outside.any():
            gaps = drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3]
            row["gap"] = own - right[outside].mean()
            row["gap_low"], row["gap_high"] = bootstrap.interval(gaps)
            row["verdict"] = "worse" if row["gap_high"] < 0 else "better" if row["gap_low"] > 0 else "undecided"
        rows.append(row)
    return pd.DataFrame(rows)


def by_columns(
    predictions: pd.DataFrame, table: pd.DataFrame, columns: Sequence[str], classes: Sequence[str], *,
    resamples: int = 2000,
) -> pd.DataFrame:  # fmt: skip
    """The audits of those of `columns` that `table` (with its `path`) has, below each other; empty if it has none."""
    rows = table.set_index("path")
    found = [
        audit(predictions, rows.loc[predictions["path"], name].to_numpy(), classes, resamples=resamples).assign(by=name)
        for name in columns
        if name in rows
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["by", "group", "n", "accuracy"])

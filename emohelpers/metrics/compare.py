"""Is one model better than another? Paired on the same pictures: bootstrap intervals, McNemar's test, every class."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame
from scipy.stats import binomtest

from emohelpers.metrics import bootstrap
from emohelpers.metrics.classes import every_figure, one_hot
from emohelpers.metrics.table import PredictionError, read

NOTHING = DataFrame(columns=["class", "figure", "difference", "low", "high", "verdict"])  # of no comparison


def compare(a: DataFrame, b: DataFrame, classes: Sequence[str], *, resamples: int = 2000) -> DataFrame:
    """Is `b` better than `a`? Accuracy and macro F1 (class "all"), then recall and F1 of every class.

    `difference` is b - a with its paired interval `low`, `high`. `only_a`, `only_b` count the pictures that one of the
    two alone got right and `p` is their exact McNemar test, which takes pictures as independent; `p_holm` is corrected
    for the number of classes.

    Raises:
        PredictionError: the tables are not of the same pictures with the same labels.
    """
    read(b, classes)  # in its own order, so that an error names its first row
    true, guess_a, _, groups = read(a, classes)
    _, guess_b, _, _ = read(aligned(a, b), classes)
    # Decided once, on the rows as observed: a resample may miss a rare class by chance.
    present = np.bincount(true, minlength=len(classes)) > 0
    differences = bootstrap.paired(
        {"confusion": one_hot(true, guess_a, len(classes))},
        {"confusion": one_hot(true, guess_b, len(classes))},
        groups,
        partial(every_figure, classes=classes, present=present),
        resamples=resamples,
    )

    # McNemar's test beside what is a share of pictures got right
    rows = []
    for (name, figure), difference in differences.items():
        of_class = np.ones(len(true), bool)
        if name in classes:
            of_class = true == list(classes).index(name)
        row = {"class": name, "figure": figure, "n": of_class.sum(), **difference}
        if figure in ("accuracy", "recall") and of_class.any():
            row |= mcnemar((guess_a == true)[of_class], (guess_b == true)[of_class])
        rows.append(row)

    # corrected over the classes, not over the one figure of all
    table = DataFrame(rows).astype({"only_a": "Int64", "only_b": "Int64"})
    of_classes = table["class"].isin(classes)
    tests = of_classes & table["p"].notna()
    table["p_holm"] = table["p"].mask(of_classes)
    table.loc[tests, "p_holm"] = holm(table.loc[tests, "p"].to_numpy())
    return table


def overall(compared: DataFrame, figure: str) -> dict[str, Any]:
    """The row of `compare` about all classes together: a, b, difference, low, high, verdict, ... of this figure."""
    return compared[(compared["class"] == "all") & (compared["figure"] == figure)].iloc[0].to_dict()


def mcnemar(right_a: ndarray, right_b: ndarray) -> dict[str, Any]:
    """Exact McNemar test of two boolean (n,): are the pictures that only one got right split evenly? (McNemar 1947)"""
    only_a = int((right_a & ~right_b).sum())
    only_b = int((right_b & ~right_a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}


def holm(p: ndarray) -> ndarray:
    """Holm's step-down correction of p values (Holm 1979), in the order given."""
    order = np.argsort(p)
    # The smallest p counts n times, the next n - 1 times; none may fall below the one before it.
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def aligned(a: DataFrame, b: DataFrame) -> DataFrame:
    """`b` in the order of `a`; refuses tables that are not of the same pictures and labels."""
    # An outer join: a picture that one table lacks has NaN there, and NaN differs from every label.
    labels = pd.concat({"a": a.set_index("path")["label"], "b": b.set_index("path")["label"]}, axis=1)
    differ = []
    for path, (label_a, label_b) in labels[labels["a"] != labels["b"]].iterrows():
        if pd.isna(label_b):
            differ.append(f"{path} (only in a)")
        elif pd.isna(label_a):
            differ.append(f"{path} (only in b)")
        else:
            differ.append(f"{path} ({label_a} in a, {label_b} in b)")
    if differ:
        raise PredictionError(
            f"the tables are not of the same pictures and labels: {len(differ)} of "
            f"{len(labels)} differ, first {'; '.join(differ[:3])}. "
            "Evaluate both models on the same golden set"
        )
    return b.set_index("path").loc[a["path"]].reset_index()

"""Is one model better than another? Paired on the same pictures: bootstrap intervals, McNemar's test, every class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from emohelpers.metrics import bootstrap
from emohelpers.metrics import classes as metrics


def compare(
    a: pd.DataFrame, b: pd.DataFrame, classes: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Is `b` better than `a`? Accuracy and macro F1 (class "all"), then recall and F1 of every class.

    `difference` is b - a with its paired interval `low`, `high`. `only_a`, `only_b` count the pictures that one of the
    two alone got right and `p` is their exact McNemar test, which takes pictures as independent; `p_holm` is corrected
    for the number of classes.

    Raises:
        PredictionError: the tables are not of the same pictures with the same labels.
    """
    true, guess_a, _, groups = metrics.read(a, classes)
    metrics.read(b, classes)
    _, guess_b, _, _ = metrics.read(aligned(a, b), classes)
    rows = np.hstack([metrics.one_hot(true, guess, len(classes)) for guess in (guess_a, guess_b)])
    drawn = np.vstack([rows.sum(axis=0), bootstrap.resampled(rows, groups, resamples, seed)])  # first row: as observed
    present = np.bincount(true, minlength=len(classes)) > 0
    first, second = (every_figure(part, classes, present) for part in np.hsplit(drawn, 2))
    lines = []
    for (name, figure), one in first.items():
        two = second[name, figure]
        low, high = bootstrap.interval(two[1:] - one[1:])
        here = (true == list(classes).index(name)) if name in classes else np.ones(len(true), bool)
        lines.append({"class": name, "figure": figure, "n": here.sum(), "a": one[0], "b": two[0]})
        lines[-1] |= {"difference": two[0] - one[0], "low": low, "high": high}
        lines[-1]["verdict"] = "better" if low > 0 else "worse" if high < 0 else "undecided"
        if figure in ("accuracy", "recall") and here.any():
            lines[-1] |= mcnemar((guess_a == true)[here], (guess_b == true)[here])
    table = pd.DataFrame(lines).astype({"only_a": "Int64", "only_b": "Int64"})
    tests = table["class"].isin(classes) & table["p"].notna()
    table["p_holm"] = table["p"].mask(table["class"].isin(classes))
    table.loc[tests, "p_holm"] = holm(table.loc[tests, "p"].to_numpy())
    return table


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> dict[str, Any]:
    """Exact McNemar test of two boolean (n,): are the pictures that only one got right split evenly? (McNemar 1947)"""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values (Holm 1979), in the order given."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def every_figure(flat: np.ndarray, classes: Sequence[str], present: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """(class, figure) -> (R,) of flat confusion matrices (R, K*K)."""
    accuracy, macro, _ = metrics.overall(flat, present)
    _, _, recall, f1 = metrics.class_scores(flat)
    figures = {("all", "accuracy"): accuracy, ("all", "macro_f1"): macro}
    for i, name in enumerate(classes):
        figures |= {(name, "recall"): recall[:, i], (name, "f1"): f1[:, i]}
    return figures


def aligned(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """`b` in the order of `a`; refuses tables that are not of the same pictures and labels."""
    here, there = a.set_index("path")["label"], b.set_index("path")["label"]
    differ = [f"{p} (only in a)" for p in here.index.difference(there.index)]
    differ += [f"{p} (only in b)" for p in there.index.difference(here.index)]
    shared = here.index.intersection(there.index)
    other = shared[here[shared].to_numpy() != there[shared].to_numpy()]
    differ += [f"{p} ({here[p]} in a, {there[p]} in b)" for p in other]
    if differ:
        raise metrics.PredictionError(
            f"the tables are not of the same pictures and labels: {len(differ)} of "
            f"{len(here.index.union(there.index))} differ, first {'; '.join(differ[:3])}. "
            "Evaluate both models on the same golden set"
        )
    return b.set_index("path").loc[a["path"]].reset_index()

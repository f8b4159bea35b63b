"""What each training picture is to be answered with, and how often it comes: from the columns of a table."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers.config.errors import SuiteError

RAKES = 20  # passes; the class totals then agree within a thousandth


class NoVotes(SuiteError, ValueError):
    """Soft labels were asked for, and the table has no votes."""


def hard(rows: DataFrame, classes: Sequence[str]) -> ndarray:
    """(n,) positions of the labels in `classes`."""
    return rows["label"].map({name: i for i, name in enumerate(classes)}).to_numpy()


def votes(rows: DataFrame, classes: Sequence[str], share: float = 1.0) -> ndarray:
    """(n, classes) float32 shares of the raters' votes, columns `votes_<emotion>` (as FER+'s, arXiv 1608.01041).

    Votes for anything else do not count; a row without a vote for any class keeps its label whole. Raters in doubt say
    mostly neutral, so that votes as they are teach to say it too often: they are raked until each class has as much of
    the targets as of the labels (Deming and Stephan 1940). With a smaller `share` the rest of each target is the label.
    """
    columns = [f"votes_{name}" for name in classes]
    if missing := [name for name in columns if name not in rows]:
        raise NoVotes(
            f"soft_labels needs the raters' votes, and the table has no column {', '.join(missing)}. Give a LABELS_CSV "
            "that has them, or a manifest that reads them, as ferplus does; or set soft_labels to 0."
        )
    # Votes where there are some for these classes, else the label.
    label = np.eye(len(classes))[hard(rows, classes)]
    # A class without any label has no total to be raked to: votes for it are dropped.
    counts = rows[columns].to_numpy(np.float64) * (label.sum(0) > 0)
    shares = np.where(counts.sum(1, keepdims=True) > 0, counts, label)
    # Rake: rows to 1, columns to the labels' totals, in turn.
    for _ in range(RAKES):
        shares /= shares.sum(1, keepdims=True)
        shares *= label.sum(0) / np.maximum(shares.sum(0), 1e-12)
    shares /= shares.sum(1, keepdims=True)
    return (share * shares + (1 - share) * label).astype(np.float32)


def odds(targets: ndarray, power: float) -> ndarray:
    """(n,) chance of each picture to be drawn next, ~ (1 / pictures of its class) ** power, together 1."""
    raw = (1 / np.bincount(targets)[targets]) ** power
    return raw / raw.sum()

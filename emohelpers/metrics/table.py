"""The table that every figure starts from: `path, label, predicted, p_<class> ...`, optionally `group`.

`group` names what is not independent, for example the person on a picture; an empty one is a group of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame, Index

from emohelpers.config.errors import SuiteError
from emohelpers.datasets.locate import ManifestError
from emohelpers.datasets.text_files import encoding


class PredictionError(SuiteError, ValueError):
    """A table of predictions that cannot be scored, or two that cannot be compared."""


class Arrays(NamedTuple):
    """A checked table as arrays."""

    true: ndarray  # (n,) indices of the labels
    guess: ndarray  # (n,) indices of the predicted classes
    scores: ndarray  # (n, K) probabilities
    groups: ndarray  # (n,) integers

    @property
    def right(self) -> ndarray:
        return self.true == self.guess

    @property
    def confidence(self) -> ndarray:
        """(n,) the probability of the predicted class."""
        return self.scores[np.arange(len(self.guess)), self.guess]


def predictions(
    paths: Sequence[str],
    labels: Sequence[str] | ndarray,
    probabilities: ndarray,
    classes: Sequence[str],
    **extra: Any,
) -> DataFrame:
    """The table of predictions.

    Args:
        labels: true names, or their indices in `classes`.
        probabilities: (n, len(classes)), each row sums to 1.
        extra: further columns, e.g. `group=table["group"]`.
    """
    scores = np.asarray(probabilities)
    expected = (len(paths), len(classes))
    if scores.shape != expected:
        raise PredictionError(f"probabilities are {scores.shape}, {expected} expected (paths, classes)")
    names = np.asarray(classes, dtype=object)
    content = {
        "path": list(paths),
        "label": _label_names(labels, names),
        "predicted": names[scores.argmax(axis=1)],
        **dict(zip(columns(classes), scores.T, strict=True)),
    }
    # An extra column of a name in use would replace what it holds without a word.
    taken = sorted(content.keys() & extra.keys())
    if taken:
        raise PredictionError(f"extra columns {taken} are names that the table needs itself")
    for name, column in extra.items():
        content[name] = np.asarray(column)
    lengths = {name: len(column) for name, column in content.items() if len(column) != len(scores)}
    if lengths:
        raise PredictionError(f"{len(scores)} predictions, but other lengths: {lengths}")
    table = DataFrame(content)
    read(table, classes)
    return table


def read_predictions(path: str | Path) -> DataFrame:
    """A predictions.csv as it was written: names and groups stay text, an empty group is empty.

    Raises:
        PredictionError: it is no such table.
    """
    text = dict.fromkeys(("path", "song", "label", "predicted", "group"), str)
    try:
        # By default pandas takes a group called NA or null for a missing one.
        table = pd.read_csv(path, dtype=text, keep_default_na=False, encoding=encoding(path))
    except (ManifestError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise PredictionError(f"{path} is no table of predictions: {error}") from error
    require(table, ("path",))
    return table


def columns(classes: Sequence[str]) -> list[str]:
    """The names of the columns of probabilities."""
    return [f"p_{name}" for name in classes]


def read(table: DataFrame, classes: Sequence[str]) -> Arrays:
    """A table as arrays, checked.

    Raises:
        PredictionError: a column is missing, there is no row, a path is there twice, a name is no class, or a row
            holds no probabilities; with how many and the first.
    """
    probability_columns = columns(classes)
    require(table, ("path", "label", "predicted", *probability_columns))
    if table.empty:
        raise PredictionError("the table of predictions is empty")
    repeated = table["path"].duplicated()
    if repeated.any():
        raise PredictionError(f"{repeated.sum()} paths are there twice, first {table['path'][repeated].iloc[0]}")
    scores = table[probability_columns].to_numpy(np.float64)
    # 2e-3: what half precision leaves of a sum of 1; a NaN fails the comparison
    valid = (scores >= 0).all(axis=1) & (abs(scores.sum(axis=1) - 1) < 2e-3)
    if not valid.all():
        first = table["path"][~valid].iloc[0]
        raise PredictionError(f"{(~valid).sum()} rows are no probabilities (NaN, negative or sum not 1), first {first}")
    true = indices(table["label"], classes, "label")
    guess = indices(table["predicted"], classes, "predicted")
    return Arrays(true, guess, scores, _groups(table))


def require(table: DataFrame, names: Sequence[str]) -> None:
    """Refuses a table that lacks a column; says which, and what it has."""
    missing = [name for name in names if name not in table]
    if missing:
        raise PredictionError(f"no column {', '.join(missing)}; the table has {', '.join(map(str, table.columns))}")


def indices(names: Sequence[str], classes: Sequence[str], column: str) -> ndarray:
    """The position of each name in `classes`."""
    positions = Index(classes).get_indexer(Index(names))
    # get_indexer answers -1 for a name that is no class.
    unknown = positions < 0
    if unknown.any():
        first = sorted(set(np.asarray(names, dtype=object)[unknown].astype(str)))[:5]
        raise PredictionError(
            f"{unknown.sum()} rows have a {column} that is no class: {first}; classes: {', '.join(classes)}"
        )
    return positions


def _label_names(labels: Sequence[str] | ndarray, names: ndarray) -> ndarray:
    """Labels that are indices, as names."""
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        return labels
    # A negative index would name a class from the end without any error.
    if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
        raise PredictionError(f"labels reach from {labels.min()} to {labels.max()}, there are {len(names)} classes")
    return names[labels]


def _groups(table: DataFrame) -> ndarray:
    """(n,) the group of each row as an integer; a row without one is a group of its own."""
    if "group" not in table:
        return np.arange(len(table))
    names = table["group"].astype(str)
    alone = table["group"].isna() | (names == "")
    # The NUL keeps a path from meeting a group that is called the same.
    own_names = "\0" + table["path"].astype(str)
    return pd.factorize(names.where(~alone, own_names))[0]

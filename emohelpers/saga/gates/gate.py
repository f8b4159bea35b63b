"""What a gate is, and the photographs that it is set up by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from emohelpers.config.errors import SuiteError

BATCH = 64
Scores = dict[str, ndarray]  # column of the table of edits -> (n,)


class GateError(SuiteError, RuntimeError):
    """A gate that cannot run, with the two remedies: what it needs, or its name in `gates_off`."""


@dataclass(frozen=True)
class Sample:
    """Photographs by which gates are set up, none of them golden."""

    train: ndarray  # (m, side, side, 3) uint8
    faces: ndarray  # (n, side, side, 3) uint8, of the validation part
    labels: ndarray  # (n,)
    groups: ndarray  # (n,)
    classes: tuple[str, ...]


class Gate(Protocol):
    """One opinion about edits; `@GATES.register("name")` adds a class of this kind, whose `of` makes it."""

    name: str

    @property
    def threshold(self) -> str:
        """The threshold in words."""

    def score(self, faces: ndarray, edits: ndarray, targets: Sequence[str]) -> Scores:
        """What is measured of each edit."""

    def passes(self, scores: Scores, targets: Sequence[str]) -> ndarray:
        """(n,) whether the scores are good enough."""

    def calibrate(self, sample: Sample, share: float, rng: Generator) -> None:
        """Sets the threshold so that `share` of stand-ins for wrong edits would pass."""


def batches(squares: ndarray) -> list[ndarray]:
    """(n, s, s, 3) -> parts of at most `BATCH` rows."""
    return [squares[start : start + BATCH] for start in range(0, len(squares), BATCH)]


def of_targets(table: ndarray, targets: Sequence[str], names: Sequence[str]) -> ndarray:
    """(n, len(names)) -> (n,) the column of each row's target."""
    columns = [list(names).index(target) for target in targets]
    return table[np.arange(len(table)), columns]

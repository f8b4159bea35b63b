"""What a gate is, and the photographs that it is set up by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

BATCH = 64
Scores = dict[str, np.ndarray]  # column of the table of edits -> (n,)


class GateError(RuntimeError):
    """A gate that cannot run, with the two remedies: what it needs, or its name in `gates_off`."""


@dataclass(frozen=True)
class Sample:
    """Photographs by which gates are set up, none of them golden."""

    train: np.ndarray  # (m, side, side, 3) uint8
    faces: np.ndarray  # (n, side, side, 3) uint8, of the validation part
    labels: np.ndarray  # (n,)
    groups: np.ndarray  # (n,)
    classes: tuple[str, ...]


class Gate(Protocol):
    """One opinion about edits; `@GATES.register("name")` adds a class of this kind, whose `of` makes it."""

    name: str

    @property
    def threshold(self) -> str:
        """The threshold in words."""

    def score(self, faces: np.ndarray, edits: np.ndarray, targets: Sequence[str]) -> Scores:
        """What is measured of each edit."""

    def passes(self, scores: Scores, targets: Sequence[str]) -> np.ndarray:
        """(n,) whether the scores are good enough."""

    def calibrate(self, sample: Sample, share: float, rng: np.random.Generator) -> None:
        """Sets the threshold so that `share` of stand-ins for wrong edits would pass."""


def batches(squares: np.ndarray) -> list[np.ndarray]:
    """(n, s, s, 3) -> parts of at most `BATCH` rows."""
    return [squares[start : start + BATCH] for start in range(0, len(squares), BATCH)]


def of_targets(table: np.ndarray, targets: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """(n, len(names)) -> (n,) the column of each row's target."""
    columns = [list(names).index(target) for target in targets]
    return table[np.arange(len(table)), columns]

"""Would the guard see wrong edits? They are made from right ones by offering them for what they are not."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from pandas import DataFrame

from emohelpers.saga import gates
from emohelpers.saga.generation import Edits
from emohelpers.saga.guard import REFUSED, Guard


def plant(guard: Guard, edits: Edits, faces, *, seed: int, most: int = 400) -> DataFrame:
    """`planted` of up to `most` edits of a run, accepted or not, as they come."""
    rows = edits.pictures
    rows = rows.sample(min(most, len(rows)), random_state=seed)
    pixels = faces.pixels
    photographs = pixels.take(pixels.rows(rows["parent"]))
    group = faces.table.set_index("path")["group"]
    groups = [group.get(parent, parent) for parent in rows["parent"]]
    return planted(guard, photographs, edits.squares(rows, pixels.side), list(rows["label"]), groups, seed=seed)


def planted(
    guard: Guard, faces: ndarray, edits: ndarray, targets: Sequence[str], groups: Sequence[str], *, seed: int
) -> DataFrame:
    """How many wrong edits the guard refuses, by kind and gate; made from faces and their edits by mismatching them.

    Kinds: the face itself saved again; another person's edit to the same target; the edit offered as another emotion;
    noise. The first row has the edits as they are.

    Args:
        faces, edits: (n, side, side, 3) uint8; `targets` and `groups` are (n,), a person is a group.
    """
    rng = np.random.default_rng(seed)
    emotions = sorted(set(targets))
    strangers = [_stranger_with_target(row, targets, groups, rng) for row in range(len(edits))]
    claims = [_another_emotion(target, emotions, rng) for target in targets]
    noise = rng.integers(0, 256, edits.shape).astype(np.uint8)
    offers = {
        "as edited": (edits, targets),
        "unchanged face": (gates.saved_again(faces, 90), targets),
        "other person": (edits[strangers], targets),
        "wrong emotion": (edits, claims),
        "noise": (noise, targets),
    }
    if len(emotions) < 2:
        del offers["wrong emotion"]  # there is no other to claim
    rows = {kind: _refusals(guard.judge(faces, *offer)) for kind, offer in offers.items()}
    return DataFrame(rows).T


def _stranger_with_target(row: int, targets: Sequence[str], groups: Sequence[str], rng: Generator) -> int:
    """The row of another person's edit, to the same target if there is one."""
    strangers = np.flatnonzero(np.asarray(groups) != groups[row])
    alike = [stranger for stranger in strangers if targets[stranger] == targets[row]]
    return int(rng.choice(alike or strangers))


def _another_emotion(target: str, emotions: Sequence[str], rng: Generator) -> str:
    different = [emotion for emotion in emotions if emotion != target]
    return str(rng.choice(different or [target]))


def _refusals(judged: DataFrame) -> dict[str, float]:
    flags = judged.filter(regex=f"^{REFUSED}").rename(columns=lambda name: name.removeprefix(REFUSED))
    return {"n": len(judged), "refused": 1 - judged["accepted"].mean(), **flags.mean()}

"""Where on a drawn face its emotion was drawn: the regions that a map of a model can be held against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy import ndarray

from emohelpers.datasets.drawn.action_units import PROTOTYPES
from emohelpers.datasets.drawn.faces import regions

# The region that each action unit of a prototype moves.
MOVES = {
    1: "brows",
    2: "brows",
    4: "brows",
    5: "eyes",
    6: "cheeks",
    7: "eyes",
    9: "nose",
    12: "mouth",
    14: "mouth",
    15: "mouth",
    16: "mouth",
    20: "mouth",
    23: "mouth",
    25: "mouth",
    26: "mouth",
}
PARTS = ("brows", "eyes", "nose", "mouth", "cheeks")


def expressed(emotion: str) -> tuple[str, ...]:
    """The regions of which an emotion is made: brows and mouth for sad, none for neutral."""
    return tuple(part for part in PARTS if part in {MOVES[unit] for unit in PROTOTYPES[emotion]})


def parts(root: str | Path, paths: Sequence[str]) -> dict[str, ndarray] | None:
    """Masks (n, 96, 96) bool of each part of the drawn faces `paths`, and of `face` and `expressed`; what is covered
    belongs to none. None where `root` holds other pictures than drawn faces.
    """
    known = Path(root) / "faces.csv"
    if not known.is_file():
        return None
    rows = pd.read_csv(known, keep_default_na=False).set_index("pth", drop=False).loc[list(paths)]
    drawn = [regions(row) for row in rows.to_dict("records")]
    masks = {name: np.stack([one[name] & ~one["hidden"] for one in drawn]) for name in (*PARTS, "face")}
    own = [[masks[name][i] for name in expressed(emotion)] for i, emotion in enumerate(rows["emotion"])]
    masks["expressed"] = np.stack([np.any(one, axis=0) if one else np.zeros((96, 96), bool) for one in own])
    return masks

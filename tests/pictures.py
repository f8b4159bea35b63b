"""Small picture sets made by code, for tests: a class is a coloured bar at its own angle, under noise."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from emohelpers.datasets.labels import EMOTIONS


@dataclass
class Folder:
    """What `pixels.build` and `splits` ask of a data set."""

    root: Path
    table: pd.DataFrame
    name: str = "bars"
    classes: tuple[str, ...] = EMOTIONS
    missing: list = field(default_factory=list)


def bar(label: int, rng: np.random.Generator, side: int = 32) -> np.ndarray:
    """(side, side, 3) uint8: a bar at an angle of its class."""
    picture = np.full((side, side, 3), rng.integers(0, 120, 3), np.uint8)
    angle = np.pi * label / 8 + rng.normal(0, 0.05)
    arm = np.array([np.cos(angle), np.sin(angle)]) * side * 0.4
    centre = np.array([side / 2, side / 2]) + rng.normal(0, 1.5, 2)
    ends = [tuple(int(v) for v in centre + s * arm) for s in (1, -1)]
    cv2.line(picture, *ends, tuple(int(v) for v in rng.integers(160, 255, 3)), max(side // 10, 1))
    return np.clip(picture + rng.normal(0, 18, picture.shape), 0, 255).astype(np.uint8)


def write(
    folder: Path, *, each: int = 20, classes: tuple[str, ...] = EMOTIONS, side: int = 32, seed: int = 0
) -> Folder:
    """`each` pictures a class as PNG files and their table, in the form of `manifests`."""
    rng = np.random.default_rng(seed)
    data = known(folder, each=each, classes=classes)
    for path in data.table["path"]:
        label = path.split("/")[0]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(bar(EMOTIONS.index(label), rng, side)).save(folder / path)
    return data


def known(folder: Path, *, each: int = 20, classes: tuple[str, ...] = EMOTIONS) -> Folder:
    """What `write` returned, for pictures that are already there."""
    rows = [
        (f"{label}/{i:04d}{label}.png", label, "", "original", "", f"{label}{i}")
        for label in classes
        for i in range(each)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "split", "source", "parent", "group"])
    return Folder(folder, table.sort_values("path", ignore_index=True), classes=classes)

"""Scores for photographs of one's own: every picture of a folder, by a checkpoint or an ONNX file."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers import models
from emohelpers.config import paths
from emohelpers.datasets import pixels
from emohelpers.datasets.locate import pictures
from emohelpers.export.runner import Runner
from emohelpers.ranking import model as ranking


def score(folder: str | Path, model: str | Path) -> tuple[DataFrame, ndarray, dict[str, str]]:
    """Scores of every picture of a folder, subfolders too: path and score, their squares, and what could not be read.

    `model` is a checkpoint or an ONNX file; pictures are decoded and cut as in training.

    Raises:
        FileNotFoundError: no picture there.
        ValueError: none of them can be read.
    """
    root = paths.find_input(str(folder), remedy="give a folder with pictures.")
    names = [path.relative_to(root).as_posix() for path in pictures(root)]
    side, scores = opened(model)

    def square(name: str) -> ndarray | str:
        try:
            return pixels.fit_square(pixels.decode((root / name).read_bytes()), side)
        except (OSError, pixels.UnreadableImage) as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        decoded = dict(zip(names, pool.map(square, names), strict=True))
    unreadable = {name: reason for name, reason in decoded.items() if isinstance(reason, str)}
    readable = [name for name in names if name not in unreadable]
    if not readable:
        first = names[0]
        raise ValueError(f"none of the {len(names)} pictures in {root} can be read, first {first}: {unreadable[first]}")
    squares = np.stack([decoded[name] for name in readable])
    return DataFrame({"path": readable, "score": scores(squares).astype(float)}), squares, unreadable


def opened(model: str | Path) -> tuple[int, Callable[[ndarray], ndarray]]:
    """The side of the squares that a checkpoint or an ONNX file takes, and the function that scores them."""
    if Path(model).suffix == ".onnx":
        runner = Runner(model)
        return runner.preprocess.side, runner.logits
    net = models.load(model)
    return net.spec["preprocess"]["side"], lambda squares: ranking.scores(net, squares)

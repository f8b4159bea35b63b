"""Scores for photographs of one's own: every picture of a folder, by a checkpoint or an ONNX file."""

from collections.abc import Callable
from pathlib import Path

from numpy import ndarray
from pandas import DataFrame

from emohelpers import models
from emohelpers.config import paths
from emohelpers.datasets.locate import Listing, pictures
from emohelpers.export.runner import Runner
from emohelpers.ranking import model as ranking


def score(folder: str | Path, model: str | Path) -> tuple[DataFrame, ndarray, Listing]:
    """Scores of every picture of a folder, subfolders too: path and score, their squares, and what was left out.

    `model` is a checkpoint or an ONNX file; pictures are decoded and cut as in training.

    Raises:
        FileNotFoundError: no picture there.
        UnreadableImage: none of them can be read.
    """
    side, scores = opened(model)
    listing, squares = pictures(paths.find_input(str(folder), remedy="give a folder with pictures.")).decoded(side)
    return DataFrame({"path": listing.names, "score": scores(squares).astype(float)}), squares, listing


def opened(model: str | Path) -> tuple[int, Callable[[ndarray], ndarray]]:
    """The side of the squares that a checkpoint or an ONNX file takes, and the function that scores them."""
    if Path(model).suffix == ".onnx":
        runner = Runner(model)
        return runner.preprocess.side, runner.logits
    net = models.load(model)
    return net.spec["preprocess"]["side"], lambda squares: ranking.scores(net, squares)

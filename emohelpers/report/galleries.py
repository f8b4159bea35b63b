"""Galleries: pictures with captions, and the mistakes that a model was surest of."""

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy import ndarray
from pandas import DataFrame, Index

from emohelpers import metrics
from emohelpers.datasets.pixels import Pixels
from emohelpers.report import style


def gallery(
    images: ndarray | Sequence[ndarray],
    captions: Sequence[str] = (),
    columns: int = 8,
    title: str = "",
    frames: Sequence[Any] | None = None,
) -> Figure:
    """A grid of pictures uint8 (N, H, W, 3), captions under them if given; `frames` are colours of their borders."""
    images = np.asarray(images)
    captions = captions or [""] * len(images)
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} pictures and {len(captions)} captions")
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    with style.house():
        wide = images.shape[2] / images.shape[1] if len(images) else 1  # a pair side by side is twice as wide
        size = (1.45 * columns * wide, (1.35 + 0.17 * lines) * rows + (0.45 if title else 0))
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        # Not strict: the last row may have axes to spare, which stay off.
        for i, (axis, image, caption) in enumerate(zip(axes.flat, images, captions, strict=False)):
            axis.set_axis_on()
            axis.imshow(image, interpolation="lanczos")
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(style.plain(caption), size=8.5, labelpad=3)
            axis.spines[:].set(
                visible=frames is not None, color=frames[i] if frames is not None else "white", linewidth=2.5
            )
        return style.finish(figure, title)


def surest(
    predictions: DataFrame, classes: Sequence[str], count: int, by: Literal["confidence", "margin"] = "confidence"
) -> DataFrame:
    """The `count` mistakes that the model was surest of, with `confidence`, `of_label` and `margin` between the two.

    By confidence they are its mistakes; by margin they are labels worth a second look (Northcutt et al.,
    arXiv 1911.00068, rank by the same).
    """
    arrays = metrics.read(predictions, classes)
    of_label = arrays.scores[np.arange(len(predictions)), arrays.true]
    confidence = arrays.scores.max(axis=1)
    table = predictions.assign(confidence=confidence, of_label=of_label, margin=confidence - of_label)
    return table[~arrays.right].nlargest(count, by)


def errors(
    predictions: DataFrame,
    classes: Sequence[str],
    pixels: Pixels,
    count: int = 16,
    title: str = "Most confident mistakes",
    by: Literal["confidence", "margin"] = "confidence",
) -> Figure:
    """The mistakes the model was surest of, framed in the colour of what it said.

    Args:
        pixels: the pictures, with the path of each.
        by: see `surest`.
    """
    mistakes = surest(predictions, classes, count, by)
    # -1 for a path that is not there, which as an index would be the last picture.
    rows = Index(pixels.paths).get_indexer(mistakes["path"])
    missing = mistakes["path"].to_numpy()[rows < 0]
    if missing.size:
        raise KeyError(f"{missing.size} mistakes have no picture, first {missing[0]}")
    captions = [
        f"labelled {row.label} {row.of_label:.0%}\nsaid {row.predicted} {row.confidence:.0%}"
        for row in mistakes.itertuples()
    ]
    total = (predictions["label"] != predictions["predicted"]).sum()
    frames = style.colours(list(mistakes["predicted"]))
    return gallery(pixels.array[rows], captions, 8, f"{title} ({len(mistakes)} of {total})", frames)


def suspects(
    predictions: DataFrame,
    classes: Sequence[str],
    pixels: Pixels,
    count: int = 16,
    title: str = "Labels worth a second look",
) -> Figure:
    """Pictures whose label the model thinks least likely while it is sure of another; see `errors`."""
    return errors(predictions, classes, pixels, count, title, by="margin")

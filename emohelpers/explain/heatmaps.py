"""Maps laid over faces: one look for all, orange speaks for the class and blue against it, as strong as the map is."""

from collections.abc import Sequence

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from numpy import ndarray

from emohelpers.report import style

FOR = to_rgb("#f0571e")
AGAINST = to_rgb("#2563c9")
PALE = (0.86, 0.86, 0.87)  # what the middle of the scale looks like over a face
SCALE = LinearSegmentedColormap.from_list("map", [AGAINST, PALE, FOR])


def unit(maps: ndarray) -> ndarray:
    """Each map (n, h, w) divided by its largest absolute value, so that all faces count alike."""
    largest = abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.maximum(largest, 1e-12)


def overlay(pictures: ndarray, maps: ndarray) -> ndarray:
    """Maps (n, h, w) over grey pictures (n, h, w, 3) uint8: (n, h, w, 3) in 0..1; each map scaled by its own largest
    value, so that +1 and -1 are the ends of the one colour scale.
    """
    grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures])[..., None] / 255
    scaled = unit(maps)[..., None]
    strength = 0.85 * abs(scaled) ** 0.8
    colour = np.where(scaled >= 0, FOR, AGAINST)
    return (1 - strength) * (0.25 + 0.7 * grey) + strength * colour


def grid(
    rows: Sequence[Sequence[ndarray | None]],
    captions: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    scale: bool = True,
    side: float = 1.25,
) -> Figure:
    """Pictures in rows and columns: column names on top, a caption left of each row, the colour scale at the right.

    Args:
        rows: pictures (h, w, 3), one a column; None where a face has no map.
        scale: whether the colour scale is shown.
        side: inches of a picture.
    """
    # The width that the longest line of a caption takes, in inches.
    lines = [line for caption in captions for line in caption.split("\n")]
    captions_width = 0.078 * max(map(len, lines), default=0)
    width = side * len(columns) + captions_width + (0.9 if scale else 0.2)
    height = (side + 0.06) * len(rows) + 0.75
    with style.house():
        figure, axes = plt.subplots(
            len(rows), len(columns), figsize=(width, height), layout="constrained", squeeze=False
        )
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.01, wspace=0.01)
        for row, pictures, caption in zip(axes, rows, captions, strict=True):
            for axis, picture in zip(row, pictures, strict=True):
                _show(axis, picture)
            row[0].set_ylabel(style.plain(caption), rotation=0, ha="right", va="center", size=9, labelpad=6)
        for axis, column in zip(axes[0], columns, strict=True):
            axis.set_title(column, size=9.5, loc="center", weight="normal")
        if scale:
            mappable = ScalarMappable(Normalize(-1, 1), SCALE)
            bar = figure.colorbar(mappable, ax=axes, fraction=0.02, pad=0.01, aspect=28)
            bar.set_ticks([-1, 0, 1], labels=["against\nthe class", "0", "for\nthe class"], size=8)
            bar.outline.set_visible(False)
        return style.finish(figure, title)


def _show(axis: Axes, picture: ndarray | None) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    if picture is None:
        axis.text(0.5, 0.5, "no map", ha="center", va="center", size=8, color=style.QUIET)
    else:
        axis.imshow(picture, interpolation="bilinear")

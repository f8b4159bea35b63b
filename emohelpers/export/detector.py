"""The face in a picture, by scikit-image's LBP cascade, the one detector that comes whole with a package."""

from functools import cache

import cv2
import numpy as np
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

LONG = 320  # pixels that the longer side is searched at
SMALLEST = 0.12  # of the shorter side; smaller ones are not looked for
FILLS = 0.7  # of the shorter side: from here on the picture is a face already, as training pictures are
NEIGHBOURS = 3  # hits of the sliding window that make a face: fewer find faces in cloth, more miss real ones
MARGIN = 1.15  # side of the crop, in sides of the box that was found


@cache
def _cascade() -> Cascade:
    return Cascade(lbp_frontal_face_cascade_filename())


def boxes(picture: np.ndarray) -> list[tuple[int, int, int]]:
    """Squares (left, top, side) around upright frontal faces of a (H, W, 3) uint8 picture, largest first."""
    scale = min(LONG / max(picture.shape[:2]), 1.0)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    shorter = min(small.shape[:2])
    least = max(24, round(SMALLEST * shorter))  # the cascade's own window is 24 pixels
    if shorter <= least:
        return []
    found = _cascade().detect_multi_scale(
        img=small, scale_factor=1.2, step_ratio=1, min_size=(least, least), max_size=(shorter, shorter),
        min_neighbor_number=NEIGHBOURS,
    )  # fmt: skip
    squares = sorted(((f["c"], f["r"], f["width"]) for f in found), key=lambda square: -square[2])
    apart: list[tuple[int, int, int]] = []
    for square in squares:  # one face may be found at two sizes
        if all(_overlap(square, other) < 0.3 for other in apart):
            apart.append(square)
    return [(round(left / scale), round(top / scale), round(side / scale)) for left, top, side in apart]


def _overlap(one: tuple[int, int, int], two: tuple[int, int, int]) -> float:
    """Shared area, as a share of the smaller square."""
    width, height = (min(one[i] + one[2], two[i] + two[2]) - max(one[i], two[i]) for i in (0, 1))
    return max(width, 0) * max(height, 0) / min(one[2], two[2]) ** 2


def crop(picture: np.ndarray, box: tuple[int, int, int]) -> tuple[int, int, int]:
    """The square that is cut for a box: a little larger, moved into the picture where it would stick out."""
    height, width = picture.shape[:2]
    left, top, side = box
    wide = min(round(side * MARGIN), height, width)
    corner = (left + side // 2 - wide // 2, top + side // 2 - wide // 2)
    return (min(max(corner[0], 0), width - wide), min(max(corner[1], 0), height - wide), wide)

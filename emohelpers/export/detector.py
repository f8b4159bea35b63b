"""The face in a picture, by scikit-image's LBP cascade, the one detector that comes whole with a package."""

from functools import cache

import cv2
from numpy import ndarray
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

LONG = 320  # pixels that the longer side is searched at
SMALLEST = 0.12  # of the shorter side; smaller ones are not looked for
FILLS = 0.7  # of the shorter side: from here on the picture is a face already, as training pictures are
NEIGHBOURS = 3  # hits of the sliding window that make a face: fewer find faces in cloth, more miss real ones
WINDOW = 24  # pixels of the cascade itself
OVERLAP = 0.3  # of the smaller of two squares, from which they are one face
MARGIN = 1.15  # side of the crop, in sides of the box that was found


@cache
def _cascade() -> Cascade:
    return Cascade(lbp_frontal_face_cascade_filename())


def boxes(picture: ndarray) -> list[tuple[int, int, int]]:
    """Squares (left, top, side) around upright frontal faces of a (H, W, 3) uint8 picture, largest first."""
    scale = min(LONG / max(picture.shape[:2]), 1.0)
    if min(picture.shape[:2]) * scale <= WINDOW:
        return []  # a line, too thin for any face
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    shorter = min(small.shape[:2])
    least = max(WINDOW, round(SMALLEST * shorter))
    if shorter <= least:
        return []
    faces = _cascade().detect_multi_scale(
        img=small,
        scale_factor=1.2,
        step_ratio=1,
        min_size=(least, least),
        max_size=(shorter, shorter),
        min_neighbor_number=NEIGHBOURS,
    )
    squares = [(face["c"], face["r"], face["width"]) for face in faces]
    apart = []
    for square in sorted(squares, key=lambda square: -square[2]):  # one face may be found at two sizes
        if all(_overlap(square, larger) < OVERLAP for larger in apart):
            apart.append(square)
    return [(round(left / scale), round(top / scale), round(side / scale)) for left, top, side in apart]


def _overlap(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """Shared area, as a share of the smaller square."""
    left_a, top_a, side_a = a
    left_b, top_b, side_b = b
    width = min(left_a + side_a, left_b + side_b) - max(left_a, left_b)
    height = min(top_a + side_a, top_b + side_b) - max(top_a, top_b)
    return max(width, 0) * max(height, 0) / min(side_a, side_b) ** 2


def crop(picture: ndarray, box: tuple[int, int, int]) -> tuple[int, int, int]:
    """The square that is cut for a box: a little larger, moved into the picture where it would stick out."""
    height, width = picture.shape[:2]
    left, top, box_side = box
    side = min(round(box_side * MARGIN), height, width)
    margin = box_side // 2 - side // 2
    return min(max(left + margin, 0), width - side), min(max(top + margin, 0), height - side), side

"""Faces in a picture with their eyes, and the upright square that is cut for each: YuNet through OpenCV.

The net (Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", Machine Intelligence Research 20, 2023) finds
upright faces of 10 to 300 pixels. A picture is therefore looked at in several sizes, and turned to both sides, which
finds faces at any roll up to 60 degrees; then at each candidate again, upright and close. `scripts/yunet.py` tells
where the weights are from; their licence lies beside.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

NET = Path(__file__).with_name("yunet.onnx")
CANDIDATE = 0.4  # score from which a box is looked at again
SCORE = 0.65  # that a face has in the second look
LOOKS = tuple((longer, degrees) for longer in (320, 1280) for degrees in (0.0, -40.0, 40.0))  # pixels, degrees
CLOSE, AROUND = 256, 2.5  # pixels of the second look, and its side in sides of the box
ENLARGED = 2.0  # at most, of a picture that is smaller
THIN = 16  # pixels of the shorter side, below which nothing is looked for
OVERLAP = 0.4  # of the smaller of two squares, from which they are one face
FILLS = 0.7  # of the shorter side: from here on the picture is a face already, as training pictures are
MARGIN = 1.15  # side of the crop, in longer sides of the box that was found
SMALL = 48  # pixels below which a face is called small: what nets are trained on is no smaller
PROFILE = 0.35  # distance of the nose from the middle of the eyes, in eye distances, from which a face is in profile
TURNED = 10.0  # degrees from which a face is called turned


@dataclass(frozen=True)
class Face:
    """One face, in pixels of the picture."""

    x: float  # of its middle
    y: float
    side: float  # longer side of its box
    points: ndarray  # (5, 2): the eye at the left, at the right, the nose, the mouth's corners
    score: float

    @property
    def roll(self) -> float:
        """Degrees by which the head is turned clockwise in the picture, by its eyes and mouth."""
        left_eye, right_eye, _, left_mouth, right_mouth = self.points
        across = right_eye - left_eye + right_mouth - left_mouth
        down = left_mouth + right_mouth - left_eye - right_eye
        return math.degrees(math.atan2(across[1] - down[0], across[0] + down[1]))

    @property
    def square(self) -> tuple[int, int, int]:
        """Left, top and side of what `upright` cuts, before it is turned."""
        side = max(round(self.side * MARGIN), 1)
        return round(self.x - side / 2), round(self.y - side / 2), side

    def described(self) -> str:
        """What a reader should know of it: small, in profile, turned; "" for a plain one."""
        left, right, nose = self.points[:3]
        eyes = right - left
        sideways = abs((nose - (left + right) / 2) @ eyes) / max(eyes @ eyes, 1e-6)
        remarks = {
            f"small ({self.side:.0f} px)": self.side < SMALL,
            "in profile": sideways > PROFILE,
            f"turned by {abs(self.roll):.0f} degrees": abs(self.roll) >= TURNED,
        }
        return ", ".join(remark for remark, holds in remarks.items() if holds)


def faces(picture: ndarray, looks: Sequence[tuple[int, float]] = LOOKS) -> list[Face]:
    """The faces of a (H, W, 3) uint8 RGB picture, largest first.

    Args:
        looks: pixels that the longer side is scaled to, and degrees that the picture is turned by, of each search.
    """
    candidates = [face for longer, degrees in looks for face in _search(picture, longer, degrees)]
    again = [face for candidate in _apart(candidates) for face in _second_look(picture, candidate)]
    return sorted(_apart(again), key=lambda face: -face.side)


def upright(picture: ndarray, face: Face, around: float = MARGIN) -> ndarray:
    """(side, side, 3): the face's square, turned until the eyes are level; the picture's edge is continued outside."""
    turn, side = _to_square(face, around)
    return cv2.warpAffine(picture, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _to_square(face: Face, around: float) -> tuple[ndarray, int]:
    """From the picture's pixels to those of the upright square, and its side."""
    side = max(round(face.side * around), 1)
    turn = cv2.getRotationMatrix2D((face.x, face.y), face.roll, 1.0)
    turn[:, 2] += (side - 1) / 2 - np.array([face.x, face.y])
    return turn, side


@cache
def _net() -> cv2.FaceDetectorYN:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a setting that it ignores
    try:
        return cv2.FaceDetectorYN.create(str(NET), "", (320, 320), CANDIDATE)
    finally:
        cv2.utils.logging.setLogLevel(level)


def _search(picture: ndarray, longer: int, degrees: float) -> list[Face]:
    """Candidates in the whole picture, scaled and turned."""
    height, width = picture.shape[:2]
    scale = min(longer / max(height, width), ENLARGED)
    if min(height, width) * scale < THIN:
        return []  # a line, in which no face is to be seen
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    turn = cv2.getRotationMatrix2D((0.0, 0.0), degrees, 1.0)
    room = np.ceil(abs(turn[:, :2]) @ size).astype(int)  # a turned picture needs a larger canvas for its corners
    turn[:, 2] = (room - turn[:, :2] @ size) / 2
    canvas = cv2.warpAffine(small, turn, tuple(map(int, room))) if degrees else small
    turn[:, :2] *= scale
    return _detected(canvas, turn)


def _second_look(picture: ndarray, candidate: Face) -> list[Face]:
    """What the net says of a candidate when it is upright and of the size that the net knows best."""
    turn, side = _to_square(candidate, AROUND)
    close = cv2.resize(upright(picture, candidate, AROUND), (CLOSE, CLOSE), interpolation=cv2.INTER_AREA)
    faces_close = _detected(close, turn * (CLOSE / side))
    return [face for face in faces_close if face.score >= SCORE and _overlap(face, candidate) >= OVERLAP]


def _detected(canvas: ndarray, turn: ndarray) -> list[Face]:
    """The net's faces in a canvas, in pixels of the picture that `turn` maps onto it."""
    net = _net()
    net.setInputSize(canvas.shape[1::-1])
    _, rows = net.detect(np.ascontiguousarray(canvas[..., ::-1]))
    back = cv2.invertAffineTransform(turn)
    scale = math.sqrt(abs(np.linalg.det(back[:, :2])))
    faces = []
    for row in [] if rows is None else rows:
        left, top, width, height = row[:4]
        points = np.vstack([[left + width / 2, top + height / 2], row[4:14].reshape(5, 2)])
        (x, y), *points = points @ back[:, :2].T + back[:, 2]
        faces.append(Face(x, y, max(width, height) * scale, np.array(points), float(row[14])))
    return faces


def _apart(faces: Iterable[Face]) -> list[Face]:
    """Of faces that overlap the one with the best score."""
    apart: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_overlap(face, better) < OVERLAP for better in apart):
            apart.append(face)
    return apart


def _overlap(a: Face, b: Face) -> float:
    """Shared area of two squares, as a share of the smaller."""
    smaller = min(a.side, b.side)
    width = min(max((a.side + b.side) / 2 - abs(a.x - b.x), 0), smaller)
    height = min(max((a.side + b.side) / 2 - abs(a.y - b.y), 0), smaller)
    return width * height / smaller**2

"""Outlines and the anti-aliased picture that they are filled into."""

import functools

import cv2
import numpy as np
from numpy import ndarray

SIDE = 96  # pixels of the finished picture
ZOOM = 3  # drawn so much larger, then averaged down
BIG = SIDE * ZOOM


@functools.lru_cache(maxsize=8)
def _basis(k: int) -> ndarray:
    t = np.arange(k) / k
    return 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)


@functools.lru_cache(maxsize=64)
def _spline(n: int, k: int, closed: bool) -> ndarray:
    """The (samples, n) matrix that turns n points into a Catmull-Rom spline, k samples a piece."""
    rows = []
    for i in range(n if closed else n - 1):
        piece = np.zeros((k, n))
        for j, weight in zip((i - 1, i, i + 1, i + 2), _basis(k).T, strict=True):
            if closed or 0 <= j < n:
                piece[:, j % n] += weight
            else:  # beyond an end the curve goes on straight
                end, inner = (0, 1) if j < 0 else (n - 1, n - 2)
                piece[:, end] += 2 * weight
                piece[:, inner] -= weight
        rows.append(piece)
    if not closed:
        rows.append(np.eye(n)[-1:])
    return np.concatenate(rows)


def curve(points, k: int = 5, closed: bool = True) -> ndarray:
    """A Catmull-Rom spline through (N, 2) points, k samples a piece."""
    p = np.asarray(points, float)
    return _spline(len(p), k, closed) @ p


@functools.lru_cache(maxsize=8)
def _circle(n: int) -> ndarray:
    t = np.arange(n) * (2 * np.pi / n)
    return np.stack([np.cos(t), np.sin(t)], 1)


def ellipse(x: float, y: float, rx: float, ry: float, n: int = 18) -> ndarray:
    """(n, 2) points of an ellipse."""
    return _circle(n) * (rx, ry) + (x, y)


class Canvas:
    """An RGB picture of BIG x BIG pixels; outlines come in 96-pixel coordinates, widths in face units."""

    def __init__(self, colour, unit: float):
        self.pixels = np.empty((BIG, BIG, 3), np.uint8)
        cv2.rectangle(self.pixels, (0, 0), (BIG, BIG), tuple(int(v) for v in colour), -1)
        self.unit = unit * ZOOM

    @staticmethod
    def points(outline: ndarray) -> ndarray:
        return (outline * (16 * ZOOM) + 8 * (ZOOM - 1) + 0.5).astype(np.int32)  # sixteenths of a pixel

    def fill(self, outline, colour, target=None) -> None:
        colour = ink(colour)
        cv2.fillPoly(self.pixels if target is None else target, [self.points(outline)], colour, cv2.LINE_AA, 4)

    def line(self, outline, colour, width: float, target=None, closed: bool = False) -> None:
        colour = ink(colour)
        thick = max(1, int(round(width * self.unit)))
        cv2.polylines(
            self.pixels if target is None else target, [self.points(outline)], closed, colour, thick, cv2.LINE_AA, 4
        )

    def through(self, mask: ndarray, over: ndarray, box) -> None:
        """Lays `over` on the picture inside the box (x0, y0, x1, y1) where the mask is set."""
        x0, y0, x1, y1 = box
        under = self.pixels[y0:y1, x0:x1]
        a = cv2.merge([mask, mask, mask])
        under[:] = cv2.add(cv2.multiply(under, 255 - a, scale=1 / 255), cv2.multiply(over, a, scale=1 / 255))


def ink(colour):
    if isinstance(colour, (int, float)):
        return int(colour)
    return tuple(min(255, max(0, int(v))) for v in colour)


def mix(a, b, share: float) -> ndarray:
    return np.asarray(a, float) * (1 - share) + np.asarray(b, float) * share


def box_of(outline: ndarray, margin: int = 3) -> tuple[int, int, int, int]:
    low = np.floor(outline.min(0) * ZOOM).astype(int) - margin
    high = np.ceil(outline.max(0) * ZOOM).astype(int) + margin
    x0, y0 = np.clip(low, 0, BIG - 1)
    x1, y1 = np.clip(high, 1, BIG)
    return int(x0), int(y0), max(int(x1), int(x0) + 1), max(int(y1), int(y0) + 1)

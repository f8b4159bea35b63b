"""Defects of photographs at a graded strength: what makes one of two pictures of a scene the worse one."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator

TILT = 15.0  # degrees at strength 1
STOPS = 2.2  # of exposure, to either side
BLUR = 0.014  # sigma as a share of the shorter side
NOISE = 0.16  # standard deviation as a share of white
CROP = 0.5  # of each side that is cut away
QUALITY = (60, 4)  # of JPEG at strength 0 and 1


def spoil(picture: ndarray, kind: str, strength: float, rng: Generator) -> ndarray:
    """(H, W, 3) uint8 -> the same shape with one of `KINDS` at `strength` 0 (as it was) to 1 (nobody would keep it).

    Raises:
        ValueError: another kind, or a strength outside of 0..1.
    """
    if kind not in KINDS or not 0 <= strength <= 1:
        raise ValueError(f"defect {kind!r} at strength {strength}: kinds are {', '.join(KINDS)}, strength is in 0..1")
    return np.ascontiguousarray(KINDS[kind](picture, strength, rng)) if strength else picture.copy()


def _tilt(picture: ndarray, strength: float, rng: Generator) -> ndarray:
    """Turned, and enlarged just so far that no corner is empty."""
    height, width = picture.shape[:2]
    angle = rng.choice([-1, 1]) * TILT * strength
    sin = abs(np.sin(np.deg2rad(angle)))
    cos = np.cos(np.deg2rad(angle))
    zoom = max(cos + sin * height / width, cos + sin * width / height)
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
    return cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _exposure(picture: ndarray, strength: float, rng: Generator) -> ndarray:
    """Too dark or too light by some stops of linear light, clipped as a sensor clips."""
    linear = (np.arange(256) / 255) ** 2.2 * 2 ** (rng.choice([-1, 1]) * STOPS * strength)
    table = np.clip(linear, 0, 1) ** (1 / 2.2) * 255
    return cv2.LUT(picture, np.rint(table).astype(np.uint8))


def _blur(picture: ndarray, strength: float, rng: Generator) -> ndarray:
    return cv2.GaussianBlur(picture, (0, 0), max(BLUR * strength * min(picture.shape[:2]), 0.1))


def _noise(picture: ndarray, strength: float, rng: Generator) -> ndarray:
    grain = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(255 * NOISE * strength)
    return np.clip(picture + grain + 0.5, 0, 255).astype(np.uint8)


def _crop(picture: ndarray, strength: float, rng: Generator) -> ndarray:
    """A corner of the picture, enlarged: the subject is cut."""
    height, width = picture.shape[:2]
    keep = 1 - CROP * strength
    h = round(height * keep)
    w = round(width * keep)
    top = rng.choice([0, height - h])
    left = rng.choice([0, width - w])
    return cv2.resize(picture[top : top + h, left : left + w], (width, height), interpolation=cv2.INTER_CUBIC)


def _compression(picture: ndarray, strength: float, rng: Generator) -> ndarray:
    best, worst = QUALITY
    flags = [cv2.IMWRITE_JPEG_QUALITY, round(best * (worst / best) ** strength)]
    done, data = cv2.imencode(".jpg", picture[..., ::-1], flags)
    if not done:
        raise RuntimeError(f"OpenCV {cv2.__version__} could not encode a JPEG of shape {picture.shape}")
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


KINDS: dict[str, Callable[[ndarray, float, Generator], ndarray]] = {
    "tilt": _tilt,
    "exposure": _exposure,
    "blur": _blur,
    "noise": _noise,
    "crop": _crop,
    "compression": _compression,
}

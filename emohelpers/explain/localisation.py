"""Does a map point where it should? The pointing game and the share of its energy, against known regions."""

import cv2
import numpy as np
from numpy import ndarray

from emohelpers.images.preprocess import Preprocess

# Pixels of the map around a region that still count; Zhang et al., arXiv 1608.00507, use 15 at 224 and up.
TOLERANCE = 5
PIXELS = (1, 2)  # axes of maps (n, h, w)


def as_input(masks: ndarray, preprocess: Preprocess) -> ndarray:
    """Masks (n, s, s) bool of pictures -> (n, img_size, img_size) of the model's inputs."""
    # Masks take the same way as pictures, cropped and scaled, and are cut at half white again.
    white = masks.astype(np.uint8)[..., None] * 255
    pictures = np.repeat(white, 3, axis=3)
    return preprocess.evaluate(pictures)[..., 0] > 127


def grown(masks: ndarray, pixels: int = TOLERANCE) -> ndarray:
    """Masks (n, h, w) with a rim of `pixels` around them."""
    side = 2 * pixels + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.stack([cv2.dilate(mask, disc) for mask in masks.astype(np.uint8)]).astype(bool)


def pointing(maps: ndarray, masks: ndarray, tolerance: int = TOLERANCE) -> ndarray:
    """Whether each map (n, h, w) is highest in its mask (n, h, w) bool: (n,) of 0..1, NaN where the mask is empty.

    Where several pixels share the maximum (a segment of LIME), the share of them that lies inside.
    """
    highest = maps == maps.max(axis=PIXELS, keepdims=True)
    inside = highest & grown(masks, tolerance)
    hits = inside.sum(axis=PIXELS) / highest.sum(axis=PIXELS)
    return np.where(masks.any(axis=PIXELS), hits, np.nan)


def energy(maps: ndarray, masks: ndarray) -> ndarray:
    """The share of each map's positive part that lies in its mask: (n,) of 0..1, NaN where the mask is empty."""
    positive = np.clip(maps, 0, None)
    inside = (positive * masks).sum(axis=PIXELS)
    share = inside / np.maximum(positive.sum(axis=PIXELS), 1e-12)
    return np.where(masks.any(axis=PIXELS), share, np.nan)


def area(masks: ndarray) -> ndarray:
    """The share of the picture that each mask covers: (n,), NaN where it is empty."""
    share = masks.mean(axis=PIXELS)
    return np.where(share > 0, share, np.nan)

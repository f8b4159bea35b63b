"""Grey thumbnails by which two pictures are known as one: a copy, a near-duplicate or a mirror image."""

import cv2
import numpy as np
from numpy import ndarray

SIDE = 16  # pixels of one side
BLOCK = 2048  # rows compared at once


def thumbnail(square: ndarray) -> ndarray:
    """(S, S, 3) uint8 -> (256,) float32 of zero mean and unit length: the dot product of two is their likeness."""
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    vector = small.astype(np.float32).ravel()
    vector -= vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def mirrored(thumbs: ndarray) -> ndarray:
    """Thumbnails (n, 256) of the pictures' mirror images."""
    squares = thumbs.reshape(-1, SIDE, SIDE)
    return squares[:, :, ::-1].reshape(thumbs.shape)


def likenesses(left: ndarray, right: ndarray) -> ndarray:
    """(m, n) cosines of thumbnails (m, 256) and (n, 256), each the larger of as they are and mirrored."""
    return np.maximum(left @ right.T, mirrored(left) @ right.T)


def twins(left: ndarray, right: ndarray, likeness: float) -> ndarray:
    """(k, 2) pairs of a row of `left` and a row of `right` whose cosine is at least `likeness`, mirrored or not.

    A picture that is unreadable or of one colour is like nothing. O(m n) products in blocks.
    """
    pairs = [np.empty((0, 2), int)]
    for start in range(0, len(left), BLOCK):
        near = likenesses(left[start : start + BLOCK], right) >= likeness
        pairs.append(np.argwhere(near) + [start, 0])
    return np.concatenate(pairs)

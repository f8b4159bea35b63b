"""Nearest neighbours of every picture by its edges, whatever cut, shift, turn or mirror lies between them.

Fisher's discriminant, fitted to the set itself: edges are projected to what differs most between its pictures and least
between a picture and warps of it. A neighbour is a candidate only; `twins` proves it.
"""

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator
from scipy.linalg import eigh

CELLS = 8  # on a side, in which edges are averaged
ANGLES = 8  # directions of edges
DIMENSIONS = 128  # of the projection
SAMPLE = 1500  # pictures that it is fitted to
WARPS = 4  # of each of them
NEAREST = 4  # neighbours of a picture, at most
MOST = 64  # pairs a picture that a block keeps, at most
BLOCK = 512  # pictures compared with all others at once


def neighbours(greys: ndarray) -> tuple[ndarray, ndarray]:
    """Pairs that may be one picture: (k, 2) rows, the smaller first, and (k,) whether the second is mirrored.

    Args:
        greys: (n, s, s) uint8, `CELLS` a divisor of s.
    """
    features = np.concatenate([edges(greys[start : start + BLOCK]) for start in range(0, len(greys), BLOCK)])
    project, least = _discriminant(greys, features)
    plain = project(features)
    turned = project(mirrored(features))
    pairs = [np.empty((0, 2), int)]
    cosines = [np.empty(0, np.float32)]
    for start in range(0, len(greys), BLOCK):
        rows = slice(start, start + BLOCK)
        alike = np.maximum(plain[rows] @ plain[start:].T, turned[rows] @ plain[start:].T)
        near = np.argwhere(np.triu(alike >= least, 1))
        values = alike[tuple(near.T)]
        if len(near) > MOST * BLOCK:
            best = np.argpartition(values, -MOST * BLOCK)[-MOST * BLOCK :]
            near, values = near[best], values[best]
        pairs.append(near + start)
        cosines.append(values)
    nearest = _nearest(np.concatenate(pairs), np.concatenate(cosines))
    first, second = nearest.T
    return nearest, ((turned - plain)[first] * plain[second]).sum(1) > 0


def edges(greys: ndarray) -> ndarray:
    """(n, s, s) -> (n, CELLS * CELLS * ANGLES) float32: square roots of the share of edges by place and direction."""
    values = greys.astype(np.float32)
    across = np.zeros_like(values)
    down = np.zeros_like(values)
    across[:, :, 1:-1] = values[:, :, 2:] - values[:, :, :-2]
    down[:, 1:-1] = values[:, 2:] - values[:, :-2]
    size = greys.shape[1] // CELLS
    strength = np.empty((len(greys), CELLS, CELLS, ANGLES), np.float32)
    for i, angle in enumerate(np.arange(ANGLES) * 2 * np.pi / ANGLES):
        along = np.maximum(across * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle)), 0)
        strength[..., i] = along.reshape(-1, CELLS, size, CELLS, size).mean((2, 4))
    total = strength.sum((1, 2, 3), keepdims=True)
    return np.sqrt(strength / np.maximum(total, 1e-6)).reshape(len(greys), -1)


def mirrored(features: ndarray) -> ndarray:
    """Edges of the mirror images: cells from right to left, and each direction the other way across."""
    places = features.reshape(-1, CELLS, CELLS, ANGLES)[:, :, ::-1]
    return places[..., (ANGLES // 2 - np.arange(ANGLES)) % ANGLES].reshape(len(features), -1)


def _discriminant(greys: ndarray, features: ndarray):
    """The projection to unit vectors, and the cosine that 99 of 100 warped pictures have with themselves."""
    rng = np.random.default_rng(0)
    sample = rng.permutation(len(greys))[:SAMPLE]
    mean = (features.mean(0) + mirrored(features).mean(0)) / 2
    within = np.concatenate([edges(_warped(greys[sample], rng)) - features[sample] for _ in range(WARPS)])
    noise = _scatter(within)
    ridge = 1e-3 * np.trace(noise) / len(noise) * np.eye(len(noise))  # a small set has fewer warps than dimensions
    axes = eigh(_scatter(features - mean), noise + ridge)[1][:, : -DIMENSIONS - 1 : -1].astype(np.float32)

    def project(values: ndarray) -> ndarray:
        positions = (values - mean) @ axes
        return positions / np.maximum(np.linalg.norm(positions, axis=1, keepdims=True), 1e-9)

    again = rng.permutation(len(greys))[:SAMPLE]
    cosines = (project(edges(_warped(greys[again], rng))) * project(features[again])).sum(1)
    return project, np.clip(np.quantile(cosines, 0.01), 0.3, 0.6)


def _scatter(values: ndarray) -> ndarray:
    """Covariance about 0 of features and of their mirror images."""
    turned = mirrored(values)
    return (values.T @ values + turned.T @ turned) / (2 * len(values))


def _warped(greys: ndarray, rng: Generator) -> ndarray:
    """Each turned by up to 10 degrees, cut or shrunk, shifted and stretched; every fourth with a blanked rectangle."""
    side = greys.shape[1]
    middle = np.full(2, (side - 1) / 2)
    pictures = np.empty_like(greys)
    for grey, picture in zip(greys, pictures, strict=True):
        angle = np.deg2rad(rng.uniform(-10, 10))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = rng.uniform(0.86, 1.1) * turn * np.exp([[rng.uniform(-0.05, 0.05)], [rng.uniform(-0.05, 0.05)]])
        shift = middle - linear @ middle + rng.uniform(-0.06, 0.06, 2) * side
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        border = (cv2.BORDER_REFLECT, cv2.BORDER_CONSTANT)[rng.integers(2)]
        warp = np.column_stack([linear, shift])
        cv2.warpAffine(grey, warp, (side, side), dst=picture, flags=flags, borderMode=border)
        if rng.random() < 0.25:
            height, width = (rng.uniform(0.2, 0.6, 2) * side).astype(int)
            top, left = rng.integers(0, (side - height, side - width))
            picture[top : top + height, left : left + width] = 128
    return pictures


def _nearest(pairs: ndarray, cosines: ndarray) -> ndarray:
    """The pairs in which one is among the `NEAREST` of the other."""
    picture = pairs.T.ravel()
    pair = np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((-cosines[pair], picture))
    first = np.searchsorted(picture[order], picture[order])  # where the pairs of each picture begin
    near = order[np.arange(len(order)) - first < NEAREST]
    return pairs[np.unique(pair[near])]

"""Near-duplicates: one picture saved again, scaled, mirrored, cut, shifted, framed, turned or augmented.

`neighbours` names candidates; a pair is proven by laying one picture on the other. What is found, and how often two
that are none are joined, is measured by benchmarks/trials/near_duplicates.py.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers import config
from emohelpers.config import paths, sealed
from emohelpers.datasets import thumbnails
from emohelpers.datasets.neighbours import neighbours
from emohelpers.datasets.pixels import Pixels

SIDE = 48  # pixels of the pictures that are laid on one another
COARSE = 32  # the same for candidates, and for the first look
FLAT = 16  # range of grey up to which a line at the edge belongs to a border, and a picture shows nothing
FRAME = 0.2  # of a side that a border takes, at most
WINDOW = 9  # pixels of a place
COVERED = 0.5  # of the places that may disagree: near what is erased, painted over or outside
DIFFERING = 0.3  # of the pixels that may have another tone
LEAST = 0.9  # likeness from which pairs are kept
FIRST_LOOK = 0.75  # correlation of the coarse pictures from which the finer ones are looked at
TONES = 0.12  # difference in brightness and colour, in standard deviations, that the other pixels do not exceed
STEPS, CONVERGED = 12, 3e-3  # of the registration: at most, and the gain in correlation that ends it
MANY = 500  # pictures whose pairs are kept on the disk
_VERSION = 1  # raise when other pairs would be found
_known: dict[str, DataFrame] = {}  # the last searches of this process


def twins(likeness: float, *sets: tuple[Pixels, Sequence[str]]) -> DataFrame:
    """Pairs of different contents that show one picture: `first`, `second` (SHA-256), `likeness`, `mirrored` (bool).

    Registered onto each other (affine), two pictures must correlate by `likeness` in half of the places, and have the
    same brightness and colours in seven tenths. Of each picture the four best candidates are tried. A picture of one
    tone, or unreadable, is like nothing.

    Args:
        sets: stores, each with the paths of its pictures that are compared, with one another and across sets.
    """
    place = {}
    for pixels, names in sets:
        place |= dict(zip(pixels.hashes(names), ((pixels, row) for row in pixels.rows(names)), strict=True))
    place.pop("", None)
    contents = sorted(place)
    key = config.digest(_VERSION, [(sha256, place[sha256][0].side) for sha256 in contents])
    if key not in _known:
        if len(_known) > 8:
            _known.pop(next(iter(_known)))
        _known[key] = _kept(key, contents, place) if len(contents) >= MANY else _search(contents, place)
    pairs = _known[key]
    return pairs[pairs["likeness"] >= likeness]


def rows(pixels: Pixels, names: Sequence[str], likeness: float) -> ndarray:
    """(k, 2) positions in `names` of pairs that are near-duplicates, or whose thumbnails' cosine is `likeness`."""
    first = {sha256: row for row, sha256 in enumerate(pixels.hashes(names))}
    pairs = twins(likeness, (pixels, names))
    registered = np.stack([pairs["first"].map(first), pairs["second"].map(first)], 1).astype(int)
    thumbs = pixels.thumbnails(names)
    return np.concatenate([thumbnails.twins(thumbs, thumbs, likeness), registered.reshape(-1, 2)])


def _kept(key: str, contents: list[str], place: dict) -> DataFrame:
    """The pairs of an earlier run, or new ones that are kept for the next."""
    file = paths.cache_folder() / "twins" / f"{key}.json"
    try:
        return DataFrame(sealed.read(file))
    except FileNotFoundError:
        pass
    except sealed.Damaged as error:
        print(f"{error}: near-duplicates are looked for again.")
    pairs = _search(contents, place)
    sealed.write(file, pairs.to_dict("list"))
    return pairs


def _search(contents: list[str], place: dict[str, tuple[Pixels, int]]) -> DataFrame:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        squares = (pixels.take(row) for pixels, row in map(place.get, contents))
        small = list(pool.map(inner, squares))
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in small]
        rows = [row for row, picture in enumerate(grey) if np.ptp(picture) > FLAT]
        if len(rows) < 2:
            return DataFrame({"first": [], "second": [], "likeness": np.empty(0), "mirrored": np.empty(0, bool)})
        coarse = [cv2.resize(grey[row], (COARSE, COARSE), interpolation=cv2.INTER_AREA) for row in rows]
        pairs, mirrored = neighbours(np.stack(coarse))
        details = list(pool.map(detail, coarse))

        def prove(pair: ndarray, turned: bool) -> float:
            first, second = pair
            step = -1 if turned else 1
            warp, correlation = _register(details[first], details[second][:, ::step], np.eye(2, 3, dtype=np.float32), 5)
            if correlation < FIRST_LOOK:
                return 0.0
            # the same warp where pixels are smaller
            scale = SIDE / COARSE
            warp[:, 2] = scale * warp[:, 2] + (scale - 1) / 2 * (1 - warp[:, :2].sum(1))
            first, second = small[rows[first]], np.ascontiguousarray(small[rows[second]][:, ::step])
            ours, theirs = (detail(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) for picture in (first, second))
            return agreement(first, second, _register(ours, theirs, warp, 1)[0])

        values = np.array(list(pool.map(prove, pairs, mirrored)))
    proven = values >= LEAST
    first, second = np.array(contents)[rows][pairs[proven].T]
    return DataFrame({"first": first, "second": second, "likeness": values[proven], "mirrored": mirrored[proven]})


def inner(square: ndarray) -> ndarray:
    """(s, s, 3) uint8 -> (SIDE, SIDE, 3) of what lies inside a border of one tone, if there is one."""
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    top, bottom = _inside(np.ptp(grey, axis=1))
    left, right = _inside(np.ptp(grey, axis=0))
    picture = square[top:bottom, left:right]
    method = cv2.INTER_AREA if min(picture.shape[:2]) >= SIDE else cv2.INTER_LINEAR
    return cv2.resize(picture, (SIDE, SIDE), interpolation=method)


def _inside(ranges: ndarray) -> tuple[int, int]:
    """First line that is no border and the line after the last, of lines with such ranges of grey."""
    lines = len(ranges)
    filled = np.flatnonzero(ranges > FLAT)
    if not len(filled):
        return 0, lines
    start = min(filled[0], int(FRAME * lines))
    stop = max(filled[-1] + 1, lines - int(FRAME * lines))
    return start + (start > 0), stop - (stop < lines)  # the line between is a mixture


def detail(picture: ndarray) -> ndarray:
    """(s, s) -> float32: what is finer than a sixth of the picture and coarser than a pixel, everywhere as strong."""
    side = len(picture)
    values = picture.astype(np.float32)
    values = cv2.GaussianBlur(values, (0, 0), side / SIDE) - cv2.GaussianBlur(values, (0, 0), side / 6)
    return values / (np.sqrt(cv2.GaussianBlur(values * values, (0, 0), side / 6)) + 2)


def _register(first: ndarray, second: ndarray, warp: ndarray, blur: int) -> tuple[ndarray, float]:
    """The affine warp of the second onto the first, from `warp` on, and their correlation then (Evangelidis, 2008)."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, CONVERGED)
    try:
        correlation, warp = cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, stop, None, blur)
    except cv2.error:  # they never agree
        return warp, 0.0
    return warp, correlation


def agreement(first: ndarray, second: ndarray, warp: ndarray) -> float:
    """The `COVERED` quantile of the local correlations of two (SIDE, SIDE, 3) pictures, one laid on the other.

    Local: brightness over wider surroundings is taken away first. 0 where they hardly overlap or colours differ.
    """
    size = (SIDE, SIDE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones(size, np.float32), warp, size, flags=flags) > 0.99
    if inside.mean() < 0.4:
        return 0.0
    ours, theirs = (cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.float32) for picture in (first, second))
    theirs = cv2.warpAffine(cv2.GaussianBlur(theirs, (0, 0), 1), warp, size, flags=flags)
    ours = cv2.GaussianBlur(ours, (0, 0), 1)
    weight = np.maximum(_blurred(inside, 25), 0.05)
    a, b = ((picture[..., 0] - _blurred(picture[..., 0] * inside, 25) / weight) * inside for picture in (ours, theirs))
    aa, bb, ab = (_blurred(product, WINDOW) for product in (a * a, b * b, a * b))
    textured = inside & (aa > 0.1 * aa[inside].mean()) & (bb > 0.1 * bb[inside].mean())
    if textured.mean() < 0.2:
        return 0.0
    correlation = ab / np.sqrt(aa * bb + 1e-6)
    return float(np.quantile(correlation[textured], COVERED)) * _same_tones(
        ours, theirs, inside, textured & (correlation > LEAST)
    )


def _same_tones(ours: ndarray, theirs: ndarray, inside: ndarray, like: ndarray) -> bool:
    """Whether brightness and colours (YCrCb) are the same but for gain and offset, fitted where pictures are `like`."""
    if np.count_nonzero(like) < 2:
        return False
    difference = np.zeros(inside.sum())
    scale = 0.0
    for channel in range(3):
        x, y = theirs[like][:, channel], ours[like][:, channel]
        gain = np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + 1)
        values = ours[inside][:, channel]
        difference += (values - y.mean() - gain * (theirs[inside][:, channel] - x.mean())) ** 2
        scale += values.var()
    return bool(np.quantile(difference, 1 - DIFFERING) <= TONES**2 * scale)


def _blurred(values: ndarray, side: int) -> ndarray:
    return cv2.blur(values.astype(np.float32), (side, side), borderType=cv2.BORDER_CONSTANT)

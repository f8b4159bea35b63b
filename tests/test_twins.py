"""Near-duplicates: one picture cut, shifted, framed, turned, mirrored, saved again or augmented; no two others."""

import cv2
import numpy as np
import pytest

from emohelpers.config import paths
from emohelpers.datasets import twins
from emohelpers.datasets.neighbours import edges, mirrored
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.thumbnails import thumbnail

SIDE = 96
N = 40


def picture(seed: int) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 of coloured clouds, coarse ones stronger than fine ones, as in photographs."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(0, side**-0.8, (side, side, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for side in (3, 6, 12, 24, 48)
    ]
    clouds = sum(layers)
    return np.clip(128 + 45 * clouds / clouds.std(), 0, 255).astype(np.uint8)


def moved(
    square: np.ndarray, degrees: float = 0.0, right: float = 0.0, border: int = cv2.BORDER_CONSTANT
) -> np.ndarray:
    warp = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 1)
    warp[0, 2] += right * SIDE
    return cv2.warpAffine(square, warp, (SIDE, SIDE), borderMode=border)


def scaled(part: np.ndarray) -> np.ndarray:
    return cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def saved(square: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)


def erased(square: np.ndarray) -> np.ndarray:
    copy = np.clip(0.85 * square + 10, 0, 255).astype(np.uint8)
    copy[10:45, 50:80] = 128
    return copy


KINDS = {
    "saved again": saved,
    "smaller": lambda square: scaled(cv2.resize(square, (56, 56), interpolation=cv2.INTER_AREA)),
    "mirrored": lambda square: square[:, ::-1],
    "cut to 95 %": lambda square: scaled(square[1:92, 4:95]),
    "cut to 90 %": lambda square: scaled(square[8:94, 2:88]),
    "shifted": lambda square: moved(square, right=0.05, border=cv2.BORDER_REPLICATE),
    "framed": lambda square: scaled(cv2.copyMakeBorder(square, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=(255, 255, 255))),
    "turned": lambda square: moved(square, degrees=5),
    "darker, mirrored, a rectangle erased": lambda square: erased(square[:, ::-1]),
}


def store(squares: list[np.ndarray], name: str) -> Pixels:
    names = [f"{name}{i:03d}" for i in range(len(squares))]
    return Pixels(names, np.stack(squares), names, np.stack([thumbnail(square) for square in squares]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_known_again_and_no_other_is_taken_for_it(kind: str) -> None:
    squares = [picture(seed) for seed in range(N)]
    changed = [KINDS[kind](square) for square in squares[::4]]
    flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
    pixels = store([*squares, *changed, flat, flat + 1], kind)
    pairs = twins.twins(0.96, (pixels, pixels.paths))
    joined = {frozenset(pair) for pair in zip(pairs["first"], pairs["second"], strict=True)}
    expected = {frozenset((pixels.paths[4 * i], pixels.paths[N + i])) for i in range(len(changed))}
    assert not joined - expected
    assert len(joined) >= 0.9 * len(expected)
    assert (pairs["mirrored"] == ("mirrored" in kind)).all()
    rows = twins.rows(pixels, pixels.paths, 0.96)
    assert {frozenset(pixels.paths[row] for row in pair) for pair in rows if pair[0] != pair[1]} >= joined


def test_edges_of_mirror_images_need_no_picture() -> None:
    greys = np.stack([cv2.resize(picture(seed)[..., 0], (32, 32)) for seed in range(3)])
    assert np.allclose(mirrored(edges(greys)), edges(greys[:, :, ::-1]), atol=1e-6)


def test_pairs_of_many_pictures_are_kept_and_damage_is_said(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(twins, "MANY", 2)
    monkeypatch.setenv("EMOHELPERS_CACHE", str(tmp_path))
    pixels = store([*map(picture, range(8)), picture(0)[:, ::-1]], "kept")
    first = twins.twins(0.96, (pixels, pixels.paths))
    (file,) = (paths.cache_folder() / "twins").iterdir()
    for damage in (False, True):
        twins._known.clear()
        if damage:
            file.write_bytes(file.read_bytes().replace(b"kept000", b"kept001"))
        assert twins.twins(0.96, (pixels, pixels.paths)).equals(first)
        assert ("looked for again" in capsys.readouterr().out) == damage
    assert list(first["second"]) == ["kept008"]

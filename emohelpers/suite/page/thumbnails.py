"""A run's pictures made small enough to lie inside of one page, sorted by what they show."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from emohelpers.datasets import decoding

ROOM = 2_000_000  # bytes of base64 that all of them take together
WIDTHS = (720, 560, 440, 340, 260, 200)  # pixels: the first at which all find room
KINDS = {  # heading -> words in a picture's name, asked in this order
    "Confusion matrices": ("confusion",),
    "Training": ("curve", "history"),
    "Calibration": ("reliab", "calib"),
    "Explanations": ("cam", "shap", "lime", "expla", "attention", "panel", "deletion", "faithful", "pointing"),
    "Classes": ("class",),
    "Galleries": ("error", "face", "gallery", "augmented", "edit", "pairs", "real"),
    "Other pictures": ("",),
}


def by_kind(pictures: Sequence[Path]) -> dict[str, list[Path]]:
    """The headings in order, and the pictures that belong below each by their names."""
    kinds: dict[str, list[Path]] = {heading: [] for heading in KINDS}
    for path in sorted(pictures):
        name = path.stem.lower()
        kinds[next(heading for heading, words in KINDS.items() if any(word in name for word in words))].append(path)
    return {heading: paths for heading, paths in kinds.items() if paths}


def inlined(pictures: Sequence[Path], room: int = ROOM) -> dict[Path, tuple[str, int, int]]:
    """Picture -> data URI, width and height, at the largest of `WIDTHS` at which all of them find room together.

    What cannot be read, because it is still being written, is left out; and the last ones, if even the smallest are
    too many.
    """
    # From the largest: the first width at which nothing is left out.
    for width in WIDTHS:
        small = {}
        left = room
        for path in pictures:
            try:
                thumbnail = _small(path, width)
            except (OSError, decoding.UnreadableImage):
                continue
            left -= len(thumbnail[0])
            if left < 0:
                break
            small[path] = thumbnail
        if left >= 0:
            break
    return small


def _small(path: Path, width: int) -> tuple[str, int, int]:
    image = Image.fromarray(decoding.decode(path.read_bytes()))
    image.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=72)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode(), *image.size

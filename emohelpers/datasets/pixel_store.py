"""A store of decoded pictures on the disk: pixels.npy, thumbs.npy, and index.json with what is known of each file."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from emohelpers.config import files
from emohelpers.datasets.thumbnails import SIDE


@dataclass
class Index:
    """What is known of each row; written after each part, so it never promises pixels that were not flushed."""

    stamps: list[str]
    sha256: list[str]
    thumbs: ndarray
    reasons: dict[int, str]  # row -> why it cannot be read
    created: bool

    def todo(self, stamps: list[str]) -> list[int]:
        """Rows to decode; what could not be read is tried again, since the disk or a permission may have been why."""
        return [row for row, stamp in enumerate(stamps) if self.stamps[row] != stamp or row in self.reasons]

    def put(self, row: int, stamp: str, sha256: str, thumb: ndarray, reason: str) -> None:
        """Notes what a file holds."""
        self.stamps[row] = stamp
        self.sha256[row] = sha256
        self.thumbs[row] = thumb
        self.reasons.pop(row, None)
        if reason:
            self.reasons[row] = reason

    @classmethod
    def read(cls, home: Path, n: int) -> "Index":
        """What was saved of `n` pictures; nothing is known of a new store."""
        if not (home / "index.json").is_file() or not (home / "pixels.npy").is_file():
            return cls([""] * n, [""] * n, np.zeros((n, SIDE * SIDE), np.float32), {}, created=False)
        known = json.loads((home / "index.json").read_text(encoding="utf-8"))
        reasons = {int(row): reason for row, reason in known["reasons"].items()}
        return cls(known["stamps"], known["sha256"], np.load(home / "thumbs.npy"), reasons, created=True)

    def write(self, home: Path) -> None:
        """Saves it whole."""
        with files.replace(home / "thumbs.npy") as temp:
            np.save(temp, self.thumbs)
        known = {"stamps": self.stamps, "sha256": self.sha256, "reasons": self.reasons}
        files.write_json(home / "index.json", known)


def stamps(root: Path, paths: list[str]) -> list[str]:
    """Size and time of each file, or "missing"; a listing per folder, as single look-ups are slow on mounts."""
    listings: dict[Path, dict[str, str]] = {}
    sizes_and_times = []
    for path in paths:
        file = root / path
        if file.parent not in listings:
            listings[file.parent] = _listing(file.parent)
        sizes_and_times.append(listings[file.parent].get(file.name, "missing"))
    return sizes_and_times


def _listing(folder: Path) -> dict[str, str]:
    try:
        with os.scandir(folder) as entries:
            stats = {entry.name: entry.stat() for entry in entries if entry.is_file()}
    except OSError:
        return {}
    return {name: f"{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats.items()}


def reserve(home: Path, shape: tuple[int, ...]) -> None:
    """Makes pixels.npy with all of its blocks, see `files.reserve`."""
    file = home / "pixels.npy"
    size = math.prod(shape)
    with room(home, size):
        free = shutil.disk_usage(home).free
        if free < size * 1.05:
            raise OSError(errno.ENOSPC, f"{free / 1e9:.2f} GB are free")
        array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        files.reserve(file, array.offset + size)


@contextmanager
def room(home: Path, size: int) -> Iterator[None]:
    """Says what cannot be written, how large it is, and the remedies."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"decoded pictures need {size / 1e9:.2f} GB below {home}: {error.strerror}. Free some space, choose a "
            "smaller img_size, or point EMOHELPERS_CACHE at a larger disk that can be written.",
        ) from error

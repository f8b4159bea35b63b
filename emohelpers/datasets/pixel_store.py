"""A store of decoded pictures on the disk: pixels, thumbnails, and index.json with what is known of each file.

Pixels that the index has promised are never written again, since a reader may have them mapped: what changes goes into
a copy under another name, which the next index names.
"""

import errno
import math
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy import ndarray

from emohelpers.config import files, sealed
from emohelpers.datasets.locate import is_file
from emohelpers.datasets.thumbnails import SIDE, thumbnail

SAMPLE = 1024  # bytes at a file's start, middle and end that are read at every start
EACH = 512  # files or rows that a thread looks at in a row
DAMAGED = "damaged"  # in the place of a row's stamp


@dataclass
class Index:
    """What is known of each row; written after each part, so it never promises pixels that were not flushed."""

    stamps: list[str]  # "" : nothing is promised of this row
    sha256: list[str]
    checksums: list[int]  # CRC-32 of each row's pixels
    thumbs: ndarray
    reasons: dict[int, str] = field(default_factory=dict)  # row -> why it cannot be read
    pixels: str = ""  # name of the file that holds the rows
    damage: str = ""  # what of it is not as it was written
    array: ndarray | None = None  # (n, side, side, 3) uint8, mapped

    def todo(self, stamps: list[str]) -> list[int]:
        """Rows to decode; what could not be read is tried again, since the disk or a permission may have been why."""
        return [row for row, stamp in enumerate(stamps) if self.stamps[row] != stamp or row in self.reasons]

    def put(self, row: int, stamp: str, sha256: str, square: ndarray, reason: str) -> None:
        """Notes what a file holds."""
        self.stamps[row] = stamp
        self.sha256[row] = sha256
        self.checksums[row] = zlib.crc32(square)
        self.thumbs[row] = thumbnail(square)
        self.reasons.pop(row, None)
        if reason:
            self.reasons[row] = reason

    @classmethod
    def new(cls, n: int, damage: str = "") -> "Index":
        """Nothing is known of `n` pictures."""
        return cls([""] * n, [""] * n, [0] * n, np.zeros((n, SIDE * SIDE), np.float32), damage=damage)

    @classmethod
    def read(cls, home: Path, shape: tuple[int, ...]) -> "Index":
        """What was saved of pictures (n, side, side, 3); nothing is known of a new store, nor of what is damaged."""
        if not (home / "index.json").is_file():
            return cls.new(shape[0])
        try:
            known = sealed.read(home / "index.json")
            thumbs = np.load(home / known["thumbs"])
            reasons = {int(row): reason for row, reason in known["reasons"].items()}
            index = cls(**{**known, "thumbs": thumbs, "reasons": reasons})
            if _name(thumbs) != known["thumbs"] or index.open(home).shape != shape:
                raise sealed.Damaged("its thumbnails or its pixels are not those that were written")
        except (OSError, EOFError, ValueError) as error:  # ValueError: also a file that is no array, or too short
            return cls.new(shape[0], damage=str(error))
        sums = _by_threads(lambda row: zlib.crc32(index.array[row]), range(len(index.stamps)))
        wrong = [row for row, stamp in enumerate(index.stamps) if stamp and sums[row] != index.checksums[row]]
        for row in wrong:
            index.stamps[row], index.sha256[row] = DAMAGED, ""
        index.damage = f"{len(wrong):,} of its pictures are not those that were written" if wrong else ""
        return index

    def open(self, home: Path, mode: str = "r") -> ndarray:
        """Maps the pixels."""
        self.array = np.load(home / self.pixels, mmap_mode=mode)
        return self.array

    def promised(self, row: int) -> bool:
        """Whether a reader may use this row."""
        return bool(self.stamps[row]) and row not in self.reasons

    def write(self, home: Path) -> None:
        """Saves it whole, and removes what earlier ones named."""
        thumbs = _name(self.thumbs)
        with files.replace(home / thumbs) as temp:
            np.save(temp, self.thumbs)
        known = {name: value for name, value in vars(self).items() if name not in ("damage", "array")}
        sealed.write(home / "index.json", {**known, "thumbs": thumbs})
        for file in set(home.glob("[!.]*.npy")) - {home / thumbs, home / self.pixels}:
            with suppress(OSError):  # Windows removes no file that is mapped
                file.unlink()

    def renew(self, home: Path, shape: tuple[int, ...], rows: list[int]) -> None:
        """Takes back what was promised of `rows`, on a copy of the pixels; makes the file where there is none."""
        fresh = f"pixels-{uuid.uuid4().hex[:8]}.npy"
        if not self.pixels:
            reserve(home / fresh, shape)
        elif any(map(self.promised, rows)):
            with room(home, math.prod(shape)), files.replace(home / fresh) as temp:
                shutil.copyfile(home / self.pixels, temp)
        else:
            return
        self.pixels = fresh
        for row in rows:
            self.stamps[row] = ""
        self.write(home)


def _name(thumbs: ndarray) -> str:
    return f"thumbs-{zlib.crc32(thumbs):08x}.npy"


def stamps(root: Path, paths: list[str], workers: int | None = None) -> list[str]:
    """What tells a changed file apart, or "missing": size, times, inode, its folder's, and a sample of its bytes.

    A listing per folder, as single look-ups are slow on mounts. Some file systems have no inodes or times worth the
    name, and unpacked archives may set any time: hence the sample.
    """
    listings: dict[str, dict[str, tuple[str, int, str]]] = {}
    files_and_stats = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = _listing(root / folder)
        files_and_stats.append(listings[folder].get(name))
    return _by_threads(_stamp, files_and_stats, workers)


def _listing(folder: Path) -> dict[str, tuple[str, int, str]]:
    """Path, size and description of each file by its name."""
    try:
        around = zlib.crc32(described(os.stat(folder)).encode())
        with os.scandir(folder) as entries:
            stats = {entry.name: (entry.path, entry.stat()) for entry in entries if is_file(entry)}
    except OSError:
        return {}
    return {name: (path, stat.st_size, f"{described(stat)}:{around:x}") for name, (path, stat) in stats.items()}


def described(stat: os.stat_result) -> str:
    """All that tells a changed file or folder apart without reading it."""
    return f"{stat.st_size:x}:{stat.st_mtime_ns:x}:{stat.st_ctime_ns:x}:{stat.st_ino:x}"


def _stamp(file_and_stat: tuple[str, int, str] | None) -> str:
    if file_and_stat is None:
        return "missing"
    file, size, stat = file_and_stat
    sample = 0
    try:
        with open(file, "rb", buffering=0) as content:
            for start in (0, size // 2, size - SAMPLE) if size > SAMPLE else (0,):
                content.seek(start)
                sample = zlib.crc32(content.read(SAMPLE), sample)
    except OSError:
        return f"{stat}:closed"
    return f"{stat}:{sample:x}"


def _by_threads(function: Callable, values: Sequence, workers: int | None = None) -> list:
    """`function` of each value; many at a time, as handing them over one by one takes longer than the work."""
    parts = [values[start : start + EACH] for start in range(0, len(values), EACH)]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return [result for part in pool.map(lambda part: list(map(function, part)), parts) for result in part]


def reserve(file: Path, shape: tuple[int, ...]) -> None:
    """Makes a file of pixels with all of its blocks, see `files.reserve`."""
    size = math.prod(shape)
    with room(file.parent, size):
        free = shutil.disk_usage(file.parent).free
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

"""Pictures decoded once into a uint8 memory-mapped array, with what the leak guard needs to know of each.

One pass reads, hashes and decodes every file. A second run looks at sizes, times, inodes and a sample of each, hashes
what looks changed, and decodes what has another hash. The store is built in parts that are kept, so a kill in the
middle costs at most one part. What is damaged on the disk is said and decoded again.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy import ndarray
from tqdm.auto import tqdm

from emohelpers.config import locks
from emohelpers.datasets import decoding, pixel_store
from emohelpers.datasets.decoding import BROKEN, UnreadableImage, decode, fit_square
from emohelpers.datasets.pixel_store import Index

PART = 1024  # pictures between two savings of the progress
_VERSION = 4  # raise when decoding or resizing changes: an old store is then made again


class ByPath:
    """Rows that are found by path."""

    paths: list[str]

    @cached_property
    def _row(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self.paths)}

    def rows(self, paths: Iterable[str]) -> ndarray:
        """(n,) positions of `paths` among those of the store."""
        return np.array([self._row[path] for path in paths], np.int64)


@dataclass(frozen=True)
class Pixels(ByPath):
    """Decoded pictures in the order of the table they were built from."""

    paths: list[str]
    array: "ndarray | _Stacked"  # (N, side, side, 3) uint8, by row; memory-mapped
    sha256: list[str]  # of the file's bytes; "" if unreadable
    thumbs: ndarray  # (N, 256) float32, see `thumbnails`
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason

    @property
    def side(self) -> int:
        """Pixels of one side."""
        return self.array.shape[1]

    def take(self, rows: ndarray) -> ndarray:
        """(n, side, side, 3) uint8 copy of some rows."""
        return self.array[rows]

    def hashes(self, paths: Iterable[str]) -> list[str]:
        """SHA-256 of each file, "" if unreadable."""
        return [self.sha256[row] for row in self.rows(paths)]

    def thumbnails(self, paths: Iterable[str]) -> ndarray:
        """(n, 256) thumbnails of some pictures."""
        return self.thumbs[self.rows(paths)]


class _Stacked:
    """Arrays of equal pictures, read by row as if they were one."""

    def __init__(self, arrays: list[ndarray]):
        self.arrays = arrays
        self.starts = np.cumsum([0, *map(len, arrays)])
        self.shape = (int(self.starts[-1]), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> ndarray:
        rows = np.arange(len(self))[index]
        flat = np.atleast_1d(rows)
        pictures = np.empty((len(flat), *self.shape[1:]), self.dtype)
        for array, start in zip(self.arrays, self.starts, strict=False):
            inside = (flat >= start) & (flat < start + len(array))
            pictures[inside] = array[flat[inside] - start]
        return pictures if rows.ndim else pictures[0]


def side_for(dataset, cfg, sample: int = 64) -> int:
    """Pixels worth keeping of each picture: what the model will see, or less where the pictures are smaller.

    Small pictures are enlarged while they are augmented, not in the store: 29,000 AffectNet faces take 0.8 GB, not 4.4.
    """
    edits = getattr(dataset, "elsewhere", {})  # change no other picture's size
    photographs = [path for path in dataset.table["path"] if path not in edits]
    shorter = []
    for path in photographs[:: max(len(photographs) // sample, 1)]:
        try:
            shorter.append(min(decoding.size(dataset.root / path)))
        except BROKEN:
            continue  # listed by `build`, with all the others
    needed = round(cfg.img_size * cfg.eval_zoom)
    return min(needed, max(shorter, default=needed))


def build(dataset, side: int, folder: str | os.PathLike, *, workers: int | None = None) -> Pixels:
    """Decode every picture of `dataset.table` below `dataset.root` to `side` pixels; at once if already done.

    Files that cannot be read stay black in the array and are listed in `unreadable`: `faces.check` decides.
    Pictures of another root (`dataset.elsewhere`: path -> root) get a store of their own, so that adding edits to a
    data set decodes the edits alone; they come after the others in the result.

    Raises:
        OSError: the folder cannot be written, or the disk is too small (said before the work starts).
    """
    elsewhere = getattr(dataset, "elsewhere", {})
    # The data set's own root is first, so that its rows keep their numbers when edits are added.
    below: dict[Path, list[str]] = {dataset.root: []}
    for path in dataset.table["path"]:
        below.setdefault(elsewhere.get(path, dataset.root), []).append(path)
    stores = [_store(dataset.name, root, paths, side, folder, workers) for root, paths in below.items() if paths]
    if len(stores) == 1:
        return stores[0]
    whole = Pixels([], _Stacked([store.array for store in stores]), [], np.concatenate([s.thumbs for s in stores]))
    for store in stores:
        whole.paths.extend(store.paths)
        whole.sha256.extend(store.sha256)
        whole.unreadable.update(store.unreadable)
    return whole


def _store(name: str, root: Path, paths: list[str], side: int, folder, workers: int | None) -> Pixels:
    """The store of the pictures below one root, made or brought up to date."""
    stamps = pixel_store.stamps(root, paths, workers)
    key = hashlib.sha256(json.dumps([_VERSION, side, str(root), paths]).encode()).hexdigest()[:16]
    home = Path(folder) / f"{name}-{side}px-{key}"
    shape = (len(paths), side, side, 3)

    index = Index.read(home, shape)
    if index.todo(stamps):
        with pixel_store.room(home, math.prod(shape)):
            home.mkdir(parents=True, exist_ok=True)
            home.with_suffix(".lock").touch()
        with locks.lock(home.with_suffix(".lock")):  # a second process waits, then finds it done
            index = Index.read(home, shape)
            if index.damage:
                print(f"The store {home} is damaged ({index.damage}): what is wrong is decoded again.")
            if todo := index.todo(stamps):
                _fill(home, index, shape, root, paths, stamps, todo, workers)
    unreadable = {paths[row]: reason for row, reason in index.reasons.items()}
    return Pixels(paths, index.array, index.sha256, index.thumbs, unreadable)


def _fill(home: Path, index: Index, shape: tuple, root: Path, paths, stamps, todo: list[int], workers) -> None:
    """Brings the rows `todo` of the store up to date, a part after the other."""

    def digest(row: int) -> str | None:
        try:
            return hashlib.sha256(decoding.read(root / paths[row])).hexdigest()
        except (OSError, UnreadableImage):
            return None

    def read(row: int) -> tuple[int, str, ndarray, str]:
        try:
            data = decoding.read(root / paths[row])
            return row, hashlib.sha256(data).hexdigest(), fit_square(decode(data), shape[1]), ""
        except FileNotFoundError:
            return row, "", np.zeros(shape[1:], np.uint8), "file is missing"
        except (OSError, UnreadableImage) as error:
            return row, "", np.zeros(shape[1:], np.uint8), str(error)

    # Pillow and OpenCV release the lock while they work: threads are enough, and safe inside a notebook.
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        # What looks changed and has the content that it had is not decoded.
        promised = [row for row in todo if index.promised(row)]
        for row, sha256 in zip(promised, pool.map(digest, promised), strict=True):
            if sha256 == index.sha256[row]:
                index.stamps[row] = stamps[row]
        todo = index.todo(stamps)
        # From here on nobody is promised these rows, until they are written.
        index.renew(home, shape, todo)
        array = index.open(home, "r+")
        with tqdm(total=len(todo), desc="decode", unit="img", mininterval=2, disable=not todo) as bar:
            for start in range(0, len(todo), PART):
                part = todo[start : start + PART]
                for row, sha256, square, reason in pool.map(read, part):
                    array[row] = square
                    index.put(row, stamps[row], sha256, square, reason)
                # First the pixels, then the index that promises them.
                array.flush()
                index.write(home)
                bar.update(len(part))
    if not todo:
        index.write(home)
    index.open(home)

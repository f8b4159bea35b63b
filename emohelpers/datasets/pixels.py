"""Pictures decoded once into a uint8 memory-mapped array, with what the leak guard needs to know of each.

One pass reads, hashes and decodes every file; a second run only compares names, sizes and times. The store is built
in parts that are kept, so a kill in the middle costs at most one part.
"""

import errno
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from PIL import Image, ImageCms
from tqdm.auto import tqdm

from emohelpers.config import files

THUMB = 16  # side of the grey thumbnail behind `thumbs`
PART = 1024  # pictures between two savings of the progress
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # how Pillow says that it cannot read a file
_VERSION = 2  # raise when decoding or resizing changes: an old store is then made again


class UnreadableImage(ValueError):
    """A file that is not a whole picture."""


def decode(data: bytes) -> np.ndarray:
    """Bytes of a picture file -> (H, W, 3) uint8 sRGB; EXIF rotation applied, alpha on white, no silent repair."""
    if not data:
        raise UnreadableImage("empty file")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()  # a truncated file raises here
            turned = _eight_bits(_upright(picture))
            profile = picture.info.get("icc_profile")
            if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
                turned = turned.convert("RGBA")
                turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned).convert("RGB")
            return np.asarray(_srgb(turned, profile) if foreign(profile) else turned.convert("RGB"))
    except BROKEN as error:
        raise UnreadableImage(str(error).split(" <")[0] or type(error).__name__) from error


def _upright(picture: Image.Image) -> Image.Image:
    orientation = picture.getexif().get(0x0112, 1)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> PIL Transpose
    return picture.transpose(Image.Transpose(turns[orientation])) if orientation in turns else picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, where Pillow would clip it to white."""
    if not picture.mode.startswith("I"):
        return picture
    deep = np.asarray(picture)
    if picture.mode == "I" and deep.max() < 256:  # 8 bits in a wide type
        return picture.convert("L")
    return Image.fromarray((deep.clip(0, 65535) / 257 + 0.5).astype(np.uint8))


def foreign(profile: bytes | None) -> bool:
    """Whether an embedded colour profile is another one than sRGB (a phone's Display P3, a camera's Adobe RGB)."""
    if not profile:
        return False
    try:
        return "srgb" not in ImageCms.getProfileDescription(io.BytesIO(profile)).lower()
    except ImageCms.PyCMSError:  # broken profiles are ignored, as every viewer does
        return False


def _srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        return ImageCms.profileToProfile(picture, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError:  # of another colour space than the picture's, for example
        return picture.convert("RGB")


def fit_square(picture: np.ndarray, side: int) -> np.ndarray:
    """Centre crop, then `side` pixels: (H, W, 3) -> (side, side, 3) uint8, for every use alike.

    Area averaging when shrinking (no aliasing), bicubic when enlarging. What the model sees of the square is for
    `Preprocess.evaluate` and `augment` in `images`.
    """
    height, width = picture.shape[:2]
    cut = min(height, width)
    top, left = (height - cut) // 2, (width - cut) // 2
    picture = picture[top : top + cut, left : left + cut]
    if cut == side:
        return np.ascontiguousarray(picture)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if cut > side else cv2.INTER_CUBIC)


def thumbnail(square: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 -> (256,) float32 of zero mean and unit length: the dot product of two is their likeness."""
    grey = cv2.resize(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    vector = grey.astype(np.float32).ravel()
    vector -= vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


@dataclass(frozen=True)
class Pixels:
    """Decoded pictures in the order of the table they were built from."""

    paths: list[str]
    array: np.ndarray  # (N, side, side, 3) uint8, memory-mapped
    sha256: list[str]  # of the file's bytes; "" if unreadable
    thumbs: np.ndarray  # (N, 256) float32, see `thumbnail`
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason

    @property
    def side(self) -> int:
        """Pixels of one side."""
        return self.array.shape[1]

    def rows(self, paths: Sequence[str]) -> np.ndarray:
        """(n,) positions of `paths` in the array."""
        where = {path: i for i, path in enumerate(self.paths)}
        return np.fromiter((where[p] for p in paths), dtype=np.int64, count=len(paths))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(n, side, side, 3) uint8 copy of some rows."""
        return self.array[rows]


class _Stacked:
    """Arrays of equal pictures, read by row as if they were one."""

    def __init__(self, arrays: list[np.ndarray]):
        self.arrays, self.starts = arrays, np.cumsum([0, *map(len, arrays)])
        self.shape, self.dtype = (int(self.starts[-1]), *arrays[0].shape[1:]), arrays[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        at = np.arange(len(self))[rows]
        flat = np.atleast_1d(at)
        out = np.empty((len(flat), *self.shape[1:]), self.dtype)
        for array, low, high in zip(self.arrays, self.starts, self.starts[1:], strict=False):
            here = (flat >= low) & (flat < high)
            out[here] = array[flat[here] - low]
        return out if np.ndim(at) else out[0]


def side_for(dataset, cfg, sample: int = 64) -> int:
    """Pixels worth keeping of each picture: what the model will see, or less where the pictures are smaller.

    Small pictures are enlarged while they are augmented, not in the store: 29,000 AffectNet faces take 0.8 GB, not 4.4.
    """
    photographs = [path for path in dataset.table["path"] if path not in getattr(dataset, "elsewhere", {})]
    shorter = []
    for path in photographs[:: max(len(photographs) // sample, 1)]:  # edits change no other picture's size
        try:
            with Image.open(dataset.root / path) as picture:  # reads the header only
                shorter.append(min(picture.size))
        except BROKEN:
            continue  # told by `build`, with all the others
    wanted = round(cfg.img_size * cfg.eval_zoom)
    return min(wanted, max(shorter, default=wanted))


def build(dataset, side: int, folder: str | os.PathLike, *, workers: int | None = None) -> Pixels:
    """Decode every picture of `dataset.table` below `dataset.root` to `side` pixels; at once if already done.

    Files that cannot be read stay black in the array and are listed in `unreadable`: `manifests.check` decides.
    Pictures of another root (`dataset.elsewhere`: path -> root) get a store of their own, so that adding edits to a
    data set decodes the edits alone; they come after the others in the result.

    Raises:
        OSError: the folder cannot be written, or the disk is too small (said before the work starts).
    """
    paths, elsewhere = list(dataset.table["path"]), getattr(dataset, "elsewhere", {})
    roots = dict.fromkeys([dataset.root, *(elsewhere[path] for path in paths if path in elsewhere)])
    parts = [[path for path in paths if elsewhere.get(path, dataset.root) == root] for root in roots]
    made = [
        _build(dataset.name, root, part, side, folder, workers) for root, part in zip(roots, parts, strict=True) if part
    ]
    if len(made) == 1:
        return made[0]
    bad = {path: reason for part in made for path, reason in part.unreadable.items()}
    array, thumbs = _Stacked([part.array for part in made]), np.concatenate([part.thumbs for part in made])
    return Pixels(sum((p.paths for p in made), []), array, sum((p.sha256 for p in made), []), thumbs, bad)


def _build(name: str, root: Path, paths: list[str], side: int, folder, workers: int | None) -> Pixels:
    stamps = _stamps(root, paths)
    key = hashlib.sha256(json.dumps([_VERSION, side, str(root), paths]).encode()).hexdigest()[:16]
    home = Path(folder) / f"{name}-{side}px-{key}"
    index = _Index.read(home, len(paths))
    if not index.created or index.todo(stamps):
        _writable(home, len(paths) * side * side * 3)
        with FileLock(home.with_suffix(".lock")):  # a second process waits, then finds it done
            index = _Index.read(home, len(paths))
            if not index.created:
                _reserve(home, (len(paths), side, side, 3))
            if todo := index.todo(stamps):
                array = np.load(home / "pixels.npy", mmap_mode="r+")
                _fill(array, index, root, paths, stamps, todo, home, workers)
    bad = {paths[i]: reason for i, reason in index.reasons.items()}
    frozen = np.load(home / "pixels.npy", mmap_mode="r")
    return Pixels(paths, frozen, list(index.sha256), index.thumbs, bad)


def _fill(array, index, root, paths, stamps, todo, home, workers) -> None:
    side = array.shape[1]

    def one(i: int) -> tuple[int, str, np.ndarray | None, str]:
        try:
            data = (root / paths[i]).read_bytes()
            return i, hashlib.sha256(data).hexdigest(), fit_square(decode(data), side), ""
        except FileNotFoundError:
            return i, "", None, "file is missing"
        except (OSError, UnreadableImage) as error:
            return i, "", None, str(error)

    # Pillow and OpenCV release the lock while they work: threads are enough, and safe inside a notebook.
    with (
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        tqdm(total=len(todo), desc="decode", unit="img", mininterval=2) as bar,
    ):
        for part in _parts(todo, PART):
            for i, sha, square, reason in pool.map(one, part):
                array[i] = 0 if square is None else square
                index.thumbs[i] = 0 if square is None else thumbnail(square)
                index.sha256[i], index.stamps[i] = sha, stamps[i]
                index.reasons.pop(i, None)
                if reason:
                    index.reasons[i] = reason
            array.flush()
            index.write(home)
            bar.update(len(part))


def _parts(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _stamps(root: Path, paths: list[str]) -> list[str]:
    """Size and time of each file, "" if missing; one listing per folder, since single look-ups are slow on mounts."""
    seen: dict[Path, dict[str, str]] = {}
    stamps = []
    for path in paths:
        folder, name = (root / path).parent, path.rsplit("/", 1)[-1]
        if folder not in seen:
            try:
                with os.scandir(folder) as entries:
                    seen[folder] = {
                        e.name: f"{e.stat().st_size}:{e.stat().st_mtime_ns}" for e in entries if e.is_file()
                    }
            except OSError:
                seen[folder] = {}
        stamps.append(seen[folder].get(name, "missing"))
    return stamps


def _reserve(home: Path, shape: tuple[int, ...]) -> None:
    """Makes pixels.npy with all of its blocks, see `files.reserve`."""
    file, size = home / "pixels.npy", math.prod(shape)
    with _told(home, size):
        if (free := shutil.disk_usage(home).free) < size * 1.05:
            raise OSError(errno.ENOSPC, f"{free / 1e9:.2f} GB are free")
        array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        files.reserve(file, array.offset + size)


def _writable(home: Path, size: int) -> None:
    with _told(home, size):
        home.mkdir(parents=True, exist_ok=True)
        home.with_suffix(".lock").touch()


@contextmanager
def _told(home: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"decoded pictures need {size / 1e9:.2f} GB below {home}: {error.strerror}. Free some space, choose a "
            "smaller img_size, or point EMOHELPERS_CACHE at a larger disk that can be written.",
        ) from error


@dataclass
class _Index:
    """What is known of each row; written after each part, so it never promises pixels that were not flushed."""

    stamps: list[str]
    sha256: list[str]
    thumbs: np.ndarray
    reasons: dict[int, str]
    created: bool

    def todo(self, stamps: list[str]) -> list[int]:
        """Rows to decode; what could not be read is tried again, since the disk or a permission may have been why."""
        return [i for i, stamp in enumerate(stamps) if self.stamps[i] != stamp or i in self.reasons]

    @classmethod
    def read(cls, home: Path, n: int) -> "_Index":
        if not (home / "index.json").is_file() or not (home / "pixels.npy").is_file():
            return cls([""] * n, [""] * n, np.zeros((n, THUMB * THUMB), np.float32), {}, created=False)
        known = json.loads((home / "index.json").read_text(encoding="utf-8"))
        reasons = {int(i): reason for i, reason in known["reasons"].items()}
        return cls(known["stamps"], known["sha256"], np.load(home / "thumbs.npy"), reasons, created=True)

    def write(self, home: Path) -> None:
        with files.replace(home / "thumbs.npy") as part, open(part, "wb") as out:
            np.save(out, self.thumbs)
        known = {"stamps": self.stamps, "sha256": self.sha256, "reasons": self.reasons}
        files.write_json(home / "index.json", known)

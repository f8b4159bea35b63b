"""Finds a data set's tables and pictures on a disk: listed, not guessed, and each folder listed at most once."""

import functools
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from emohelpers.config import paths

HIDDEN = (".", "__MACOSX")  # what begins so is no data: thumbnails, checkpoints, resource forks
DEPTH = 4  # folders below a root that are searched at most: Kaggle's nested re-uploads need three
OUTSIDE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # formats that Pillow leaves to another program
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "val"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}


class ManifestError(ValueError):
    """What is wrong with a data set or its manifest: the thing, the places tried and the remedy."""


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """Endings of the files that Pillow reads, in lower case: .jpg, .png, .webp, .tif and some fifty more."""
    Image.init()
    readable = {*Image.OPEN, "MPO"} - OUTSIDE  # MPO, two pictures of a stereo camera, opens as JPEG
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in readable)


def is_picture(name: str) -> bool:
    """Whether a file is a picture by the end of its name."""
    return os.path.splitext(name)[1].lower() in picture_suffixes()


def pictures(folder: Path) -> list[Path]:
    """The picture files at any depth below `folder`, sorted by path; hidden files and folders are passed over.

    Raises:
        InputNotFound: there is none, with what lies there instead.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        hidden = any(name.startswith(HIDDEN) for name in path.relative_to(folder).parts)
        if is_picture(path.name) and not hidden and path.is_file():
            files.append(path)
    if not files:
        raise paths.InputNotFound(
            f"no picture that Pillow reads (.jpg, .png, .webp, .tif ...) below {folder}. {paths.listing(folder)}\n"
            "Give the folder that holds the pictures; they may lie in folders of it"
        )
    return files


def fold(name: str) -> str:
    """One spelling for names that differ in case or in how their accents are encoded."""
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).casefold()


def parts_of(path: str) -> tuple[str, ...]:
    """A table's path as its names: back-slashes, drive letters, leading slashes, `.` and `..` are taken away."""
    names = path.strip().replace("\\", "/").split("/")
    return tuple(n for n in names if n not in ("", ".", "..") and not re.fullmatch(r"[A-Za-z]:", n))


class Tree:
    """Folder listings, each read once: looking up 30,000 files one by one takes minutes on mounted data."""

    def __init__(self) -> None:
        self.closed: list[str] = []  # folders that may not be listed
        self._known: dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}

    def _list(self, folder: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        if folder not in self._known:
            files: dict[str, list[str]] = defaultdict(list)
            folders: dict[str, list[str]] = defaultdict(list)
            try:
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda e: e.name):
                        if not entry.name.startswith(HIDDEN):
                            (folders if entry.is_dir() else files)[fold(entry.name)].append(entry.name)
            except PermissionError:
                self.closed.append(folder)  # often lost+found; pictures in it are reported as missing
            except OSError as error:
                raise ManifestError(
                    f"{folder} cannot be listed ({error.strerror}): it must be a folder you may read"
                ) from error
            self._known[folder] = dict(files), dict(folders)
        return self._known[folder]

    def files(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted."""
        return sorted(name for names in self._list(folder)[0].values() for name in names)

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted."""
        return sorted(name for names in self._list(folder)[1].values() for name in names)

    def match(self, folder: str, name: str) -> list[str]:
        """Files of `folder` called `name`: the exact one, else all that differ in case alone."""
        names = self._list(folder)[0].get(fold(name), [])
        return [f"{folder}/{n}" for n in ([name] if name in names else names)]

    def descend(self, base: str, names: Sequence[str]) -> list[str]:
        """Folders reached from `base` by `names`, in any case."""
        level = [base]
        for name in names:
            inside = ((f, self._list(f)[1].get(fold(name), [])) for f in level)
            level = [f"{f}/{n}" for f, found in inside for n in ([name] if name in found else found)]
        return level

    def levels(self, root: str, depth: int = DEPTH) -> Iterator[list[str]]:
        """The folders 0, 1, ... `depth` levels below `root`, a list a level."""
        level = [root]
        yield level
        for _ in range(depth):
            level = [f"{folder}/{name}" for folder in level for name in self.folders(folder)]
            yield level

    def search(self, root: str, name: str) -> list[str]:
        """Files called `name` (which may start with folders) on the first level that has any."""
        *above, last = parts_of(name)
        for level in self.levels(root, DEPTH - 1):
            places = [place for folder in level for place in self.descend(folder, above)]
            if found := [path for place in places for path in self.match(place, last)]:
                return found
        return []


def candidates(tree: Tree, bases: Sequence[str], wanted: Sequence[str]) -> tuple[list[list[str]], list[int]]:
    """For every path of a table the files it can mean, and the rows that were found by their file name alone.

    No file: missing; several: ambiguous. A path is tried as it stands below each base; then it is re-rooted, and the
    folder with the longest common end wins. Bases and results are written with `/`.
    """
    names = [parts_of(path) for path in wanted]
    found: list[list[str]] = [[] for _ in names]
    rows_of = defaultdict(list)
    for row, parts in enumerate(names):
        rows_of[parts[:-1]].append(row)
    for parent, rows in rows_of.items():
        for folder in dict.fromkeys(f for base in bases for f in tree.descend(base, parent)):
            for row in rows:
                if names[row] and not found[row]:
                    found[row] = tree.match(folder, names[row][-1])
    by_name: list[int] = []
    for base in bases:
        if base != bases[0] and any(found):  # a root given too high: its other data sets are none of our business
            break
        open_rows = {parent: [r for r in rows if names[r] and not found[r]] for parent, rows in rows_of.items()}
        if any(open_rows.values()):
            by_name += _reroot(tree, base, names, found, {p: rows for p, rows in open_rows.items() if rows})
    return found, by_name


def _reroot(tree: Tree, base: str, names: list, found: list, open_rows: dict[tuple, list[int]]) -> list[int]:
    folders = [folder for level in tree.levels(base) for folder in level]
    below = [(tuple(map(fold, parts_of(folder[len(base) :]))), folder) for folder in folders]
    ends = defaultdict(list)
    for place, folder in below:
        ends[place[-1] if place else ""].append((place, folder))
    alone: dict[str, list[str]] | None = None
    unique = max(Counter(fold(parts[-1]) for parts in names if parts).values()) == 1
    by_name = []
    for parent, rows in open_rows.items():
        near = _longest(tuple(map(fold, parent)), ends.get(fold(parent[-1]), []) if parent else [])
        for row in rows:
            found[row] = [path for folder in near for path in tree.match(folder, names[row][-1])]
        # A bare file name may lie anywhere. One whose folder is nowhere may too, but only where names are unique:
        # happy/ffhq_1.png must never be answered with neutral/ffhq_1.png.
        if not parent or (unique and fold(parent[-1]) not in ends):
            if alone is None:
                alone = defaultdict(list)
                for _, folder in below:
                    for name in tree.files(folder):
                        alone[fold(name)].append(f"{folder}/{name}")
            for row in rows:
                found[row] = list(alone.get(fold(names[row][-1]), []))
                if parent and found[row]:
                    by_name.append(row)
    return by_name


def _longest(parent: tuple[str, ...], places: list[tuple[tuple[str, ...], str]]) -> list[str]:
    """The folders that share the longest end with `parent`; `train/happy` is never taken for `val/happy`."""
    best, winners = 0, []
    for place, folder in places:
        same = 0
        while same < min(len(place), len(parent)) and place[-1 - same] == parent[-1 - same]:
            same += 1
        rest = [SPLITS.get(p[-1 - same]) if same < len(p) else None for p in (place, parent)]
        if None not in rest and rest[0] != rest[1]:
            continue
        if same > best:
            best, winners = same, []
        if same == best:
            winners.append(folder)
    return winners

"""Finds a data set's tables and pictures on a disk: listed, not guessed, and each folder listed at most once."""

import functools
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from PIL import Image

from emohelpers.config import paths
from emohelpers.config.errors import SuiteError

HIDDEN = (".", "__MACOSX")  # what begins so is no data: thumbnails, checkpoints, resource forks
DEPTH = 4  # folders below a root that are searched at most: Kaggle's nested re-uploads need three
OUTSIDE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # formats that Pillow leaves to another program
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "val"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}


class ManifestError(SuiteError, ValueError):
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


def find_input(name: str, remedy: str) -> Path:
    """`paths.find_input`, in this room's error."""
    try:
        return paths.find_input(name, remedy=remedy)
    except paths.InputNotFound as error:
        raise ManifestError(str(error)) from error


def same_content(files: Iterable[str]) -> bool:
    """Whether files hold the same bytes."""
    return len({hashlib.sha256(Path(path).read_bytes()).digest() for path in files}) < 2


class Tree:
    """Folder listings, each read once: looking up 30,000 files one by one takes minutes on mounted data.

    Folders and files are written with `/`.
    """

    def __init__(self) -> None:
        self.closed: list[str] = []  # folders that may not be listed
        self._files: dict[str, dict[str, list[str]]] = {}  # folder -> folded name -> names as they are written
        self._folders: dict[str, dict[str, list[str]]] = {}

    def _list(self, folder: str) -> None:
        if folder in self._files:
            return
        files = self._files[folder] = defaultdict(list)
        folders = self._folders[folder] = defaultdict(list)
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if not entry.name.startswith(HIDDEN):
                        names = folders if entry.is_dir() else files
                        names[fold(entry.name)].append(entry.name)
        except PermissionError:
            self.closed.append(folder)  # often lost+found; pictures in it are reported as missing
        except OSError as error:
            raise ManifestError(
                f"{folder} cannot be listed ({error.strerror}): it must be a folder you may read"
            ) from error

    def files(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted."""
        self._list(folder)
        return sorted(chain(*self._files[folder].values()))

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted."""
        self._list(folder)
        return sorted(chain(*self._folders[folder].values()))

    def match(self, folder: str, name: str) -> list[str]:
        """Files of `folder` called `name`: the exact one, else all that differ in case alone."""
        self._list(folder)
        return _spelt(folder, name, self._files[folder])

    def descend(self, base: str, names: Sequence[str]) -> list[str]:
        """Folders reached from `base` by `names`, in any case."""
        level = [base]
        for name in names:
            below = []
            for folder in level:
                self._list(folder)
                below += _spelt(folder, name, self._folders[folder])
            level = below
        return level

    def levels(self, root: str, depth: int = DEPTH) -> Iterator[list[str]]:
        """The folders 0, 1, ... `depth` levels below `root`, a list a level."""
        level = [root]
        yield level
        for _ in range(depth):
            level = [f"{folder}/{name}" for folder in level for name in self.folders(folder)]
            yield level

    def search(self, root: str, name: str, depth: int = DEPTH - 1) -> list[str]:
        """Files called `name` (which may start with folders) on the first level that has any."""
        *above, last = parts_of(name)
        for level in self.levels(root, depth):
            files = []
            for base in level:
                for folder in self.descend(base, above):
                    files += self.match(folder, last)
            if files:
                return files
        return []


def _spelt(folder: str, name: str, names: dict[str, list[str]]) -> list[str]:
    """Paths of what is called `name` in a folder: the exact one, else all that differ in case alone."""
    similar = names.get(fold(name), [])
    return [f"{folder}/{n}" for n in ([name] if name in similar else similar)]

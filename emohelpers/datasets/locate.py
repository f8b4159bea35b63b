"""Finds a data set's tables and pictures on a disk: listed, not guessed, and each folder listed at most once."""

import functools
import hashlib
import os
import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from numpy import ndarray
from PIL import Image

from emohelpers.config import paths
from emohelpers.config.errors import SuiteError
from emohelpers.datasets import decoding

HIDDEN = (".", "__macosx", "@eadir", "$recycle.bin")  # what begins so is no data: copies that a system made
NO_TEXT = re.compile(r"[\ud800-\udfff]")  # bytes that no text holds: names of old zips, which no table can keep
NAMED = 5  # files that a note names
DEPTH = 4  # folders below a root that are searched at most: Kaggle's nested re-uploads need three
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "val"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}


class ManifestError(SuiteError, ValueError):
    """What is wrong with a data set or its manifest: the thing, the places tried and the remedy."""


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """Endings of the files that are read, in lower case: .jpg, .png, .webp, .tif and some twenty more."""
    Image.init()
    kinds = {*decoding.FORMATS, "MPO"} & {*Image.OPEN, "MPO"}  # MPO, two pictures of a stereo camera, opens as JPEG
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds)


def is_picture(name: str) -> bool:
    """Whether a file is a picture by the end of its name."""
    return os.path.splitext(name)[1].lower() in picture_suffixes()


def is_hidden(name: str) -> bool:
    """Whether a system or a program put a file or folder there for itself: ._x.jpg, .ipynb_checkpoints, __MACOSX."""
    return name.casefold().startswith(HIDDEN)


@dataclass
class Listing:
    """The pictures of a folder, and what else lies there."""

    root: Path
    files: list[Path] = field(default_factory=list)  # below `root`, sorted
    left_out: dict[str, str] = field(default_factory=dict)  # path below `root` -> why
    hidden: int = 0  # files and folders that no person put there

    @property
    def names(self) -> list[str]:
        """Paths of the pictures below `root`, with `/`."""
        return [file.relative_to(self.root).as_posix() for file in self.files]

    def decoded(self, side: int) -> tuple["Listing", ndarray]:
        """Those that can be read, the others left out, and their squares (n, side, side, 3) uint8.

        Raises:
            UnreadableImage: none of them can be read.
        """
        squares, unreadable = decoding.squares(self.files, side)
        reasons = {file.relative_to(self.root).as_posix(): reason for file, reason in unreadable.items()}
        if len(reasons) == len(self.files):
            first, reason = next(iter(reasons.items()))
            raise decoding.UnreadableImage(
                f"none of the {len(self.files)} pictures in {self.root} can be read, first {first}: {reason}"
            )
        whole = [file for file in self.files if file not in unreadable]
        return replace(self, files=whole, left_out=reasons | self.left_out), squares

    def note(self) -> str:
        """What was left out, in a line; "" where nothing was."""
        parts = [f"{name} ({reason})" for name, reason in self.left_out.items()]
        if len(parts) > NAMED:
            parts[NAMED:] = [f"{len(parts) - NAMED:,} more"]
        if self.hidden:
            parts.append(f"{self.hidden:,} hidden")
        return f"left out below {self.root}: {', '.join(parts)}" if parts else ""


def pictures(source: Path) -> Listing:
    """A picture file, or all at any depth below a folder; linked folders too, each folder once, its real place first.

    Raises:
        InputNotFound: there is none, with what lies there instead.
    """
    if not source.is_dir():
        return Listing(source.parent, [source])
    listing = Listing(source)
    searched = set()
    todo = deque([source])
    while todo:
        folder = todo.popleft()
        name = folder.relative_to(source).as_posix()
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            listing.left_out[name] = f"cannot be listed: {error.strerror}"
            continue
        # A folder is known by device and inode, since links give it many paths and may lead in a circle.
        if (status.st_dev, status.st_ino) in searched:
            listing.left_out[name] = "a link to a folder that is searched already"
            continue
        searched.add((status.st_dev, status.st_ino))
        for entry in entries:
            path = folder / entry.name
            if is_hidden(entry.name):
                listing.hidden += 1
            elif _is_folder(entry):
                # Links wait until all real folders are searched: a link to the folder above, or beside, adds nothing.
                (todo.append if entry.is_symlink() else todo.appendleft)(path)
            elif not is_picture(entry.name):
                listing.left_out[path.relative_to(source).as_posix()] = "no kind of picture that is read"
            elif not is_file(entry):
                listing.left_out[path.relative_to(source).as_posix()] = "a link to nothing, a pipe or a device"
            else:
                listing.files.append(path)
    listing.files.sort()
    if not listing.files:
        raise paths.InputNotFound(
            f"no picture that is read (.jpg, .png, .webp, .tif ...) below {source}. {paths.listing(source)}\n"
            f"{listing.note()}\nGive the folder that holds the pictures; they may lie in folders of it"
        )
    return listing


def is_file(entry: os.DirEntry) -> bool:
    """As `entry.is_file`, which raises where links lead in a circle."""
    return os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()


def _is_folder(entry: os.DirEntry) -> bool:
    """As `entry.is_dir`, which raises where links lead in a circle."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


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
                    if not is_hidden(entry.name):
                        names = folders if _is_folder(entry) else files
                        if NO_TEXT.search(entry.name) and (names is folders or is_picture(entry.name)):
                            raise ManifestError(f"{folder} holds {entry.name!r}, which is no UTF-8: rename it")
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
        *above, last = parts_of(name) or ("",)
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

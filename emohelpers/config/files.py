"""Files and folders that are whole or not there: written beside their path, then moved onto it."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers.config import locks

REMEDY = {
    errno.ENOSPC: "The disk is full: free some space",
    errno.EDQUOT: "The disk quota is used up: free some space",
    errno.EROFS: "The file system is read-only: choose a folder that can be written",
    errno.EACCES: "No permission: choose a folder that can be written",
    errno.EISDIR: "A folder of that name is in the way: rename it",
    errno.EEXIST: "A file is where the folder should be: rename it",
    errno.ENOTDIR: "A file is where the folder should be: rename it",
}
ELSEWHERE = "OUTPUT_DIR for results, EMOHELPERS_OUTPUTS for golden sets and caches too"
FULL = 1 << 20  # bytes; with less than this left a failed write is blamed on the disk
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]  # in temporary names: process numbers are a host's


@contextmanager
def replace(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` (same suffix) that becomes `path` when the block ends well.

    When the block fails the old file stays as it was and nothing is left beside it.

    Raises:
        OSError: of the subclass that fits (`PermissionError`, ...), naming `path` and the remedy.
    """
    path = Path(path)
    temp = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temp
        # Without fsync a power cut after the rename may leave an empty file under the new name.
        with temp.open("rb+") as file:
            os.fsync(file.fileno())
        temp.replace(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: how torch.save reports a disk that filled up
        if problem := _explain(error, path, temp):
            raise problem from error
        raise
    finally:
        if temp.exists():  # asked first: below a file that stands for a folder, unlink itself would fail
            temp.unlink()


@contextmanager
def new_folder(
    path: str | Path, marker: str = "", stamp: Mapping[str, Any] | None = None, *, replace: bool = False
) -> Iterator[Path | None]:
    """A temporary folder that becomes `path` when the block ends well; None where `path` is there already.

    `path` counts as there when it holds the file `marker`; with a `stamp`, which is then written as that file, only
    when the file says the same. Else it is made anew. Of several processes one makes the folder, the others wait.

    Args:
        marker: name of the file by which a whole folder is known; empty: it is always made.
        stamp: what the folder was made from. Without one the block writes the marker itself.
        replace: whether a folder that holds anything else, or a part of this, gives way.

    Raises:
        FileExistsError: `path` holds something else.
        OSError: of the subclass that fits (`PermissionError`, ...), naming `path` and the remedy.
    """
    path = Path(path)
    if _whole(path, marker, stamp):
        _sweep(path)
        yield None
        return
    if not replace and path.is_dir() and any(path.iterdir()) and not (marker and (path / marker).exists()):
        kind = f" that is not a data set made by code (no {marker})" if marker else " already"
        raise FileExistsError(f"{path} holds something{kind}: name another folder")
    temp = _temporary(path)
    lock = path.with_name(f".{path.name}.lock")
    try:
        if path.is_file():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        temp.mkdir(parents=True)
        with locks.lock(lock), _removed(lock):
            if _whole(path, marker, stamp):  # another process was quicker
                yield None
                return
            _sweep(path)
            yield temp
            if stamp is not None:
                write_text(temp / marker, json.dumps(stamp, indent=1) + "\n")
            _swap(temp, path)
    except OSError as error:
        if problem := _explain(error, path, temp):
            raise problem from error
        raise
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def reserve(path: Path, size: int) -> None:
    """Gives a file `size` bytes with all of their blocks, new ones zero; it is removed where the disk has no room.

    A sparse file that is mapped to memory and meets a full disk later ends the process (SIGBUS).
    """
    try:
        with path.open("ab") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # not on a Mac
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Writes `content` whole or not at all; returns the path."""
    with replace(path) as temp:
        temp.write_bytes(content)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Writes UTF-8 with Unix line ends on every system, bytes of names that are none as \\udcxx; returns the path."""
    return write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: str | Path, content: Any) -> Path:
    """Writes indented JSON; NumPy values and paths are accepted, NaN and infinity become null, as JSON has neither."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def write_csv(table: DataFrame, path: str | Path, **options: Any) -> Path:
    """Writes `table` without its index (give `index=True` for it); `options` go to `DataFrame.to_csv`."""
    with replace(path) as temp:
        usual = {"index": False, "lineterminator": "\n", "encoding": "utf-8", "errors": "backslashreplace"}
        table.to_csv(temp, **usual | options)
    return Path(path)


def safe_name(text: str) -> str:
    """`text` as a part of a file's name that every disk and table takes: letters, digits, `_`, `.`, `-`, 40 at most."""
    return re.sub(r"[^\w.-]+", "_", text)[:40]


def plain(value: Any) -> Any:
    """`value` in the types JSON knows; anything else is a TypeError of `json.dumps`."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.as_posix() if isinstance(value, Path) else value


def _temporary(path: Path) -> Path:
    """A new name beside `path`, with its suffix, by which `_sweep` knows the host and process that writes there."""
    return path.with_name(f".{path.stem[:50]}.{HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part{path.suffix}")


def _sweep(path: Path) -> None:
    """Removes what a killed writer of `path` left behind; nothing of a live one, nor of another host's."""
    pattern = re.compile(re.escape(f".{path.stem[:50]}.{HOST}-") + r"(\d+)-[0-9a-f]{8}\.part" + re.escape(path.suffix))
    for entry in os.scandir(path.parent):
        match = pattern.fullmatch(entry.name)
        if match is None or _alive(int(match[1])):
            continue
        if entry.is_dir():
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with suppress(OSError):  # another sweeper was quicker, or the place is read-only
                Path(entry.path).unlink()


def _whole(folder: Path, marker: str, stamp: Mapping[str, Any] | None) -> bool:
    """Whether a folder is there with its marker, which says the same as `stamp`, if there is one."""
    file = folder / marker
    if not marker or not file.is_file():
        return False
    try:
        return stamp is None or json.loads(file.read_text(encoding="utf-8")) == stamp
    except ValueError:  # a damaged marker: the folder is made anew
        return False


@contextmanager
def _removed(lock: Path) -> Iterator[None]:
    """Removes a lock's file when the block ends; who waits for it finds the folder there, or makes it."""
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            lock.unlink()


def _swap(new: Path, path: Path) -> None:
    """Moves the folder `new` to `path`; what was there is removed."""
    # Renamed and then removed: between the two renames the folder is away for an instant only.
    old = _temporary(path)
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _alive(process: int) -> bool:
    if os.name != "posix":  # there signal 0 would not ask, it would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives and belongs to somebody else
        return True
    return True


def _explain(error: Exception, path: Path, temp: Path) -> OSError | None:
    """The error with path and remedy, or None where it is not about writing `path`."""
    number = error.errno if isinstance(error, OSError) else None
    around = next((p for p in (path.parent, *path.parents) if p.is_dir()), None)
    # Libraries in C report a full disk by an error of their own, without a number.
    if number is None and around and shutil.disk_usage(around).free < FULL:
        number = errno.ENOSPC
    if number is None:
        return None
    named = getattr(error, "filename", None)
    if named is not None:
        file = Path(str(named))
        if file not in (path, *path.parents) and temp not in (file, *file.parents):
            return None  # the block failed on another file
    reason = REMEDY.get(number, os.strerror(number))
    return OSError(number, f"cannot write {path}. {reason}, or name another place ({ELSEWHERE})")

"""Files that are whole or not there: written beside their place, flushed to the disk, then moved onto it."""

import errno
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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


@contextmanager
def replace(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` (same suffix) that becomes `path` when the block ends well.

    When the block fails the old file stays as it was and nothing is left beside it.

    Raises:
        OSError: of the subclass that fits (`PermissionError`, ...), naming `path` and the remedy.
    """
    path = Path(path)
    temp = path.with_name(f".{path.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temp
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


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Writes `content` whole or not at all; returns the path."""
    with replace(path) as temp:
        temp.write_bytes(content)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Writes UTF-8 with Unix line ends on every system; returns the path."""
    return write_bytes(path, text.encode())


def write_json(path: str | Path, content: Any) -> Path:
    """Writes indented JSON; NumPy values and paths are accepted, NaN and infinity become null, as JSON has neither."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def write_csv(table: pd.DataFrame, path: str | Path, **options: Any) -> Path:
    """Writes `table` without its index (give `index=True` for it); `options` go to `DataFrame.to_csv`."""
    with replace(path) as temp:
        table.to_csv(temp, **{"index": False, "lineterminator": "\n", "encoding": "utf-8", **options})
    return Path(path)


def _plain(value: Any) -> Any:
    """`value` in the types JSON knows; anything else is a TypeError of `json.dumps`."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.as_posix() if isinstance(value, Path) else value


def _sweep(path: Path) -> None:
    """Removes what a killed writer of `path` left behind; a live writer's file is not touched."""
    ours = re.compile(re.escape(f".{path.stem}.") + r"(\d+)-[0-9a-f]{8}\.part" + re.escape(path.suffix))
    for entry in os.scandir(path.parent):
        found = ours.fullmatch(entry.name)
        if found and not _alive(int(found[1])):
            Path(entry.path).unlink(missing_ok=True)


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
    if number is None and around and shutil.disk_usage(around).free < FULL:
        number = errno.ENOSPC
    if number is None:
        return None
    named = getattr(error, "filename", None)
    own = {str(temp), str(path), *(str(p) for p in path.parents)}
    if named is not None and str(named) not in own:
        return None  # the block failed on another file
    reason = REMEDY.get(number, os.strerror(number))
    return OSError(number, f"cannot write {path}. {reason}, or name another place ({ELSEWHERE})")

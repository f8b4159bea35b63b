"""Data sets that code makes are made once: whole or not at all, and known again by a stamp of their arguments."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def made(folder: str | Path, marker: str, stamp: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """`folder`, as `make(new folder)` fills it, unless it is there already with the same `stamp` in its file `marker`.

    Made with another stamp it is made anew. Several processes may ask at once.

    Raises:
        FileExistsError: the folder holds something else, which is left alone.
    """
    folder = Path(folder).expanduser().resolve()
    if _ready(folder, marker, stamp):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        make(temporary)
        (temporary / marker).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        temporary.chmod(0o755)  # mkdtemp makes it private
        if folder.exists() and not _ready(folder, marker, stamp):  # made with other arguments
            shutil.rmtree(folder)
        try:
            os.replace(temporary, folder)
        except OSError:
            if not _ready(folder, marker, stamp):  # else another process was quicker
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _ready(folder: Path, marker: str, stamp: Mapping[str, Any]) -> bool:
    try:
        return json.loads((folder / marker).read_text(encoding="utf-8")) == stamp
    except FileNotFoundError:
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} holds something that is not a data set made by code (no {marker}); name another folder"
            ) from None
        return False

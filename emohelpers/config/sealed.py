"""Files that carry a checksum of themselves: what a disk did to them must not be used without a word.

JSON has it at its start, torch's checkpoints (zip archives) as the archive's comment, ONNX as one more property.
"""

import hashlib
import json
import os
import re
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from emohelpers.config import files
from emohelpers.config.errors import SuiteError

SEAL = re.compile(rb'\{"checksum": "([0-9a-f]{64})",')
# how a file ends, with the CRC-32 of all before it
ZIP = b"checksum %08x"
ONNX = b'\x72\x16\x0a\x08checksum\x12\x0a"%08x"'  # in protobuf: one more of `metadata_props`, named checksum


class Damaged(SuiteError, ValueError):
    """A file that does not hold what was written to it."""


def write(path: str | Path, content: dict[str, Any]) -> Path:
    """Writes a dictionary as JSON that begins with a checksum of all that follows, for `read`."""
    # Without its opening brace, which the seal brings: the file as a whole is JSON.
    body = json.dumps(files.plain(content), indent=1, allow_nan=False).encode()[1:]
    return files.write_bytes(path, b'{"checksum": "%s",' % hashlib.sha256(body).hexdigest().encode() + body + b"\n")


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote.

    Raises:
        Damaged: the checksum is missing or another one.
    """
    content = path.read_bytes().removesuffix(b"\n")
    seal = SEAL.match(content)
    if not seal or hashlib.sha256(content[seal.end() :]).hexdigest().encode() != seal[1]:
        raise Damaged(f"{path} does not hold what was written to it (its checksum is another one)")
    return {name: value for name, value in json.loads(content).items() if name != "checksum"}


def close(file: Path, ending: bytes) -> None:
    """Adds the checksum, `ZIP` or `ONNX`, to a file that has just been written."""
    if ending is ZIP:  # an archive ends with the length of its comment
        with file.open("r+b") as archive:
            archive.seek(-2, os.SEEK_END)
            archive.write(len(ZIP % 0).to_bytes(2, "little"))
    with file.open("ab") as whole:
        whole.write(ending % zlib.crc32(np.memmap(file, np.uint8, "r")))


def check(file: Path, ending: bytes) -> None:
    """Compares a file with the checksum at its end; one that was written without is an archive that has its own.

    Raises:
        Damaged: it is another one.
    """
    content = np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)
    last = content[-len(ending % 0) :].tobytes()
    if last == ending % zlib.crc32(content[: -len(last)]):
        return
    earlier = ending is ONNX
    if content[-22:-18].tobytes() == b"PK\5\6":  # the end of an archive without a comment
        broken = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError)
        with suppress(*broken), zipfile.ZipFile(file) as archive:
            earlier = archive.testzip() is None
    if b"checksum" in last or not earlier:
        raise Damaged(f"{file} does not hold what was written to it (its checksum is another one)")

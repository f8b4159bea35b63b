"""JSON files that carry a checksum of themselves: for caches, where a wrong number would be used without a word."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from emohelpers.config import files
from emohelpers.config.errors import SuiteError

SEAL = re.compile(rb'\{"checksum": "([0-9a-f]{64})",')


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

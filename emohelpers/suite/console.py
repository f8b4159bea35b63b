"""What a command says, also when it goes wrong; the console never ends it, whatever it lacks."""

import os
import sys
import traceback
from typing import Any, TextIO

from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError
from emohelpers.config.redaction import redact

EXPECTED = (SuiteError, OSError)  # an OSError names a place of the user's, which cannot be read or written


def sentence(error: Exception) -> str:
    """What a user is told of an error; the traceback of one that nobody foresaw goes to `fault.log` in the outputs."""
    if isinstance(error, EXPECTED):
        return str(error)
    name = "".join(traceback.format_exception_only(error)).strip()
    path = paths.outputs_root() / "fault.log"
    try:
        files.write_text(path, redact("".join(traceback.format_exception(error))))
    except OSError:
        return f"{name}\nThis is a fault of the suite. Please report it with what --debug prints."
    return f"{name}\nThis is a fault of the suite. Please report it with {path}, which says where it arose."


class Lasting:
    """Stands in for a stream of `sys` inside a `with`: a reader that went or a full disk raises nothing.

    Secrets are hidden. What cannot be written any more is dropped; a character that the code page lacks is written as
    its number.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stream: TextIO = getattr(sys, name)

    def __enter__(self) -> None:
        if self.stream is None:  # closed by who started us
            self.stream = open(os.devnull, "w")
        elif hasattr(self.stream, "reconfigure"):
            self.stream.reconfigure(errors="backslashreplace")
        setattr(sys, self.name, self)

    def __exit__(self, *error: object) -> None:
        self.flush()
        setattr(sys, self.name, self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            self.stream.write(redact(text))
        except OSError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Lets all that follows, and what is buffered, go nowhere; Python itself writes that when it ends."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

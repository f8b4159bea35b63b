"""A console that never ends a command: not by a character that it lacks, a reader that went, or a full disk."""

import os
import sys
from typing import Any, TextIO


class Console:
    """Stands in for a stream of `sys` inside a `with`; what cannot be written any more is dropped."""

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
            self.stream.write(text)
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

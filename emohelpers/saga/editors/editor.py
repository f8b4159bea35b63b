"""What an editor is, what it is asked, and how it says no.

`@EDITORS.register("name")` adds a class that is made of a config, the photographs and, where there is one, a ready set.
"""

import io
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from emohelpers.config.errors import SuiteError
from emohelpers.config.registry import EDITORS
from emohelpers.datasets import decoding

QUALITY = 95  # of JPEG, for edits that are encoded here


class Declined(SuiteError):
    """The editor answered, and there will be no edit of this face: asking again would be refused again."""


class Exhausted(SuiteError, RuntimeError):
    """The editor cannot go on now (quota, key, network); what was made is kept, a later run goes on."""


@dataclass(frozen=True)
class Job:
    """One edit that is asked for."""

    path: str  # the face; "" where nobody knows it
    label: str  # its own emotion
    target: str
    prompt: str
    file: str = ""  # the edit, where it is there already


class Editor(Protocol):
    name: str  # kept with every edit
    settings: dict[str, Any]  # what decides its answer
    workers: int  # requests at a time
    paid: bool  # whether answers cost something, and so are kept

    def edit(self, job: Job, picture: bytes) -> bytes:
        """The edited picture's file content; raises `Declined` or `Exhausted`."""


def make(cfg, dataset, ready=None) -> Editor:
    """The editor that a config names.

    Args:
        cfg: a `config.Saga`; `dataset` the photographs.
        ready: `lineage.ReadySet`, for the editor "attached".
    """
    return EDITORS[cfg.editor](cfg, dataset, ready)


def reencoded(picture: Image.Image, like: bytes) -> bytes:
    """`picture` at the size of the face it was made from, as JPEG: neither size nor kind tells edits apart."""
    with decoding.opened(io.BytesIO(like)) as face:
        mode = "L" if face.mode == "L" else "RGB"
        height, width, _ = decoding.to_srgb(face).shape
    edit = picture.convert(mode)
    if edit.size != (width, height):
        edit = edit.resize((width, height), Image.Resampling.LANCZOS)
    output = io.BytesIO()
    edit.save(output, "JPEG", quality=QUALITY)
    return output.getvalue()

"""Who changes an expression: a service, a diffusion pipeline, files that are there already, or the demo's own hand.

An editor has a `name` (kept with every edit), `settings` (what decides its answer), `workers` (requests at a time),
`kept` (whether answers cost something and are kept) and `edit(job, picture) -> bytes of a picture file`.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from PIL import Image

from emohelpers import config
from emohelpers.datasets.drawn import faces as demo

QUALITY = 95  # of JPEG, for edits that are encoded here


class Declined(Exception):
    """The editor answered, and there will be no edit of this face: asking again would be refused again."""


class Exhausted(RuntimeError):
    """The editor cannot go on now (quota, keys, network); what was made is kept, a later run goes on."""


@dataclass(frozen=True)
class Job:
    """One edit that is asked for."""

    path: str  # the face; "" where nobody knows it
    label: str  # its own emotion
    target: str
    prompt: str
    file: str = ""  # the edit, where it is there already


class Editor(Protocol):
    name: str
    settings: dict[str, Any]
    workers: int
    kept: bool

    def edit(self, job: Job, picture: bytes) -> bytes:
        """The edited picture's file content; raises `Declined` or `Exhausted`."""


class Drawn:
    """The demo's: draws the same person, pose, light and background anew with the target's expression."""

    name, workers, kept = "demo", 1, False

    def __init__(self, root: Path, weakest: float):
        table = pd.read_csv(root / "faces.csv", keep_default_na=False)
        self.rows = dict(zip(table["pth"], table.to_dict("records"), strict=True))
        self.weakest, self.settings = weakest, {"drawing": demo.DRAWING_VERSION, "weakest": weakest}

    def edit(self, job: Job, picture: bytes) -> bytes:
        row = self.rows[job.path]
        chance = int(config.digest(job.path, job.target), 16) % 1000 / 999  # not every edit is a strong one
        drawn = demo.redraw(row, job.target, intensity=self.weakest + (1 - self.weakest) * chance)
        return demo.jpeg(drawn, int(row["quality"]))  # as the photographs, or their compression would tell edits apart


class Attached:
    """A ready set: hands out its files as they are."""

    name, workers, kept = "attached", 1, False

    def __init__(self, root: Path):
        self.root, self.settings = root, {}

    def edit(self, job: Job, picture: bytes) -> bytes:
        return (self.root / job.file).read_bytes()


def reencoded(picture: Image.Image, like: bytes) -> bytes:
    """`picture` at the size of the face it was made from, as JPEG: neither size nor kind tells edits apart."""
    with Image.open(io.BytesIO(like)) as face:
        size, grey = face.size, face.mode == "L"
    out = io.BytesIO()
    made = picture.convert("L" if grey else "RGB")
    (made if made.size == size else made.resize(size, Image.Resampling.LANCZOS)).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def make(cfg, dataset, ready=None) -> Editor:
    """The editor that a config names.

    Args:
        cfg: a `recipes.Saga`; `dataset` the photographs.
        ready: `lineage.Edits`, for the editor "attached".
    """
    if cfg.editor == "demo":
        return Drawn(dataset.root, cfg.weakest)
    if cfg.editor == "attached":
        return Attached(ready.root)
    if cfg.editor == "gemini":
        from emohelpers.saga.gemini import Gemini  # an extra: only where it is asked for

        return Gemini.of(cfg)
    from emohelpers.saga.diffusion import Diffusion

    return Diffusion(cfg.diffusion_model, steps=cfg.diffusion_steps, side=cfg.diffusion_side, seed=cfg.seed)


def decoded(content: bytes, decode) -> np.ndarray | None:
    """The picture, or None where an editor sent something else; `decode` is `store.decode`."""
    try:
        return decode(content)
    except ValueError:  # store.UnreadableImage
        return None

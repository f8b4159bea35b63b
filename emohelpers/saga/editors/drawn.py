"""The demo's own hand."""

import pandas as pd

from emohelpers import config
from emohelpers.config.registry import EDITORS
from emohelpers.datasets.drawn import faces
from emohelpers.saga.editors.editor import Job


@EDITORS.register("demo")
class Drawn:
    """Draws the same person, pose, light and background anew with the target's expression."""

    name = "demo"
    workers = 1
    paid = False

    def __init__(self, cfg, dataset, ready=None) -> None:
        table = pd.read_csv(dataset.root / "faces.csv", keep_default_na=False)
        self.rows = dict(zip(table["pth"], table.to_dict("records"), strict=True))
        self.weakest = cfg.weakest
        self.settings = {"drawing": faces.DRAWING_VERSION, "weakest": cfg.weakest}

    def edit(self, job: Job, picture: bytes) -> bytes:
        row = self.rows[job.path]
        chance = int(config.digest(job.path, job.target), 16) % 1000 / 999  # not every edit is a strong one
        intensity = self.weakest + (1 - self.weakest) * chance
        edit = faces.redraw(row, job.target, intensity=intensity)
        return faces.jpeg(edit, int(row["quality"]))  # as the photographs, or their compression would tell edits apart

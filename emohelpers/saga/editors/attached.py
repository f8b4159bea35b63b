"""A ready set: hands out its files as they are."""

from emohelpers.config.registry import EDITORS
from emohelpers.datasets import decoding
from emohelpers.saga.editors.editor import Job


@EDITORS.register("attached")
class Attached:
    name = "attached"
    workers = 1
    paid = False

    def __init__(self, cfg, dataset, ready) -> None:
        self.root = ready.root
        self.settings = {}

    def edit(self, job: Job, picture: bytes) -> bytes:
        return decoding.read(self.root / job.file)

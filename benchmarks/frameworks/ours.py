"""Our own training: recomputing the frozen trunk, with the class-token shortcut, on kept activations, and both."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from job import MEAN, STD, Clock, Job, settings

from emohelpers.datasets import faces
from emohelpers.datasets import pixels as store
from emohelpers.images.augment import Augmentation
from emohelpers.images.batches import Batches
from emohelpers.images.preprocess import Preprocess
from emohelpers.models import cache, cut
from emohelpers.train import fit, objectives


class Ticking:
    """Passes as they are; tells the clock when a step is done, from pass `begin` on."""

    def __init__(self, batches: Batches, clock: Clock, begin: int):
        self.batches, self.clock, self.begin = batches, clock, begin

    def __getattr__(self, name: str):
        return getattr(self.batches, name)

    def __len__(self) -> int:
        return len(self.batches)

    def on(self, *place) -> "Ticking":
        return Ticking(self.batches.on(*place), self.clock, self.begin)

    def epoch(self, epoch: int):
        for batch in self.batches.epoch(epoch):
            yield batch
            if epoch >= self.begin:
                self.clock()


def batches(job: Job) -> dict[str, Batches]:
    """Training pictures, and a few others for the loss after each epoch."""
    dataset = faces.load("demo_faces")
    table = dataset.table.sample(frac=1, random_state=0)
    chosen = type("Part", (), {"table": table, "root": dataset.root, "name": "race"})
    pixels = store.build(chosen, 96, Path(tempfile.mkdtemp()))
    number = {name: i for i, name in enumerate(dataset.classes)}
    targets = table["label"].map(number).to_numpy()
    prepared = Preprocess(96, job.size, 1.0, MEAN, STD)
    cfg = settings(job)

    def part(rows: np.ndarray, augmentation: Augmentation | None) -> Batches:
        return Batches(pixels, rows, targets[rows], prepared, batch_size=job.batch, augmentation=augmentation, seed=0)

    few = np.arange(len(table) - 480, len(table) - 480 + job.batch)
    return {"train": part(np.arange(job.pictures), Augmentation.of(cfg)), "val": part(few, None)}


def train(job: Job, variant: str, model: torch.nn.Module, clock: Clock) -> torch.nn.Module:
    """The kept activations' first pass fills them and is not counted; the race says beside it what it costs."""
    parts, kept = batches(job), "cached" in variant
    timed = job.weights == "random"
    views = 1 if timed else 4
    epochs = job.epochs + views if kept and timed else job.epochs
    cfg = settings(job, cache="on" if kept else "off", cache_views=views).model_copy(update={"epochs": epochs})
    if variant not in ("recompute", "live"):
        parts, plan = cache.prepare(model, parts, cfg, Path(tempfile.mkdtemp()))
        assert plan.cached == kept and plan.class_token, str(plan)
    if variant == "cached":
        vars(model.blocks[-1]).pop("forward")
    parts["train"] = Ticking(parts["train"], clock, views if kept and timed else 0)
    objective = objectives.Classification([*"abcdefgh"])
    done = fit(model, parts["train"], parts["val"], objective, cfg, tempfile.mkdtemp(), quiet=True)
    cut.leave(done.model)
    for module in done.model.modules():
        vars(module).pop("forward", None)
    return done.model

"""fastai's Learner on the same net; as documented through an ImageDataLoaders, tuned over decoded pictures."""

from contextlib import nullcontext
from functools import partial

import fastai.callback.progress  # noqa: F401 - gives learners their bar, and the way to turn it off
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from fastai.vision.augment import RandomResizedCrop, aug_transforms
from fastai.vision.data import ImageDataLoaders, Normalize
from job import DECAY, LR, MEAN, STD, Clock, Job, faces
from pictures import dataset
from torch.utils.data import DataLoader

VARIANTS = ("as documented", "tuned")


class Ticks(Callback):
    """Tells the clock of every training step; there is nothing to validate on here."""

    def __init__(self, clock: Clock):
        self.clock = clock

    def after_batch(self) -> None:
        if self.training:
            self.clock()

    def before_validate(self) -> None:
        raise CancelValidException


def train(job: Job, variant: str, model: torch.nn.Module, clock: Clock) -> torch.nn.Module:
    """Tuned: decoded pictures, channels-last, fused AdamW, neither bar nor log."""
    paths, labels, *_ = faces(job)
    fused = partial(torch.optim.AdamW, weight_decay=DECAY, fused=True)
    if variant == "tuned":
        model = model.to(memory_format=torch.channels_last)
        loader = DataLoader(dataset(job, variant, paths, labels), job.batch, shuffle=True, drop_last=True)
        loaders, options = DataLoaders(loader, loader), {"opt_func": partial(OptimWrapper, opt=fused)}
    else:
        flips = aug_transforms(max_rotate=0, max_zoom=1, max_lighting=0, max_warp=0)
        loaders = ImageDataLoaders.from_lists(
            paths[0].parent, paths, [str(label) for label in labels], valid_pct=0.0, bs=job.batch, num_workers=0,
            item_tfms=RandomResizedCrop(job.size, min_scale=0.8, ratio=(0.9, 1.11)),
            batch_tfms=[*flips, Normalize.from_stats(MEAN, STD)],
        )  # fmt: skip
        options = {"wd": DECAY}
    learner = Learner(loaders, model, torch.nn.CrossEntropyLoss(), lr=LR, cbs=[Ticks(clock)], **options)
    with learner.no_bar() if variant == "tuned" else nullcontext(), learner.no_logging():
        learner.fit(job.epochs, LR)
    return model

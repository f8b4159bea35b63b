"""The one job that every contender does: the same pictures, the same net with the same first weights, the same batches.

A contender is a module with `VARIANTS` and `train(job, variant, model, clock)`; it calls `clock()` after each step.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import timm
import torch

from emohelpers import config, models
from emohelpers.config.faces import Baseline
from emohelpers.datasets import faces as manifests

CLASSES = 8
MEAN = STD = (0.5, 0.5, 0.5)  # of these weights
LR, DECAY, WARM = 1e-3, 1e-4, 2  # the first steps are not counted: allocator, thread pools, compiled kernels


@dataclass(frozen=True)
class Job:
    """What is trained, on how much."""

    backbone: str
    weights: str  # "random": speed does not depend on them; "demo" where quality is asked for
    trainable: str | int  # last blocks or "all", see models.freeze
    size: int  # pixels of the model's input
    batch: int
    pictures: int
    epochs: int = 1

    @property
    def steps(self) -> int:
        return self.epochs * (self.pictures // self.batch)


JOBS = {
    "quality": Job("test_vit", "demo", 2, 96, 64, 1920, epochs=4),
    "vit": Job("vit_base_patch16_224", "random", 2, 224, 8, 40),
    "resnet": Job("resnet50", "random", "all", 224, 16, 96),
}


def small(job: Job) -> Job:
    """The same path in seconds, for a test."""
    return replace(job, backbone="test_vit", size=96, batch=8, pictures=32, epochs=1)


def faces(job: Job) -> tuple[list[Path], np.ndarray, list[Path], np.ndarray]:
    """Files and class numbers of the training pictures, and of 480 others to be judged on."""
    dataset = manifests.load("demo_faces")
    table = dataset.table.sample(frac=1, random_state=0)
    number = pd.Series(range(CLASSES), index=dataset.classes)
    parts = table.iloc[: job.pictures], table.iloc[-480:]
    return tuple(
        made for part in parts for made in ([dataset.root / p for p in part["path"]], number[part["label"]].to_numpy())
    )


def decoded(paths: list[Path], size: int) -> torch.Tensor:
    """(n, 3, size, size) uint8 in memory: what a user does who has noticed that decoding costs."""
    read = (cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths)
    resized = [cv2.resize(picture, (size, size)) for picture in read]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def settings(job: Job, **values):
    """Our config of the job."""
    return config.make(
        Baseline, "demo", backbone=job.backbone, weights=job.weights, trainable=job.trainable, head="linear",
        img_size=job.size, batch_size=job.batch, epochs=job.epochs, lr=LR, weight_decay=DECAY, label_smoothing=0.0,
        schedule="constant", warmup_epochs=0.0, patience=0, crop_scale=(0.8, 1.0), rotation=0.0, brightness=0.0,
        contrast=0.0, saturation=0.0, erasing=0.0, **values,
    )  # fmt: skip


def net(job: Job) -> torch.nn.Module:
    """The timm net of every contender, frozen as the job says, with the same first weights."""
    torch.manual_seed(0)
    if job.weights == "random":
        model = timm.create_model(
            job.backbone, num_classes=CLASSES, **({"img_size": job.size} if "vit" in job.backbone else {})
        )
        model.spec = {
            "backbone": job.backbone,
            "img_size": job.size,
            "head": "linear",
            "head_width": 1,
            "head_dropout": 0.0,
            "classes": [*"abcdefgh"],
        }
    else:
        model = models.build(settings(job), [*"abcdefgh"])
    models.freeze(model, job.trainable)
    return model


class Clock:
    """Counts steps and the seconds of those after the first `WARM`."""

    def __init__(self):
        self.at: list[float] = []

    def __call__(self) -> None:
        self.at.append(time.perf_counter())

    def images_per_s(self, batch: int) -> float:
        return batch * (len(self.at) - WARM) / (self.at[-1] - self.at[WARM - 1])


@torch.no_grad()
def accuracy(model: torch.nn.Module, job: Job) -> float:
    """Share of the 480 other pictures that the trained net names right, by one and the same evaluation for all."""
    *_, paths, labels = faces(job)
    inputs = (decoded(paths, job.size).float() / 255 - 0.5) / 0.5
    guesses = torch.cat([model.eval()(part).argmax(1) for part in inputs.split(96)])
    return float((guesses.numpy() == labels).mean())

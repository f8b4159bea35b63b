"""A shortcut, shown: a net that is augmented on one side only learns to see the augmentation."""

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch.nn import Module

from emohelpers import models, train
from emohelpers.images import render
from emohelpers.images.augment import Augmentation
from emohelpers.images.preprocess import Preprocess
from emohelpers.metrics import pairs as pair_metrics
from emohelpers.models import devices
from emohelpers.ranking import model as ranking
from emohelpers.ranking.batches import PairBatches, still
from emohelpers.ranking.photographs import Photographs


def original(cfg: Any) -> Augmentation:
    """Seed 003's augmentation: flip .5, brightness and contrast +-10 %, rotation +-5 degrees; the rest as in `cfg`."""
    return dataclasses.replace(Augmentation.of(cfg), flip=0.5, brightness=0.1, contrast=0.1, rotation=5.0)


def tempted(model: Module, training: PairBatches, cfg: Any, augmented: str) -> Module:
    """A copy that goes on training on pairs of a good picture with itself, augmented (`original`) as said.

    There is no appeal to learn in them, so whatever it prefers after `cfg.shortcut_epochs` passes is the augmentation.
    """
    device = devices.device()
    copied = copy.deepcopy(model).to(device).train()
    batches = copy.copy(training.on(device))
    batches.rows = np.repeat(training.rows[0::2], 2)
    batches.augmented = augmented
    batches.augmentation = original(cfg)
    batches._resident = None
    objective = train.Preference(margin=cfg.margin, opinion_weight=0.0)
    # Of equal sides the gradient is rounding noise, which Adam's usual eps of 1e-8 would blow up to full steps. It is
    # computed in fp32 on a card too.
    optimizer = torch.optim.AdamW(copied.parameters(), lr=cfg.lr, weight_decay=0.0, eps=1e-5)
    for epoch in range(cfg.shortcut_epochs):
        for inputs, targets, _ in batches.epoch(epoch):
            optimizer.zero_grad()
            objective.loss(copied(inputs), targets).backward()
            optimizer.step()
    return copied.eval()


def prefers_augmented(
    model: Module, squares: ndarray, preprocess: Preprocess, augmentation: Augmentation, seed: int
) -> ndarray:
    """(n,) whether the model prefers an augmented picture to the very same one left alone.

    A judge of photographs should have no reason to; one that was trained with augmentation of the good side only has.
    """
    n = len(squares)
    draws = augmentation.draw(n, np.random.default_rng([seed, 31]))
    plain = render.on_cpu(squares, still(n, preprocess), preprocess)
    augmented = render.on_cpu(squares, draws, preprocess)
    return ranking.of_prepared(model, augmented, preprocess) > ranking.of_prepared(model, plain, preprocess)


def shortcut(model: Module, training: PairBatches, photographs: Photographs, cfg: Any) -> dict[str, dict[str, float]]:
    """How often each way of training prefers the augmented copy of a test picture: value, low, high, n by way."""
    unseen = photographs.distinct(photographs.part("test")["good"])
    preprocess = models.prepared(model, photographs.pixels.side)
    preferred = {}
    for sides in ("good", "both"):
        copied = tempted(model, training, cfg, sides)
        hits = prefers_augmented(copied, unseen, preprocess, original(cfg), cfg.seed)
        preferred[f"{sides} augmented"] = pair_metrics.share(hits)
    return preferred

"""A few seconds of looks before hours of training: shapes, a net that can learn at all, classes, gradients, places."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pandas import DataFrame, Series
from torch import nn
from torch.nn import Module

from emohelpers import metrics, models
from emohelpers.config.errors import SuiteError
from emohelpers.images.batches import Batches
from emohelpers.models import devices
from emohelpers.train.errors import of_single_pictures

# of the overfit check: 40 steps, since BatchNorm's statistics need some
PICTURES = 32
EPOCHS = 5
SMALL = 4
# its learning rates: of what is new (a random trunk too), of a pretrained trunk
RATE = 3e-3
TRUNK_RATE = 3e-4
STEPS = 4  # batches whose gradients are measured


class PreflightError(SuiteError, RuntimeError):
    """The model does not fit the data: training would fail or be pointless."""


def check(model: Module, parts: dict[str, Batches], objective, cfg) -> DataFrame:
    """One row a check: `figure`, what was `wanted`, `passed`. The model is left as it was; all work is on copies.

    Raises:
        PreflightError: the output has not one finite logit a class.
    """
    device = devices.device()
    batch = parts["train"].on(device)
    classes = len(objective.classes)
    trial = copy.deepcopy(model).to(device)
    rows = [
        _sanity(trial, batch, classes),
        # On a copy, since it changes weights, and the gradients below are of the model as it is.
        _overfit(copy.deepcopy(trial), parts["train"], cfg),
        _classes(parts["train"], objective.classes),
        _gradients(trial, batch, objective, cfg),
    ]
    return DataFrame(rows)


def places(faces, cfg, run: str | Path) -> DataFrame:
    """What was asked for, and the file or folder that it was resolved to after trying the roots in turn."""
    rows = [
        ("data", cfg.dataset_root or cfg.manifest, faces.dataset.root),
        ("labels", cfg.labels_csv or "manifest's", ""),
        ("golden set", cfg.testset_csv or cfg.golden, faces.golden.file),
        ("weights", cfg.weights, ""),
        ("results", cfg.output_dir or "this run's", run),
    ]
    return DataFrame(rows, columns=["what", "asked for", "found"]).astype(str)


def balance(faces, cfg) -> DataFrame:
    """One row a class of the training part: pictures, share, weight in the loss, and weight x share (together 1)."""
    labels = faces.part("train")["label"]
    classes = faces.classes
    counts = Series(list(labels)).value_counts().reindex(list(classes), fill_value=0)
    share = counts / counts.sum()
    weight = metrics.weights(labels, classes, cfg.class_weight_power)
    columns = {"pictures": counts, "share": share, "weight": weight, "say": weight * share}
    return DataFrame(columns).rename_axis("class").reset_index()


def _sanity(model: Module, batches: Batches, classes: int) -> dict[str, Any]:
    inputs, _, _ = next(iter(batches.epoch()))
    model.eval()
    with torch.no_grad():
        logits = model(inputs)
    if logits.shape != (len(inputs), classes) or not torch.isfinite(logits).all():
        raise PreflightError(
            f"a batch {tuple(inputs.shape)} gives {tuple(logits.shape)} with {int((~torch.isfinite(logits)).sum())} "
            f"figures that are not finite; {(len(inputs), classes)} finite logits were expected. Are the weights whole?"
        )
    shape = f"{tuple(inputs.shape)} -> {tuple(logits.shape)}"
    return {"check": "sanity batch", "figure": shape, "wanted": f"{classes} finite logits", "passed": True}


def _overfit(model: Module, batches: Batches, cfg) -> dict[str, Any]:
    """All layers learn 32 unaugmented pictures; the loss is read in eval mode, as every later figure will be."""
    n = len(batches.rows)
    # Spread over the part, since a table may be sorted by class.
    rows = np.linspace(0, n - 1, min(PICTURES, n)).astype(int)
    targets = batches.targets[rows].numpy()
    few = Batches(batches.pixels, batches.rows[rows], targets, batches.preprocess, batch_size=SMALL)
    steps = list(few.on(next(model.parameters()).device).epoch())
    model.requires_grad_(True)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):  # it is there to prevent what is asked for here
            layer.p = 0.0
    optimizer = _overfit_optimizer(model, RATE if cfg.weights == "random" else TRUNK_RATE)
    before = _loss(model, steps)
    # The random state that training goes on from must not move.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(EPOCHS):
            model.train()
            for step in torch.randperm(len(steps)).tolist():
                inputs, labels, _ = steps[step]
                optimizer.zero_grad()
                F.cross_entropy(model(inputs).float(), labels).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    after = _loss(model, steps)
    return {
        "check": "overfit",
        "figure": f"loss {before:.2f} -> {after:.2f}",
        "wanted": f"half after {EPOCHS} epochs of {len(rows)} pictures",
        "passed": bool(after < before / 2),
    }


def _overfit_optimizer(model: Module, trunk_rate: float) -> torch.optim.Optimizer:
    head = models.head_parameters(model)
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        groups[name in head].append(parameter)
    rates = [{"params": groups[False], "lr": trunk_rate}, {"params": groups[True], "lr": RATE}]
    return torch.optim.AdamW(rates, weight_decay=0)


@torch.no_grad()
def _loss(model: Module, steps: list) -> float:
    model.eval()
    total = 0.0
    pictures = 0
    for inputs, targets, _ in steps:
        total += F.cross_entropy(model(inputs).float(), targets, reduction="sum").item()
        pictures += len(inputs)
    return total / pictures


def _classes(batches: Batches, classes: Sequence[str]) -> dict[str, Any]:
    targets = batches.targets if batches.targets.ndim == 1 else batches.targets.argmax(1)
    counts = np.bincount(targets.numpy(), minlength=len(classes))
    rare = counts.argmin()
    common = counts.argmax()
    figure = f"{classes[common]} {counts[common]}, {classes[rare]} {counts[rare]}"
    return {"check": "classes", "figure": figure, "wanted": "none empty", "passed": bool(counts.min() > 0)}


def _gradients(model: Module, batches: Batches, objective, cfg) -> dict[str, Any]:
    models.freeze(model, cfg.trainable)
    models.training_mode(model)
    norms = []
    with torch.random.fork_rng():
        for (inputs, targets, _), _ in zip(batches.epoch(), range(STEPS), strict=False):
            model.zero_grad()
            mixed, soft = objective.mix(inputs, targets)
            with of_single_pictures(cfg):
                objective.loss(model(mixed).float(), soft).backward()
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            norms.append(float(nn.utils.get_total_norm(gradients)))
    limit = cfg.clip or float("inf")
    clipped = sum(norm > limit for norm in norms)
    figure = f"norm {min(norms):.2g} .. {max(norms):.2g}, {clipped} of {len(norms)} above the clip of {cfg.clip:g}"
    passed = bool(np.isfinite(norms).all() and max(norms) > 0)
    return {"check": "gradients", "figure": figure, "wanted": "finite, not all zero", "passed": passed}

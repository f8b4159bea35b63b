"""Optimizer, learning-rate schedule and weight averaging of one training."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from emohelpers import models

GROUPS = ("backbone", "backbone, no decay", "head", "head, no decay")


def optimizer(model: nn.Module, cfg) -> torch.optim.Optimizer:
    """All parameters in the four `GROUPS`, frozen ones too: those without a gradient are passed over, and what is
    unfrozen later finds its group, so that no optimizer or schedule is ever replaced."""
    head = models.head_parameters(model)
    members: dict[str, list[nn.Parameter]] = {group: [] for group in GROUPS}
    for name, parameter in model.named_parameters():
        group = "head" if name in head else "backbone"
        members[group + (", no decay" if parameter.ndim <= 1 else "")].append(parameter)
    rates = {"backbone": cfg.lr_backbone or cfg.lr, "head": cfg.lr}
    groups = [
        {
            "params": members[name], "name": name, "lr": rates[name.split(",")[0]],
            "weight_decay": 0.0 if name.endswith("no decay") else cfg.weight_decay,
        }
        for name in GROUPS
    ]  # fmt: skip
    if cfg.optimizer == "sgd":
        # not fused: torch's fused SGD fails where some have a momentum already and others were unfrozen just now
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, foreach=True)
    return torch.optim.AdamW(groups, fused=True)


def schedule(optimizer: torch.optim.Optimizer, cfg, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Factor of the rates for each of `steps` steps; it ends when training ends."""
    if cfg.schedule == "onecycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
    warm = min(round(cfg.warmup_epochs * steps / cfg.epochs), steps - 1)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        done = (step - warm) / max(steps - warm, 1)
        if cfg.schedule == "constant":
            return 1.0
        if cfg.schedule == "restarts" and done < 1:
            done = done * cfg.restarts % 1
        return 0.5 * (1 + math.cos(math.pi * done))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class Ema:
    """Exponential moving average of whatever is being trained, BatchNorm statistics included.

    What is unfrozen later joins at its present value. The decay is warmed up, min(decay, (1+t)/(10+t)), so that short
    trainings are averaged too.
    """

    def __init__(self, decay: float):
        self.decay, self.steps, self.average = decay, 0, {}

    @torch.no_grad()
    def update(self, moving: dict[str, torch.Tensor]) -> None:
        """After an optimizer step, with the live tensors by name."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        old, new = [], []
        for name, tensor in moving.items():
            if name not in self.average or not tensor.is_floating_point():
                self.average[name] = tensor.detach().clone()
            else:
                old.append(self.average[name])
                new.append(tensor.detach())
        if old:
            torch._foreach_lerp_(old, new, 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self, moving: dict[str, torch.Tensor]) -> Iterator[None]:
        """The averages stand in the model inside the block; the trained weights are back after it."""
        kept = {name: moving[name].detach().clone() for name in self.average}
        try:
            for name, tensor in self.average.items():
                moving[name].copy_(tensor)
            yield
        finally:
            for name, tensor in kept.items():
                moving[name].copy_(tensor)

"""Optimizer, learning-rate schedule and weight averaging of one training."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import Module
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from emohelpers import models
from emohelpers.config.registry import SCHEDULES

GROUPS = ("backbone", "backbone, no decay", "head", "head, no decay")


def optimizer(model: Module, cfg) -> torch.optim.Optimizer:
    """All parameters in the four `GROUPS`, frozen ones too: those without a gradient are passed over, and what is
    unfrozen later finds its group, so that no optimizer or schedule is ever replaced."""
    head = models.head_parameters(model)
    members: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
    for name, parameter in model.named_parameters():
        part = "head" if name in head else "backbone"
        # biases and norms do not decay
        members[part if parameter.ndim > 1 else f"{part}, no decay"].append(parameter)
    groups = []
    for name in GROUPS:
        rate = cfg.lr if name.startswith("head") else cfg.lr_backbone or cfg.lr
        decay = 0.0 if name.endswith("no decay") else cfg.weight_decay
        groups.append({"params": members[name], "name": name, "lr": rate, "weight_decay": decay})
    if cfg.optimizer == "sgd":
        # not fused: torch's fused SGD fails where some have a momentum already and others were unfrozen just now
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, foreach=True)
    return torch.optim.AdamW(groups, fused=True)


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Learning rates of the next step, of backbone and head."""
    by_group = {group["name"]: group["lr"] for group in optimizer.param_groups}
    return {"lr_backbone": by_group["backbone"], "lr_head": by_group["head"]}


def schedule(optimizer: torch.optim.Optimizer, cfg, steps: int) -> LRScheduler:
    """The schedule that a config names, for each of `steps` steps; it ends when training ends."""
    return SCHEDULES[cfg.schedule](optimizer, cfg, steps)


@SCHEDULES.register("cosine")
def cosine(optimizer: torch.optim.Optimizer, cfg, steps: int) -> LRScheduler:
    """From the full rate to nothing, along half a cosine."""
    return _warmed_up(optimizer, cfg, steps, _half_cosine)


@SCHEDULES.register("onecycle")
def one_cycle(optimizer: torch.optim.Optimizer, cfg, steps: int) -> LRScheduler:
    """torch's own: up and down once, and the momentum the other way round; it warms up by itself."""
    highest = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, highest, total_steps=steps)


@SCHEDULES.register("restarts")
def restarts(optimizer: torch.optim.Optimizer, cfg, steps: int) -> LRScheduler:
    """`cfg.restarts` cosines, one after the other."""

    def factor(progress: float) -> float:
        # At progress 1 the remainder is 0, the full rate again, where the rate has to end at nothing.
        return _half_cosine(progress * cfg.restarts % 1 if progress < 1 else progress)

    return _warmed_up(optimizer, cfg, steps, factor)


@SCHEDULES.register("constant")
def constant(optimizer: torch.optim.Optimizer, cfg, steps: int) -> LRScheduler:
    """The full rate, after the warm-up."""
    return _warmed_up(optimizer, cfg, steps, lambda progress: 1.0)


def _warmed_up(optimizer: torch.optim.Optimizer, cfg, steps: int, factor: Callable[[float], float]) -> LRScheduler:
    """Linear for `cfg.warmup_epochs`, then the `factor` of a progress from 0 to 1."""
    # At most all steps but one, so that a short training still reaches its full rate.
    warm = min(round(cfg.warmup_epochs * steps / cfg.epochs), steps - 1)

    def of_step(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return factor((step - warm) / max(steps - warm, 1))

    return LambdaLR(optimizer, of_step)


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


class Ema:
    """Exponential moving average of whatever is being trained, BatchNorm statistics included.

    What is unfrozen later joins at its present value. The decay is warmed up, min(decay, (1+t)/(10+t)), so that short
    trainings are averaged too.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, moving: dict[str, Tensor]) -> None:
        """After an optimizer step, with the live tensors by name."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averages = []
        news = []
        for name, tensor in moving.items():
            if name in self.average and tensor.is_floating_point():
                averages.append(self.average[name])
                news.append(tensor.detach())
            else:  # new, or a counter
                self.average[name] = tensor.detach().clone()
        # A few kernels for all tensors; torch refuses an empty list.
        if averages:
            torch._foreach_lerp_(averages, news, 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self, moving: dict[str, Tensor]) -> Iterator[None]:
        """The averages stand in the model inside the block; the trained weights are back after it."""
        # Values are copied, since optimizer and wrappers hold on to the tensors themselves.
        trained = {name: moving[name].detach().clone() for name in self.average}
        try:
            for name, tensor in self.average.items():
                moving[name].copy_(tensor)
            yield
        finally:
            for name, tensor in trained.items():
                moving[name].copy_(tensor)

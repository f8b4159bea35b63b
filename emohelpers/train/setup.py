"""Before the first step of a training: what is refused, where the model lies, who else keeps its figures."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn import Module

from emohelpers import models
from emohelpers.models import devices
from emohelpers.train.errors import TrainingError


def check(model: Module, objective, cfg, processes: Accelerator, stages: dict[int, Any]) -> None:
    """Refuses what would fail, or do something else than it says, after hours."""
    missing = {*cfg.trackers} - {"all", *map(str, processes.log_with)}  # accelerate itself is silent
    if missing:
        raise TrainingError(f"trackers: {', '.join(sorted(missing))} not installed. Install them, or leave them out.")
    monitors = [f"val_{figure}" for figure in objective.figures]
    if cfg.monitor not in monitors:
        raise TrainingError(f"monitor={cfg.monitor!r} is not measured. Choose one of: {', '.join(monitors)}")
    if cfg.compile and processes.device.type == "cuda" and torch.cuda.get_device_capability() < (8, 0):
        raise TrainingError("compile=True needs a card of compute capability 8.0, as Triton does. Set compile=False.")
    depths = [models.depth(model, stages[epoch]) for epoch in sorted(stages)]
    if depths != sorted(depths):
        raise TrainingError(f"stages freeze again what was trained: {stages}. Each must unfreeze more (unfreeze).")
    if cfg.batch_size % processes.num_processes:
        raise TrainingError(f"batch_size={cfg.batch_size} cannot be shared by {processes.num_processes} processes.")


def placed(model: Module, cfg, processes: Accelerator) -> Module:
    """The model on its device, in the memory format and with the norms that train fastest there."""
    if cfg.channels_last and any(isinstance(module, nn.Conv2d) for module in model.modules()):
        model.to(memory_format=torch.channels_last)
    if processes.num_processes > 1 and processes.device.type == "cuda":
        model = convert_sync_batchnorm(model)  # timm's: torch's would drop the activations inside its norms
    model = model.to(processes.device)
    if processes.device.type == "cpu":
        models.out_of_place(model)  # faster there (benchmarks/kept_memory.py); a card rather saves memory
    if cfg.compile:
        model.compile()
    return model


def start_trackers(processes: Accelerator, cfg, folder: Path, project: str) -> None:
    """TensorBoard, W&B and the like, all on this machine; `cfg.project` wins over `project`."""
    if not cfg.trackers:
        return
    settings = {name: str(value) for name, value in cfg}
    devices.keep_local(cfg.trackers, folder)
    offline = {"wandb": {"mode": "offline", "dir": str(folder)}}  # sent later by `wandb sync`
    processes.init_trackers(cfg.project or project, config=settings, init_kwargs=offline)

"""One optimizer step: forward and backward in as many parts as the memory asks for, clip, move, average."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from torch import Tensor
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel

from emohelpers import models
from emohelpers.models import devices
from emohelpers.train import optim
from emohelpers.train.errors import OutOfMemory, of_single_pictures


class Step:
    """Called with (inputs, targets) of a batch, moves the weights and returns the batch's means as tensors.

    When the memory runs out the batch is computed in twice as many parts, with the same gradient (BatchNorm alone sees
    smaller parts), and it is said aloud. Optimizer, schedule and averages live through every change of what is trained.
    """

    def __init__(self, model: Module, objective, cfg, steps: int, processes: Accelerator, say: Callable[[str], None]):
        self.plain = model
        self.objective = objective
        self.processes = processes
        self.say = say
        self.cfg = cfg
        self.clip = cfg.clip
        self.parts = cfg.accumulation
        optimizer = optim.optimizer(model, cfg)
        self.schedule = optim.schedule(optimizer, cfg, steps)  # first, or with fp16 it warns that `step` was replaced
        self.optimizer = processes.prepare(optimizer)
        self.ema = optim.Ema(cfg.ema) if cfg.ema else None

    def train(self, trainable: str | int) -> str:
        """Freezes all but `trainable` (see `models.freeze`) from now on; returns the description of the phase."""
        phase = models.freeze(self.plain, trainable)
        self.model = plain = self.plain
        if self.processes.num_processes > 1:  # wrapped anew: it looks at what is trainable only once
            device = self.processes.device
            cards = [device] if device.type == "cuda" else None
            self.model = DistributedDataParallel(plain, device_ids=cards)
        self.trained = [p for p in plain.parameters() if p.requires_grad]
        self.moving = models.moving(plain)
        return phase

    def __call__(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        # Outside of the loop: a retry after lost memory computes the same mixed pictures.
        with devices.autocast(self.processes.device, self.cfg.precision):  # of a teacher
            inputs, targets = self.objective.mix(inputs, targets)
        self.optimizer.zero_grad()  # before, not after: the last step's gradients stay to be looked at
        while True:
            try:
                means = self.forward_backward(inputs, targets)
                break
            except RuntimeError as error:
                if not devices.out_of_memory(error):
                    raise
            # Outside of that block, since the error's traceback holds on to the failed pass's tensors.
            self._halve(inputs)
        # With fp16 gradients carry the scaler's factor; accelerate takes it out before it measures the norm.
        scaled = self.processes.scaler is not None
        if self.clip or scaled:
            norm = self.processes.clip_grad_norm_(self.trained, self.clip or math.inf)  # before the clipping
            means["gradient"] = norm
        if scaled:  # the scaler skips a step whose gradients overflowed, and takes a smaller factor
            means["gradient"] = norm.where(norm.isfinite(), math.nan)
            means["skipped"] = 1 - norm.isfinite().float()
        self.optimizer.step()
        self.schedule.step()  # also where fp16 overflowed and the fused optimizer moved nothing: it ends with training
        if self.ema:
            self.ema.update(self.moving)
        return means

    def forward_backward(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Gradients of the batch's mean loss, summed over its parts."""
        # Parts as equal as can be: of 10 pictures in 4 parts none is alone, as `chunk` would leave one.
        parts = inputs.tensor_split(min(self.parts, len(inputs)))
        means: dict[str, Any] = {}
        for i, (part, target) in enumerate(zip(parts, targets.tensor_split(len(parts)), strict=True)):
            # Weighted by its share, so that parts of unequal size add up to the gradient of the whole batch.
            share = len(part) / len(inputs)
            last = i == len(parts) - 1  # only then the processes exchange their gradients
            with nullcontext() if last else self.processes.no_sync(self.model):
                with self.processes.autocast(), of_single_pictures(self.cfg):
                    output = self.model(part)
                # In fp32 and outside of autocast: a log-softmax in half precision loses small probabilities.
                loss = self.objective.loss(output.float(), target)
                self.processes.backward(loss * share)
            figures = {"loss": loss.detach(), **self.objective.running(output, target)}
            for name, value in figures.items():
                means[name] = means.get(name, 0) + value * share
        return means

    def agree(self) -> None:
        """All processes take over the first one's buffers: BatchNorm is synchronised on GPUs only."""
        if self.processes.num_processes == 1:
            return
        # Parameters are equal already, since their gradients are exchanged; what else moves are buffers.
        parameters = {name for name, _ in self.plain.named_parameters()}
        averages = self.ema.average if self.ema else {}
        for tensors in (self.moving, averages):
            # A set's order differs between processes, and all must broadcast the same tensor at a time.
            for name in sorted(set(tensors) - parameters):
                torch.distributed.broadcast(tensors[name], 0)

    def averaged(self):
        """Inside this context the model holds the averaged weights, where there are any."""
        return self.ema.applied(self.moving) if self.ema else nullcontext()

    def rates(self) -> dict[str, float]:
        """Learning rates of the next step, of backbone and head."""
        return optim.rates(self.optimizer)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, in plain types and tensors."""
        scaler = self.processes.scaler
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "parts": self.parts,
            "scaler": scaler.state_dict() if scaler else None,
            "ema": (self.ema.steps, self.ema.average) if self.ema else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up what `state` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        # Parts that the memory once called for are used again, unless the config now names more.
        self.parts = max(self.parts, state["parts"])
        if self.processes.scaler and state["scaler"]:
            self.processes.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.steps, average = state["ema"]
            self.ema.average = {name: tensor.to(self.processes.device) for name, tensor in average.items()}

    def end(self) -> None:
        """Lets go of the gradients, and of the optimizer, whose wrapper holds on to itself where fp16 is scaled."""
        self.optimizer.zero_grad()
        vars(self.optimizer).clear()

    def _halve(self, inputs: Tensor) -> None:
        if self.parts * 2 > len(inputs) // 2:  # BatchNorm needs two
            raise OutOfMemory(
                f"out of memory with two pictures of {tuple(inputs.shape[1:])} at a time: choose a smaller backbone or "
                "img_size, or freeze more (trainable)."
            )
        self.parts *= 2
        # The parts that did fit have left their gradients.
        self.optimizer.zero_grad()
        clear_device_cache(garbage_collection=True)
        self.say(f"Out of memory: each batch is now computed in {self.parts} parts, with the same effect.")

"""One `fit` and one `evaluate` for every task, on accelerate: one process or several, CPU or GPU.

A run is named by what decides its weights (settings, data, initial weights). Killing it at any moment and starting it
again goes on after the last finished epoch and, on a CPU, ends in the same bits: every epoch draws its randomness from
(seed, epoch) alone, and checkpoints are written whole or not at all.
"""

import hashlib
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from emohelpers import config, devices, files, models, optim
from emohelpers.images import Batches

BORN = time.monotonic()  # the time budget counts from here: what a session limit counts from
IRRELEVANT = {  # settings that do not decide the weights, or only through the data or the initial weights
    "preset", "output_dir", "time_budget_h", "trackers", "accumulation", "bootstrap", "dataset_root", "labels_csv",
    "testset_csv", "max_unreadable", "weights",
}  # fmt: skip
CHECK_EVERY = 50  # steps between looks at the loss: reading it stalls a GPU
PROBE_STEPS = 10  # after these the expected duration is told
SHORT = {"loss": "Loss", "accuracy": "Acc", "macro_f1": "F1"}


class TrainingError(RuntimeError):
    """A training that cannot go on, with the remedy."""


@dataclass(frozen=True)
class Fit:
    """What came out of a training; `model` holds the best weights."""

    model: nn.Module
    history: pd.DataFrame  # one row an epoch
    best: dict[str, Any]  # the row that was best by the monitor
    status: str  # "finished", "stopped early" or "paused"
    checkpoint: Path  # the whole best model, see models.load
    seconds: float  # of training, over all sessions
    peak_memory_gb: float


def fit(
    model: nn.Module, training: Batches, validation: Batches, objective, cfg, folder: str | Path, *,
    name: str = "best_model.pth", quiet: bool = False,
) -> Fit:  # fmt: skip
    """Trains `model` and leaves the best weights in it and, whole, in `folder/name`.

    Args:
        training, validation: see `images.Batches`; anything with its `epoch`, `on`, `__len__` and `digest` will do.
        objective: `objectives.Classification` or its like.
        cfg: the `config.Training` fields.
        folder: gets `history.csv`, the checkpoint and `checkpoints/<run>/{last,best}.pth`.

    Raises:
        TrainingError: NaN or infinite loss, unknown monitor, unusable card; each says what to do.
    """
    run = _Run(model, training, validation, objective, cfg, Path(folder), name, quiet)
    return run.go()


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Batches, *, processes: Accelerator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (n, ...) float32 and targets (n, ...) in the order of `batches.rows`, every sample exactly once.

    With several processes each computes its share and all return the whole.
    """
    processes = processes or Accelerator(cpu=not torch.cuda.is_available())
    batches = batches.on(processes.device, processes.process_index, processes.num_processes)
    plain = processes.unwrap_model(model).to(processes.device).eval()
    outputs, targets, positions = [], [], []
    for inputs, target, at in batches.epoch():
        if len(at):
            with processes.autocast():
                outputs.append(plain(inputs).float())
            targets.append(target)
            positions.append(torch.from_numpy(at))
    output, target, position = (torch.cat(parts) for parts in (outputs, targets, positions))
    if processes.num_processes > 1:
        position, output, target = (
            processes.gather(processes.pad_across_processes(t.to(processes.device), dim=0, pad_index=-1))
            for t in (position, output, target)
        )
        output, target, position = output[position >= 0], target[position >= 0], position[position >= 0]
    order = position.argsort().cpu()
    if not torch.equal(position.cpu()[order], torch.arange(len(batches.rows))):
        raise TrainingError(f"{len(position)} predictions for {len(batches.rows)} samples: some were lost or doubled")
    return output.cpu()[order].numpy(), target.cpu()[order].numpy()


def probabilities(model: nn.Module, batches: Batches) -> np.ndarray:
    """Softmax of a classifier's outputs (n, classes) float32, in the order of `batches.rows`."""
    return torch.from_numpy(evaluate(model, batches)[0]).softmax(1).numpy()


class _Run:
    """State of one training between its epochs."""

    def __init__(self, model, training, validation, objective, cfg, folder, name, quiet):
        self.processes = devices.accelerator(cfg.precision, trackers=cfg.trackers, folder=folder)
        self.cfg, self.objective, self.folder, self.name = cfg, objective, folder, name
        self.mute = quiet or not self.processes.is_main_process
        place = (self.processes.device, self.processes.process_index, self.processes.num_processes)
        self.training, self.validation = training.on(*place), validation.on(*place)
        self.key = _key(model, training, validation, cfg)
        self.home = folder / "checkpoints" / self.key
        if cfg.channels_last and any(isinstance(m, nn.Conv2d) for m in model.modules()):
            model.to(memory_format=torch.channels_last)
        if self.processes.num_processes > 1 and self.processes.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.plain, self.model = model.to(self.processes.device), None
        self.optimizer = self.processes.prepare(optim.optimizer(self.plain, cfg))
        self.steps = cfg.epochs * len(training)
        self.schedule = optim.schedule(self.optimizer.optimizer, cfg, self.steps)
        self.ema = optim.Ema(cfg.ema) if cfg.ema else None
        self.stages = {0: cfg.trainable, **cfg.unfreeze} if hasattr(cfg, "trainable") else {0: "all", **cfg.unfreeze}
        self.moved: set[str] = set()  # names of what has ever been trained: only these are checkpointed
        self.history: list[dict[str, Any]] = []
        self.resumed_at = 0
        self.accumulation, self.status, self.best = cfg.accumulation, "running", None
        self.bar = tqdm(total=self.steps, unit="step", mininterval=5, leave=False, disable=self.mute)
        self.sign = -1 if "loss" in cfg.monitor else 1

    def go(self) -> Fit:
        self._resume()
        if self.cfg.trackers:
            self.processes.init_trackers(self.name.split(".")[0], config={name: str(value) for name, value in self.cfg})
        with self.bar:
            for epoch in range(len(self.history), self.cfg.epochs):
                if self.status != "running":
                    break
                if self._out_of_time():
                    self.status = "paused"
                    hours = self.cfg.time_budget_h
                    self.say(f"Time budget of {hours} h: paused before epoch {epoch + 1}. Run again to go on.")
                    break
                self._epoch(epoch)
        if self.status == "running":
            self.status = "finished"
        return self._finish()

    def _epoch(self, epoch: int) -> None:
        started = time.monotonic()
        phase = self._enter(epoch)
        means, rates = self._pass(epoch)
        row = {"epoch": epoch + 1, "phase": phase, **means, **self._validate()}
        row |= {"lr_backbone": rates[0], "lr_head": rates[2], "seconds": time.monotonic() - started}
        row["images_per_s"] = len(self.training) * self.training.batch_size / row["seconds"]
        self._judge(row)
        self._save()
        self.say(_line(row, self.cfg.epochs))
        if self.cfg.trackers:
            self.processes.log({k: v for k, v in row.items() if isinstance(v, float)}, step=epoch + 1)

    def _pass(self, epoch: int) -> tuple[dict[str, float], list[float]]:
        """One pass over the training part: means of the epoch, and the last step's learning rates."""
        torch.manual_seed(int(config.digest(self.cfg.seed, epoch, self.processes.process_index), 16) % 2**63)
        models.training_mode(self.plain)
        sums: dict[str, Any] = {}
        started = time.monotonic()
        for step, (inputs, targets, _) in enumerate(self.training.epoch(epoch)):
            rates = [group["lr"] for group in self.optimizer.param_groups]
            for name, value in self._step(inputs, targets).items():
                sums[name] = sums.get(name, 0) + value
            if step % CHECK_EVERY == 0 or step == len(self.training) - 1:
                self._check(sums["loss"], epoch, step)
            if step == PROBE_STEPS and not self.history:
                self._probe((time.monotonic() - started) / (step + 1))
            self.bar.update()
        return {f"train_{name}": self._mean(value) / len(self.training) for name, value in sums.items()}, rates

    def _enter(self, epoch: int) -> str:
        """Freezes as the stage of this epoch says; wraps the model anew when what is trained has changed."""
        stage = max(start for start in self.stages if start <= epoch)
        phase = models.freeze(self.plain, self.stages[stage])
        if self.model is None or stage == epoch:
            self.model = self._distribute()
            self.trained = [p for p in self.plain.parameters() if p.requires_grad]
            self.moving = models.moving(self.plain)
            self.moved |= set(self.moving)
        return phase

    def _distribute(self) -> nn.Module:
        if self.processes.num_processes == 1:
            return self.plain
        cards = [self.processes.device] if self.processes.device.type == "cuda" else None
        return DistributedDataParallel(self.plain, device_ids=cards)

    def _step(self, inputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        inputs, targets = self.objective.mix(inputs, targets)
        while True:
            try:
                sums = self._forward_backward(inputs, targets)
                break
            except torch.OutOfMemoryError:
                if self.accumulation >= len(inputs):
                    raise TrainingError(
                        f"out of memory with single pictures of {tuple(inputs.shape[1:])}: choose a smaller backbone "
                        "or img_size, or freeze more (trainable)."
                    ) from None
                self.accumulation *= 2
                self.optimizer.zero_grad()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                self.say(
                    f"Out of memory: each batch is now computed in {self.accumulation} parts, with the same effect."
                )
        if self.cfg.clip:
            self.processes.clip_grad_norm_(self.trained, self.cfg.clip)
        self.optimizer.step()
        if not self.processes.optimizer_step_was_skipped:
            self.schedule.step()
            if self.ema:
                self.ema.update(self.moving)
        self.optimizer.zero_grad()
        return sums

    def _forward_backward(self, inputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = list(zip(inputs.chunk(self.accumulation), targets.chunk(self.accumulation), strict=True))
        sums: dict[str, Any] = {}
        for i, (part, target) in enumerate(parts):
            share = len(part) / len(inputs)
            with self.processes.no_sync(self.model) if i < len(parts) - 1 else nullcontext():
                with self.processes.autocast():
                    output = self.model(part)
                loss = self.objective.loss(output.float(), target) * share
                self.processes.backward(loss)
            for name, value in {"loss": loss.detach() / share, **self.objective.running(output, target)}.items():
                sums[name] = sums.get(name, 0) + value * share
        return sums

    def _validate(self) -> dict[str, float]:
        moving = self.moving if self.ema else {}
        with self.ema.applied(moving) if self.ema else nullcontext():
            outputs, targets = evaluate(self.plain, self.validation, processes=self.processes)
        return {f"val_{name}": value for name, value in self.objective.scores(outputs, targets).items()}

    def _judge(self, row: dict[str, Any]) -> None:
        """Marks the best epoch so far and decides on early stopping."""
        if self.cfg.monitor not in row:
            numbers = ", ".join(name for name in row if name.startswith(("val_", "train_")))
            raise TrainingError(f"monitor={self.cfg.monitor!r} is not measured. Choose one of: {numbers}")
        value = row[self.cfg.monitor]
        gained = self.best is None or self.sign * (value - self.best[self.cfg.monitor]) > self.cfg.min_delta
        row["status"] = "best" if gained else ""
        self.history.append(row)
        if gained:
            self.best = row
        elif self.cfg.patience and row["epoch"] - self.best["epoch"] >= self.cfg.patience:
            self.status, row["status"] = "stopped early", "stop"

    def _check(self, loss: torch.Tensor, epoch: int, step: int) -> None:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {float(loss)} in epoch {epoch + 1}, by step {step + 1}. Lower lr "
                f"(now {self.cfg.lr:g}), lengthen warmup_epochs, set clip=1.0, or precision='fp32'. "
                f"The last good epoch is kept in {self.home}."
            )

    def _probe(self, seconds: float) -> None:
        epoch = seconds * len(self.training)
        self.say(
            f"Expected: about {_clock(epoch)} an epoch, {_clock(epoch * self.cfg.epochs)} for {self.cfg.epochs} epochs."
        )

    def _out_of_time(self) -> bool:
        if not self.cfg.time_budget_h:
            return False
        longest = max((row["seconds"] for row in self.history), default=0)
        return time.monotonic() - BORN + 1.2 * longest > self.cfg.time_budget_h * 3600

    def _mean(self, value: torch.Tensor) -> float:
        return float(self.processes.reduce(value, "mean"))

    def say(self, text: str) -> None:
        if not self.mute:
            print(text, flush=True)

    def _weights(self) -> dict[str, torch.Tensor]:
        state = self.plain.state_dict()
        return {name: state[name] for name in sorted(self.moved)}

    def _save(self) -> None:
        if not self.processes.is_main_process:
            return
        scaler = self.processes.scaler
        if self.history[-1] is self.best:
            with (
                self.ema.applied(self.moving) if self.ema else nullcontext(),
                files.replace(self.home / "best.pth") as temp,
            ):
                torch.save(self._weights(), temp)
        state = {
            "weights": self._weights(), "optimizer": self.optimizer.state_dict(), "history": self.history,
            "schedule": self.schedule.state_dict(), "scaler": scaler.state_dict() if scaler else None,
            "best_epoch": self.best["epoch"], "status": self.status, "accumulation": self.accumulation,
            "ema": (self.ema.steps, self.ema.average) if self.ema else None,
        }  # fmt: skip
        with files.replace(self.home / "last.pth") as temp:
            torch.save(state, temp)
        files.write_csv(pd.DataFrame(self.history), self.folder / "history.csv")

    def _resume(self) -> None:
        last = self.home / "last.pth"
        if not last.is_file():
            return
        try:
            state = torch.load(last, map_location="cpu", weights_only=True)
            self._put(state["weights"])
        except Exception as error:  # torch raises half a dozen types for a file that is not this checkpoint
            raise TrainingError(
                f"{last} cannot be resumed, it is damaged or of another model ({str(error)[:150]}). "
                f"Restore it, or remove {self.home} to train from the start."
            ) from error
        self.moved = set(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.processes.scaler and state["scaler"]:
            self.processes.scaler.load_state_dict(state["scaler"])
        self.history, self.status, self.accumulation = state["history"], state["status"], state["accumulation"]
        self.best, self.resumed_at = self.history[state["best_epoch"] - 1], len(self.history)
        if self.ema:
            steps, average = state["ema"]
            self.ema.steps = steps
            self.ema.average = {name: tensor.to(self.processes.device) for name, tensor in average.items()}
        self.bar.update(len(self.history) * len(self.training))
        self.say(f"Resumed after epoch {len(self.history)} of {self.cfg.epochs} from {last}.")

    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        self.plain.load_state_dict({**self.plain.state_dict(), **weights}, strict=True)

    def _finish(self) -> Fit:
        self.processes.wait_for_everyone()
        if not self.history:
            raise TrainingError("the time budget ended before the first epoch: raise time_budget_h.")
        best = torch.load(self.home / "best.pth", map_location="cpu", weights_only=True)
        self._put(best)
        self.plain.eval()
        whole = self.folder / self.name
        if self.processes.is_main_process:
            files.write_csv(pd.DataFrame(self.history), self.folder / "history.csv")  # a kill or another run left less
            facts = {"epoch": self.best["epoch"], "monitor": self.cfg.monitor, "value": self.best[self.cfg.monitor]}
            models.save(whole, self.plain, **facts, config=_plain(self.cfg), history=self.history, run=self.key)
        self.processes.end_training()
        seconds = sum(row["seconds"] for row in self.history)
        return Fit(
            self.plain, pd.DataFrame(self.history), self.best, self.status, whole, seconds, devices.peak_memory_gb()
        )


def _key(model: nn.Module, training: Batches, validation: Batches, cfg) -> str:
    """Names a run by everything that decides its weights."""
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    settings = {name: value for name, value in cfg if name not in IRRELEVANT}
    return config.digest(settings, weights.hexdigest(), training.digest(), validation.digest(), model.spec)


def _plain(cfg) -> dict[str, Any]:
    return cfg.model_dump(mode="json")


def _line(row: dict[str, Any], epochs: int) -> str:
    """The seed's epoch line: Epoch, Phase, Train, Val, LR (backbone/head), Time, Status; other tasks show their own."""

    def part(prefix: str) -> str:
        names = [name for name in row if name.startswith(prefix)]
        return " ".join(f"{SHORT.get(n.removeprefix(prefix), n.removeprefix(prefix))} {row[n]:.3f}" for n in names)

    rates = f"LR {row['lr_backbone']:.1e}/{row['lr_head']:.1e}"
    return (
        f"Epoch {row['epoch']:>2}/{epochs} · {row['phase']} · Train {part('train_')} · Val {part('val_')} · {rates} · "
        f"{row['seconds']:.1f} s · {row['status'] or '-'}"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"

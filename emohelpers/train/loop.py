"""One `fit` and one `evaluate` for every task, on accelerate: one process or several, CPU or GPU.

A run is named by what decides its weights (settings, data, initial weights). Killing it at any moment and starting it
again goes on after the last finished epoch and, on a CPU, ends in the same bits: every epoch draws its randomness from
(seed, epoch) alone, and checkpoints are written whole or not at all.
"""

import hashlib
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from timm.layers import convert_sync_batchnorm
from torch import nn
from tqdm.auto import tqdm

from emohelpers import config, models
from emohelpers.config import files, paths
from emohelpers.images.batches import Batches
from emohelpers.models import devices
from emohelpers.models.ensemble import Mixture
from emohelpers.train.record import Record
from emohelpers.train.step import Step

BORN = time.monotonic()  # the time budget counts from here: what a session limit counts from
CHECK_EVERY = 50  # steps between looks at the loss: reading it stalls a GPU
PROBE_STEPS = 10  # after these the expected duration is told
DETAIL = re.compile("_gradient$|_weighted_f1$|_f1_")  # in the history, but not in an epoch's line
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

    def __str__(self) -> str:
        spent = f"{self.seconds:.0f} s; peak memory {self.peak_memory_gb:.1f} GB"
        return f"{self.status}; best epoch {self.best['epoch']}; {spent}"


def fit(
    model: nn.Module, training: Batches, validation: Batches, objective, cfg, folder: str | Path, *,
    name: str = "", quiet: bool = False,
) -> Fit:  # fmt: skip
    """Trains `model` and leaves the best weights in it and, whole, in `folder/name`.

    Args:
        training, validation: see `images.Batches`; anything with its `epoch`, `on`, `__len__` and `digest` will do.
        objective: `objectives.Classification` or its like.
        cfg: the `config.Training` fields.
        name: of the checkpoint; empty: the config's.
        folder: gets `history.csv`, `steps.csv`, the checkpoint and `checkpoints/<run>/{last,best-<epoch>}.pth`.

    Raises:
        TrainingError: NaN or infinite loss, unknown monitor or tracker, a damaged checkpoint; each says what to do.
        UnusableDevice, OutOfMemory: the card or its memory will not do.
    """
    run = _Run(model, training, validation, objective, cfg, Path(folder), name or cfg.checkpoint, quiet)
    return run.go()


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Batches, *, processes: Accelerator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (n, ...) float32 and targets (n, ...) in the order of `batches.rows`, every sample exactly once.

    With several processes each computes its share and all return the whole. A CPU computes in fp32 here also where it
    trains in bf16: any machine finds the same figures again.
    """
    processes = processes or Accelerator(cpu=devices.device().type == "cpu")
    precise = AutocastKwargs(enabled=processes.device.type != "cpu")
    batches = batches.on(processes.device, processes.process_index, processes.num_processes)
    plain = processes.unwrap_model(model).to(processes.device).eval()
    outputs, targets, positions = [], [], []
    for inputs, target, at in batches.epoch():
        if len(at):
            with processes.autocast(precise):
                outputs.append(plain(inputs).float())
            targets.append(target)
            positions.append(torch.from_numpy(at))
    if not outputs:
        raise TrainingError(f"{len(batches.rows)} samples are too few for {processes.num_processes} processes")
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


def probabilities(model: nn.Module, batches: Batches, *, flip: bool = False) -> np.ndarray:
    """Softmax of a classifier's outputs (n, classes) float32, in the order of `batches.rows`; with `flip` the mean of
    a picture's and its mirror image's."""
    model = Mixture([model], mirrored=True) if flip else model
    return torch.from_numpy(evaluate(model, batches)[0]).softmax(1).numpy()


class _Run:
    """State of one training between its epochs."""

    def __init__(self, model, training, validation, objective, cfg, folder, name, quiet):
        self.processes = devices.accelerator(cfg.precision, trackers=cfg.trackers, folder=folder)
        self.cfg, self.objective, self.folder, self.name = cfg, objective, folder, name
        self.mute = quiet or not self.processes.is_main_process
        if lost := {*cfg.trackers} - {"all", *map(str, self.processes.log_with)}:  # accelerate itself is silent
            raise TrainingError(f"trackers: {', '.join(sorted(lost))} not installed. Install them, or leave them out.")
        known = [f"val_{figure}" for figure in objective.figures]
        if cfg.monitor not in known:
            raise TrainingError(f"monitor={cfg.monitor!r} is not measured. Choose one of: {', '.join(known)}")
        place = (self.processes.device, self.processes.process_index, self.processes.num_processes)
        self.training, self.validation = training.on(*place), validation.on(*place)
        self.key = _key(model, training, validation, cfg, getattr(objective, "fingerprint", ""))
        self.home = folder / "checkpoints" / self.key
        if cfg.channels_last and any(isinstance(m, nn.Conv2d) for m in model.modules()):
            model.to(memory_format=torch.channels_last)
        if self.processes.num_processes > 1 and self.processes.device.type == "cuda":
            model = convert_sync_batchnorm(model)  # timm's: torch's would drop the activations inside its norms
        self.model, self.steps = model.to(self.processes.device), cfg.epochs * len(training)
        if self.processes.device.type == "cpu":
            models.out_of_place(self.model)  # faster there (benchmarks/kept_memory.py); a card rather saves memory
        if cfg.compile:
            self.model.compile()
        self.step = Step(self.model, objective, cfg, self.steps, self.processes, self.say)
        self.stages = {0: cfg.trainable, **cfg.unfreeze}
        depths = [models.depth(self.model, self.stages[at]) for at in sorted(self.stages)]
        if depths != sorted(depths):
            raise TrainingError(
                f"stages freeze again what was trained: {self.stages}. Each must unfreeze more (unfreeze)."
            )
        if cfg.batch_size % self.processes.num_processes:
            raise TrainingError(
                f"batch_size={cfg.batch_size} cannot be shared by {self.processes.num_processes} processes."
            )
        self.moved: set[str] = set()  # names of what is trained in any stage: these are checkpointed from the start,
        for stage in self.stages.values():  # or an early best epoch would come back with a trunk trained later
            models.freeze(self.model, stage)
            self.moved |= set(models.moving(self.model))
        self.history: list[dict[str, Any]] = []
        self.record = Record(self.home, cfg.statistics)
        self.resumed_at, self.status, self.best = 0, "running", None
        self.bar = tqdm(total=self.steps, unit="step", mininterval=5, leave=False, disable=self.mute)

    def go(self) -> Fit:
        self._resume()
        if self.cfg.trackers:
            settings = {name: str(value) for name, value in self.cfg}
            devices.keep_local(self.cfg.trackers, self.folder)
            offline = {"wandb": {"mode": "offline", "dir": str(self.folder)}}  # sent later by `wandb sync`
            self.processes.init_trackers(self.cfg.project or Path(self.name).stem, config=settings, init_kwargs=offline)
        with self.bar, self._arithmetic():
            while self.status == "running" and len(self.history) < self.cfg.epochs:
                if self._out_of_time():
                    self.status = "paused"
                    again = "Run again to go on (Kaggle: attach this output first)."
                    self.say(f"Time budget of {self.cfg.time_budget_h} h: paused. {again}")
                else:
                    self._epoch(len(self.history))
        if self.status == "running":
            self.status = "finished"
        return self._finish()

    def _arithmetic(self):
        """What training needs around it for the precision to be fast."""
        slow = self.processes.device.type == "cpu" and self.processes.mixed_precision == "bf16"
        return models.depthwise_in_fp32(self.model) if slow else nullcontext()

    def _epoch(self, epoch: int) -> None:
        started = time.monotonic()
        phase = self._enter(epoch)
        row = {"epoch": epoch + 1, "phase": phase, **self._pass(epoch)}
        if self.processes.is_main_process:
            self.record.epoch(epoch + 1, self.model)
        self.record.open.clear()
        self.step.agree()
        with self.step.averaged():
            outputs, targets = evaluate(self.model, self.validation, processes=self.processes)
        row |= {f"val_{name}": value for name, value in self.objective.scores(outputs, targets).items()}
        row["seconds"] = time.monotonic() - started
        row["images_per_s"] = len(self.training) * self.training.batch_size / row["seconds"]
        self._judge(row)
        self._save()
        self.say(_line(row, self.cfg.epochs))
        if self.cfg.trackers:
            self.processes.log({k: v for k, v in row.items() if isinstance(v, float)}, step=epoch + 1)

    def _enter(self, epoch: int) -> str:
        """The stage of this epoch: what is trained from now on."""
        return self.step.train(self.stages[max(start for start in self.stages if start <= epoch)])

    def _pass(self, epoch: int) -> dict[str, float]:
        """One pass over the training part: means of the epoch, and the last step's learning rates."""
        torch.manual_seed(int(config.digest(self.cfg.seed, epoch, self.processes.process_index), 16) % 2**63)
        models.training_mode(self.model)
        sums: dict[str, Any] = {}
        started, count = time.monotonic(), len(self.training)
        for step, (inputs, targets, _) in enumerate(self.training.epoch(epoch)):
            rates, means = self.step.rates(), self.step(inputs, targets)
            self.record.step(means, rates)
            for name, value in means.items():
                sums[name] = sums.get(name, 0) + value
            if step % CHECK_EVERY == 0 or step == count - 1:
                self._check(sums["loss"], epoch, step)
            if self.cfg.compile and step == 0 and epoch == self.resumed_at:
                self.say(f"Compiled, with the first step: {_clock(time.monotonic() - started)}.")
                started = time.monotonic()
            if step == PROBE_STEPS and not self.history:
                seconds = (time.monotonic() - started) / (step + 1) * count
                whole = _clock(seconds * self.cfg.epochs)
                self.say(f"Expected: about {_clock(seconds)} an epoch, {whole} for {self.cfg.epochs} epochs.")
            self.bar.update()
        means = {name: float(self.processes.reduce(value, "mean")) / count for name, value in sums.items()}
        return {f"train_{name}": value for name, value in means.items()} | rates

    def _judge(self, row: dict[str, Any]) -> None:
        """Marks the best epoch so far and decides on early stopping."""
        name, sign = self.cfg.monitor, -1 if self.cfg.monitor.endswith("loss") else 1
        gained = self.best is None or sign * (row[name] - self.best[name]) > self.cfg.min_delta
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

    def _out_of_time(self) -> bool:
        if not self.cfg.time_budget_h:
            return False
        longest = max((row["seconds"] for row in self.history), default=0)
        late = time.monotonic() - BORN + 1.2 * longest > self.cfg.time_budget_h * 3600
        anywhere = self.processes.reduce(torch.tensor(float(late), device=self.processes.device), "sum")
        return bool(anywhere)  # all processes stop together

    def say(self, text: str) -> None:
        if not self.mute:
            print(text, flush=True)

    def _weights(self) -> dict[str, torch.Tensor]:
        state = self.model.state_dict()
        return {name: state[name] for name in sorted(self.moved)}

    def _save(self) -> None:
        if not self.processes.is_main_process:
            return
        if self.history[-1] is self.best:
            with self.step.averaged(), files.replace(self._best()) as temp:
                torch.save(self._weights(), temp)
        if self.cfg.save_every and len(self.history) % self.cfg.save_every == 0:
            with self.step.averaged():
                self._write(self._whole().with_name(f"epoch_{len(self.history)}.pth"), self.history[-1])
        progress = {"history": self.history, "best_epoch": self.best["epoch"], "status": self.status}
        with files.replace(self.home / "last.pth") as temp:
            torch.save({"weights": self._weights(), **progress, **self.step.state()}, temp)
        for old in set(self.home.glob("best-*.pth")) - {self._best()}:  # only now: `last` names the one it belongs to
            old.unlink()
        files.write_csv(pd.DataFrame(self.history), self.folder / "history.csv")

    def _write(self, path: Path, row: dict[str, Any]) -> None:
        """The whole model as it stands, with what is known of this epoch of it."""
        facts = {"epoch": row["epoch"], "monitor": self.cfg.monitor, "value": row[self.cfg.monitor], "run": self.key}
        facts |= {"recipe": type(self.cfg).__name__, "config": self.cfg.model_dump(mode="json")}
        models.save(path, self.model, **facts, history=self.history)

    def _whole(self) -> Path:
        return self.folder / self.name

    def _best(self) -> Path:
        return self.home / f"best-{self.best['epoch']}.pth"

    def _resume(self) -> None:
        last = self.home / "last.pth"
        if self.processes.is_main_process and not last.is_file():
            self._fetch()
        self.processes.wait_for_everyone()  # all look for the file only when it is whole
        if not last.is_file():
            return
        try:
            state = torch.load(last, map_location="cpu", weights_only=True)
            self._put(state["weights"])
            self.step.restore(state)
        except Exception as error:  # torch raises half a dozen types for a file that is not this checkpoint
            raise TrainingError(
                f"{last} cannot be resumed, it is damaged or of another model ({str(error)[:150]}). "
                f"Restore it, or remove {self.home} to train from the start."
            ) from error
        self.history, self.status = state["history"], state["status"]
        self.best, self.resumed_at = self.history[state["best_epoch"] - 1], len(self.history)
        self.record.resume(len(self.history))
        self.bar.update(len(self.history) * len(self.training))
        self.say(f"Resumed after epoch {len(self.history)} of {self.cfg.epochs} from {last}.")

    def _fetch(self) -> None:
        """Takes this very run over from an attached earlier output (a Kaggle session starts with an empty folder)."""
        found = paths.earlier(f"checkpoints/{self.key}/last.pth", self.folder)
        if found:
            for file in sorted(found.parent.iterdir()):  # best before last: without `last` it is no run
                files.write_bytes(self.home / file.name, file.read_bytes())
            self.say(f"Taken over from {found.parent}.")

    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        self.model.load_state_dict({**self.model.state_dict(), **weights}, strict=True)

    def _finish(self) -> Fit:
        self.processes.wait_for_everyone()
        if not self.history:
            raise TrainingError("the time budget ended before the first epoch: raise time_budget_h.")
        self._put(torch.load(self._best(), map_location="cpu", weights_only=True))
        self.model.eval()
        history, whole = pd.DataFrame(self.history), self._whole()
        if self.processes.is_main_process:
            files.write_csv(history, self.folder / "history.csv")  # a kill or another run left less
            self.record.publish(self.folder)
            self._write(whole, self.best)
        for tracker in self.processes.trackers:  # end_training would end the process group too, which evaluation needs
            tracker.finish()
        memory = devices.peak_memory_gb()
        return Fit(self.model, history, self.best, self.status, whole, history["seconds"].sum(), memory)


def _key(model: nn.Module, training: Batches, validation: Batches, cfg, fingerprint: str) -> str:
    """Names a run by everything that decides its weights."""
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    settings = config.decisive(cfg)
    return config.digest(settings, weights.hexdigest(), training.digest(), validation.digest(), model.spec, fingerprint)


def _line(row: dict[str, Any], epochs: int) -> str:
    """The seed's epoch line: Epoch, Phase, Train, Val, LR (backbone/head), Time, Status; other tasks show their own."""

    def part(prefix: str) -> str:
        names = [name for name in row if name.startswith(prefix) and not DETAIL.search(name)]
        return " ".join(f"{SHORT.get(n.removeprefix(prefix), n.removeprefix(prefix))} {row[n]:.3f}" for n in names)

    rates = f"LR {row['lr_backbone']:.1e}/{row['lr_head']:.1e}"
    return (
        f"Epoch {row['epoch']:>2}/{epochs} · {row['phase']} · Train {part('train_')} · Val {part('val_')} · {rates} · "
        f"{row['seconds']:.1f} s · {row['status'] or '-'}"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"

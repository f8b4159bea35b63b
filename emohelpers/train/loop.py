"""One `fit` for every task, on accelerate: one process or several, CPU or GPU.

A run is named by what decides its weights (settings, data, initial weights). Killing it at any moment and starting it
again goes on after the last finished epoch and, on a CPU, ends in the same bits: every epoch draws its randomness from
(seed, epoch) alone, and checkpoints are written whole or not at all.
"""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from pandas import DataFrame
from torch import Tensor
from torch.nn import Module

from emohelpers import config, models
from emohelpers.config import files, locks
from emohelpers.images.batches import Batches
from emohelpers.models import devices
from emohelpers.train import checkpoint, setup
from emohelpers.train.errors import TrainingError, within_memory
from emohelpers.train.evaluation import evaluate
from emohelpers.train.outcome import Fit
from emohelpers.train.progress import Progress, clock, epoch_line
from emohelpers.train.record import Record, Sums
from emohelpers.train.step import Step

BORN = time.monotonic()  # the time budget counts from here: what a session limit counts from
CHECK_EVERY = 50  # steps between looks at the loss: reading it stalls a GPU
PROBE_STEPS = 10  # timed after the first, which starts the card up or compiles; then the duration is forecast


@within_memory
def fit(
    model: Module,
    training: Batches,
    validation: Batches,
    objective,
    cfg,
    folder: str | Path,
    *,
    name: str = "",
    quiet: bool = False,
) -> Fit:
    """Trains `model` and leaves the best weights in it and, whole, in `folder/name`.

    Args:
        training, validation: see `images.Batches`; anything with its `epoch`, `on`, `__len__` and `digest` will do.
        objective: `objectives.Classification` or its like.
        cfg: the settings of `config.shared.Optimisation`.
        folder: gets `history.csv`, `steps.csv`, the checkpoint and `checkpoints/<run>/{last,best-<epoch>}.pth`.
        name: of the checkpoint; empty: the config's.
        quiet: prints nothing.

    Raises:
        TrainingError: NaN or infinite loss, unknown monitor or tracker, a damaged checkpoint; each says what to do.
        UnusableDevice, OutOfMemory: the card or its memory will not do.
        Busy: another process trains in this folder.
    """
    whole = Path(folder) / (name or cfg.checkpoint)
    trainer = Trainer(model, training, validation, objective, cfg, Path(folder), whole, quiet=quiet)
    with locks.claimed(Path(folder), trainer.processes.is_main_process):
        return trainer.run()


class Trainer:
    """State of one training between its epochs; for the arguments see `fit`, `whole` is the checkpoint's path."""

    def __init__(self, model, training, validation, objective, cfg, folder: Path, whole: Path, *, quiet: bool):
        self.cfg = cfg
        self.objective = objective
        self.folder = folder
        self.whole = whole
        self.processes = processes = devices.accelerator(cfg.precision, trackers=cfg.trackers, folder=folder)
        self.stages = {0: cfg.trainable, **cfg.unfreeze}  # epoch -> what is trained from then on
        # A mistake in the settings ends here, before all weights and data are hashed.
        setup.check(model, objective, cfg, processes, self.stages)
        key = checkpoint.key(model, training, validation, objective, cfg)
        share = (processes.device, processes.process_index, processes.num_processes)
        self.training = training.on(*share)
        self.validation = validation.on(*share)
        self.model = setup.placed(model, cfg, processes)
        steps = cfg.epochs * len(training)
        self.progress = Progress(steps, mute=quiet or not processes.is_main_process)
        self.say = self.progress.say
        self.step = Step(self.model, objective, cfg, steps, processes, self.say)
        learned = checkpoint.learned(training, validation)
        # This freezes the model for each stage in turn; `_enter` sets the right stage before every epoch.
        self.checkpoints = checkpoint.Checkpoints(folder, key, self.step, self.stages.values(), learned)
        self.record = Record(self.checkpoints.home, cfg.statistics)
        self.history = []
        self.best = {}
        self.resumed_at = 0
        self.status = "running"

    def run(self) -> Fit:
        self._resume()
        cfg = self.cfg
        setup.start_trackers(self.processes, cfg, self.folder, self.whole.stem)
        with self.progress.bar, self._arithmetic():
            while self.status == "running" and len(self.history) < cfg.epochs:
                if self._out_of_time():
                    self.status = "paused"
                    remedy = "Run again to go on (Kaggle: attach this output first)."
                    self.say(f"Time budget of {cfg.time_budget_h} h: paused. {remedy}")
                else:
                    self._epoch(len(self.history))
        if self.status == "running":
            self.status = "finished"
        return self._finish()

    def _resume(self) -> None:
        """Goes on after the last finished epoch, here or in an attached earlier output."""
        last = self.checkpoints.last
        if self.processes.is_main_process and not last.is_file():
            origin = self.checkpoints.fetch()
            if origin:
                self.say(f"Taken over from {origin}.")
        self.processes.wait_for_everyone()  # all look for the file only when it is whole
        if not last.is_file():
            return
        state = self.checkpoints.restore()
        self.history = history = state["history"]
        self.status = state["status"]
        self.best = history[state["best_epoch"] - 1]
        self.resumed_at = done = len(history)
        self.record.resume(done)
        self.progress.bar.update(done * len(self.training))
        self.say(f"Resumed after epoch {done} of {self.cfg.epochs} from {last}.")

    def _arithmetic(self):
        """What training needs around it for the precision to be fast."""
        slow = self.processes.device.type == "cpu" and self.processes.mixed_precision == "bf16"
        return models.depthwise_in_fp32(self.model) if slow else nullcontext()

    def _epoch(self, epoch: int) -> None:
        started = time.monotonic()
        phase = self._enter(epoch)
        row = {"epoch": epoch + 1, "phase": phase, **self._pass(epoch)}
        if self.processes.is_main_process:
            # Gradients are recorded now: the next step sets them to zero.
            self.record.epoch(epoch + 1, self.model)
        self.record.steps.clear()
        # Before the evaluation, so that all processes judge the same BatchNorm statistics.
        self.step.agree()
        with self.step.averaged():
            judged = self.model, self.validation
            outputs, targets = evaluate(*judged, precision=self.cfg.precision, processes=self.processes)
        for name, value in self.objective.scores(outputs, targets).items():
            row[f"val_{name}"] = value
        row["seconds"] = seconds = time.monotonic() - started
        row["images_per_s"] = len(self.training) * self.training.batch_size / seconds
        # Before saving, since the checkpoint names the best epoch and the status.
        self._judge(row)
        if self.processes.is_main_process:
            self._save()
        self.say(epoch_line(row, self.cfg.epochs))
        if self.cfg.trackers:
            figures = {name: value for name, value in row.items() if isinstance(value, float)}
            self.processes.log(figures, step=epoch + 1)

    def _enter(self, epoch: int) -> str:
        """The stage of this epoch: what is trained from now on."""
        start = max(start for start in self.stages if start <= epoch)
        return self.step.train(self.stages[start])

    def _pass(self, epoch: int) -> dict[str, float]:
        """One pass over the training part: means of the epoch, and the last step's learning rates."""
        # Of seed, epoch and process alone: a resumed epoch draws what it would have drawn.
        seed = config.digest(self.cfg.seed, epoch, self.processes.process_index)
        torch.manual_seed(int(seed, 16) % 2**63)
        models.training_mode(self.model)
        sums = Sums()
        started = time.monotonic()
        count = len(self.training)
        for step, (inputs, targets, _) in enumerate(self.training.epoch(epoch)):
            rates = self.step.rates()
            means = self.step(inputs, targets)
            self.record.step(means, rates)
            sums.add(means)
            if step % CHECK_EVERY == 0 or step in (PROBE_STEPS, count - 1):
                self._check_loss(sums.sums["loss"], epoch, step)
            if step == 0:  # its loss was read, as that of PROBE_STEPS is: what lies between is computed, not queued
                if self.cfg.compile and epoch == self.resumed_at:
                    self.say(f"Compiled, with the first step: {clock(time.monotonic() - started)}.")
                started = time.monotonic()
            if step == PROBE_STEPS and not self.history:
                seconds = (time.monotonic() - started) / PROBE_STEPS * count
                total = clock(seconds * self.cfg.epochs)
                self.say(f"Expected: about {clock(seconds)} an epoch, {total} for {self.cfg.epochs} epochs.")
            self.progress.bar.update()
        return sums.means(count, self.processes) | rates

    def _judge(self, row: dict[str, Any]) -> None:
        """Marks the best epoch so far and decides on early stopping."""
        cfg = self.cfg
        monitor = cfg.monitor
        sign = -1 if monitor.endswith("loss") else 1
        gained = not self.best or sign * (row[monitor] - self.best[monitor]) > cfg.min_delta
        row["status"] = "best" if gained else ""
        self.history.append(row)
        if gained:
            self.best = row
        elif cfg.patience and row["epoch"] - self.best["epoch"] >= cfg.patience:
            self.status = "stopped early"
            row["status"] = "stop"

    def _check_loss(self, loss: Tensor, epoch: int, step: int) -> None:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {float(loss)} in epoch {epoch + 1}, by step {step + 1}. Lower lr "
                f"(now {self.cfg.lr:g}), lengthen warmup_epochs, set clip=1.0, or precision='fp32'. "
                f"The last good epoch is kept in {self.checkpoints.home}."
            )

    def _out_of_time(self) -> bool:
        budget = self.cfg.time_budget_h
        if not budget:
            return False
        # The next epoch, taken as a fifth longer than the longest so far, has to end within the budget.
        longest = max((row["seconds"] for row in self.history), default=0)
        late = time.monotonic() - BORN + 1.2 * longest > budget * 3600
        anywhere = self.processes.reduce(torch.tensor(float(late), device=self.processes.device), "sum")
        return bool(anywhere)  # all processes stop together

    def _save(self) -> None:
        history = self.history
        checkpoints = self.checkpoints
        every = self.cfg.save_every
        epoch = len(history)
        if history[-1] is self.best:
            checkpoints.save_best(epoch)
        if every and epoch % every == 0:
            with self.step.averaged():
                checkpoints.save_whole(self.whole.with_name(f"epoch_{epoch}.pth"), self.cfg, epoch, history)
        checkpoints.save_last(history, self.best["epoch"], self.status)
        files.write_csv(DataFrame(history), self.folder / "history.csv")

    def _finish(self) -> Fit:
        processes = self.processes
        processes.wait_for_everyone()
        if not self.history:
            raise TrainingError("the time budget ended before the first epoch: raise time_budget_h.")
        epoch = self.best["epoch"]
        self.checkpoints.put_best(epoch)
        self.model.eval()
        history = DataFrame(self.history)
        if processes.is_main_process:
            files.write_csv(history, self.folder / "history.csv")  # a kill or another run left less
            self.record.publish(self.folder)
            self.checkpoints.save_whole(self.whole, self.cfg, epoch, self.history)
        for tracker in processes.trackers:  # end_training would end the process group too, which evaluation needs
            tracker.finish()
        self.step.end()
        seconds = history["seconds"].sum()
        return Fit(self.model, history, self.best, self.status, self.whole, seconds, devices.peak_memory_gb())

"""The files that a training goes on from: `last.pth`, and the best epoch that it names."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from emohelpers import config, models
from emohelpers.config import files, paths, sealed
from emohelpers.datasets import leaks
from emohelpers.images.batches import Batches
from emohelpers.models import weights
from emohelpers.train.errors import TrainingError
from emohelpers.train.step import Step


class Checkpoints:
    """`checkpoints/<key>/{last,best-<epoch>}.pth` of one training: of the weights only what moves in any stage."""

    def __init__(self, folder: Path, key: str, step: Step, stages: Iterable[Any], learned: Tensor) -> None:
        self.folder = folder
        self.learned = learned
        self.key = key
        self.step = step
        self.home = folder / "checkpoints" / key
        # All stages from the start, or an early best epoch would come back with a trunk trained later.
        self.moved: set[str] = set()
        for stage in stages:
            models.freeze(step.plain, stage)
            self.moved |= set(models.moving(step.plain))

    @property
    def last(self) -> Path:
        return self.home / "last.pth"

    def best(self, epoch: int) -> Path:
        return self.home / f"best-{epoch}.pth"

    def save_best(self, epoch: int) -> None:
        """Keeps the weights as they stand, averaged."""
        with self.step.averaged(), files.replace(self.best(epoch)) as temp:
            torch.save(self._weights(), temp)
            sealed.close(temp, sealed.ZIP)

    def save_last(self, history: list[dict[str, Any]], best_epoch: int, status: str) -> None:
        """Keeps all that a resumed run needs; a best epoch before the one it names is removed."""
        progress = {"history": history, "best_epoch": best_epoch, "status": status}
        with files.replace(self.last) as temp:
            torch.save({"weights": self._weights(), **progress, **self.step.state()}, temp)
            sealed.close(temp, sealed.ZIP)
        for earlier in set(self.home.glob("best-*.pth")) - {self.best(best_epoch)}:  # only now: `last` names its own
            earlier.unlink()

    def save_whole(self, path: Path, cfg, epoch: int, history: list[dict[str, Any]]) -> None:
        """The whole model as it stands, see `models.load`, with what is known of this epoch of it."""
        models.save(
            path,
            self.step.plain,
            epoch=epoch,
            monitor=cfg.monitor,
            value=history[epoch - 1][cfg.monitor],
            run=self.key,
            recipe=type(cfg).__name__,
            config=cfg.model_dump(mode="json"),
            history=history,
            learned=self.learned,
        )

    def restore(self) -> dict[str, Any]:
        """Puts weights, optimizer and schedule back as they were; returns history, best_epoch and status.

        Raises:
            TrainingError: the file is damaged or of another model.
        """
        try:
            state = weights.read(self.last)
            weights.read(self.best(state["best_epoch"]))  # a damaged one would be met after the last epoch
            self._put(state["weights"])
            self.step.restore(state)
        except Exception as error:  # torch raises half a dozen types for a file that is not this checkpoint
            raise TrainingError(
                f"{self.last} cannot be resumed, it is damaged or of another model ({str(error)[:150]}). "
                f"Restore it, or remove {self.home} to train from the start."
            ) from error
        return state

    def put_best(self, epoch: int) -> None:
        """The best epoch's weights into the model."""
        self._put(weights.read(self.best(epoch)))

    def fetch(self) -> Path | None:
        """Takes this very run over from an attached earlier output (a Kaggle session starts with an empty folder)."""
        attached = paths.earlier(f"checkpoints/{self.key}/last.pth", self.folder)
        if not attached:
            return None
        for file in sorted(attached.parent.iterdir()):  # best before last: without `last` it is no run
            files.write_bytes(self.home / file.name, file.read_bytes())
        return attached.parent

    def _weights(self) -> dict[str, Tensor]:
        state = self.step.plain.state_dict()
        return {name: state[name] for name in sorted(self.moved)}

    def _put(self, weights: dict[str, Tensor]) -> None:
        model = self.step.plain
        model.load_state_dict({**model.state_dict(), **weights}, strict=True)


def learned(*parts: Batches) -> Tensor:
    """(n,) int64 of `leaks.numbers`: the pictures that a training sees, validation included; none of songs."""
    hashes: set[str] = set()
    for part in parts:
        if pixels := getattr(part, "pixels", None):
            hashes.update(pixels.sha256[row] for row in part.rows)
    return torch.from_numpy(leaks.numbers(hashes))


def key(model: Module, training: Batches, validation: Batches, objective, cfg) -> str:
    """Names a training by everything that decides its weights."""
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    data = (training.digest(), validation.digest())
    return config.digest(config.decisive(cfg), weights.hexdigest(), *data, model.spec, objective.fingerprint)

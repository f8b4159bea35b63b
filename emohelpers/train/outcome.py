"""What comes out of a training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pandas import DataFrame
from torch.nn import Module


@dataclass(frozen=True)
class Fit:
    """The best model, its checkpoint and the course of its training; `model` holds the best weights."""

    model: Module
    history: DataFrame  # one row an epoch
    best: dict[str, Any]  # the row that was best by the monitor
    status: str  # "finished", "stopped early" or "paused"
    checkpoint: Path  # the whole best model, see models.load
    seconds: float  # of training, over all sessions
    peak_memory_gb: float

    def __str__(self) -> str:
        spent = f"{self.seconds:.0f} s; peak memory {self.peak_memory_gb:.1f} GB"
        return f"{self.status}; best epoch {self.best['epoch']}; {spent}"

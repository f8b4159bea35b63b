"""What a training keeps beside its history: every step, and every epoch's weights and gradients."""

from pathlib import Path

import pandas as pd
import torch
from pandas import DataFrame
from torch import Tensor
from torch.nn import Module

from emohelpers.config import files
from emohelpers.models.statistics import statistics
from emohelpers.train.errors import TrainingError


class Sums:
    """Sums of an epoch's steps. They stay tensors: reading one a step would make the CPU wait for the GPU."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, means: dict[str, Tensor]) -> None:
        """Adds a step. A NaN of the loss stays in its sum, so that a look now and then misses none."""
        if "skipped" in means:
            means = means | {"gradient": means["gradient"].nan_to_num()}
        for name, value in means.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def means(self, steps: int, processes) -> dict[str, float]:
        """`train_` figures, and how many steps were `skipped` where fp16 may overflow.

        Raises:
            TrainingError: most were.
        """
        sums = {name: float(processes.reduce(total, "mean")) for name, total in self.sums.items()}
        means = {f"train_{name}": total / steps for name, total in sums.items()}
        if "skipped" not in sums:
            return means
        skipped = int(sums["skipped"])
        if skipped > steps / 2:
            raise TrainingError(
                f"fp16 overflowed in {skipped} of the {steps} steps of an epoch, and those moved nothing. Set "
                "precision='fp32', lower lr, or lengthen warmup_epochs."
            )
        del means["train_skipped"]
        means["train_gradient"] *= steps / (steps - skipped)
        return means | {"skipped": skipped}


class Record:
    """`steps.csv` and `weights.csv`, kept with a run's checkpoints so that a resumed run goes on in them."""

    def __init__(self, home: Path, parameters: str):
        """`parameters` names whose statistics are kept, see `statistics`; empty: none."""
        self.home = home
        self.parameters = parameters
        self.steps: list[tuple[dict[str, Tensor], dict[str, float]]] = []  # of the epoch that is open
        self.tables: dict[str, DataFrame] = {}

    def resume(self, epochs: int) -> None:
        """Takes up what the first `epochs` epochs left."""
        for name in ("steps", "weights"):
            file = self.home / f"{name}.csv"
            if file.is_file():
                table = pd.read_csv(file)
                self.tables[name] = table[table["epoch"] <= epochs]

    def step(self, means: dict[str, Tensor], rates: dict[str, float]) -> None:
        """Notes one step; nothing is read from the device before the epoch ends."""
        self.steps.append((means, rates))

    def epoch(self, number: int, model: Module) -> None:
        """Closes an epoch (counted from 1) and writes the files."""
        # one read from the device for all steps and figures
        figures = list(self.steps[0][0])
        values = torch.stack([torch.stack([means[name].float() for name in figures]) for means, _ in self.steps])
        steps = DataFrame(values.tolist(), columns=figures)
        steps.insert(0, "step", range(1, len(steps) + 1))
        steps.insert(0, "epoch", number)
        rates = DataFrame([rates for _, rates in self.steps])
        self.steps.clear()
        self._add("steps", pd.concat([steps, rates], axis=1))
        if self.parameters:
            self._add("weights", statistics(model, self.parameters).assign(epoch=number))

    def publish(self, folder: Path) -> None:
        """Copies the files to the run's own folder."""
        for name, table in self.tables.items():
            files.write_csv(table, folder / f"{name}.csv")

    def _add(self, name: str, rows: DataFrame) -> None:
        if name in self.tables:
            rows = pd.concat([self.tables[name], rows], ignore_index=True)
        self.tables[name] = rows
        files.write_csv(rows, self.home / f"{name}.csv")

"""What a training tells beside its history: every step, and every epoch's weights and gradients."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from emohelpers.config import files
from emohelpers.models import statistics as weights


class Record:
    """`steps.csv` and `weights.csv`, kept with a run's checkpoints so that a resumed run goes on in them."""

    def __init__(self, home: Path, statistics: str):
        self.home, self.statistics, self.open = home, statistics, []
        self.tables: dict[str, pd.DataFrame] = {}

    def resume(self, epochs: int) -> None:
        """Takes up what the first `epochs` epochs left."""
        for name in ("steps", "weights"):
            if (self.home / f"{name}.csv").is_file():
                table = pd.read_csv(self.home / f"{name}.csv")
                self.tables[name] = table[table["epoch"] <= epochs]

    def step(self, means: dict[str, torch.Tensor], rates: dict[str, float]) -> None:
        """Notes one step; nothing is read from the device before the epoch ends."""
        self.open.append((means, rates))

    def epoch(self, number: int, model: nn.Module) -> None:
        """Closes an epoch (counted from 1) and writes the files."""
        names = list(self.open[0][0])
        figures = torch.stack([torch.stack([means[name].float() for name in names]) for means, _ in self.open]).tolist()
        rows: list[dict[str, Any]] = [
            {"epoch": number, "step": i + 1, **dict(zip(names, row, strict=True)), **rates}
            for i, (row, (_, rates)) in enumerate(zip(figures, self.open, strict=True))
        ]
        self.open.clear()
        self._add("steps", pd.DataFrame(rows))
        if self.statistics:
            table = weights.statistics(model, self.statistics)
            self._add("weights", table.assign(epoch=number))

    def publish(self, folder: Path) -> None:
        """Copies the files to the run's own folder."""
        for name, table in self.tables.items():
            files.write_csv(table, folder / f"{name}.csv")

    def _add(self, name: str, rows: pd.DataFrame) -> None:
        known = self.tables.get(name)
        self.tables[name] = rows if known is None else pd.concat([known, rows], ignore_index=True)
        files.write_csv(self.tables[name], self.home / f"{name}.csv")

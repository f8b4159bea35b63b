"""What a reader sees while a model trains: a bar, a line an epoch, and how long it will take."""

import re
from typing import Any

from tqdm.auto import tqdm

DETAIL = re.compile("_gradient$|_weighted_f1$|_f1_")  # in the history, but not in an epoch's line
SHORT = {"loss": "Loss", "accuracy": "Acc", "macro_f1": "F1"}


class Progress:
    """Prints from the main process alone, and not at all where it is `mute`."""

    def __init__(self, steps: int, mute: bool) -> None:
        self.mute = mute
        self.bar = tqdm(total=steps, unit="step", mininterval=5, leave=False, disable=mute)

    def say(self, text: str) -> None:
        if not self.mute:
            print(text, flush=True)


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """The seed's epoch line: Epoch, Phase, Train, Val, LR (backbone/head), Time, Status; other tasks show their own."""
    parts = [
        f"Epoch {row['epoch']:>2}/{epochs}",
        row["phase"],
        f"Train {_figures(row, 'train_')}",
        f"Val {_figures(row, 'val_')}",
        f"LR {row['lr_backbone']:.1e}/{row['lr_head']:.1e}",
        f"{row['seconds']:.1f} s",
        row["status"] or "-",
    ]
    if row.get("skipped"):
        parts.insert(-1, f"skipped {row['skipped']} (fp16 overflowed)")
    return " · ".join(parts)


def _figures(row: dict[str, Any], prefix: str) -> str:
    texts = []
    for name, value in row.items():
        if name.startswith(prefix) and not DETAIL.search(name):
            figure = name.removeprefix(prefix)
            texts.append(f"{SHORT.get(figure, figure)} {value:.3f}")
    return " ".join(texts)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"

"""What a run leaves behind: metrics.json that says how each figure came about, the class table, and the receipt."""

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pandas import DataFrame, Index

import emohelpers
from emohelpers.config import files
from emohelpers.config.versions import commit, versions
from emohelpers.report import sentences


def save_metrics(
    folder: str | Path,
    figures: Mapping[str, Any],
    *,
    data: str,
    demo: bool,
    split: str,
    seconds: float,
    name: str = "metrics.json",
    **context: Any,
) -> Path:
    """Writes `figures` with what they stand on, atomically, and returns the path.

    Args:
        figures: of `metrics.classification`: each `{"value", "low", "high", "n"}`.
        data: name of the data set; `demo` adds that it is drawn.
        split: hash of the split or golden set.
        seconds: wall time of the run.
        context: anything else worth keeping, e.g. `best_epoch=7`.
    """
    return files.write_json(
        Path(folder) / name,
        {
            "data": f"{data} (drawn, demo)" if demo else data,
            "demo": demo,
            "split": split,
            "figures": dict(figures),
            **context,
            "seconds": round(seconds, 1),
            "device": device_name(),
            "commit": commit(),
            "versions": {"emohelpers": emohelpers.__version__, **versions()},
        },
    )


def device_name() -> str:
    """The graphics cards by name, or the processor with the cores that this process may use."""
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ", ".join(f"{count} x {card}" for card, count in Counter(cards).items())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU {_processor()}, {cores} cores"


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # Linux; platform.processor() knows only the architecture there
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def class_table(parts: Mapping[str, DataFrame], classes: Sequence[str]) -> DataFrame:
    """Pictures by class (rows) and part (columns, e.g. train, val, golden), with sums as "all"."""
    columns = {
        part: table["label"].value_counts().reindex(list(classes), fill_value=0) for part, table in parts.items()
    }
    table = DataFrame(columns, index=Index(list(classes), name="class"))
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table


def figures_table(figures: Mapping[str, Any]) -> DataFrame:
    """The figures of `metrics.classification` as a table: value, 95 % interval, n."""
    rows = {name: entry for name, entry in figures.items() if isinstance(entry, Mapping)}
    return DataFrame(rows).T[["value", "low", "high", "n"]].round(3).astype({"n": int})


def learned(figures: Mapping[str, Any], classes: DataFrame, *, demo: bool, status: str = "finished") -> None:
    """Prints what a run showed, see `sentences.learned`."""
    print(sentences.learned(figures, classes, demo=demo, status=status))


def receipt(
    folder: str | Path,
    *,
    counts: Mapping[str, int],
    classes: Sequence[str],
    leaks: int,
    files: Sequence[str],
    within: Mapping[str, tuple[float, float, float]] | None = None,
) -> None:
    """Prints the lines that must be the same on every machine; nbval compares them.

    Args:
        counts: pictures a part.
        files: names below `folder` that the notebook promises; a missing or empty one is an error. `maps_*.png`
            stands for at least one.
        within: figure -> (value, low, high): whether it lies between the two is printed, the value is not.
    """
    folder = Path(folder)
    missing = [name for name in sorted(files) if not _written(folder, name)]
    if missing:
        there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        raise FileNotFoundError(
            f"missing or empty in {folder}: {', '.join(missing)}. It holds {', '.join(there) or 'nothing'}. "
            "Run the cells above that write them"
        )
    lines = [f"{part}: {n}" for part, n in counts.items()]
    lines += [f"classes: {', '.join(classes)}", f"leaks: {leaks}"]
    lines += [f"written: {name}" for name in sorted(files)]
    for figure, (value, low, high) in (within or {}).items():
        lines.append(f"{figure} within {low:.2f} .. {high:.2f}: {bool(low <= value <= high)}")
    print("\n".join(lines))


def _written(folder: Path, name: str) -> bool:
    """Whether a promised name, or pattern of names, stands for files that hold something."""
    sizes = [path.stat().st_size for path in folder.glob(name) if path.is_file()]
    return bool(sizes) and all(sizes)

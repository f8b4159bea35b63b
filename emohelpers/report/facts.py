"""What a run leaves behind: metrics.json that says how each figure came about, the class table, and the receipt."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import emohelpers
from emohelpers.config import files

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pandas", "scikit-learn")


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
            "versions": versions(),
        },
    )


def versions() -> dict[str, str]:
    """Python, emohelpers and the packages that figures depend on, as far as they are installed."""
    found = {"python": platform.python_version(), "emohelpers": emohelpers.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # torchvision and accelerate are not needed by every notebook
    return found


def device_name() -> str:
    """The graphics cards by name, or the processor with the cores that this process may use."""
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ", ".join(f"{cards.count(card)} x {card}" for card in dict.fromkeys(cards))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")  # Linux; platform.processor() knows only the architecture there
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU {models[0] if models else platform.processor() or platform.machine()}, {cores} cores"


def commit() -> str | None:
    """The commit of the checkout that this package lies in, with "-dirty" if changed; None outside of one."""
    home = Path(emohelpers.__file__).parent
    ask = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        top = subprocess.run([*ask[:3], "rev-parse", "--show-toplevel"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or one without a commit
        return None
    # An installed package may lie inside somebody else's repository, whose commit says nothing about ours.
    return answer if (Path(top.stdout.strip()) / "data_manifests").is_dir() else None


def class_table(parts: Mapping[str, pd.DataFrame], classes: Sequence[str]) -> pd.DataFrame:
    """Pictures by class (rows) and part (columns, e.g. train, val, golden), with sums as "all"."""
    columns = {
        part: table["label"].value_counts().reindex(list(classes), fill_value=0) for part, table in parts.items()
    }
    table = pd.DataFrame(columns, index=pd.Index(list(classes), name="class"))
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table


def figures_table(figures: Mapping[str, Any]) -> pd.DataFrame:
    """The figures of `metrics.classification` as a table: value, 95 % interval, n."""
    rows = {name: entry for name, entry in figures.items() if isinstance(entry, Mapping)}
    return pd.DataFrame(rows).T[["value", "low", "high", "n"]].round(3).astype({"n": int})


def learned(figures: Mapping[str, Any], classes: pd.DataFrame, *, demo: bool, status: str = "finished") -> None:
    """Prints what a run showed, in sentences that follow from its figures alone."""
    accuracy, f1, ece = figures["accuracy"], figures["macro_f1"], figures["ece"]
    ranked = classes.dropna(subset=["f1"]).sort_values("f1")
    best, worst = ranked.iloc[-1], ranked.iloc[0]
    apart = worst["f1_high"] < best["f1_low"]
    most = classes["n"].max() / classes["n"].sum()
    lines = [
        f"Of {accuracy['n']} faces {accuracy['value']:.1%} are named right (95 % interval {accuracy['low']:.1%} to "
        f"{accuracy['high']:.1%}); always naming the commonest class would give {most:.1%}.",
        f"Macro F1, which counts every class alike, is {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f}).",
        f"Easiest: {best['class']} (F1 {best['f1']:.2f}); hardest: {worst['class']} (F1 {worst['f1']:.2f}); their "
        f"intervals {'do not overlap' if apart else 'overlap, so the order is not established'}.",
        f"Confidence and truth differ by {ece['value']:.3f} on average (ECE); a perfectly calibrated model would show "
        f"about {ece['floor']:.3f} on a set of this size.",
    ]
    if status == "paused":
        lines.insert(
            0, "Training is paused, not finished: these are the figures so far. Run the notebook again to go on."
        )
    if demo:
        lines.append("All of this is about drawn faces: it shows that the machinery works, and says nothing of people.")
    print("\n".join(lines))


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
        there = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
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

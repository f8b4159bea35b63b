"""The seeds' own forms, filled from the run: result block, notes, console labels, history arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics

from emohelpers import metrics
from emohelpers.config import files, paths
from emohelpers.metrics import compare
from emohelpers.train import Fit

ARRAYS = {  # the names of seed 001 section 7
    "train_loss": "train_loss", "train_acc": "train_accuracy", "val_loss": "val_loss", "val_acc": "val_accuracy",
    "val_macro_f1": "val_macro_f1", "lr_backbone": "lr_backbone", "lr_head": "lr_head", "epoch_times": "seconds",
}  # fmt: skip


def label_map(path: str | Path, classes: Sequence[str]) -> Path:
    """label_map.json: name -> position in the model's output."""
    return files.write_json(path, {name: i for i, name in enumerate(classes)})


def tables(folder: str | Path, table: pd.DataFrame, classes: Sequence[str]) -> Path:
    """splits.csv, and train.csv, val.csv, test.csv in the columns of seed 001's data; returns the first's path."""
    index = {name: i for i, name in enumerate(classes)}
    own = {"filepath": table["path"], "label": table["label"], "label_id": table["label"].map(index)}
    rows = pd.DataFrame({**own, "split": table["split"].replace("golden", "test"), "source": table["source"]})
    for part in ("train", "val", "test"):
        files.write_csv(rows[rows["split"] == part], Path(folder) / f"{part}.csv")
    return files.write_csv(table, Path(folder) / "splits.csv")


def arrays(history: pd.DataFrame) -> dict[str, list[float]]:
    """The history as the seed's arrays, one value an epoch."""
    return {name: history[column].tolist() for name, column in ARRAYS.items() if column in history}


def block(done: Fit, test: Mapping[str, Any], table: pd.DataFrame) -> str:
    """Section 14 of seed 001, with the synthetic share that its section 24 asks for."""
    best, sizes, train = done.best, table["split"].value_counts(), table[table["split"] == "train"]
    made = (train["source"] != "original").mean()
    lines = {
        "Best validation macro F1": f"{best['val_macro_f1']:.4f}",
        "Best validation accuracy": f"{best['val_accuracy']:.4f}",
        "Epoch of best model": f"{best['epoch']} of {len(done.history)} ({done.status})",
        "Final test accuracy": _with_interval(test["accuracy"]),
        "Final test macro F1": _with_interval(test["macro_f1"]),
        "Train/Val/Test sizes": "/".join(str(sizes.get(part, 0)) for part in ("train", "val", "golden")),
        "Synthetic share of the training part": f"{made:.1%}",
        "Average epoch time": f"{done.history['seconds'].mean():.1f} s",
        "Total training wall time": f"{done.seconds / 60:.1f} min",
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


def console(done: Fit, test: Mapping[str, Any], monitor: str) -> str:
    """The labels of seed 001 section 22, under which its scripts look for figures."""
    best = done.best
    nll, accuracy, f1 = (test[name]["value"] for name in ("nll", "accuracy", "macro_f1"))
    shown = f"Loss {best['val_loss']:.4f} Acc {best['val_accuracy']:.4f} MacroF1 {best['val_macro_f1']:.4f}"
    return "\n".join([
        f"Best validation macro F1: {best['val_macro_f1']:.4f}",
        f"Best Validation {monitor.removeprefix('val_')}: {best[monitor]:.4f} (epoch {best['epoch']})",
        f"Validation (Best) {shown}",
        f"Test Loss {nll:.4f} Acc {accuracy:.4f} MacroF1 {f1:.4f}",
        f"Total Training Time: {done.seconds:.1f} s",
        f"Average Time per Epoch: {done.history['seconds'].mean():.1f} s",
    ])  # fmt: skip


def notes(predictions: pd.DataFrame, classes: Sequence[str], figures: Sequence[str] = ()) -> str:
    """Section 15 of seed 001 as far as a run can know it: what is taken for what, how sure it was, and doubtful labels.

    Args:
        figures: files of notebook 06 about this model, where it has run.
    """
    counts = metrics.confusion(predictions, classes)
    support = counts.sum(1, keepdims=True).clip(1)
    off = counts * (1 - np.eye(len(classes), dtype=int))
    worst = np.argsort(off / support, axis=None)[::-1][:3]
    pairs = [np.unravel_index(i, off.shape) for i in worst]
    told = [f"{classes[a]} as {classes[b]} ({off[a, b]} of {support[a, 0]})" for a, b in pairs if off[a, b]]
    sure = predictions[metrics.columns(classes)].max(axis=1)
    wrong = predictions["label"] != predictions["predicted"]
    lines = [f"Misclass patterns: {'; '.join(told) or 'none'}."]
    if wrong.any() and (~wrong).any():
        lines.append(f"Mean confidence when right {sure[~wrong].mean():.2f}, when wrong {sure[wrong].mean():.2f}.")
        lines.append(f"{int((sure[wrong] > 0.8).sum())} mistakes were made with more than 80 % confidence.")
    seen = ", ".join(figures) or "not looked at here; notebook 06 does it for this checkpoint"
    return "\n".join([*lines, f"Grad-CAM, SHAP, LIME: {seen}."])


def earlier(cfg, run: str, golden: pd.DataFrame) -> Path | None:
    """The predictions of `cfg.compare_with`, found and seen to be of this very golden set before anything is trained.

    Raises:
        InputNotFound, PredictionError: not there, or of another golden set, with the remedy.
    """
    if not cfg.compare_with:
        return None
    aside = 'or set OVERRIDES = {"compare_with": ""} to go without.'
    try:
        found = paths.find_result(cfg.compare_with, "predictions.csv", run=run)
    except paths.InputNotFound as error:
        raise paths.InputNotFound(f"{error} Its predictions are compared with; {aside}") from error
    there = set(metrics.read_predictions(found)["path"])
    if there != set(golden["path"]):
        raise metrics.PredictionError(
            f"{found} is of another golden set ({len(there)} pictures, {len(there & set(golden['path']))} of them in "
            f"this one of {len(golden)}). Run {cfg.compare_with} on the same data with the same split, {aside}"
        )
    return found


def checkpoint(cfg, earlier: Path | None, name: str, own: Path) -> Path:
    """The model beside the predictions that `earlier` found; this run's own where nothing is compared."""
    if earlier is None:
        return own
    found = earlier.parent / name
    if not found.is_file():
        raise paths.InputNotFound(
            f"{found} is missing: {cfg.compare_with} writes it beside {earlier.name}. Run it again."
        )
    return found


def against(
    earlier: str | Path | None, predictions: pd.DataFrame, classes: Sequence[str], resamples: int
) -> pd.DataFrame:
    """`comparison.compare` with an earlier notebook's predictions.csv; empty where none is given."""
    if earlier is None:
        return compare.NOTHING
    return compare.compare(metrics.read_predictions(earlier), predictions, classes, resamples=resamples)


def verdict(compared: pd.DataFrame, earlier: str) -> str:
    """One sentence a figure that follows from the comparison; "not shown" where the interval holds zero."""
    if compared.empty:
        return "No earlier notebook was named, nothing is compared."
    lines = []
    for row in compared[compared["class"] == "all"].itertuples():
        word = {"better": "better than", "worse": "worse than", "undecided": "not shown to differ from"}[row.verdict]
        name = row.figure.replace("_", " ").replace("f1", "F1")
        interval = f"{row.low:+.3f} to {row.high:+.3f}"
        lines.append(
            f"{name[0].upper()}{name[1:]} is {word} {earlier}'s: {row.difference:+.3f} "
            f"(95 % interval {interval}, paired)."
        )
    changed = compared[(compared["figure"] == "f1") & (compared["verdict"] != "undecided")]
    told = ", ".join(f"{name} {word}" for name, word in zip(changed["class"], changed["verdict"], strict=True))
    return "\n".join([*lines, f"Classes whose F1 changed beyond chance: {told or 'none'}."])


def promise(test: Mapping[str, Any], target: float) -> str:
    """What the original promised, beside what was measured."""
    figure = test["accuracy"]
    shown = (
        "reached"
        if figure["low"] > target
        else "not reached"
        if figure["high"] < target
        else "neither shown nor ruled out"
    )
    return f"The original aims at more than {target:.0%} accuracy; measured {_with_interval(figure)}: {shown}."


def classification_report(predictions: pd.DataFrame, classes: Sequence[str], path: str | Path) -> str:
    """scikit-learn's report, written to `path` and returned."""
    options = {"labels": list(classes), "digits": 3, "zero_division": 0}
    text = sklearn.metrics.classification_report(predictions["label"], predictions["predicted"], **options)
    files.write_text(path, text)
    return text


def _with_interval(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"

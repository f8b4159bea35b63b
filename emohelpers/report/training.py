"""Figures of a training: its course epoch by epoch and step by step, and how far weights moved."""

from collections.abc import Iterator, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from emohelpers.report import style

Panels = Mapping[str, Mapping[str, str]]  # title -> label of a line -> column of the history
OF_CLASSES = {
    "Loss": {"train": "train_loss", "validation": "val_loss"},
    "Accuracy and macro F1": {
        "train accuracy": "train_accuracy",
        "validation accuracy": "val_accuracy",
        "validation macro F1": "val_macro_f1",
    },
    "Learning rate": {"backbone": "lr_backbone", "head": "lr_head"},
}
NEEDED = ("epoch", "phase", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
COLOURS = (style.FIRST, style.SECOND, style.QUIET, "#e3a72f")


def curves(
    history: DataFrame | Mapping[str, DataFrame],
    title: str = "Training",
    monitor: str = "val_macro_f1",
    panels: Panels | None = None,
) -> Figure:
    """The course of a training, or of several by name: a panel each for what belongs together.

    The best epoch of `monitor` is ringed; the phases of a single training are dotted lines.

    Args:
        panels: which columns are drawn; default: loss, accuracy with macro F1, and learning rates of a classifier.

    Raises:
        KeyError: a history lacks a column, with those that it has.
    """
    histories = dict(history) if isinstance(history, Mapping) else {"": history}
    first = next(iter(histories.values()))
    if panels is None:
        _require(first, (*NEEDED, monitor))
        panels = {name: _present(lines, first) for name, lines in OF_CLASSES.items()}
        panels = {name: lines for name, lines in panels.items() if lines}
    with style.house():
        figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.7), layout="constrained")
        for axis, (name, lines) in zip(np.atleast_1d(axes), panels.items(), strict=True):
            colours = iter(COLOURS)
            for training, table in histories.items():
                _require(table, lines.values())
                _lines(axis, table, lines, training, colours)
                _ring(axis, table, lines, monitor, training)
            if len(histories) == 1 and "phase" in first:
                _phases(axis, first)
            if name == "Learning rate":
                _logarithmic(axis, first[list(lines.values())])
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.margins(y=0.14)
            axis.legend(loc="best")
        return style.finish(figure, title)


def steps(table: DataFrame, clip: float, title: str = "Every step") -> Figure:
    """Loss, accuracy and gradient norm of every step of `steps.csv`, thin, under their running mean."""
    titles = {"loss": "Loss", "accuracy": "Accuracy", "gradient": "Gradient norm before clipping"}
    columns = [column for column in titles if column in table]
    window = max(len(table) // 40, 1)
    with style.house():
        size = (4 * len(columns), 3.4)
        figure, axes = plt.subplots(1, len(columns), figsize=size, layout="constrained", squeeze=False)
        for axis, column in zip(axes[0], columns, strict=True):
            smooth = table[column].rolling(window, center=True, min_periods=1).mean()
            axis.plot(table[column].to_numpy(), lw=0.7, color=style.paler(style.FIRST, 0.6))
            axis.plot(smooth.to_numpy(), lw=1.8, color=style.FIRST)
            axis.set(title=titles[column], xlabel="step")
            if clip and column == "gradient":
                axis.axhline(clip, color=style.SECOND, ls="--", lw=1.2, label=f"clipped at {clip:g}")
                axis.legend(loc="best")
        return style.finish(figure, title)


def movement(table: DataFrame, title: str = "Weights") -> Figure:
    """L2 norm of weights, and of the last step's gradients, of the parameters in `weights.csv`, epoch by epoch."""
    names = list(table.groupby("name")["l2"].max().nlargest(8).index)  # more lines nobody can tell apart
    shades = dict(zip(names, plt.cm.viridis(np.linspace(0, 0.9, len(names))), strict=True))
    with style.house():
        figure, axes = plt.subplots(1, 2, figsize=(11, 3.7), layout="constrained")
        for axis, column, name in zip(axes, ("l2", "gradient_l2"), ("Weights", "Gradients"), strict=True):
            norms = table.pivot(index="epoch", columns="name", values=column).dropna(axis=1, how="all")
            for label in names:
                if label in norms:
                    axis.plot(norms.index, norms[label], color=shades[label], lw=1.5, marker="o", ms=3, label=label)
            axis.set(title=f"{name} (L2 norm)", xlabel="epoch")
            axis.set_yscale("log")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
        return style.finish(figure, title)


def _lines(axis: Axes, table: DataFrame, lines: Mapping[str, str], training: str, colours: Iterator[str]) -> None:
    """The lines of one training; what it learns from is quiet and dashed."""
    for label, column in lines.items():
        look = {"marker": "o", "ms": 3, "lw": 1.6, "label": training or label}
        if column.startswith("train_"):
            axis.plot(table["epoch"], table[column], "--", color=style.QUIET, **look)
        else:
            axis.plot(table["epoch"], table[column], "-", color=next(colours, style.INK), **look)


def _ring(axis: Axes, table: DataFrame, lines: Mapping[str, str], monitor: str, training: str) -> None:
    """Rings the best epoch on the last validation line of a panel."""
    validated = [column for column in lines.values() if column.startswith("val_")]
    if not validated or monitor not in table:
        return
    best = table[monitor].idxmin() if monitor.endswith("loss") else table[monitor].idxmax()
    epoch = table.loc[best, "epoch"]
    value = table.loc[best, validated[-1]]
    label = None if training else f"best epoch ({epoch}): {value:.3f}"
    axis.plot(epoch, value, "o", ms=10, mfc="none", mec=style.SECOND, mew=1.8, label=label)


def _phases(axis: Axes, table: DataFrame) -> None:
    """A dotted line where each phase starts, with its name; neighbours of short phases on two lines."""
    starts = table.loc[table["phase"].ne(table["phase"].shift()), ["epoch", "phase"]]
    for number, (epoch, phase) in enumerate(starts.itertuples(index=False)):
        axis.axvline(epoch - 0.5, color=style.QUIET, lw=1, ls=":", zorder=0)
        axis.annotate(
            str(phase),
            (epoch - 0.5, 1),
            xycoords=axis.get_xaxis_transform(),
            xytext=(3, -2 - 10 * (number % 2)),
            textcoords="offset points",
            va="top",
            size=8,
            color=style.QUIET,
        )


def _logarithmic(axis: Axes, rates: DataFrame) -> None:
    axis.set_yscale("log")
    floor = rates.max().max() * 1e-5  # a cycle ends at zero, which a logarithm lacks
    axis.set_ylim(bottom=max(rates.min().min() / 2, floor))


def _present(lines: Mapping[str, str], table: DataFrame) -> dict[str, str]:
    return {label: column for label, column in lines.items() if column in table}


def _require(table: DataFrame, columns) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise KeyError(f"the history has no column {', '.join(missing)}; it has {', '.join(table.columns)}")

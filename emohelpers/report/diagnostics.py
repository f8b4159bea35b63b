"""Figures about a training and its limits: history, rates, weights, calibration, doubtful labels, groups, ablations."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emohelpers import metrics
from emohelpers.metrics import reliability as calibration
from emohelpers.report import figures, style


def history(table: pd.DataFrame, path: str | Path | None = None, title: str = "Training", demo: bool = False) -> Figure:
    """The three plots of seed 001: loss, accuracy with macro F1, learning rates; changes of stage as dotted lines."""
    panels = {
        "Loss": {"train_loss": ("train", style.QUIET, "--"), "val_loss": ("validation", style.FIRST, "-")},
        "Accuracy and macro F1": {
            "train_accuracy": ("train accuracy", style.QUIET, "--"),
            "val_accuracy": ("validation accuracy", style.FIRST, "-"),
            "val_macro_f1": ("validation macro F1", style.SECOND, "-"),
        },
        "Learning rate": {
            "lr_backbone": ("backbone", style.FIRST, "-"),
            "lr_head": ("head", style.SECOND, "-"),
        },
    }
    starts = table.loc[table["phase"].ne(table["phase"].shift()), ["epoch", "phase"]]
    with style.house():
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.7), layout="constrained")
        for axis, (name, lines) in zip(axes, panels.items(), strict=True):
            for column, (label, colour, dash) in lines.items():
                axis.plot(table["epoch"], table[column], dash, color=colour, marker="o", ms=3, lw=1.6, label=label)
            for number, (epoch, phase) in enumerate(starts.itertuples(index=False)):
                axis.axvline(epoch - 0.5, color=style.QUIET, lw=1, ls=":", zorder=0)
                place, drop = (epoch - 0.5, 1), -2 - 10 * (number % 2)  # neighbours of short stages on two lines
                look = {"size": 8, "color": style.QUIET, "va": "top", "textcoords": "offset points"}
                axis.annotate(phase, place, xycoords=axis.get_xaxis_transform(), xytext=(3, drop), **look)
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.margins(y=0.16)
            axis.legend(loc="best")
        axes[2].set_yscale("log")
        floor = table[["lr_backbone", "lr_head"]].max().max() * 1e-5  # a cycle ends at zero, which a logarithm lacks
        axes[2].set_ylim(bottom=max(table[["lr_backbone", "lr_head"]].min().min() / 2, floor))
        return style.finish(figure, title, demo, path)


def reliability(
    before: pd.DataFrame, after: pd.DataFrame, classes: Sequence[str], path: str | Path | None = None,
    title: str = "Calibration", demo: bool = False,
) -> Figure:  # fmt: skip
    """Accuracy against confidence before and after temperature scaling; the width of a bar is its share of pictures."""
    with style.house():
        figure, axes = plt.subplots(1, 2, figsize=(9, 4.3), layout="constrained", sharey=True)
        for axis, name, found in zip(axes, ("before", "after"), (before, after), strict=True):
            bins = calibration.table(found, classes, bins=10)
            filled = bins[bins["n"] > 0]
            middle, share = (filled["low"] + filled["high"]) / 2, filled["n"] / filled["n"].max()
            axis.bar(middle, filled["accuracy"], width=0.095 * np.sqrt(share), color=style.paler(style.FIRST, 0.25))
            axis.plot(
                filled["confidence"], filled["accuracy"], "o-", ms=4, lw=1.2, color=style.SECOND, label="measured"
            )
            axis.plot([0, 1], [0, 1], ":", color=style.INK, lw=1.2, label="perfect")
            for x, n in zip(middle, filled["n"], strict=True):
                axis.annotate(f"{n}", (x, 1.01), ha="center", size=8, color=style.QUIET, annotation_clip=False)
            floor = calibration.floor(metrics.read(found, classes).confidence)
            axis.set_title(f"{name}: ECE {calibration.error(found, classes):.3f}", pad=16)
            axis.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"confidence (a perfect model shows an ECE of {floor:.3f})")
        axes[0].set_ylabel("accuracy (numbers above: pictures)")
        axes[0].legend(loc="upper left")
        return style.finish(figure, title, demo, path)


def suspects(
    predictions: pd.DataFrame, classes: Sequence[str], pixels: np.ndarray, paths: Sequence[str],
    path: str | Path | None = None, count: int = 16, title: str = "Labels worth a second look", demo: bool = False,
) -> Figure:  # fmt: skip
    """Pictures whose label the model thinks least likely while it is sure of another: confident disagreement.

    Ordered by p(said) - p(label) (Northcutt et al., arXiv 1911.00068, rank by the same margin); `pixels` (N, H, W, 3)
    uint8 with `paths` of its rows.
    """
    _, _, scores, _ = metrics.read(predictions, classes)
    own = scores[np.arange(len(scores)), [list(classes).index(name) for name in predictions["label"]]]
    doubt = predictions.assign(own=own, said=scores.max(1), margin=scores.max(1) - own)
    doubt = doubt[doubt["label"] != doubt["predicted"]].nlargest(count, "margin")
    if doubt.empty:
        return figures.gallery(np.full((1, 8, 8, 3), 255, np.uint8), ["none"], path, 1, title, demo)
    rows = pd.Index(paths).get_indexer(doubt["path"])
    captions = [f"label {r.label} {r.own:.0%}\nsays {r.predicted} {r.said:.0%}" for r in doubt.itertuples()]
    colours = style.colours(list(doubt["predicted"]))
    return figures.gallery(pixels[rows], captions, path, 8, title, demo, colours)


def groups(
    table: pd.DataFrame, path: str | Path | None = None, title: str = "Every group", demo: bool = False
) -> Figure:
    """Accuracy of each group of `fairness.by_columns` with its 95 % interval, one panel a column."""
    kinds = list(dict.fromkeys(table["by"]))
    with style.house():
        size = (5.2 * max(len(kinds), 1), 0.42 * max(table["by"].value_counts(), default=1) + 1.7)
        look = {"layout": "constrained", "squeeze": False, "sharex": True}
        figure, axes = plt.subplots(1, max(len(kinds), 1), figsize=size, **look)
        for axis, kind in zip(axes[0], kinds, strict=False):
            rows = table[table["by"] == kind].reset_index(drop=True)
            arms = np.clip([rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]], 0, None)
            look = {"fmt": "o", "color": style.FIRST, "ecolor": style.INK, "capsize": 3, "elinewidth": 1.2}
            axis.errorbar(rows["accuracy"], rows.index, xerr=arms, **look)
            axis.set_yticks(rows.index, [f"{r.group} (n = {r.n})" for r in rows.itertuples()])
            axis.axvline(np.average(rows["accuracy"], weights=rows["n"]), color=style.QUIET, ls=":", lw=1)
            axis.set(title=kind.replace("_", " "), xlabel="accuracy (dotted: all)")
            axis.invert_yaxis()
            axis.margins(y=0.15)
        if not kinds:
            axes[0][0].set_axis_off()
            axes[0][0].annotate("the data set has no group column", (0.5, 0.5), ha="center", color=style.QUIET)
        return style.finish(figure, title, demo, path)


def differences(
    table: pd.DataFrame, path: str | Path | None = None, title: str = "Difference in macro F1", demo: bool = False,
    names: str = "variant",
) -> Figure:  # fmt: skip
    """`difference` of each row of an ablation or of options with its paired 95 % interval; zero is no difference."""
    rows = table[table["difference"].ne(0) | table["low"].ne(0)].reset_index(drop=True)
    colour = {"better": style.FIRST, "worse": style.SECOND, "undecided": style.QUIET}
    with style.house():
        figure, axis = plt.subplots(figsize=(7.5, 0.45 * max(len(rows), 1) + 1.6), layout="constrained")
        for row in rows.itertuples():
            look = {"fmt": "o", "color": colour[row.verdict], "capsize": 3, "elinewidth": 1.6}
            arms = np.clip([[row.difference - row.low], [row.high - row.difference]], 0, None)
            axis.errorbar(row.difference, row.Index, xerr=arms, **look)
        axis.axvline(0, color=style.INK, lw=1)
        axis.set_yticks(rows.index, list(rows[names]))
        axis.invert_yaxis()
        axis.margins(y=0.2)
        axis.set(xlabel="to the left worse, to the right better; 95 % interval, paired")
        return style.finish(figure, title, demo, path)


def steps(
    table: pd.DataFrame, clip: float, path: str | Path | None = None, title: str = "Every step", demo: bool = False
) -> Figure:
    """Loss, accuracy and gradient norm of every step of `steps.csv`, thin, under their running mean."""
    panels = {"loss": "Loss", "accuracy": "Accuracy", "gradient": "Gradient norm before clipping"}
    panels = {column: name for column, name in panels.items() if column in table}
    with style.house():
        figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.4), layout="constrained", squeeze=False)
        for axis, (column, name) in zip(axes[0], panels.items(), strict=True):
            axis.plot(table[column].to_numpy(), lw=0.7, color=style.paler(style.FIRST, 0.6))
            smooth = table[column].rolling(max(len(table) // 40, 1), center=True, min_periods=1).mean()
            axis.plot(smooth.to_numpy(), lw=1.8, color=style.FIRST)
            axis.set(title=name, xlabel="step")
        if clip and "gradient" in panels:
            axes[0][-1].axhline(clip, color=style.SECOND, ls="--", lw=1.2, label=f"clipped at {clip:g}")
            axes[0][-1].legend(loc="best")
        return style.finish(figure, title, demo, path)


def movement(table: pd.DataFrame, path: str | Path | None = None, title: str = "Weights", demo: bool = False) -> Figure:
    """L2 norm of weights, and of the last step's gradients, of the parameters in `weights.csv`, epoch by epoch."""
    with style.house():
        figure, axes = plt.subplots(1, 2, figsize=(11, 3.7), layout="constrained")
        names = list(table.groupby("name")["l2"].max().nlargest(8).index)  # more lines nobody can tell apart
        shades = dict(zip(names, plt.cm.viridis(np.linspace(0, 0.9, len(names))), strict=True))
        for axis, column, name in zip(axes, ("l2", "gradient_l2"), ("Weights", "Gradients"), strict=True):
            wide = table.pivot(index="epoch", columns="name", values=column).dropna(axis=1, how="all")
            for label in (one for one in names if one in wide):
                axis.plot(wide.index, wide[label], color=shades[label], lw=1.5, marker="o", ms=3, label=label)
            axis.set(title=f"{name} (L2 norm)", xlabel="epoch")
            axis.set_yscale("log")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
        return style.finish(figure, title, demo, path)

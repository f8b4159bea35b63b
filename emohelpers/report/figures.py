"""Figures in one house style: one colour an emotion, intervals drawn, and "demo data" said in the title.

Every function returns the figure, closed for pyplot so that a notebook shows it once, and writes a PNG if given a path.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from emohelpers import metrics
from emohelpers.report import style


def confusion_matrices(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    path: str | Path | None = None,
    title: str = "Confusion matrix",
    demo: bool = False,
) -> Figure:
    """Counts, and beside them the same as percent of each true class; a class without pictures stays empty."""
    counts = metrics.confusion(predictions, classes)
    support = counts.sum(axis=1, keepdims=True)
    percent = np.divide(100 * counts, support, out=np.full(counts.shape, np.nan), where=support > 0)
    side = max(3.6, 0.56 * len(classes) + 0.6)
    with style.house():
        figure, axes = plt.subplots(1, 2, figsize=(2 * side + 1.6, side + 1.2), layout="constrained")
        look = {
            "cmap": sns.light_palette(style.FIRST, as_cmap=True),
            "vmin": 0,
            "square": True,
            "linewidths": 1,
            "cbar": False,
        }
        look |= {"xticklabels": classes, "annot": True, "annot_kws": {"size": 9}}
        with_n = [f"{name} ({n})" for name, n in zip(classes, support[:, 0], strict=True)]
        sns.heatmap(counts, ax=axes[0], fmt="d", yticklabels=with_n, **look)
        sns.heatmap(percent, ax=axes[1], fmt=".0f", vmax=100, yticklabels=classes, **look)
        axes[0].set(title="Pictures", ylabel="true class (pictures)", xlabel="predicted class")
        axes[1].set(title="Percent of the true class", ylabel="", xlabel="predicted class")
        for axis, top in zip(axes, (counts.max(), 100), strict=True):
            for text in axis.texts:
                text.set_color("white" if float(text.get_text()) > 0.6 * top else style.INK)
            axis.grid(visible=False)
            axis.tick_params(axis="x", rotation=45)
            axis.tick_params(axis="y", rotation=0)
            plt.setp(axis.get_xticklabels(), ha="right", rotation_mode="anchor")
        return style.finish(figure, title, demo, path)


def curves(
    history: pd.DataFrame,
    path: str | Path | None = None,
    title: str = "Training",
    demo: bool = False,
    monitor: str = "val_macro_f1",
) -> Figure:
    """Loss, accuracy and, of classes, macro F1 an epoch; the best epoch of `monitor` ringed, phases as dotted lines."""
    needed = ["epoch", "phase", "train_loss", "val_loss", "train_accuracy", "val_accuracy", monitor]
    if missing := [name for name in needed if name not in history]:
        raise KeyError(f"the history has no column {', '.join(missing)}; it has {', '.join(history.columns)}")
    best = history[monitor].idxmin() if monitor.endswith("loss") else history[monitor].idxmax()
    starts = history.loc[history["phase"].ne(history["phase"].shift()), ["epoch", "phase"]]
    panels = {
        "Loss": {"train": "train_loss", "validation": "val_loss"},
        "Accuracy": {"train": "train_accuracy", "validation": "val_accuracy"},
    }
    if "val_macro_f1" in history:
        panels["Macro F1"] = {"validation": "val_macro_f1"}
    with style.house():
        figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.7), layout="constrained")
        for axis, (name, lines) in zip(axes, panels.items(), strict=True):
            for label, column in lines.items():
                colour, dash = (style.QUIET, "--") if label == "train" else (style.FIRST, "-")
                axis.plot(history["epoch"], history[column], dash, color=colour, marker="o", ms=3, lw=1.6, label=label)
            at, value = history.loc[best, "epoch"], history.loc[best, lines["validation"]]
            axis.plot(
                at, value, "o", ms=10, mfc="none", mec=style.SECOND, mew=1.8, label=f"best epoch ({at}): {value:.3f}"
            )
            for _, (epoch, phase) in starts.iloc[1:].iterrows():
                axis.axvline(epoch - 0.5, color=style.QUIET, lw=1, ls=":", zorder=0)
                axis.annotate(
                    str(phase),
                    (epoch - 0.5, 1),
                    xycoords=axis.get_xaxis_transform(),
                    xytext=(3, -2),
                    textcoords="offset points",
                    va="top",
                    size=8,
                    color=style.QUIET,
                )
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.margins(y=0.12)
            axis.legend(loc="best")
        return style.finish(figure, title, demo, path)


def class_bars(
    counts: pd.DataFrame, path: str | Path | None = None, title: str = "Pictures a class", demo: bool = False
) -> Figure:
    """Stacked bars of `report.class_table`: one bar a class in its colour, one shade a part."""
    table = counts.drop(index="all", errors="ignore").drop(columns="all", errors="ignore")
    shades = np.linspace(0, 0.72, table.shape[1])  # share of white in the colour of each part
    with style.house():
        figure, axis = plt.subplots(figsize=(9, 0.42 * len(table) + 1.5), layout="constrained")
        left = np.zeros(len(table))
        for part, shade in zip(table.columns, shades, strict=True):
            paint = [style.paler(colour, shade) for colour in style.colours(list(table.index))]
            axis.barh(table.index, table[part], left=left, color=paint, edgecolor="white", linewidth=0.8)
            left += table[part].to_numpy()
        for row, total in enumerate(left):
            axis.annotate(f"{total:,.0f}", (total, row), xytext=(4, 0), textcoords="offset points", va="center", size=9)
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.08)
        axis.set(xlabel="pictures")
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        keys = [
            Patch(color=style.paler(style.INK, s), label=f"{p} ({n:,})")
            for p, s, n in zip(table, shades, table.sum(), strict=True)
        ]
        figure.legend(handles=keys, loc="outside lower right", ncols=len(keys))
        return style.finish(figure, title, demo, path)


def per_class_bars(
    table: pd.DataFrame, path: str | Path | None = None, title: str = "Every class", demo: bool = False
) -> Figure:
    """F1 (bars) and recall (diamonds) of `metrics.per_class` with their 95 % intervals."""
    place = np.arange(len(table))
    with style.house():
        figure, axis = plt.subplots(figsize=(max(6, 1.05 * len(table) + 1), 4), layout="constrained")
        axis.bar(
            place, table["f1"], width=0.62, color=[style.paler(c, 0.25) for c in style.colours(list(table["class"]))]
        )
        bars = {"ecolor": style.INK, "capsize": 3, "elinewidth": 1.2}
        axis.errorbar(place - 0.12, table["f1"], yerr=_arms(table, "f1"), fmt="none", **bars)
        axis.errorbar(
            place + 0.14,
            table["recall"],
            yerr=_arms(table, "recall"),
            fmt="D",
            ms=5,
            mfc="white",
            mec=style.INK,
            label="recall",
            **bars,
        )
        axis.set_xticks(place, [f"{name}\nn = {n}" for name, n in zip(table["class"], table["n"], strict=True)])
        axis.set(ylim=(0, 1.02), ylabel="F1, recall")
        axis.grid(axis="x", visible=False)
        keys = [Patch(color=style.paler(style.QUIET, 0.25), label="F1"), *axis.get_legend_handles_labels()[0]]
        figure.legend(handles=keys, loc="outside upper right", ncols=2)
        return style.finish(figure, title, demo, path)


def gallery(
    images: np.ndarray,
    captions: Sequence[str] = (),
    path: str | Path | None = None,
    columns: int = 8,
    title: str = "",
    demo: bool = False,
    frames: Sequence[Any] | None = None,
) -> Figure:
    """A grid of pictures uint8 (N, H, W, 3), captions under them if given; `frames` are colours of their borders."""
    captions = captions or [""] * len(images)
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} pictures and {len(captions)} captions")
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    with style.house():
        wide = images.shape[2] / images.shape[1] if len(images) else 1  # a pair side by side is twice as wide
        size = (1.45 * columns * wide, (1.35 + 0.17 * lines) * rows + (0.45 if title or demo else 0))
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for i, (axis, image, caption) in enumerate(zip(axes.flat, images, captions, strict=False)):
            axis.set_axis_on()
            axis.imshow(image, interpolation="lanczos")
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(caption, size=8.5, labelpad=3)
            axis.spines[:].set(
                visible=frames is not None, color=frames[i] if frames is not None else "white", linewidth=2.5
            )
        return style.finish(figure, title, demo, path)


def errors(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    pixels: np.ndarray,
    paths: Sequence[str],
    path: str | Path | None = None,
    count: int = 16,
    title: str = "Most confident mistakes",
    demo: bool = False,
) -> Figure:
    """The mistakes the model was surest of, framed in the colour of what it said.

    Args:
        pixels: uint8 (N, H, W, 3), and `paths` the path of each of its rows.
    """
    sure = predictions[metrics.columns(classes)].max(axis=1)
    wrong = predictions["label"] != predictions["predicted"]
    worst = predictions.assign(sure=sure)[wrong].nlargest(count, "sure")
    rows = pd.Index(paths).get_indexer(worst["path"])
    if (rows < 0).any():
        raise KeyError(
            f"{int((rows < 0).sum())} mistakes have no picture, first {worst['path'].to_numpy()[rows < 0][0]}"
        )
    captions = [f"labelled {r.label}\nsaid {r.predicted} {r.sure:.0%}" for r in worst.itertuples()]
    title = f"{title} ({len(worst)} of {int(wrong.sum())})"
    return gallery(pixels[rows], captions, path, 8, title, demo, style.colours(list(worst["predicted"])))


def _arms(table: pd.DataFrame, figure: str) -> np.ndarray:
    """Lengths (2, K) of the interval to either side."""
    return np.clip([table[figure] - table[f"{figure}_low"], table[f"{figure}_high"] - table[figure]], 0, None)

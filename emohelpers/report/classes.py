"""Figures of classes: how many pictures, what is taken for what, and every class with its interval."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter
from numpy import ndarray
from pandas import DataFrame

from emohelpers import metrics
from emohelpers.report import style


def class_bars(counts: DataFrame, title: str = "Pictures a class") -> Figure:
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
        return style.finish(figure, title)


def confusion_matrices(
    predictions: DataFrame,
    classes: Sequence[str],
    title: str = "Confusion matrix",
) -> Figure:
    """Counts, and beside them the same as percent of each true class; a class without pictures stays empty."""
    counts = metrics.confusion(predictions, classes)
    support = counts.sum(axis=1, keepdims=True)
    # NaN where a class has no pictures: seaborn leaves such a cell empty.
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
        return style.finish(figure, title)


def per_class_bars(table: DataFrame, title: str = "Every class") -> Figure:
    """F1 (bars) and recall (diamonds) of `metrics.per_class` with their 95 % intervals."""
    place = np.arange(len(table))
    with style.house():
        figure, axis = plt.subplots(figsize=(max(6, 1.05 * len(table) + 1), 4), layout="constrained")
        axis.bar(
            place, table["f1"], width=0.62, color=[style.paler(c, 0.25) for c in style.colours(list(table["class"]))]
        )
        bars = {"ecolor": style.INK, "capsize": 3, "elinewidth": 1.2}
        # Intervals stand left and right of the middle, so that neither covers the other.
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
        return style.finish(figure, title)


def _arms(table: DataFrame, figure: str) -> ndarray:
    """Lengths (2, K) of the interval to either side."""
    # A bootstrap interval may miss its own value, and matplotlib refuses negative lengths.
    return np.clip([table[figure] - table[f"{figure}_low"], table[f"{figure}_high"] - table[figure]], 0, None)

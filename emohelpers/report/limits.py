"""Figures of a model's limits: how far its confidence is off, groups of people, differences and their intervals."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame, Series

from emohelpers import metrics
from emohelpers.metrics import reliability as calibration
from emohelpers.report import style


def reliability(
    before: DataFrame,
    after: DataFrame,
    classes: Sequence[str],
    temperature: float,
) -> Figure:
    """Accuracy against confidence before and after a temperature; the width of a bar is its share of pictures."""
    with style.house():
        figure, axes = plt.subplots(1, 2, figsize=(9, 4.3), layout="constrained", sharey=True)
        for axis, name, predictions in zip(axes, ("before", "after"), (before, after), strict=True):
            _reliability(axis, calibration.table(predictions, classes, bins=10))
            error = calibration.error(predictions, classes)
            floor = calibration.floor(metrics.read(predictions, classes).confidence)
            axis.set_title(f"{name}: ECE {error:.3f}", pad=16)
            axis.set_xlabel(f"confidence (a perfect model shows an ECE of {floor:.3f})")
        axes[0].set_ylabel("accuracy (numbers above: pictures)")
        axes[0].legend(loc="upper left")
        return style.finish(figure, f"Calibration, temperature {temperature:.2f}")


def groups(table: DataFrame, title: str = "Every group") -> Figure:
    """Accuracy of each group of `fairness.by_columns` with its 95 % interval, one panel a column."""
    by_column = dict(list(table.groupby("by", sort=False)))
    panels = max(len(by_column), 1)
    rows = max(map(len, by_column.values()), default=1)
    with style.house():
        figure, axes = plt.subplots(
            1,
            panels,
            figsize=(5.2 * panels, 0.42 * rows + 1.7),
            layout="constrained",
            squeeze=False,
            sharex=True,
        )
        for axis, (column, audit) in zip(axes[0], by_column.items(), strict=False):
            mean = np.average(audit["accuracy"], weights=audit["n"])
            names = [f"{row.group} (n = {row.n})" for row in audit.itertuples()]
            _intervals(axis, audit["accuracy"], audit, names, [style.FIRST] * len(audit))
            axis.axvline(mean, color=style.QUIET, ls=":", lw=1)
            axis.set(title=str(column).replace("_", " "), xlabel="accuracy (dotted: all)")
        if not by_column:
            axes[0, 0].set_axis_off()
            axes[0, 0].annotate("the data set has no group column", (0.5, 0.5), ha="center", color=style.QUIET)
        return style.finish(figure, title)


def differences(
    table: DataFrame,
    title: str = "Difference in macro F1",
    names: str = "variant",
) -> Figure:
    """`difference` of each row of an ablation or of options with its paired 95 % interval; zero is no difference."""
    rows = table[table["difference"].ne(0) | table["low"].ne(0)]
    colours = {"better": style.FIRST, "worse": style.SECOND, "undecided": style.QUIET}
    with style.house():
        figure, axis = plt.subplots(figsize=(7.5, 0.45 * max(len(rows), 1) + 1.6), layout="constrained")
        axis.axvline(0, color=style.INK, lw=1)
        _intervals(axis, rows["difference"], rows, list(rows[names]), list(rows["verdict"].map(colours)))
        axis.set(xlabel="to the left worse, to the right better; 95 % interval, paired")
        return style.finish(figure, title)


def _reliability(axis: Axes, bins: DataFrame) -> None:
    """Bars of accuracy a bin, the measured line, the diagonal, and the pictures in each bin above."""
    filled = bins[bins["n"] > 0]
    middle = (filled["low"] + filled["high"]) / 2
    width = 0.095 * np.sqrt(filled["n"] / filled["n"].max())
    axis.bar(middle, filled["accuracy"], width=width, color=style.paler(style.FIRST, 0.25))
    axis.plot(filled["confidence"], filled["accuracy"], "o-", ms=4, lw=1.2, color=style.SECOND, label="measured")
    axis.plot([0, 1], [0, 1], ":", color=style.INK, lw=1.2, label="perfect")
    for x, n in zip(middle, filled["n"], strict=True):
        axis.annotate(f"{n}", (x, 1.01), ha="center", size=8, color=style.QUIET, annotation_clip=False)
    axis.set(xlim=(0, 1), ylim=(0, 1))


def _intervals(axis: Axes, values: Series, ends: DataFrame, names: list[str], colours: list) -> None:
    """A dot with the arms of its interval a row, the first at the top; `ends` has low and high."""
    rows = zip(values, ends["low"], ends["high"], colours, strict=True)
    for row, (value, low, high, colour) in enumerate(rows):
        arms = [[max(value - low, 0)], [max(high - value, 0)]]
        axis.errorbar(value, row, xerr=arms, fmt="o", color=colour, capsize=3, elinewidth=1.4)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.margins(y=0.2)

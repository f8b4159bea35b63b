"""Figures of the evidence: layers, deletion and insertion, every check, agreement; colours are the methods' own."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray
from pandas import DataFrame

from emohelpers.config.registry import METHODS
from emohelpers.explain.evidence import Evidence
from emohelpers.explain.heatmaps import SCALE
from emohelpers.explain.verdicts import NEAR_ZERO
from emohelpers.report import style

CONTROLS = {"centre": ("control: centre", "#2b2f36"), "random": ("control: random", "#9aa1ab")}  # title, colour
DIRECTIONS = {  # check -> which end is good, what happens to the pixels
    "deletion": ("lower is better", "blurred, highest first"),
    "insertion": ("higher is better", "shown, highest first"),
}
CHECKS = {  # figure -> heading, the value that says nothing
    "deletion_centre": ("deletion, gain\nover the centre", 0),
    "deletion_random": ("deletion, gain\nover random", 0),
    "insertion_centre": ("insertion, gain\nover the centre", 0),
    "insertion_random": ("insertion, gain\nover random", 0),
    "random_weights": ("likeness to maps of\nrandom weights", 0),
    "stability": ("likeness of\ntwo seeds", 1),
    "pointing_centre": ("pointing game, gain\nover the centre", 0),
}


def layers(table: DataFrame) -> Figure:
    """What each candidate layer's maps gain between insertion and deletion: a table of `Panel.choose_layers`."""
    by_model = dict(list(table.groupby("model", sort=False)))
    widths = [max(rows["layer"].nunique(), 2) for rows in by_model.values()]
    with style.house():
        figure, axes = plt.subplots(
            1,
            len(by_model),
            figsize=(1.15 * sum(widths) + 2.4, 3.4),
            layout="constrained",
            sharey=True,
            squeeze=False,
            width_ratios=widths,
        )
        for axis, (model, rows) in zip(axes[0], by_model.items(), strict=True):
            _layers_of_a_model(axis, rows)
            axis.set(title=model, xlabel="layer and its grid, fine to coarse")
        axes[0, 0].set_ylabel("insertion - deletion")
        axes[0, 0].legend(loc="best", title="filled: chosen", title_fontsize=9)
        return style.finish(figure, "What the maps of each layer gain")


def _layers_of_a_model(axis: Axes, rows: DataFrame) -> None:
    grids = rows.drop_duplicates("layer").set_index("layer")["grid"]
    by_method = dict(list(rows.groupby("method", sort=False)))
    for i, (method, gains) in enumerate(by_method.items()):
        gains = gains.set_index("layer").reindex(grids.index)
        # Methods side by side at each layer; the chosen layer's dot is filled.
        x = np.arange(len(grids)) + 0.16 * (i - (len(by_method) - 1) / 2)
        gain = gains["gain"]
        arms = np.clip([gain - gains["low"], gains["high"] - gain], 0, None)
        colour = METHODS[method].colour
        title = METHODS[method].title
        axis.errorbar(x, gain, yerr=arms, fmt="o", ms=5, mfc="white", color=colour, label=title)
        chosen = gains["chosen"].eq(True).to_numpy()
        axis.plot(x[chosen], gain[chosen], "o", ms=8, color=colour, zorder=5)
    labels = [f"{layer}\n{grid.replace('x', ' x ')}" for layer, grid in grids.items()]
    axis.set_xticks(range(len(grids)), labels)
    axis.set_xlim(-0.6, len(grids) - 0.4)
    axis.axhline(0, color=style.QUIET, lw=1)
    axis.grid(axis="x", visible=False)


def curves(evidence: Mapping[str, Evidence]) -> Figure:
    """Probability of the class while a picture's highest pixels go (left) and come (right), a row a model."""
    rows = len(evidence)
    with style.house():
        figure, axes = plt.subplots(
            rows, 2, figsize=(10.5, 3.1 * rows + 0.4), layout="constrained", sharey=True, squeeze=False
        )
        for row, (model, found_in) in zip(axes, evidence.items(), strict=True):
            for axis, (check, (good, verb)) in zip(row, DIRECTIONS.items(), strict=True):
                for name, means in found_in.curves.items():
                    _curve(axis, name, means[check])
                axis.set(title=f"{model}: {check} ({good})", xlabel=f"percent of the pixels {verb}", ylim=(0, 1.02))
                axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
            row[0].set_ylabel("probability of the class")
        return style.finish(figure, "Deletion and insertion")


def _curve(axis: Axes, name: str, curve: ndarray) -> None:
    title, colour = CONTROLS.get(name) or (METHODS[name].title, METHODS[name].colour)
    dash = "--" if name in CONTROLS else "-"
    percent = np.linspace(0, 100, len(curve))
    axis.plot(percent, curve, dash, color=colour, lw=1.8, label=f"{title} ({curve.mean():.2f})")


def checks(evidence: Mapping[str, Evidence]) -> Figure:
    """Every check of every method with its 95 % interval, a row of axes a model; filled where it is to be believed."""
    measured = {name for model in evidence.values() for figures in model.figures.values() for name in figures}
    names = [name for name in CHECKS if name in measured]
    heights = [len(model.figures) for model in evidence.values()]
    with style.house():
        figure, axes = plt.subplots(
            len(heights),
            len(names),
            figsize=(1.75 * len(names) + 1.6, 0.34 * sum(heights) + 0.75 * len(heights) + 1.1),
            layout="constrained",
            squeeze=False,
            sharex="col",
            height_ratios=heights,
        )
        for row, (title, model) in zip(axes, evidence.items(), strict=True):
            for axis, name in zip(row, names, strict=True):
                _check(axis, name, model)
                axis.tick_params(labelleft=axis is row[0])
            row[0].set_ylabel(title, weight="bold")
        for axis, name in zip(axes[0], names, strict=True):
            heading, _ = CHECKS[name]
            axis.set_title(heading, size=9, loc="center", weight="normal")
        return style.finish(figure, "What to believe")


def _check(axis: Axes, name: str, model: Evidence) -> None:
    """One check of one model: a line a method."""
    _, nothing = CHECKS[name]
    axis.axvline(nothing, color=style.QUIET, lw=1)
    if name == "random_weights":
        axis.axvspan(-NEAR_ZERO, NEAR_ZERO, color="#e8eaee", zorder=0)
    believed = model.believed()
    for y, (method, figures) in enumerate(model.figures.items()):
        if name not in figures or not figures[name]["n"]:
            continue
        value, low, high = (figures[name][key] for key in ("value", "low", "high"))
        arms = np.clip([[value - low], [high - value]], 0, None)
        colour = METHODS[method].colour
        fill = colour if method in believed else "white"
        axis.errorbar(value, y, xerr=arms, fmt="o", ms=6, color=colour, mfc=fill, capsize=0, lw=1.8)
    titles = [METHODS[method].title for method in model.figures]
    axis.set_yticks(range(len(titles)), titles)
    axis.set_ylim(len(titles) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)


def agreements(evidence: Mapping[str, Evidence]) -> Figure:
    """Mean rank correlation of every two methods' maps of the same faces, a table a model."""
    with style.house():
        size = (4.6 * len(evidence) + 0.4, 4.0)
        figure, axes = plt.subplots(1, len(evidence), figsize=size, layout="constrained", squeeze=False)
        for axis, (title, model) in zip(axes[0], evidence.items(), strict=True):
            titles = [METHODS[method].title for method in model.agreement]
            heatmap = {"cmap": SCALE, "vmin": -1, "vmax": 1, "cbar": False, "annot": True, "fmt": ".2f"}
            sns.heatmap(model.agreement, ax=axis, yticklabels=titles, **heatmap)
            axis.set_title(title)
            axis.set_xticklabels(titles, rotation=40, ha="right", rotation_mode="anchor")
        return style.finish(figure, "Agreement of the methods")

"""Figures of music: the plane of valence and arousal, spectrograms, how nets went, what was predicted."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy import ndarray
from pandas import DataFrame

from emohelpers.datasets.labels import TARGETS
from emohelpers.music.collection import QUADRANTS
from emohelpers.music.contenders import Contender
from emohelpers.music.sound import RANGE_DB
from emohelpers.report import style

COLOURS = [style.QUIET, style.FIRST, style.SECOND]
GRID = "#c9cdd3"
MAP = "magma"
DOTS = {"s": 13, "alpha": 0.6, "linewidth": 0, "legend": False}


def plane(table: DataFrame) -> Figure:
    """Valence and arousal of each part of a split table, a panel each, with the quadrants named."""
    counts = table["split"].value_counts()[["train", "val", "test"]]
    names = {part: f"{part} ({n:,})" for part, n in counts.items()}
    songs = table.assign(part=table["split"].map(names))
    look = {"col_order": list(names.values()), "palette": COLOURS, "height": 3.7, "aspect": 0.85, **DOTS}
    with style.house():
        grid = sns.relplot(songs, x="valence", y="arousal", col="part", hue="part", hue_order=look["col_order"], **look)
        grid.set_titles("{col_name}").set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        for axis in grid.axes.flat:
            _quadrants(axis)
        return _finish(grid.figure, "Ratings")


def _quadrants(axis: Axes) -> None:
    axis.grid(visible=False)
    axis.axhline(0, color=GRID, lw=1, zorder=0)
    axis.axvline(0, color=GRID, lw=1, zorder=0)
    for word, (x, y) in QUADRANTS.items():
        look = {"ha": "right" if x > 0 else "left", "va": "top" if y > 0 else "bottom", "color": style.QUIET, "size": 9}
        axis.text(x, y, word, **look)


def spectrograms(rows: Mapping[str, tuple[ndarray, ndarray]], title: str = "Spectrograms") -> Figure:
    """A row a name: spectrograms (n, h, w) in dB and their ratings (n, 2); low tones below, one colour scale."""
    look = {"origin": "lower", "aspect": "auto", "cmap": MAP, "interpolation": "nearest", "vmin": -RANGE_DB, "vmax": 0}
    columns = max(len(clips) for clips, _ in rows.values())
    with style.house():
        size = (1.9 * columns + 1.2, 1.75 * len(rows) + 0.6)
        figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
        for line, (name, (clips, ratings)) in zip(axes, rows.items(), strict=True):
            line[0].set_ylabel(name, size=10)
            for axis, clip, (valence, arousal) in zip(line, clips, ratings, strict=True):
                image = axis.imshow(np.float32(clip), **look)
                axis.set(xticks=[], yticks=[])
                axis.set_xlabel(f"valence {valence:+.2f}, arousal {arousal:+.2f}", size=8.5, labelpad=2)
        figure.colorbar(image, ax=axes, label="dB below the loudest", shrink=0.8, pad=0.01)
        return _finish(figure, title)


def composing(history: DataFrame) -> Figure:
    """The GAN's course: both losses, how badly its conditions are read, and how varied its clips are."""
    names = {"d_loss": "discriminator", "g_loss": "generator", "reading": "squared, of the ratings' variance"}
    named = history.set_index("epoch").rename(columns=names)
    panels = {
        "Losses (hinge)": named[["discriminator", "generator"]],
        "Error of the conditions read off": named[[names["reading"]]],
        "Variety, share of the real clips'": named[["diversity"]].assign(real=1.0),
    }
    return _courses(panels, "Training of the GAN")


def curves(contenders: Sequence[Contender]) -> Figure:
    """Loss and validation CCC an epoch of each net; its best epoch is ringed."""
    nets = {entry.name: entry.training for entry in contenders if entry.training}
    histories = {name: fit.history.set_index("epoch") for name, fit in nets.items()}
    panels = {
        title: DataFrame({name: history[column] for name, history in histories.items()})
        for title, column in (
            ("Loss of the validation part", "val_loss"),
            ("CCC valence, validation", "val_ccc_valence"),
            ("CCC arousal, validation", "val_ccc_arousal"),
        )
    }
    return _courses(panels, "Training", {name: fit.best["epoch"] for name, fit in nets.items()})


def _courses(panels: Mapping[str, DataFrame], title: str, best: Mapping[str, int] | None = None) -> Figure:
    """A panel a table, whose columns are lines and whose index is the epoch; `best` epochs of them are ringed."""
    with style.house():
        figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.6))
        for axis, (name, lines) in zip(axes, panels.items(), strict=True):
            lines.plot(ax=axis, title=name, color=COLOURS[-lines.shape[1] :], lw=1.6, marker="o", ms=2.5)
            for line, epoch in (best or {}).items():
                axis.plot(epoch, lines.loc[epoch, line], "o", ms=9, mfc="none", mec=style.INK)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return _finish(figure, title)


def scatter(contenders: Sequence[Contender]) -> Figure:
    """Each test song's rating against its prediction, a column a contender, a row a target; the line is perfection."""
    rows = []
    titles = []
    for number, target in enumerate(TARGETS):
        for contender in contenders:
            songs = contender.predictions.rename(columns={target: "rated", f"{target}_predicted": "predicted"})
            rows.append(songs[["rated", "predicted"]].assign(contender=contender.name, target=target))
            titles.append(f"{contender.name}\nCCC {target} {contender.ccc[number]:.2f}")
    facets = {"col": "contender", "row": "target", "hue": "target", "palette": COLOURS[1:], "height": 3, **DOTS}
    with style.house():
        grid = sns.relplot(pd.concat(rows), x="rated", y="predicted", **facets)
        grid.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
        for axis, title in zip(grid.axes.flat, titles, strict=True):
            axis.axline((0, 0), slope=1, color=GRID, lw=1, zorder=0)
            axis.set_title(title)
        return _finish(grid.figure, "Predicted and rated")


def _finish(figure: Figure, title: str) -> Figure:
    figure.set_layout_engine("constrained")
    return style.finish(figure, title)

"""Figures of music: the plane of valence and arousal, spectrograms, what was predicted, how trainings went."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emohelpers.datasets.labels import TARGETS
from emohelpers.metrics import regression
from emohelpers.music.sound import RANGE_DB
from emohelpers.report import style

PARTS = {"train": style.QUIET, "val": style.FIRST, "test": style.SECOND, "synthetic": "#e3a72f"}
CORNERS = {"tense": (-1, 1), "happy": (1, 1), "sad": (-1, -1), "calm": (1, -1)}
MAP = "magma"
DEMO = "synthesised songs"


def plane(
    parts: Mapping[str, np.ndarray], path: str | Path | None = None, title: str = "Ratings", demo: bool = False
) -> Figure:
    """Valence and arousal (n, 2) of each part, a panel each, with the quadrants named."""
    with style.house():
        size = (3.1 * len(parts) + 0.4, 3.7)
        figure, axes = plt.subplots(1, len(parts), figsize=size, layout="constrained", squeeze=False, sharey=True)
        for axis, (name, ratings) in zip(axes.flat, parts.items(), strict=True):
            axis.scatter(*ratings.T, s=12, alpha=0.6 if len(ratings) < 500 else 0.25, color=PARTS[name], linewidths=0)
            axis.axhline(0, color="#c9cdd3", lw=1, zorder=0)
            axis.axvline(0, color="#c9cdd3", lw=1, zorder=0)
            for word, (x, y) in CORNERS.items():
                axis.text(0.98 * x, 0.98 * y, word, ha="right" if x > 0 else "left", va="top" if y > 0 else "bottom",
                          color=style.QUIET, size=9)  # fmt: skip
            axis.set(title=f"{name} ({len(ratings):,})", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xlabel="valence")
            axis.set_aspect("equal")
            axis.grid(visible=False)
        axes[0, 0].set_ylabel("arousal")
        return style.finish(figure, title, DEMO if demo else False, path)


def spectrograms(
    rows: Mapping[str, tuple[Sequence[np.ndarray], Sequence[str]]], path: str | Path | None = None,
    title: str = "Spectrograms", demo: bool = False,
) -> Figure:  # fmt: skip
    """Rows of spectrograms (h, w) in dB, low tones at the bottom, with a caption each; all on one colour scale."""
    columns = max(len(clips) for clips, _ in rows.values())
    with style.house():
        size = (1.9 * columns + 1.2, 1.75 * len(rows) + 0.6)
        figure, axes = plt.subplots(len(rows), columns, figsize=size, layout="constrained", squeeze=False)
        for line, (name, (clips, captions)) in zip(axes, rows.items(), strict=True):
            for axis in line:
                axis.set_axis_off()
            for axis, clip, caption in zip(line, clips, captions, strict=False):
                axis.set_axis_on()
                clip = np.asarray(clip, np.float32)
                look = {"origin": "lower", "aspect": "auto", "cmap": MAP, "interpolation": "nearest"}
                shown = axis.imshow(clip, vmin=-RANGE_DB, vmax=0, **look)
                axis.set(xticks=[], yticks=[])
                axis.set_xlabel(caption, size=8.5, labelpad=2)
                axis.grid(visible=False)
            line[0].set_ylabel(name, size=10)
        figure.colorbar(shown, ax=axes, label="dB below the loudest", shrink=0.8, pad=0.01)
        return style.finish(figure, title, DEMO if demo else False, path)


def chosen(ratings: np.ndarray) -> np.ndarray:
    """(4,) the clip nearest to each quadrant's middle, in the order of `CORNERS`: what a figure shows of a set."""
    middles = 0.5 * np.array(list(CORNERS.values()))
    return np.array([np.linalg.norm(ratings - middle, axis=1).argmin() for middle in middles])


def captions(ratings: np.ndarray) -> list[str]:
    """A line for each of (n, 2) ratings."""
    return [f"valence {v:+.2f}, arousal {a:+.2f}" for v, a in ratings]


def composing(
    history: pd.DataFrame, path: str | Path | None = None, title: str = "Training of the GAN", demo: bool = False
) -> Figure:
    """The GAN's course: both losses, how badly its conditions are read, and how varied its clips are."""
    panels = {
        "Losses (hinge)": {"discriminator": "d_loss", "generator": "g_loss"},
        "Error of the conditions read off its clips": {"squared, of the ratings' variance": "reading"},
        "Variety, share of the real clips'": {"diversity": "diversity"},
    }
    with style.house():
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
        for axis, (name, lines) in zip(axes, panels.items(), strict=True):
            for (label, column), colour in zip(lines.items(), (style.FIRST, style.SECOND), strict=False):
                axis.plot(history["epoch"], history[column], color=colour, lw=1.6, label=label)
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.margins(y=0.12)
            axis.legend(loc="best")
        axes[2].axhline(1, color=style.QUIET, lw=1, ls=":")
        axes[2].set_ylim(bottom=0)
        return style.finish(figure, title, DEMO if demo else False, path)


def curves(
    histories: Mapping[str, pd.DataFrame], path: str | Path | None = None, title: str = "Training", demo: bool = False
) -> Figure:
    """Loss and validation CCC an epoch of several trainings; the best epoch of each is ringed."""
    colours = dict(zip(histories, (style.QUIET, style.FIRST, style.SECOND, "#e3a72f"), strict=False))
    with style.house():
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
        names = ("Loss of the validation part", "CCC valence, validation", "CCC arousal, validation")
        for axis, column, name in zip(axes, ("val_loss", "val_ccc_valence", "val_ccc_arousal"), names, strict=True):
            for who, history in histories.items():
                axis.plot(history["epoch"], history[column], color=colours[who], lw=1.6, marker="o", ms=2.5, label=who)
                best = history["val_ccc"].idxmax()
                ring = {"ms": 9, "mfc": "none", "mec": colours[who], "mew": 1.6}
                axis.plot(history["epoch"][best], history[column][best], "o", **ring)
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.margins(y=0.12)
        axes[0].legend(loc="best")
        return style.finish(figure, title, DEMO if demo else False, path)


def scatter(
    contenders: Mapping[str, pd.DataFrame], path: str | Path | None = None, title: str = "Predicted and rated",
    demo: bool = False,
) -> Figure:  # fmt: skip
    """Each test song's rating against its prediction, a column a contender, a row a target; the line is perfection."""
    with style.house():
        size = (3.0 * len(contenders) + 0.6, 6.2)
        figure, axes = plt.subplots(2, len(contenders), figsize=size, layout="constrained", squeeze=False)
        for column, (who, table) in zip(axes.T, contenders.items(), strict=True):
            true, guess, _ = regression.read(table)
            for i, (axis, name) in enumerate(zip(column, TARGETS, strict=True)):
                axis.plot([-1, 1], [-1, 1], color="#c9cdd3", lw=1, zorder=0)
                colour = (style.FIRST, style.SECOND)[i]
                axis.scatter(true[:, i], guess[:, i], s=13, alpha=0.6, color=colour, linewidths=0)
                above = f"{who}\n" if i == 0 else ""
                figure_of = f"{above}CCC {name} {regression.ccc(true, guess)[i]:.2f}"
                axis.set(xlim=(-1, 1), ylim=(-1, 1), title=figure_of)
                axis.set_xlabel("rated", labelpad=1)
                axis.set_aspect("equal")
        for axis, name in zip(axes[:, 0], TARGETS, strict=True):
            axis.set_ylabel(f"{name}, predicted")
        return style.finish(figure, title, DEMO if demo else False, path)

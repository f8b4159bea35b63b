"""Figures of maps: one look for all, orange speaks for the class and blue against it, as strong as the map is there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure

from emohelpers.report import style

FOR, AGAINST = np.array(to_rgb("#f0571e")), np.array(to_rgb("#2563c9"))
PALE = (0.86, 0.86, 0.87)  # what the middle of the scale looks like over a face
SCALE = LinearSegmentedColormap.from_list("map", [tuple(AGAINST), PALE, tuple(FOR)])


def overlay(pictures: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Maps (n, h, w) over grey pictures (n, h, w, 3) uint8: (n, h, w, 3) in 0..1; each map scaled by its own largest
    value, so that +1 and -1 are the ends of the one colour scale.
    """
    grey = np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in pictures])[..., None] / 255
    scaled = maps / np.maximum(abs(maps).max(axis=(1, 2), keepdims=True), 1e-12)
    strength = 0.85 * abs(scaled[..., None]) ** 0.8
    colour = np.where(scaled[..., None] >= 0, FOR, AGAINST)
    return (1 - strength) * (0.25 + 0.7 * grey) + strength * colour


def grid(
    rows: Sequence[Sequence[np.ndarray]], columns: Sequence[str], captions: Sequence[str], title: str, *,
    path: str | Path | None = None, demo: bool = False, scale: bool = True, side: float = 1.25,
) -> Figure:  # fmt: skip
    """Pictures in rows and columns: column names on top, a caption left of each row, the colour scale at the right.

    Args:
        rows: pictures (h, w, 3), or None where a face has no map.
        side: inches of a picture.
    """
    wide = max((max(map(len, caption.split("\n"))) for caption in captions), default=0) * 0.078
    size = (side * len(columns) + wide + (0.9 if scale else 0.2), (side + 0.06) * len(rows) + 0.75)
    with style.house():
        figure, axes = plt.subplots(len(rows), len(columns), figsize=size, layout="constrained", squeeze=False)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.01, wspace=0.01)
        for i, (line, row) in enumerate(zip(axes, rows, strict=True)):
            for j, axis in enumerate(line):
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                axis.grid(visible=False)
                if j < len(row) and row[j] is not None:
                    axis.imshow(row[j], interpolation="bilinear")
                else:
                    axis.text(0.5, 0.5, "no map", ha="center", va="center", size=8, color=style.QUIET)
                if i == 0:
                    axis.set_title(columns[j], size=9.5, loc="center", weight="normal")
            line[0].set_ylabel(captions[i], rotation=0, ha="right", va="center", size=9, labelpad=6)
        if scale:
            bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), SCALE), ax=axes, fraction=0.02, pad=0.01, aspect=28)
            bar.set_ticks([-1, 0, 1], labels=["against\nthe class", "0", "for\nthe class"], size=8)
            bar.outline.set_visible(False)
        return style.finish(figure, title, demo, path)


def layers(table: pd.DataFrame, path: str | Path | None = None, title: str = "Layers", demo: bool = False) -> Figure:
    """What each candidate layer's maps gain between insertion and deletion (`Explainer.choose`), model by model."""
    models, methods = list(table["model"].unique()), list(table["method"].unique())
    with style.house():
        counts = [table.loc[table["model"] == model, "layer"].nunique() for model in models]
        wide = [max(count, 2) for count in counts]
        figure, axes = plt.subplots(
            1, len(models), figsize=(1.15 * sum(wide) + 2.4, 3.4), layout="constrained", sharey=True, squeeze=False,
            width_ratios=wide,
        )  # fmt: skip
        for axis, model in zip(axes[0], models, strict=True):
            own = table[table["model"] == model]
            names = list(own["layer"].unique())
            for i, method in enumerate(methods):
                line = own[own["method"] == method].set_index("layer").reindex(names)
                place = np.arange(len(names)) + 0.16 * (i - (len(methods) - 1) / 2)
                arms = np.clip([line["gain"] - line["low"], line["high"] - line["gain"]], 0, None)
                colour = MARKS[method][1]
                axis.errorbar(
                    place, line["gain"], yerr=arms, fmt="o", ms=5, mfc="white", color=colour, label=_title(method)
                )
                taken = line["chosen"].eq(True).to_numpy()
                axis.plot(place[taken], line["gain"][taken], "o", ms=8, color=colour, zorder=5)
            sizes = own.drop_duplicates("layer").set_index("layer")["grid"]
            axis.set_xticks(range(len(names)), [f"{name}\n{sizes[name].replace('x', ' x ')}" for name in names])
            axis.axhline(0, color=style.QUIET, lw=1)
            axis.set(title=model, xlim=(-0.6, len(names) - 0.4), xlabel="layer and its grid, fine to coarse")
            axis.grid(axis="x", visible=False)
        axes[0, 0].set_ylabel("insertion - deletion")
        axes[0, 0].legend(loc="best", title="filled: chosen", title_fontsize=9)
        return style.finish(figure, title, demo, path)


MARKS = {  # method or control -> name, colour
    "grad_cam": ("Grad-CAM", "#2f6f8f"), "grad_cam_pp": ("Grad-CAM++", "#5aa3a3"), "layer_cam": ("LayerCAM", "#3d4f8f"),
    "shap": ("SHAP", "#d1603d"), "lime": ("LIME", "#6f8f3a"), "rollout": ("attention rollout", "#8a5a9e"),
    "centre": ("control: centre", "#2b2f36"), "random": ("control: random", "#9aa1ab"),
}  # fmt: skip


def _title(method: str) -> str:
    return MARKS[method][0]


def curves(
    evidence: Mapping[str, object], path: str | Path | None = None, title: str = "Deletion and insertion",
    demo: bool = False,
) -> Figure:  # fmt: skip
    """Probability of the class while a picture's highest pixels go (left) and come (right), a row a model."""
    with style.house():
        size = (10.5, 3.1 * len(evidence) + 0.4)
        figure, axes = plt.subplots(len(evidence), 2, figsize=size, layout="constrained", sharey=True, squeeze=False)
        for line, (model, found) in zip(axes, evidence.items(), strict=True):
            for axis, way in zip(line, ("deletion", "insertion"), strict=True):
                for name, both in found.curves.items():
                    label, colour = MARKS[name]
                    dash = "--" if name in ("centre", "random") else "-"
                    share = np.linspace(0, 100, len(both[way]))
                    axis.plot(share, both[way], dash, color=colour, lw=1.8, label=f"{label} ({both[way].mean():.2f})")
                better = "lower is better" if way == "deletion" else "higher is better"
                axis.set(
                    title=f"{model}: {way} ({better})", xlabel=f"percent of the pixels {_verb(way)}", ylim=(0, 1.02)
                )
                axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
            line[0].set_ylabel("probability of the class")
        return style.finish(figure, title, demo, path)


def _verb(way: str) -> str:
    return "blurred, highest first" if way == "deletion" else "shown, highest first"


FOREST = {  # figure -> heading, where "nothing" is
    "deletion_centre": ("deletion, gain\nover the centre", 0),
    "deletion_random": ("deletion, gain\nover random", 0),
    "insertion_centre": ("insertion, gain\nover the centre", 0),
    "insertion_random": ("insertion, gain\nover random", 0),
    "random_weights": ("likeness to maps of\nrandom weights", 0),
    "stability": ("likeness of\ntwo seeds", 1),
    "pointing_centre": ("pointing game, gain\nover the centre", 0),
}


def forest(
    evidence: Mapping[str, object], path: str | Path | None = None, title: str = "What to believe", demo: bool = False
) -> Figure:
    """Every check of every method with its 95 % interval, a row of axes a model; filled where it is to be believed."""
    shown = [name for name in FOREST if any(name in own for one in evidence.values() for own in one.figures.values())]
    with style.house():
        tall = [len(found.figures) for found in evidence.values()]
        size = (1.75 * len(shown) + 1.6, 0.34 * sum(tall) + 0.75 * len(tall) + 1.1)
        figure, axes = plt.subplots(
            len(tall), len(shown), figsize=size, layout="constrained", squeeze=False, sharex="col", height_ratios=tall
        )
        for place, (line, (model, found)) in enumerate(zip(axes, evidence.items(), strict=True)):
            verdicts = found.verdicts()
            for axis, name in zip(line, shown, strict=True):
                heading, nothing = FOREST[name]
                axis.axvline(nothing, color=style.QUIET, lw=1)
                if name == "random_weights":
                    axis.axvspan(-0.1, 0.1, color="#e8eaee", zorder=0)
                for row, (method, own) in enumerate(found.figures.items()):
                    if name in own and own[name]["n"]:
                        one, colour = own[name], MARKS[method][1]
                        arms = np.clip([[one["value"] - one["low"]], [one["high"] - one["value"]]], 0, None)
                        fill = colour if verdicts[method] == "believe" else "white"
                        axis.errorbar(
                            one["value"], row, xerr=arms, fmt="o", ms=6, color=colour, mfc=fill, capsize=0, lw=1.8
                        )
                axis.set_yticks(range(len(found.figures)), [_title(method) for method in found.figures])
                axis.set_ylim(len(found.figures) - 0.4, -0.6)
                axis.tick_params(labelleft=axis is line[0])
                axis.grid(axis="y", visible=False)
                if place == 0:
                    axis.set_title(heading, size=9, loc="center", weight="normal")
            line[0].set_ylabel(model, weight="bold")
        return style.finish(figure, title, demo, path)


def agreements(
    evidence: Mapping[str, object], path: str | Path | None = None, title: str = "Agreement of the methods",
    demo: bool = False,
) -> Figure:  # fmt: skip
    """Mean rank correlation of every two methods' maps of the same faces, a table a model."""
    with style.house():
        size = (4.6 * len(evidence) + 0.4, 4.0)
        figure, axes = plt.subplots(1, len(evidence), figsize=size, layout="constrained", squeeze=False)
        for axis, (model, found) in zip(axes[0], evidence.items(), strict=True):
            names, values = [_title(name) for name in found.agreement], found.agreement.to_numpy()
            axis.imshow(values, cmap=SCALE, vmin=-1, vmax=1)
            for (i, j), value in np.ndenumerate(values):
                if i != j:
                    axis.text(j, i, f"{value:.2f}", ha="center", va="center", size=9, color=style.INK)
            axis.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(len(names)), names)
            axis.set(title=model)
            axis.grid(visible=False)
            axis.spines[:].set_visible(False)
        return style.finish(figure, title, demo, path)

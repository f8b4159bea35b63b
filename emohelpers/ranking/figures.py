"""Albums of photographs: pairs, ranked strips of a scene, best and worst, what changed, contact sheets.

Pictures are shown as the model gets them, cut square. `data` is the `pairs.Pairs` they come from.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from emohelpers.datasets.pairs import Pairs
from emohelpers.datasets.pixels import Pixels
from emohelpers.report import figures, style

LARGEST = 160  # pictures on one contact sheet


def pairs(data: Pairs, pixels: Pixels, path: str | Path | None = None, *, count: int = 12, seed: int = 0) -> Figure:
    """Some pairs of the training part, the good one first, with the opinions where there are any."""
    rows = data.part("train")
    rows = rows.sample(min(count, len(rows)), random_state=seed)
    names = rows[["good", "bad"]].to_numpy().ravel()
    told = [f"{side}{_opinion(row[f'{side}_score'])}" for _, row in rows.iterrows() for side in ("good", "bad")]
    frames = [style.FIRST, style.SECOND] * len(rows)
    return _gallery(pixels, names, told, path, 8, "Pairs, good and bad", data, frames)


def strips(
    data: Pairs, pixels: Pixels, pictures: pd.DataFrame, path: str | Path | None = None, *, scenes: int = 5,
    longest: int = 8,
) -> Figure:  # fmt: skip
    """Scenes of the test set, each a row, in the model's order; `pictures` are those of `concordance.pictures`."""
    sizes = pictures.groupby("scene").size().clip(upper=longest)
    columns = int(sizes.max())
    chosen = sizes.sort_values(ascending=False, kind="stable").index[:scenes]
    with style.house():
        figure, axes = plt.subplots(
            len(chosen), columns, figsize=(1.6 * columns, 1.95 * len(chosen) + 0.5), layout="constrained", squeeze=False
        )
        for line, scene in zip(axes, chosen, strict=True):
            rows = pictures[pictures["scene"] == scene].nlargest(longest, "score")
            for axis in line:
                axis.set_axis_off()
            for axis, row in zip(line, rows.itertuples(), strict=False):
                axis.set_axis_on()
                axis.imshow(pixels.take(pixels.rows([row.path]))[0])
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                axis.set_xlabel(f"model {row.score:+.2f}{_people(row.opinion)}", size=8.5)
        return style.finish(figure, "Scenes in the model's order, best first", data.demo, path)


def extremes(
    data: Pairs, pixels: Pixels, pictures: pd.DataFrame, path: str | Path | None = None, *, each: int = 8
) -> Figure:
    """The pictures of the test set that the model likes best (first row) and least."""
    each = min(each, len(pictures) // 2)
    ranked = pictures.sort_values("score", ascending=False)
    rows = pd.concat([ranked.head(each), ranked.tail(each)])
    told = [f"{row.score:+.2f}{_people(row.opinion)}" for row in rows.itertuples()]
    frames = [style.FIRST] * each + [style.SECOND] * each
    return _gallery(pixels, rows["path"], told, path, each, "Best and worst of the test set", data, frames)


def changes(
    data: Pairs, pixels: Pixels, scored: pd.DataFrame, path: str | Path | None = None, *, each: int = 4
) -> Figure:
    """What changed between good and bad: the pairs told apart most clearly, then the worst mistakes.

    Beside each pair the difference of the two, eight times amplified, and the known defects of the bad one.
    """
    margin = (scored["score_good"] - scored["score_bad"]).sort_values(ascending=False)
    picked = scored.loc[[*margin.index[:each], *margin.index[::-1][:each]]]
    wrong = data.table.set_index("path")["wrong"]
    images, told, frames = [], [], []
    for row in picked.itertuples():
        good, bad = pixels.take(pixels.rows([row.good, row.bad])).astype(int)
        images += [good, bad, np.clip(8 * np.abs(good - bad), 0, 255)]
        right = row.score_good > row.score_bad
        told += [f"good {row.score_good:+.2f}", f"bad {row.score_bad:+.2f}", wrong[row.bad] or "difference x 8"]
        frames += [style.FIRST if right else style.SECOND] * 3
    return figures.gallery(
        np.stack(images).astype(np.uint8), told, path, 6, "What changed: clearest pairs, then the worst mistakes",
        data.demo, frames,
    )  # fmt: skip


def gaps(table: pd.DataFrame, overall: Mapping[str, Any], path: str | Path | None = None, demo: str = "") -> Figure:
    """Pairwise accuracy by how far opinions are apart, with exact intervals; `table` is of `concordance.by_gap`."""
    with style.house():
        figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        arms = np.clip([table["value"] - table["low"], table["high"] - table["value"]], 0, None)
        place = np.arange(len(table))
        axis.errorbar(place, table["value"], yerr=arms, fmt="o", color=style.FIRST, capsize=4, ms=7)
        axis.axhline(overall["value"], color=style.QUIET, ls="--", lw=1, label=f"all: {overall['value']:.1%}")
        axis.axhline(0.5, color=style.SECOND, ls=":", lw=1, label="chance")
        named = [f"{r.gap_low:.1f} to {r.gap_high:.1f}\nn = {r.n}" for r in table.itertuples()]
        axis.set_xticks(place, named)
        axis.set(xlabel="difference of the opinions", ylabel="pairs in the right order", ylim=(0, 1.04))
        axis.margins(x=0.15)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.legend(loc="lower right")
        return style.finish(figure, "The farther apart, the easier", demo, path)


def shortcut(preferred: Mapping[str, Mapping[str, Any]], path: str | Path | None = None, demo: str = "") -> Figure:
    """How often each way of training prefers an augmented picture to the very same one; 50 % would be no preference."""
    with style.house():
        figure, axis = plt.subplots(figsize=(6.4, 1.1 + 0.55 * len(preferred)), layout="constrained")
        values = pd.DataFrame(preferred).T
        arms = np.clip([values["value"] - values["low"], values["high"] - values["value"]], 0, None).astype(float)
        axis.barh(values.index, values["value"].astype(float), color=[style.FIRST, style.SECOND][: len(values)])
        axis.errorbar(values["value"].astype(float), values.index, xerr=arms, fmt="none", ecolor=style.INK, capsize=4)
        axis.axvline(0.5, color=style.QUIET, ls=":")
        axis.invert_yaxis()
        axis.set(xlim=(0, 1), xlabel="augmented picture preferred to the same one left alone")
        axis.xaxis.set_major_formatter(PercentFormatter(1))
        return style.finish(figure, "Does the model see the augmentation?", demo, path)


def contact_sheet(squares: np.ndarray, table: pd.DataFrame, path: str | Path) -> Figure:
    """All pictures of a folder, best first: `table` has path and score, in the order of `squares`.

    Of more than `LARGEST` the best and the worst are shown.
    """
    order = table["score"].to_numpy().argsort()[::-1]
    title = f"{len(table)} pictures, best first"
    if len(order) > LARGEST:
        order = np.concatenate([order[: LARGEST // 2], order[-LARGEST // 2 :]])
        title += f" (the best and the worst {LARGEST // 2})"
    told = [f"{Path(table['path'].iloc[i]).name[-22:]}\n{table['score'].iloc[i]:+.2f}" for i in order]
    return figures.gallery(squares[order], told, path, 8, title)


def _gallery(
    pixels: Pixels, names: Sequence[str], told: Sequence[str], path: str | Path | None, columns: int, title: str,
    data: Pairs, frames: Sequence[Any],
) -> Figure:  # fmt: skip
    return figures.gallery(pixels.take(pixels.rows(names)), told, path, columns, title, data.demo, frames)


def _opinion(value: float) -> str:
    return "" if np.isnan(value) else f" {value:.1f}"


def _people(value: float) -> str:
    return "" if np.isnan(value) else f", people {value:.1f}"

"""Albums of photographs: pairs, ranked strips of a scene, best and worst, what changed, contact sheets.

Pictures are shown as the model gets them, cut square.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy import ndarray
from pandas import DataFrame

from emohelpers.ranking.photographs import Photographs
from emohelpers.report import galleries, style

LARGEST = 160  # pictures on one contact sheet
EXAMPLES = 12  # pairs of a gallery
SCENES = 5  # of the test set
LONGEST = 8  # pictures of a scene or row
AMPLIFIED = 8  # times, the difference of two pictures


def pair_gallery(photographs: Photographs) -> Figure:
    """Some pairs of the training part, the good one first, with the opinions where there are any."""
    rows = photographs.part("train")
    rows = rows.sample(min(EXAMPLES, len(rows)), random_state=0)
    captions = []
    for row in rows.itertuples():
        captions += [_caption("good", row.good_score), _caption("bad", row.bad_score)]
    squares = photographs.squares(rows[["good", "bad"]].to_numpy().ravel())
    frames = [style.FIRST, style.SECOND] * len(rows)
    return galleries.gallery(squares, captions, title="Pairs, good and bad", frames=frames)


def strips(photographs: Photographs, pictures: DataFrame) -> Figure:
    """Scenes of the test set, each a row, in the model's order; `pictures` are those of `judge`."""
    sizes = pictures.groupby("scene").size().clip(upper=LONGEST).sort_values(ascending=False, kind="stable")
    columns = int(sizes.max())
    side = photographs.pixels.side
    squares = []
    captions = []
    for scene in sizes.index[:SCENES]:
        best = pictures[pictures["scene"] == scene].nlargest(LONGEST, "score")
        blank = np.full((columns - len(best), side, side, 3), 255, np.uint8)
        squares += [photographs.squares(best["path"]), blank]
        captions += [f"model {row.score:+.2f}{_people(row.opinion)}" for row in best.itertuples()]
        captions += [""] * len(blank)
    title = "Scenes in the model's order, best first"
    return galleries.gallery(np.concatenate(squares), captions, columns=columns, title=title)


def extremes(photographs: Photographs, pictures: DataFrame) -> Figure:
    """The pictures of the test set that the model likes best (first row) and least."""
    each = min(LONGEST, len(pictures) // 2)
    ranked = pictures.sort_values("score", ascending=False)
    rows = pd.concat([ranked.head(each), ranked.tail(each)])
    captions = [f"{row.score:+.2f}{_people(row.opinion)}" for row in rows.itertuples()]
    frames = [style.FIRST] * each + [style.SECOND] * each
    squares = photographs.squares(rows["path"])
    return galleries.gallery(squares, captions, columns=each, title="Best and worst of the test set", frames=frames)


def changes(photographs: Photographs, scored: DataFrame) -> Figure:
    """What changed between good and bad: the pairs told apart most clearly, then the worst mistakes.

    Beside each pair the difference of the two, amplified, and the known defects of the bad one.
    """
    margin = (scored["score_good"] - scored["score_bad"]).sort_values(ascending=False)
    ranked = margin.index
    defects = photographs.data.table.set_index("path")["wrong"]
    squares = []
    captions = []
    frames = []
    for row in scored.loc[[*ranked[:4], *ranked[:-5:-1]]].itertuples():
        good, bad = photographs.squares([row.good, row.bad]).astype(int)
        difference = np.clip(AMPLIFIED * np.abs(good - bad), 0, 255)
        squares += [good, bad, difference]
        defect = defects[row.bad] or f"difference x {AMPLIFIED}"
        captions += [f"good {row.score_good:+.2f}", f"bad {row.score_bad:+.2f}", defect]
        right = row.score_good > row.score_bad
        frames += 3 * [style.FIRST if right else style.SECOND]
    title = "What changed: clearest pairs, then the worst mistakes"
    return galleries.gallery(np.stack(squares).astype(np.uint8), captions, columns=6, title=title, frames=frames)


def gap_bars(gaps: DataFrame, overall: Mapping[str, Any]) -> Figure:
    """Pairwise accuracy by how far opinions are apart, with exact intervals; `gaps` and `overall` are of `judge`."""
    positions = np.arange(len(gaps))
    labels = [f"{row.gap_low:.1f} to {row.gap_high:.1f}\nn = {row.n}" for row in gaps.itertuples()]
    with style.house():
        figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        axis.errorbar(positions, gaps["value"], yerr=_arms(gaps), fmt="o", color=style.FIRST, capsize=4, ms=7)
        axis.axhline(overall["value"], color=style.QUIET, ls="--", lw=1, label=f"all: {overall['value']:.1%}")
        axis.axhline(0.5, color=style.SECOND, ls=":", lw=1, label="chance")
        axis.set_xticks(positions, labels)
        axis.set(xlabel="difference of the opinions", ylabel="pairs in the right order", ylim=(0, 1.04))
        axis.margins(x=0.15)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.legend(loc="lower right")
        return style.finish(figure, "The farther apart, the easier")


def shortcut_bars(preferred: Mapping[str, Mapping[str, Any]]) -> Figure:
    """How often each way of training prefers an augmented picture to the very same one; 50 % would be no preference."""
    values = DataFrame(preferred).T.astype(float)
    colours = [style.FIRST, style.SECOND][: len(values)]
    with style.house():
        figure, axis = plt.subplots(figsize=(6.4, 1.1 + 0.55 * len(values)), layout="constrained")
        axis.barh(values.index, values["value"], color=colours)
        axis.errorbar(values["value"], values.index, xerr=_arms(values), fmt="none", ecolor=style.INK, capsize=4)
        axis.axvline(0.5, color=style.QUIET, ls=":")
        axis.invert_yaxis()
        axis.set(xlim=(0, 1), xlabel="augmented picture preferred to the same one left alone")
        axis.xaxis.set_major_formatter(PercentFormatter(1))
        return style.finish(figure, "Does the model see the augmentation?")


def contact_sheet(squares: ndarray, table: DataFrame) -> Figure:
    """All pictures of a folder, best first: `table` has path and score, in the order of `squares`.

    Of more than `LARGEST` the best and the worst are shown.
    """
    ranked = table.reset_index(drop=True).sort_values("score", ascending=False)
    title = f"{len(table)} pictures, best first"
    if len(ranked) > LARGEST:
        half = LARGEST // 2
        ranked = pd.concat([ranked.head(half), ranked.tail(half)])
        title += f" (the best and the worst {half})"
    captions = [f"{Path(row.path).name[-22:]}\n{row.score:+.2f}" for row in ranked.itertuples()]
    return galleries.gallery(squares[ranked.index], captions, title=title)


def _arms(rows: DataFrame) -> ndarray:
    """(2, n) lengths of the interval to either side."""
    return np.clip([rows["value"] - rows["low"], rows["high"] - rows["value"]], 0, None)


def _caption(side: str, opinion: float) -> str:
    return side if np.isnan(opinion) else f"{side} {opinion:.1f}"


def _people(opinion: float) -> str:
    return "" if np.isnan(opinion) else f", people {opinion:.1f}"

"""How well scores put pictures in order: pairs, whole scenes, and pairs by how far people's opinions are apart.

Everything starts from one table of pairs: `folder, scene, good, bad, score_good, score_bad` and, where people gave
opinions, `good_score, bad_score`. An accuracy has two intervals: the exact binomial one (Clopper and Pearson 1934)
takes pairs as independent, the bootstrap of whole scenes does not, since pairs of a scene share their pictures.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame
from scipy.stats import binomtest, kendalltau, spearmanr

from emohelpers.metrics import bootstrap
from emohelpers.metrics.table import PredictionError

FEWEST = 3  # pictures a scene needs for a rank correlation: of two, tau is just right or wrong
NEEDED = ("folder", "scene", "good", "bad", "score_good", "score_bad")


def right(pairs: DataFrame) -> ndarray:
    """(n,) whether the good picture has the higher score; a tie is wrong.

    Raises:
        ValueError: a column is missing, there is no pair, or a score is not a number.
    """
    missing = [name for name in NEEDED if name not in pairs]
    if missing:
        raise PredictionError(f"the pairs have no column {', '.join(missing)}; they have {', '.join(pairs.columns)}")
    scores = pairs[["score_good", "score_bad"]].to_numpy(float)
    broken = ~np.isfinite(scores)
    if pairs.empty or broken.any():
        raise PredictionError(f"{len(pairs)} pairs, {broken.sum()} scores that are no numbers")
    return scores[:, 0] > scores[:, 1]


def share(hits: ndarray) -> dict[str, Any]:
    """Value of (n,) booleans with its exact 95 % interval: value, low, high, n."""
    bounds = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="exact")
    return {"value": float(hits.mean()), "low": float(bounds.low), "high": float(bounds.high), "n": len(hits)}


def accuracy(pairs: DataFrame, *, resamples: int = 2000) -> dict[str, Any]:
    """Pairwise accuracy with its exact interval, and as `scene_low`, `scene_high` the one over whole scenes."""
    hits = right(pairs)
    scenes = pairs["scene"].astype(str).to_numpy()
    count = len(np.unique(scenes))
    columns = {"sum": hits, "n": np.ones(len(hits))}
    figure = bootstrap.figures(columns, scenes, bootstrap.share, units={"share": count}, resamples=resamples)["share"]
    return {**share(hits), "scene_low": figure["low"], "scene_high": figure["high"], "scenes": count}


def pictures(pairs: DataFrame, content: Mapping[str, str]) -> DataFrame:
    """One row a picture: scene, path, opinion, score. `content` (path -> hash) tells which files are one picture."""
    columns = ["scene", "path", "opinion", "score"]
    sides = [
        pairs[["scene", side, f"{side}_score", f"score_{side}"]].set_axis(columns, axis=1) for side in ("good", "bad")
    ]
    table = pd.concat(sides, ignore_index=True)
    # A picture stands in several pairs, and copies of it under several names: it counts once a scene.
    table["content"] = table["path"].map(content)
    table = table.drop_duplicates(["scene", "content"]).drop(columns="content")
    return table.sort_values(["scene", "path"], ignore_index=True)


def correlations(pictures: DataFrame, *, resamples: int = 2000) -> tuple[dict[str, Any], DataFrame]:
    """Kendall's tau-b and Spearman's rho between opinion and score, inside scenes of at least three pictures.

    Returns the means over scenes with a bootstrap interval of scenes, and a row a scene. Scenes without opinions, or
    where all opinions are equal, say nothing and are left out; equal scores count as no agreement (0).
    """
    rows = []
    for scene, group in pictures.dropna(subset=["opinion"]).groupby("scene"):
        opinion = group["opinion"]
        score = group["score"]
        if len(group) < FEWEST or opinion.nunique() == 1:
            continue
        row = {"scene": scene, "n": len(group), "tau": 0.0, "rho": 0.0}
        if score.nunique() > 1:  # else undefined, and no order was found
            row["tau"] = float(kendalltau(opinion, score).statistic)
            row["rho"] = float(spearmanr(opinion, score).statistic)
        rows.append(row)
    table = DataFrame(rows, columns=["scene", "n", "tau", "rho"])
    figures = {name: bootstrap.mean(table[name].to_numpy(float), resamples=resamples) for name in ("tau", "rho")}
    return figures, table


def by_gap(pairs: DataFrame, bins: int = 4) -> DataFrame:
    """Accuracy by how far the opinions of a pair are apart, in bins of about equal size: gap_low, gap_high, value, ...

    Empty where nobody gave opinions.
    """
    columns = ["gap_low", "gap_high", "value", "low", "high", "n"]
    hits = right(pairs)
    gap = (pairs["good_score"] - pairs["bad_score"]).to_numpy(float)
    known = np.isfinite(gap)
    if not known.any():
        return DataFrame(columns=columns)
    # Where many gaps are equal, quantiles coincide: then there are fewer bins.
    edges = np.unique(np.quantile(gap[known], np.linspace(0, 1, bins + 1)))
    last = max(len(edges) - 2, 0)
    # The largest gap equals the last edge and belongs into the last bin.
    bin_index = np.clip(np.searchsorted(edges, gap, side="right") - 1, 0, last)
    rows = []
    for i in range(last + 1):
        inside = known & (bin_index == i)
        if inside.any():
            rows.append({"gap_low": gap[inside].min(), "gap_high": gap[inside].max(), **share(hits[inside])})
    return DataFrame(rows, columns=columns)


def agreement(a: DataFrame, b: DataFrame) -> dict[str, float]:
    """Two models on the same pairs: share of pairs whose order flips, Kendall's tau and Pearson's r of their scores."""
    scores_a = np.concatenate([a["score_good"], a["score_bad"]])
    scores_b = np.concatenate([b["score_good"], b["score_bad"]])
    return {
        "flips": float((right(a) != right(b)).mean()),
        "n": len(a),
        "tau": float(kendalltau(scores_a, scores_b).statistic),
        "correlation": float(np.corrcoef(scores_a, scores_b)[0, 1]),
    }

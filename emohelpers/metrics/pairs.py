"""How well scores put pictures in order: pairs, whole scenes, and pairs by how far people's opinions are apart.

Everything starts from one table of pairs: `folder, scene, good, bad, score_good, score_bad` and, where people gave
opinions, `good_score, bad_score`. An accuracy has two intervals: the exact binomial one (Clopper and Pearson 1934)
takes pairs as independent, the bootstrap of whole scenes does not, since pairs of a scene share their pictures.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, kendalltau, spearmanr

from emohelpers.metrics import bootstrap

FEWEST = 3  # pictures a scene needs for a rank correlation: of two, tau is just right or wrong
NEEDED = ("folder", "scene", "good", "bad", "score_good", "score_bad")


def right(pairs: pd.DataFrame) -> np.ndarray:
    """(n,) whether the good picture has the higher score; a tie is wrong.

    Raises:
        ValueError: a column is missing, there is no pair, or a score is not a number.
    """
    if missing := [name for name in NEEDED if name not in pairs]:
        raise ValueError(f"the pairs have no column {', '.join(missing)}; they have {', '.join(pairs.columns)}")
    scores = pairs[["score_good", "score_bad"]].to_numpy(float)
    if not len(pairs) or not np.isfinite(scores).all():
        raise ValueError(f"{len(pairs)} pairs, {int((~np.isfinite(scores)).sum())} scores that are no numbers")
    return scores[:, 0] > scores[:, 1]


def share(hits: np.ndarray) -> dict[str, Any]:
    """Value of (n,) booleans with its exact 95 % interval: value, low, high, n."""
    found = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="exact")
    return {"value": float(hits.mean()), "low": float(found.low), "high": float(found.high), "n": len(hits)}


def accuracy(pairs: pd.DataFrame, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Pairwise accuracy with its exact interval, and as `scene_low`, `scene_high` the one over whole scenes."""
    hits = right(pairs)
    scenes = pairs["scene"].astype(str).to_numpy()
    sums = bootstrap.resampled(np.column_stack([hits, np.ones(len(hits))]), scenes, resamples, seed)
    low, high = bootstrap.interval(sums[:, 0] / sums[:, 1], float(hits.mean()), len(np.unique(scenes)))
    return share(hits) | {"scene_low": low, "scene_high": high, "scenes": len(np.unique(scenes))}


def pictures(pairs: pd.DataFrame, content: Mapping[str, str]) -> pd.DataFrame:
    """One row a picture: scene, path, opinion, score. `content` (path -> hash) tells which files are one picture."""
    sides = [
        pairs[["scene", side, f"{side}_score", f"score_{side}"]].set_axis(["scene", "path", "opinion", "score"], axis=1)
        for side in ("good", "bad")
    ]
    every = pd.concat(sides, ignore_index=True)
    every = every.assign(content=every["path"].map(content)).drop_duplicates(["scene", "content"])
    return every.drop(columns="content").sort_values(["scene", "path"], ignore_index=True)


def correlations(
    pictures: pd.DataFrame, *, resamples: int = 2000, seed: int = 0
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Kendall's tau-b and Spearman's rho between opinion and score, inside scenes of at least three pictures.

    Returns the means over scenes with a bootstrap interval of scenes, and a row a scene. Scenes without opinions, or
    where all opinions are equal, say nothing and are left out; equal scores count as no agreement (0).
    """
    rows = []
    for scene, group in pictures.dropna(subset=["opinion"]).groupby("scene"):
        if len(group) >= FEWEST and group["opinion"].nunique() > 1:
            tau = kendalltau(group["opinion"], group["score"]).statistic
            flat = group["score"].nunique() == 1  # undefined, and no order was found
            rho = 0.0 if flat else spearmanr(group["opinion"], group["score"]).statistic
            rows.append({"scene": scene, "n": len(group), "tau": 0.0 if flat else float(tau), "rho": float(rho)})
    table = pd.DataFrame(rows, columns=["scene", "n", "tau", "rho"])
    made = {}
    for name in ("tau", "rho"):
        values = table[name].to_numpy(float)
        if not len(values):
            made[name] = {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
            continue
        drawn = bootstrap.resampled(values[:, None], np.arange(len(values)), resamples, seed)[:, 0] / len(values)
        low, high = bootstrap.interval(drawn)
        made[name] = {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}
    return made, table


def by_gap(pairs: pd.DataFrame, bins: int = 4) -> pd.DataFrame:
    """Accuracy by how far the opinions of a pair are apart, in bins of about equal size: gap_low, gap_high, value, ...

    Empty where nobody gave opinions.
    """
    columns = ["gap_low", "gap_high", "value", "low", "high", "n"]
    gap = (pairs["good_score"] - pairs["bad_score"]).to_numpy(float)
    known, hits = np.isfinite(gap), right(pairs)
    if not known.any():
        return pd.DataFrame(columns=columns)
    edges = np.unique(np.quantile(gap[known], np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, gap, side="right") - 1, 0, max(len(edges) - 2, 0))
    rows = [
        {"gap_low": gap[here].min(), "gap_high": gap[here].max(), **share(hits[here])}
        for i in range(max(len(edges) - 1, 1))
        if (here := known & (place == i)).any()
    ]
    return pd.DataFrame(rows, columns=columns)


def agreement(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    """Two models on the same pairs: share of pairs whose order flips, Kendall's tau and Pearson's r of their scores."""
    first, second = (np.concatenate([table["score_good"], table["score_bad"]]) for table in (one, other))
    return {
        "flips": float((right(one) != right(other)).mean()), "n": len(one),
        "tau": float(kendalltau(first, second).statistic), "correlation": float(np.corrcoef(first, second)[0, 1]),
    }  # fmt: skip

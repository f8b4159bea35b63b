"""How well valence and arousal are predicted, and how sure we may be of it.

Everything starts from one table: `song, valence, arousal, valence_predicted, arousal_predicted`, optionally `group`, on
-1..1. Every figure is a function of sums over songs, so a bootstrap of whole groups needs no loop.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers.datasets.labels import TARGETS
from emohelpers.metrics import bootstrap
from emohelpers.metrics.table import PredictionError, require

FIGURES = ("ccc", "rmse", "r2", "pearson")
PREDICTED = [f"{name}_predicted" for name in TARGETS]


def ccc(true: ndarray, guess: ndarray) -> ndarray:
    """Concordance of each column, (n, k) and (n, k) -> (k,); Lin, Biometrics 45(1), 1989, with population variance.

    0 where both are constant.
    """
    sums = {name: column.sum(axis=0)[None] for name, column in _columns(true, guess).items()}
    return _figures(sums)["ccc"][0]


def together(rows: ndarray, sections: int) -> ndarray:
    """(n * sections, k) -> (n, k): the mean of each song's rows, which follow each other."""
    return rows.reshape(-1, sections, rows.shape[-1]).mean(axis=1)


def predictions(songs: Sequence[str], true: ndarray, guess: ndarray, **extra: Sequence) -> DataFrame:
    """The table of predictions; `true` and `guess` are (n, 2), `extra` further columns such as `group`."""
    true = np.asarray(true, np.float64)
    guess = np.asarray(guess, np.float64)
    if not true.shape == guess.shape == (len(songs), len(TARGETS)):
        raise PredictionError(f"{len(songs)} songs, ratings {true.shape}, predictions {guess.shape}: they must agree")
    columns = {
        "song": list(songs),
        **dict(zip(TARGETS, true.T, strict=True)),
        **dict(zip(PREDICTED, guess.T, strict=True)),
        **extra,
    }
    table = DataFrame(columns)
    read(table)
    return table


def read(table: DataFrame) -> tuple[ndarray, ndarray, ndarray]:
    """Ratings (n, 2), predictions (n, 2) and groups (n,) of a table, checked."""
    require(table, ("song", *TARGETS, *PREDICTED))
    if len(table) < 2:
        raise PredictionError(f"{len(table)} songs are too few for any figure")
    repeated = table["song"].duplicated()
    if repeated.any():
        raise PredictionError(f"{repeated.sum()} songs are there twice, first {table['song'][repeated].iloc[0]}")
    true = table[list(TARGETS)].to_numpy(np.float64)
    guess = table[PREDICTED].to_numpy(np.float64)
    finite = np.isfinite(true).all(axis=1) & np.isfinite(guess).all(axis=1)
    if not finite.all():
        raise PredictionError(f"{(~finite).sum()} rows are not finite, first song {table['song'][~finite].iloc[0]}")
    groups = table["group"].to_numpy() if "group" in table else np.arange(len(table))
    return true, guess, groups


def scores(table: DataFrame, *, resamples: int = 2000) -> dict[str, dict[str, float]]:
    """`ccc_valence`, `rmse_arousal`, ..., each `{"value", "low", "high", "n"}`: 95 % bootstrap over whole groups."""
    true, guess, groups = read(table)
    figures = bootstrap.figures(_columns(true, guess), groups, _by_target, resamples=resamples)
    return {f"{name}_{target}": figure for (name, target), figure in figures.items()}


def compare(a: DataFrame, b: DataFrame, *, resamples: int = 2000) -> DataFrame:
    """Is `b` better than `a` on the same songs? CCC and RMSE of each target: b - a with its paired 95 % interval.

    Raises:
        PredictionError: the tables are not of the same songs with the same ratings.
    """
    true, guess_a, groups = read(a)
    # A song that b lacks is NaN from here on; one that a lacks shows in the number of rows.
    b_ordered = b.set_index("song").reindex(a["song"]).reset_index()
    ratings = b_ordered[list(TARGETS)]
    if len(a) != len(b) or ratings[TARGETS[0]].isna().any() or not np.allclose(true, ratings):
        raise PredictionError("the tables are not of the same songs and ratings: evaluate both on the same test songs")
    _, guess_b, _ = read(b_ordered)
    differences = bootstrap.paired(
        _columns(true, guess_a),
        _columns(true, guess_b),
        groups,
        _by_target,
        errors=[("rmse", target) for target in TARGETS],
        resamples=resamples,
    )
    return DataFrame(
        {"target": target, "figure": name, "n": len(a), **difference}
        for (name, target), difference in differences.items()
        if name in ("ccc", "rmse")
    )


def table(contenders: Mapping[str, DataFrame], *, resamples: int = 2000) -> DataFrame:
    """One row a contender: CCC with its interval, RMSE, R2 and Pearson of each target, on the same songs."""
    rows = {}
    for contender, predicted in contenders.items():
        figures = scores(predicted, resamples=resamples)
        row: dict[str, object] = {}
        for target in TARGETS:
            figure = figures[f"ccc_{target}"]
            row[f"CCC {target}"] = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
            for name in FIGURES[1:]:
                row[f"{name.upper()} {target}"] = round(figures[f"{name}_{target}"]["value"], 3)
        rows[contender] = row
    return DataFrame.from_dict(rows, orient="index").rename_axis("contender")


def _columns(true: ndarray, guess: ndarray) -> dict[str, ndarray]:
    """(n, k) each: what every figure is a function of the sums of."""
    true = np.asarray(true, np.float64)
    guess = np.asarray(guess, np.float64)
    return {
        "n": np.ones_like(true),
        "true": true,
        "guess": guess,
        "true2": true**2,
        "guess2": guess**2,
        "product": true * guess,
    }


def _by_target(sums: Mapping[str, ndarray]) -> dict[tuple[str, str], ndarray]:
    """(figure, target) -> (R,)."""
    figures = _figures(sums)
    return {(name, target): figures[name][:, i] for name in FIGURES for i, target in enumerate(TARGETS)}


def _figures(sums: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """Sums, (R, k) each -> each figure (R, k)."""
    mean = {name: column / sums["n"] for name, column in sums.items()}
    # Rounding may leave a difference of two moments a little below zero.
    variance = np.maximum(mean["true2"] - mean["true"] ** 2, 0)
    guess_variance = np.maximum(mean["guess2"] - mean["guess"] ** 2, 0)
    covariance = mean["product"] - mean["true"] * mean["guess"]
    squared_error = mean["true2"] - 2 * mean["product"] + mean["guess2"]
    apart = variance + guess_variance + (mean["true"] - mean["guess"]) ** 2
    concordance = np.where(apart > 1e-12, 2 * covariance / np.maximum(apart, 1e-12), 0.0)
    # A constant prediction has a variance of 1e-17 by rounding: without the floor its correlation would be noise.
    flat = (variance < 1e-12) | (guess_variance < 1e-12)
    deviations = np.sqrt(np.maximum(variance * guess_variance, 1e-24))
    return {
        "ccc": np.round(concordance, 12) + 0.0,  # no -0.000
        "rmse": np.sqrt(np.maximum(squared_error, 0)),
        "r2": 1 - squared_error / np.maximum(variance, 1e-12),
        "pearson": np.where(flat, np.nan, covariance / deviations),
    }

"""How well valence and arousal are predicted, and how sure we may be of it.

Everything starts from one table: `song, valence, arousal, valence_predicted, arousal_predicted`, optionally `group`, on
-1..1. Every figure is a function of sums over songs, so a bootstrap of whole groups needs no loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emohelpers.datasets.labels import TARGETS
from emohelpers.metrics import bootstrap
from emohelpers.metrics.classes import PredictionError

FIGURES = ("ccc", "rmse", "r2", "pearson")


def ccc(true: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Concordance of each column, (n, k) and (n, k) -> (k,); Lin, Biometrics 45(1), 1989, with population variance.

    0 where both are constant.
    """
    return _figures(_rows(true, guess).sum(axis=0)[None])["ccc"][0]


def together(rows: np.ndarray, sections: int) -> np.ndarray:
    """(n * sections, k) -> (n, k): the mean of each song's rows, which follow each other."""
    return rows.reshape(-1, sections, rows.shape[-1]).mean(axis=1)


def predictions(songs: Sequence[str], true: np.ndarray, guess: np.ndarray, **extra: Sequence) -> pd.DataFrame:
    """The table of predictions; `true` and `guess` are (n, 2), `extra` further columns such as `group`."""
    true, guess = np.asarray(true, np.float64), np.asarray(guess, np.float64)
    if not true.shape == guess.shape == (len(songs), len(TARGETS)):
        raise PredictionError(f"{len(songs)} songs, ratings {true.shape}, predictions {guess.shape}: they must agree")
    columns = {"song": list(songs)} | {name: true[:, i] for i, name in enumerate(TARGETS)}
    columns |= {f"{name}_predicted": guess[:, i] for i, name in enumerate(TARGETS)}
    table = pd.DataFrame(columns | extra)
    read(table)
    return table


def read(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratings (n, 2), predictions (n, 2) and groups (n,) of a table, checked."""
    guessed = [f"{name}_predicted" for name in TARGETS]
    if missing := [name for name in ("song", *TARGETS, *guessed) if name not in table]:
        raise PredictionError(f"no column {', '.join(missing)}; the table has {', '.join(map(str, table.columns))}")
    if len(table) < 2:
        raise PredictionError(f"{len(table)} songs are too few for any figure")
    if (repeated := table["song"].duplicated()).any():
        raise PredictionError(f"{int(repeated.sum())} songs are there twice, first {table['song'][repeated].iloc[0]}")
    true, guess = table[list(TARGETS)].to_numpy(np.float64), table[guessed].to_numpy(np.float64)
    wrong = ~np.isfinite(true).all(axis=1) | ~np.isfinite(guess).all(axis=1)
    if wrong.any():
        raise PredictionError(f"{int(wrong.sum())} rows are not finite, first song {table['song'][wrong].iloc[0]}")
    return true, guess, table["group"].to_numpy() if "group" in table else np.arange(len(table))


def scores(table: pd.DataFrame, *, resamples: int = 2000, seed: int = 0) -> dict[str, dict[str, float]]:
    """`ccc_valence`, `rmse_arousal`, ..., each `{"value", "low", "high", "n"}`: 95 % bootstrap over whole groups."""
    true, guess, groups = read(table)
    rows = _rows(true, guess)
    value, drawn = _figures(rows.sum(axis=0)[None]), _figures(bootstrap.resampled(rows, groups, resamples, seed))
    result = {}
    for figure in FIGURES:
        for i, name in enumerate(TARGETS):
            low, high = bootstrap.interval(drawn[figure][:, i])
            entry = {"value": float(value[figure][0, i]), "low": low, "high": high, "n": len(table)}
            result[f"{figure}_{name}"] = entry
    return result


def compare(a: pd.DataFrame, b: pd.DataFrame, *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Is `b` better than `a` on the same songs? CCC and RMSE of each target: b - a with its paired 95 % interval.

    Raises:
        PredictionError: the tables are not of the same songs with the same ratings.
    """
    other = b.set_index("song").reindex(a["song"]).reset_index()
    true, first, groups = read(a)
    if len(a) != len(b) or other[TARGETS[0]].isna().any() or not np.allclose(true, other[list(TARGETS)]):
        raise PredictionError("the tables are not of the same songs and ratings: evaluate both on the same test songs")
    rows = np.hstack([_rows(true, first), _rows(true, read(other)[1])])
    whole = np.vstack([rows.sum(axis=0), bootstrap.resampled(rows, groups, resamples, seed)])  # first: as observed
    one, two = (_figures(part) for part in np.hsplit(whole, 2))
    lines = []
    for figure, sign in (("ccc", 1), ("rmse", -1)):
        for i, name in enumerate(TARGETS):
            apart = two[figure][:, i] - one[figure][:, i]
            low, high = bootstrap.interval(apart[1:])
            sure = "better" if min(sign * low, sign * high) > 0 else "worse" if max(sign * low, sign * high) < 0 else ""
            line = {"target": name, "figure": figure, "n": len(a), "a": one[figure][0, i], "b": two[figure][0, i]}
            lines.append(line | {"difference": apart[0], "low": low, "high": high, "verdict": sure or "undecided"})
    return pd.DataFrame(lines)


def table(contenders: Mapping[str, pd.DataFrame], *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """One row a contender: CCC with its interval, RMSE, R2 and Pearson of each target, on the same songs."""
    lines = []
    for who, predicted in contenders.items():
        figures = scores(predicted, resamples=resamples, seed=seed)
        line: dict[str, object] = {"contender": who}
        for name in TARGETS:
            entry = figures[f"ccc_{name}"]
            line[f"CCC {name}"] = f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"
            line |= {f"{f.upper()} {name}": round(figures[f"{f}_{name}"]["value"], 3) for f in FIGURES[1:]}
        lines.append(line)
    return pd.DataFrame(lines).set_index("contender")


@dataclass(frozen=True)
class Matching:
    """Stretches predictions so that they vary as much as ratings do; learned on the validation part, never on the test.

    A regressor that minimises squared error varies too little, and CCC punishes that: with correlation r it reaches
    2 r^2 / (1 + r^2), after matching r.
    """

    centre: np.ndarray  # (2,) of the predictions
    factor: np.ndarray  # (2,)
    target: np.ndarray  # (2,) mean of the ratings

    @classmethod
    def learn(cls, true: np.ndarray, guess: np.ndarray) -> "Matching":
        """From ratings (n, 2) and predictions (n, 2) of songs that the model was not trained on."""
        factor = np.std(true, axis=0) / np.maximum(np.std(guess, axis=0), 1e-6)
        return cls(np.mean(guess, axis=0), np.minimum(factor, 10.0), np.mean(true, axis=0))

    def __call__(self, guess: np.ndarray) -> np.ndarray:
        """(n, 2) -> (n, 2), within -1..1."""
        return np.clip((guess - self.centre) * self.factor + self.target, -1, 1)


def _rows(true: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """(n, k) each -> (n, 6 k): what every figure is a function of the sums of."""
    true, guess = np.asarray(true, np.float64), np.asarray(guess, np.float64)
    return np.hstack([np.ones_like(true), true, guess, true**2, guess**2, true * guess])


def _figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Sums (R, 6 k) -> each figure (R, k)."""
    n, true, guess, true2, guess2, both = np.split(sums, 6, axis=1)
    mean_t, mean_g = true / n, guess / n
    var_t, var_g = np.maximum(true2 / n - mean_t**2, 0), np.maximum(guess2 / n - mean_g**2, 0)
    with_ = both / n - mean_t * mean_g
    error = true2 / n - 2 * both / n + guess2 / n
    apart = var_t + var_g + (mean_t - mean_g) ** 2
    # A constant prediction has a variance of 1e-17 by rounding: without the floor its correlation would be noise.
    flat = (var_t < 1e-12) | (var_g < 1e-12)
    return {
        "ccc": np.round(np.where(apart > 1e-12, 2 * with_ / np.maximum(apart, 1e-12), 0.0), 12) + 0.0,  # no -0.000
        "rmse": np.sqrt(np.maximum(error, 0)),
        "r2": 1 - error / np.maximum(var_t, 1e-12),
        "pearson": np.where(flat, np.nan, with_ / np.sqrt(np.maximum(var_t * var_g, 1e-24))),
    }

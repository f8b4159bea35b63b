"""What a classifier got right, and how sure we may be of it.

Everything starts from one table: `path, label, predicted, p_<class> ...`, optionally `group`. Intervals are percentiles
of a bootstrap, 95 %; where the table has groups, whole groups are drawn, since faces of one person are not independent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emohelpers.metrics import bootstrap

BINS = 15  # equal-width bins of the calibration error, as in Guo et al., arXiv 1706.04599


class PredictionError(ValueError):
    """A table of predictions that cannot be scored, or two that cannot be compared."""


def predictions(
    paths: Sequence[str],
    labels: Sequence[str] | np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    **extra: Any,
) -> pd.DataFrame:
    """The table of predictions.

    Args:
        labels: true names, or their indices in `classes`.
        probabilities: (n, len(classes)), each row sums to 1.
        extra: further columns, e.g. `group=table["group"]`.
    """
    scores = np.asarray(probabilities)
    if scores.shape != (len(paths), len(classes)):
        raise PredictionError(
            f"probabilities are {scores.shape}, {(len(paths), len(classes))} expected (paths, classes)"
        )
    names = np.asarray(labels)
    if np.issubdtype(names.dtype, np.integer):
        if names.size and not 0 <= names.min() <= names.max() < len(classes):
            raise PredictionError(f"labels reach from {names.min()} to {names.max()}, there are {len(classes)} classes")
        names = np.asarray(classes, dtype=object)[names]
    columns = {
        "path": list(paths),
        "label": names,
        "predicted": np.asarray(classes, dtype=object)[scores.argmax(axis=1)],
    }
    shares = {f"p_{name}": scores[:, i] for i, name in enumerate(classes)}
    if taken := sorted({*columns, *shares} & {*extra}):
        raise PredictionError(f"extra columns {taken} are names that the table needs itself")
    lengths = {name: len(values) for name, values in {**columns, **extra}.items() if len(values) != len(scores)}
    if lengths:
        raise PredictionError(f"{len(scores)} predictions, but other lengths: {lengths}")
    table = pd.DataFrame(columns | shares | {name: np.asarray(values) for name, values in extra.items()})
    read(table, classes)
    return table


def classification(
    predictions: pd.DataFrame, classes: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Accuracy, macro and weighted F1, ECE, NLL and Brier score, each `{"value", "low", "high", "n"}`.

    Macro F1 is over the declared classes: one without pictures counts 0 and is named in `absent`. A finite set shows
    an ECE even for a perfectly calibrated model; `ece["floor"]` is how much, given these confidences.
    """
    true, guess, scores, groups = read(predictions, classes)
    sure, right = scores[np.arange(len(true)), guess], true == guess
    gaps = np.zeros((len(true), BINS))  # ECE = sum over bins of |sum of (right - sure)| / n
    gaps[np.arange(len(true)), bin_of(sure, BINS)] = right - sure
    nll = -np.log(np.clip(scores[np.arange(len(true)), true], 1e-12, None))
    brier = ((scores - np.eye(len(classes))[true]) ** 2).sum(axis=1)
    rows = np.column_stack([one_hot(true, guess, len(classes)), gaps, nll, brier])
    present = np.bincount(true, minlength=len(classes)) > 0
    value = _figures(rows.sum(axis=0)[None], present)
    drawn = _figures(bootstrap.resampled(rows, groups, resamples, seed), present)
    # Resampling adds noise to every bin and ECE counts it as error: taken off, or the interval lies above the value.
    bias = drawn["ece"].mean() - value["ece"][0]
    drawn["ece"] = np.clip(drawn["ece"] - bias, 0, None)
    shares = {"accuracy", "macro_f1", "weighted_f1"}
    units = len(np.unique(groups))
    result: dict[str, Any] = {}
    for name in value:
        low, high = bootstrap.interval(drawn[name], value[name][0], units if name in shares else 0)
        result[name] = {"value": float(value[name][0]), "low": low, "high": high, "n": len(true)}
    result["ece"]["floor"] = _calibrated_ece(sure, seed)
    result["absent"] = [name for name, here in zip(classes, present, strict=True) if not here]
    return result


def per_class(
    predictions: pd.DataFrame, classes: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """One row a class: n, precision, recall and F1, the last two with intervals; NaN where nothing defines a figure."""
    true, guess, _, groups = read(predictions, classes)
    rows = one_hot(true, guess, len(classes))
    support, precision, recall, f1 = (figure[0] for figure in class_scores(rows.sum(axis=0)[None]))
    _, _, recalls, f1s = class_scores(bootstrap.resampled(rows, groups, resamples, seed))
    table = pd.DataFrame({"class": list(classes), "n": support.astype(int), "precision": precision})
    for name, value, drawn in (("recall", recall, recalls), ("f1", f1, f1s)):
        units = [len(np.unique(groups[true == i])) for i in range(len(classes))]
        ends = [bootstrap.interval(drawn[:, i], value[i], units[i]) for i in range(len(classes))]
        table[name], table[f"{name}_low"], table[f"{name}_high"] = value, *zip(*ends, strict=True)
    return table


def confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    true, guess, _, _ = read(predictions, classes)
    return np.bincount(true * len(classes) + guess, minlength=len(classes) ** 2).reshape(len(classes), -1)


def quick(labels: np.ndarray, scores: np.ndarray, n_classes: int) -> dict[str, float]:
    """Accuracy, macro and weighted F1 for every epoch; `scores` are (n, K) of any scale, or (n,) predicted indices."""
    true, guess = np.asarray(labels), np.asarray(scores)
    guess = guess.argmax(axis=1) if guess.ndim == 2 else guess
    counts = np.bincount(true * n_classes + guess, minlength=n_classes**2)
    support, _, _, f1 = class_scores(counts[None])
    weighted = float(np.nansum(f1 * support) / support.sum())
    figures = {"accuracy": float((true == guess).mean()), "macro_f1": float(np.nan_to_num(f1).mean())}
    return {**figures, "weighted_f1": weighted}


def weights(labels: Sequence[str], classes: Sequence[str], power: float) -> np.ndarray:
    """Class weights (1/frequency)**power, (K,), with mean 1 over the training rows; power 0: ones."""
    if power == 0:
        return np.ones(len(classes))
    counts = np.bincount(_indices(labels, classes, "label"), minlength=len(classes))
    if empty := [name for name, count in zip(classes, counts, strict=True) if count == 0]:
        raise PredictionError(
            f"no training picture of {', '.join(empty)}: no weight can make up for that. Leave these classes out"
        )
    raw = (1 / counts) ** power
    return raw * counts.sum() / (raw * counts).sum()


def columns(classes: Sequence[str]) -> list[str]:
    return [f"p_{name}" for name in classes]


def _indices(names: Sequence[str], classes: Sequence[str], what: str) -> np.ndarray:
    found = pd.Index(classes).get_indexer(pd.Index(names))
    if (found < 0).any():
        unknown = sorted({str(name) for name, i in zip(names, found, strict=True) if i < 0})[:5]
        raise PredictionError(
            f"{int((found < 0).sum())} rows have a {what} that is no class: {unknown}; classes: {', '.join(classes)}"
        )
    return found


def read(table: pd.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True and predicted indices (n,), probabilities (n, K) and groups (n,) of a table, checked."""
    if missing := [c for c in ("path", "label", "predicted", *columns(classes)) if c not in table]:
        raise PredictionError(f"no column {', '.join(missing)}; the table has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise PredictionError("the table of predictions is empty")
    if (repeated := table["path"].duplicated()).any():
        raise PredictionError(f"{int(repeated.sum())} paths are there twice, first {table['path'][repeated].iloc[0]}")
    scores = table[columns(classes)].to_numpy(np.float64)
    # 2e-3: what half precision leaves of a sum of 1; a NaN fails the comparison
    wrong = ~((scores >= 0).all(axis=1) & (abs(scores.sum(axis=1) - 1) < 2e-3))
    if wrong.any():
        first = table["path"][wrong].iloc[0]
        raise PredictionError(
            f"{int(wrong.sum())} rows are no probabilities (NaN, negative or sum not 1), first {first}"
        )
    true, guess = (_indices(table[c].to_numpy(), classes, c) for c in ("label", "predicted"))
    groups = np.arange(len(table))
    if "group" in table:
        named = table["group"].notna() & (table["group"].astype(str) != "")
        groups = pd.factorize(table["group"].astype(str).where(named, "\0" + table["path"].astype(str)))[0]
    return true, guess, scores, groups


def one_hot(true: np.ndarray, guess: np.ndarray, k: int) -> np.ndarray:
    """Each row's own confusion matrix, flat: (n, K*K)."""
    rows = np.zeros((len(true), k * k))
    rows[np.arange(len(true)), true * k + guess] = 1
    return rows


def class_scores(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Support, precision, recall, F1, each (..., K), of flat confusion matrices (..., K*K); 0/0 is NaN."""
    k = round(flat.shape[-1] ** 0.5)
    counts = flat.reshape(-1, k, k)
    hit, support, guessed = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2), counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return support, hit / guessed, hit / support, 2 * hit / (support + guessed)


def overall(flat: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy, macro F1 and weighted F1 (...,) of flat confusion matrices (..., K*K)."""
    support, _, recall, f1 = class_scores(flat)
    total = support.sum(axis=1)
    # A class of few pictures can miss a resample altogether: then the others speak. One that the set lacks counts 0.
    macro = np.nanmean(f1[:, present], axis=1) * present.mean()
    return np.nansum(recall * support, axis=1) / total, macro, np.nansum(f1 * support, axis=1) / total


def _figures(sums: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """The named figures (R,) of column sums (R, K*K + BINS + 2)."""
    size = len(present) ** 2
    total = sums[:, :size].sum(axis=1)
    accuracy, macro, weighted = overall(sums[:, :size], present)
    ece = abs(sums[:, size : size + BINS]).sum(axis=1) / total
    nll, brier = sums[:, -2] / total, sums[:, -1] / total
    return {"accuracy": accuracy, "macro_f1": macro, "weighted_f1": weighted, "ece": ece, "nll": nll, "brier": brier}


def bin_of(sure: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each confidence; bins are open below and closed above."""
    return np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)


def _calibrated_ece(sure: np.ndarray, seed: int, draws: int = 400) -> float:
    """Mean ECE of outcomes that are drawn with exactly the stated confidences."""
    rng = np.random.default_rng(seed)
    bins = np.eye(BINS)[bin_of(sure, BINS)]  # (n, 15)
    ece = [abs(((rng.random(len(sure)) < sure) - sure) @ bins).sum() / len(sure) for _ in range(draws)]
    return float(np.mean(ece))

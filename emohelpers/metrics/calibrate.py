"""Does 80 % sure mean right in 80 of 100 cases? The reliability table, and the temperature that mends it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from emohelpers.metrics import classes as metrics


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T for which softmax(logits / T) has the least NLL (Guo et al., arXiv 1706.04599).

    `logits` are (n, K), log-probabilities will do; `labels` are (n,) indices. Fit it on the validation part,
    never on the set whose ECE is reported.
    """
    true = np.asarray(labels)
    rows = np.arange(len(true))

    def nll(log_t: float) -> float:
        return float(-log_softmax(np.asarray(logits, np.float64) / np.exp(log_t), axis=1)[rows, true].mean())

    return float(np.exp(minimize_scalar(nll, bounds=(np.log(0.02), np.log(50)), method="bounded").x))


def fit(predictions: pd.DataFrame, classes: Sequence[str]) -> float:
    """The temperature of a table of predictions, that of the validation part."""
    true, _, scores, _ = metrics.read(predictions, classes)
    return temperature(np.log(np.clip(scores, 1e-12, None)), true)


def rescale(predictions: pd.DataFrame, classes: Sequence[str], temperature: float) -> pd.DataFrame:
    """A copy of the table with its probabilities at this temperature; the predicted classes stay."""
    _, _, scores, _ = metrics.read(predictions, classes)
    log_p = np.log(np.clip(scores, 1e-12, None))
    return predictions.assign(
        **dict(zip(metrics.columns(classes), softmax(log_p / temperature, axis=1).T, strict=True))
    )


def mend(
    validated: pd.DataFrame, predictions: pd.DataFrame, classes: Sequence[str]
) -> tuple[float, pd.DataFrame, tuple[float, float]]:
    """Temperature of the validation part's table, `predictions` at that temperature, and their ECE before and after."""
    found = fit(validated, classes)
    mended = rescale(predictions, classes, found)
    before, after = (metrics.classification(p, classes, resamples=100)["ece"] for p in (predictions, mended))
    return found, mended, (before["value"], after["value"])


def reliability(predictions: pd.DataFrame, classes: Sequence[str], bins: int = metrics.BINS) -> pd.DataFrame:
    """One row a bin of confidence: low, high, n, mean confidence, accuracy (NaN in empty bins)."""
    true, guess, scores, _ = metrics.read(predictions, classes)
    sure = scores[np.arange(len(true)), guess]
    rows = pd.DataFrame({"confidence": sure, "accuracy": (true == guess).astype(float)})
    means = rows.groupby(metrics.bin_of(sure, bins)).mean().reindex(range(bins))
    edges = np.linspace(0, 1, bins + 1)
    n = np.bincount(metrics.bin_of(sure, bins), minlength=bins)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n}).join(means)

"""Does 80 % sure mean right in 80 of 100 cases? The calibration error, and the table behind it."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers.metrics.table import read

BINS = 15  # equal-width bins of the calibration error, as in Guo et al., arXiv 1706.04599


def error(predictions: DataFrame, classes: Sequence[str]) -> float:
    """The expected calibration error: by how much confidence and accuracy differ in a bin, on average."""
    arrays = read(predictions, classes)
    return float(abs(gaps(arrays.confidence, arrays.right).sum(axis=0)).sum() / len(predictions))


def table(predictions: DataFrame, classes: Sequence[str], bins: int = BINS) -> DataFrame:
    """One row a bin of confidence: low, high, n, mean confidence, accuracy (NaN in empty bins)."""
    arrays = read(predictions, classes)
    bin_index = bin_of(arrays.confidence, bins)
    rows = DataFrame({"confidence": arrays.confidence, "accuracy": arrays.right.astype(float)})
    means = rows.groupby(bin_index).mean().reindex(range(bins))
    edges = np.linspace(0, 1, bins + 1)
    n = np.bincount(bin_index, minlength=bins)
    return DataFrame({"low": edges[:-1], "high": edges[1:], "n": n}).join(means)


def gaps(confidence: ndarray, right: ndarray) -> ndarray:
    """(n, BINS) right - confidence of each row in its bin; the ECE is the sum over bins of |their sum| / n."""
    n = len(confidence)
    in_bins = np.zeros((n, BINS))
    in_bins[np.arange(n), bin_of(confidence, BINS)] = right - confidence
    return in_bins


def bin_of(confidence: ndarray, bins: int) -> ndarray:
    """The bin of each confidence; bins are open below and closed above."""
    # A confidence of 0 would fall below the first bin.
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def floor(confidence: ndarray, draws: int = 400) -> float:
    """The ECE that a perfectly calibrated model shows: mean of outcomes drawn with exactly these confidences."""
    # A fixed seed: the same confidences have the same floor in every run.
    rng = np.random.default_rng(0)
    n = len(confidence)
    bins = np.eye(BINS)[bin_of(confidence, BINS)]  # (n, BINS)
    errors = []
    for _ in range(draws):
        right = rng.random(n) < confidence
        errors.append(abs((right - confidence) @ bins).sum() / n)
    return float(np.mean(errors))

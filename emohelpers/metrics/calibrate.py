"""The temperature that mends a calibration: found on the validation part, judged elsewhere."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from pandas import DataFrame
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from emohelpers.metrics import reliability
from emohelpers.metrics.table import columns, read


class Calibration(NamedTuple):
    """What one temperature did to a table of predictions."""

    temperature: float
    predictions: DataFrame  # the table at this temperature
    ece: tuple[float, float]  # before and after


def temperature(logits: ndarray, labels: ndarray) -> float:
    """The T for which softmax(logits / T) has the least NLL (Guo et al., arXiv 1706.04599).

    `logits` are (n, K), log-probabilities will do; `labels` are (n,) indices. Fit it on the validation part,
    never on the set whose ECE is reported.
    """
    true = np.asarray(labels)
    rows = np.arange(len(true))
    logits = np.asarray(logits, np.float64)

    # The search is over log T: halving and doubling are equally far, and T stays positive.
    def nll(log_t: float) -> float:
        return float(-log_softmax(logits / np.exp(log_t), axis=1)[rows, true].mean())

    bounds = (np.log(0.02), np.log(50))
    return float(np.exp(minimize_scalar(nll, bounds=bounds, method="bounded").x))


def fit(predictions: DataFrame, classes: Sequence[str]) -> float:
    """The temperature of a table of predictions, that of the validation part."""
    arrays = read(predictions, classes)
    return temperature(_log(arrays.scores), arrays.true)


def rescale(predictions: DataFrame, classes: Sequence[str], temperature: float) -> DataFrame:
    """A copy of the table with its probabilities at this temperature; the predicted classes stay."""
    scores = read(predictions, classes).scores
    mended = softmax(_log(scores) / temperature, axis=1)
    return predictions.assign(**dict(zip(columns(classes), mended.T, strict=True)))


def mend(validated: DataFrame, predictions: DataFrame, classes: Sequence[str]) -> Calibration:
    """`predictions` at the temperature of `validated`, the validation part's table, with the ECE before and after."""
    fitted = fit(validated, classes)
    mended = rescale(predictions, classes, fitted)
    return Calibration(fitted, mended, (reliability.error(predictions, classes), reliability.error(mended, classes)))


def _log(scores: ndarray) -> ndarray:
    # A stored probability may be 0 by rounding; its logarithm must stay finite.
    return np.log(np.clip(scores, 1e-12, None))

"""Figures with intervals over groups, and honest comparisons."""

from emohelpers.metrics.calibrate import mend
from emohelpers.metrics.classes import (
    class_scores,
    classification,
    confusion,
    one_hot,
    per_class,
    quick,
    values,
    weights,
)
from emohelpers.metrics.fairness import by_columns
from emohelpers.metrics.table import PredictionError, columns, predictions, read, read_predictions

__all__ = [
    "by_columns",
    "mend",
    "PredictionError",
    "class_scores",
    "classification",
    "columns",
    "confusion",
    "one_hot",
    "per_class",
    "predictions",
    "quick",
    "read",
    "read_predictions",
    "values",
    "weights",
]

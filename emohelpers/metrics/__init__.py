"""Figures with intervals over groups, and honest comparisons."""

from emohelpers.metrics.classes import (
    PredictionError,
    class_scores,
    classification,
    columns,
    confusion,
    one_hot,
    per_class,
    predictions,
    quick,
    read,
    weights,
)

__all__ = [
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
    "weights",
]

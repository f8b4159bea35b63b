"""Every figure by its name, for cells that import this module."""

from emohelpers.report.classes import class_bars, confusion_matrices, per_class_bars
from emohelpers.report.galleries import errors, gallery, suspects
from emohelpers.report.limits import differences, groups, reliability
from emohelpers.report.training import curves, movement, steps

__all__ = [
    "class_bars",
    "confusion_matrices",
    "curves",
    "differences",
    "errors",
    "gallery",
    "groups",
    "movement",
    "per_class_bars",
    "reliability",
    "steps",
    "suspects",
]

"""What a run shows: figures, facts, sentences."""

from emohelpers.report.classes import class_bars, confusion_matrices, per_class_bars
from emohelpers.report.facts import class_table, figures_table
from emohelpers.report.galleries import errors, gallery, suspects
from emohelpers.report.limits import differences, groups, reliability
from emohelpers.report.run import Run, begin
from emohelpers.report.training import curves, movement, steps

__all__ = [
    "Run",
    "begin",
    "class_bars",
    "class_table",
    "confusion_matrices",
    "curves",
    "differences",
    "errors",
    "figures_table",
    "gallery",
    "groups",
    "movement",
    "per_class_bars",
    "reliability",
    "steps",
    "suspects",
]

"""What a run shows: figures, facts, sentences."""

from emohelpers.report.facts import class_table, figures_table
from emohelpers.report.figures import class_bars, confusion_matrices, curves, errors, gallery, per_class_bars
from emohelpers.report.run import Run, begin

__all__ = [
    "Run",
    "begin",
    "class_bars",
    "class_table",
    "confusion_matrices",
    "curves",
    "errors",
    "figures_table",
    "gallery",
    "per_class_bars",
]

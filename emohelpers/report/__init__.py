"""What a run shows: figures, facts, sentences."""

from emohelpers.report.classes import class_bars, confusion_matrices, per_class_bars
from emohelpers.report.facts import class_table, figures_table
from emohelpers.report.forms import against, classification_report, results, rival, seed_files
from emohelpers.report.galleries import errors, gallery, suspects
from emohelpers.report.limits import differences, groups, reliability
from emohelpers.report.run import Run, begin
from emohelpers.report.sentences import console
from emohelpers.report.training import curves, movement, steps

__all__ = [
    "Run",
    "against",
    "begin",
    "class_bars",
    "class_table",
    "classification_report",
    "confusion_matrices",
    "console",
    "curves",
    "differences",
    "errors",
    "figures_table",
    "gallery",
    "groups",
    "movement",
    "per_class_bars",
    "reliability",
    "results",
    "rival",
    "seed_files",
    "steps",
    "suspects",
]

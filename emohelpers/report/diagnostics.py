"""The figures of a training and of a model's limits, for cells that import this module."""

from emohelpers.report.galleries import suspects
from emohelpers.report.limits import differences, groups, reliability
from emohelpers.report.training import curves as history
from emohelpers.report.training import movement, steps

__all__ = ["differences", "groups", "history", "movement", "reliability", "steps", "suspects"]

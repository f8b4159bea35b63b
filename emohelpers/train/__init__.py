"""One training loop that can be killed anywhere, and studies made of it."""

from emohelpers.train.loop import IRRELEVANT, Fit, TrainingError, _Run, evaluate, fit, probabilities

__all__ = ["Fit", "IRRELEVANT", "TrainingError", "_Run", "evaluate", "fit", "probabilities"]

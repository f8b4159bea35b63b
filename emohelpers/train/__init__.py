"""One training loop that can be killed anywhere, and studies made of it."""

from emohelpers.train.loop import Fit, TrainingError, _Run, evaluate, fit, probabilities
from emohelpers.train.study import Faces, build, keep_activations, objective, predict

__all__ = [
    "Faces",
    "Fit",
    "TrainingError",
    "_Run",
    "build",
    "evaluate",
    "fit",
    "keep_activations",
    "objective",
    "predict",
    "probabilities",
]

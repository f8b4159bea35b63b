"""One training loop that can be killed anywhere, and studies made of it."""

from emohelpers.train.errors import OutOfMemory, TrainingError
from emohelpers.train.evaluation import evaluate, probabilities
from emohelpers.train.loop import Fit, fit
from emohelpers.train.objectives import Classification, Preference, Regression
from emohelpers.train.study import Faces, build, keep_activations, objective, predict

__all__ = [
    "Classification",
    "Faces",
    "Fit",
    "OutOfMemory",
    "Preference",
    "Regression",
    "TrainingError",
    "build",
    "evaluate",
    "fit",
    "keep_activations",
    "objective",
    "predict",
    "probabilities",
]

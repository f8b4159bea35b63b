"""One training loop that can be killed anywhere, and studies made of it."""

from emohelpers.train.ablation import run as ablate
from emohelpers.train.errors import OutOfMemory, TrainingError
from emohelpers.train.evaluation import evaluate, probabilities
from emohelpers.train.folds import on_golden
from emohelpers.train.loop import fit
from emohelpers.train.objectives import Classification, Preference, Regression
from emohelpers.train.outcome import Fit
from emohelpers.train.preflight import balance, check, places
from emohelpers.train.study import Faces, build, keep_activations, objective, predict, predict_part, stages

__all__ = [
    "Classification",
    "Faces",
    "Fit",
    "OutOfMemory",
    "Preference",
    "Regression",
    "TrainingError",
    "ablate",
    "balance",
    "build",
    "check",
    "evaluate",
    "fit",
    "keep_activations",
    "objective",
    "on_golden",
    "places",
    "predict",
    "predict_part",
    "probabilities",
    "stages",
]

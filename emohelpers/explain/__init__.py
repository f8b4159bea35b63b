"""Maps of trained models, and the evidence that they mean something (notebook 06)."""

from emohelpers.explain.checkpoints import load, of_notebooks
from emohelpers.explain.classifier import Classifier, ExplanationError
from emohelpers.explain.explainer import Explainer
from emohelpers.explain.panel import Panel, named_right

__all__ = ["Classifier", "ExplanationError", "Explainer", "Panel", "load", "named_right", "of_notebooks"]

"""Maps of trained models, and the evidence that they mean something (notebook 06)."""

from emohelpers.explain.explainer import CAMS, Explainer, load, made_by, named_right
from emohelpers.explain.subject import ExplanationError

__all__ = ["ExplanationError", "CAMS", "Explainer", "load", "made_by", "named_right"]

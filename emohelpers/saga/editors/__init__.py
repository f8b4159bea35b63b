"""Who changes an expression: a service, a diffusion pipeline, files that are there already, or the demo's own hand."""

from emohelpers.saga.editors.attached import Attached
from emohelpers.saga.editors.diffusion import Diffusion
from emohelpers.saga.editors.drawn import Drawn
from emohelpers.saga.editors.editor import Declined, Editor, Exhausted, Job, make, reencoded
from emohelpers.saga.editors.gemini import Gemini

__all__ = [
    "Attached",
    "Declined",
    "Diffusion",
    "Drawn",
    "Editor",
    "Exhausted",
    "Gemini",
    "Job",
    "make",
    "reencoded",
]

"""What stops a training."""

from emohelpers.config.errors import SuiteError


class TrainingError(SuiteError, RuntimeError):
    """A training that cannot go on, with the remedy."""


class OutOfMemory(SuiteError, RuntimeError):
    """Even two pictures at a time do not fit, with the remedy."""

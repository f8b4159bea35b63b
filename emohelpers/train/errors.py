"""What stops a training."""

from collections.abc import Iterator
from contextlib import contextmanager

from emohelpers.config.errors import SuiteError


class TrainingError(SuiteError, RuntimeError):
    """A training that cannot go on, with the remedy."""


@contextmanager
def of_single_pictures(cfg) -> Iterator[None]:
    """Inside this context the error of a BatchNorm that sees one picture names the settings that cut the batch."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"batch_size={cfg.batch_size}, computed in accumulation={cfg.accumulation} parts, leaves a BatchNorm a "
            "single picture, and it needs two. Raise batch_size, lower accumulation, or choose a head without "
            "BatchNorm (layernorm)."
        ) from error


class OutOfMemory(SuiteError, RuntimeError):
    """Even two pictures at a time do not fit, with the remedy."""

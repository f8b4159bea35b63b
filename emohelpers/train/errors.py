"""What stops a training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from emohelpers.config.errors import SuiteError
from emohelpers.models import devices


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
    """What has to be in memory at a time does not fit, with the remedy."""


def within_memory(function: Callable) -> Callable:
    """The same function, with `OutOfMemory` in the place of what PyTorch and its libraries say of a lack of memory."""

    @wraps(function)
    def told(*arguments, **options):
        try:
            return function(*arguments, **options)
        except RuntimeError as error:
            if isinstance(error, SuiteError) or not devices.out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        # Outside of that block, or the new error would hold on to the failed call's tensors by the old one's traceback.
        raise OutOfMemory(
            f"{reason} Lower batch_size, choose a smaller backbone or img_size, or freeze more (trainable); on a card "
            "that something else computes on too, end that first."
        )

    return told

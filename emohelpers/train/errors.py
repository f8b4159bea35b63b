"""What stops a training."""


class TrainingError(RuntimeError):
    """A training that cannot go on, with the remedy."""


class OutOfMemory(RuntimeError):
    """Even two pictures at a time do not fit, with the remedy."""

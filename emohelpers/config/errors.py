"""The one base of all errors whose text is for the user."""

from emohelpers.config.redaction import redacted


class SuiteError(Exception):
    """Something that was given cannot be used: the text names it, the places tried and the remedy.

    A command prints the text alone and ends with 2; any other exception is a fault of ours.
    Subclasses stay what they were as well, a `ValueError` or a `RuntimeError`. A secret in the text is hidden.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*redacted(parts))


class InputNotFound(SuiteError, FileNotFoundError):
    """Names the input, the places tried, what was there instead, and the remedy."""

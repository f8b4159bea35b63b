"""Data sets of Kaggle's that are nowhere at hand, fetched by kagglehub with the user's own credentials."""

import re
from pathlib import Path

from emohelpers.config.errors import InputNotFound
from emohelpers.config.redaction import brief

ASKED = "kaggle:"  # before a handle, `kaggle:owner/slug`: it is fetched on any machine, without it on Colab alone


def fetched(name: str, *, hosted: bool) -> Path | None:
    """The folder of a data set; None for what is no handle, or where nobody asks for it."""
    if not (hosted or name.startswith(ASKED)) or not re.fullmatch(r"[\w-]+/[\w-]+", name.removeprefix(ASKED)):
        return None
    try:
        import kagglehub  # an extra, on Colab already

        return Path(kagglehub.dataset_download(name.removeprefix(ASKED)))
    except Exception as error:  # each of its clients fails in its own way
        remedy = "Agree to its terms there, give a token as KAGGLE_API_TOKEN (pip install kagglehub), or name a folder"
        raise InputNotFound(f"{name} is not fetched ({type(error).__name__}: {brief(error, 200)}). {remedy}") from error

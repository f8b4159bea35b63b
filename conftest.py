"""A test run sees nothing of earlier results: outputs and cache live in a fresh folder, removed at the end."""

import os
import shutil
import tempfile

import pytest

ROOT = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROOT] = tempfile.mkdtemp(prefix="emohelpers-tests-")
    for name in (
        "EMOHELPERS_RUN",
        "EMOHELPERS_INPUTS",
        "EMOHELPERS_CACHE",
        "KAGGLE_KERNEL_RUN_TYPE",
        "COLAB_RELEASE_TAG",
    ):
        os.environ.pop(name, None)
    os.environ["EMOHELPERS_OUTPUTS"] = config.stash[ROOT]  # the kernels that nbval starts inherit it


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[ROOT], ignore_errors=True)

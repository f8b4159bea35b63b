"""A test run sees nothing of earlier results: outputs and cache live in a fresh folder, removed at the end."""

import os
import shutil
import tempfile
from collections.abc import Iterator

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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bits are the same only where sums are taken in the same order."""
    import torch  # heavy, and most tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

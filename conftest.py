"""A test run sees nothing of earlier results: outputs and cache live in a fresh folder, removed at the end.

A notebook may be tested alone or in any order: what it needs is run first, once.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pytest.StashKey[str]()
BEGUN = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROOT] = tempfile.mkdtemp(prefix="emohelpers-tests-")
    config.stash[BEGUN] = set()
    for name in (
        "EMOHELPERS_RUN",
        "EMOHELPERS_INPUTS",
        "EMOHELPERS_CACHE",
        "KAGGLE_KERNEL_RUN_TYPE",
        "COLAB_RELEASE_TAG",
    ):
        os.environ.pop(name, None)
    os.environ["EMOHELPERS_OUTPUTS"] = config.stash[ROOT]  # the kernels that nbval starts inherit it


@pytest.hookimpl(tryfirst=True)  # before nbval starts the notebook's kernel
def pytest_runtest_setup(item: pytest.Item) -> None:
    begun = item.config.stash[BEGUN]
    if item.path.suffix != ".ipynb" or item.path.stem in begun:
        return
    from emohelpers.suite import notebooks

    books = notebooks.find(item.path.parent)
    needs = notebooks.order(books, [item.path.stem])[:-1]
    if missing := [stem for stem in needs if stem not in begun]:
        command = [sys.executable, "-m", "emohelpers", "run", *missing, "--notebooks", str(item.path.parent)]
        subprocess.run(command, check=True)
    begun.update([*needs, item.path.stem])


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[ROOT], ignore_errors=True)

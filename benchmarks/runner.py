"""What `emohelpers run` costs beside papermill alone: the same notebook of twenty seconds, in fresh processes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from rounds import race, ratio, report

from emohelpers.suite.notebooks import METADATA

SECONDS, ROUNDS = 20, 5
PAPERMILL = "import papermill; papermill.execute_notebook('notebooks/01_a.ipynb', 'x.ipynb', progress_bar=False)"
CONTENDERS = {"emohelpers run": ["-m", "emohelpers", "run", "--force"], "papermill": ["-c", PAPERMILL]}


def write(place: Path) -> None:
    """A notebook of a parameters cell and a wait, as `place`/notebooks/01_a.ipynb."""
    cells = [new_code_cell("SEED = 1"), new_code_cell(f"import time\ntime.sleep({SECONDS})")]
    cells[0].metadata.tags = ["parameters"]
    path = place / "notebooks" / "01_a.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=cells, metadata=METADATA | {"emohelpers": {"needs": []}}), path)


def contender(arguments: list[str], place: Path) -> Callable[[], int]:
    env = os.environ | {"EMOHELPERS_OUTPUTS": str(place / "outputs")}

    def run() -> int:
        subprocess.run([sys.executable, *arguments], cwd=place, env=env, check=True, capture_output=True)
        return 1

    return run


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        runs = {name: contender(arguments, Path(folder)) for name, arguments in CONTENDERS.items()}
        taken = race(runs, ROUNDS, clock=time.perf_counter)
    report("runner", taken, {"ours over papermill": ratio(taken, *CONTENDERS)}, f"notebook of {SECONDS} s")


if __name__ == "__main__":
    main()

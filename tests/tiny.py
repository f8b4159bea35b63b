"""Notebooks of a few lines, for tests of what runs notebooks."""

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from emohelpers.suite.notebooks import METADATA, RECEIPT

PARAMETERS = "SEED = 1\nRATE = 0.5\nNAMES = []\nDATASET_ROOT = ''\nOVERRIDES = {}"


def write(
    place: Path,
    stem: str,
    *sources: str,
    needs: tuple[str, ...] = (),
    receipt: bool = False,
    parameters: str = PARAMETERS,
) -> Path:
    """A notebook of a parameters cell and these cells, the last of them a receipt if asked, in `place`/notebooks."""
    cells = [new_code_cell(source) for source in (parameters, *sources)]
    cells[0].metadata.tags = ["parameters"]
    if receipt:
        cells[-1].metadata.tags = ["keep_output", RECEIPT]
    path = place / "notebooks" / f"{stem}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata={**METADATA, "emohelpers": {"needs": list(needs)}}), path)
    return path


def status(place: Path, stem: str, run: str = "demo") -> dict:
    return json.loads((place / "outputs" / run / stem / "status.json").read_text())

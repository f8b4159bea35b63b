"""Notebooks that need nothing beside them: each with the part of the package that it uses packed into one cell."""

import base64
import bz2
import hashlib
import io
import json
import lzma
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, writes

import emohelpers
from emohelpers.config import files
from emohelpers.report.parameters import INJECTED
from emohelpers.suite import notebooks
from emohelpers.suite.bundle import kaggle
from emohelpers.suite.bundle.contents import used
from emohelpers.suite.notebooks import Notebook, NotebookError, tags

ROOM = 400_000  # bytes of a whole notebook; what Kaggle takes is said to be 1 MB
CELL = """\
# emohelpers {version}, {count} of its files, sha256 {sha256}
import base64, io, sys, tarfile, tempfile

place = tempfile.mkdtemp(prefix="emohelpers-")
for content in [{content}]:
    tarfile.open(fileobj=io.BytesIO(base64.b85decode(content))).extractall(place, filter="data")
sys.path.insert(0, place)"""
PROSE = """\
## The package

The next cell unpacks the part of the suite's package that this notebook uses. The cell after it then finds it there."""


def write(
    book: Notebook, folder: Path, user: str = kaggle.USER, *, offline: bool = False, values: Mapping = {}
) -> Path:
    """Writes `folder`/<stem>/ with the notebook and its kernel-metadata.json; returns the folder.

    Raises:
        NotebookError: the notebook would be too large to be uploaded.
    """
    bundle = bundled(book.path, offline=user if offline else "", values=values)
    for cell in bundle.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    text = writes(bundle) + "\n"
    size = len(text.encode())
    if size > ROOM:
        raise NotebookError(f"the bundle of {book.stem} has {size:,} bytes, more than {ROOM:,}: pack less into it")
    target = folder / book.stem
    files.write_text(target / f"{book.stem}.ipynb", text)
    data = values.get("DATASET_ROOT", "")
    metadata = kaggle.kernel(book, used(notebooks.load(book.path)), user, offline=offline, data=data)
    files.write_text(target / "kernel-metadata.json", json.dumps(metadata, indent=2) + "\n")
    return target


def bundled(path: Path, *, offline: str = "", values: Mapping = {}) -> NotebookNode:
    """The notebook with the cell that unpacks its part of the package, before its set-up cell.

    `offline` names the owner of the attached weights, which OVERRIDES then names; `values` are parameters or settings.
    """
    book = notebooks.load(path)
    content = used(book)
    archives = packed(content.files)
    setup = next((n for n, cell in enumerate(book.cells) if "setup" in tags(cell)), None)
    if setup is None:
        raise NotebookError(f"{path} has no cell tagged `setup` before which its package could go")
    source = CELL.format(
        version=emohelpers.__version__,
        count=len(content.files),
        sha256=hashlib.sha256(b"".join(archives)).hexdigest()[:16],
        content=", ".join(f'"{base64.b85encode(archive).decode()}"' for archive in archives),
    )
    # Before the set-up cell, and before the sentence about it.
    before = setup - 1 if book.cells[setup - 1].cell_type == "markdown" else setup
    cell = new_code_cell(source, id="package", metadata={"tags": ["package"], "jupyter": {"source_hidden": True}})
    book.cells[before:before] = [new_markdown_cell(PROSE, id="package-prose"), cell]
    if offline and content.weights:
        folder = f"{offline}/{kaggle.WEIGHTS}/{content.weights}"
        line = f'OVERRIDES = {{"weights": "{folder}"}}  # attached: internet is off'
        for cell in book.cells:
            if "parameters" in tags(cell):
                cell.source = re.sub(r"^OVERRIDES = \{\}", line, cell.source, flags=re.M)
    if values:
        lines = [f"{name.removeprefix('OVERRIDES.').upper()} = {value!r}" for name, value in values.items()]
        position = next(n for n, cell in enumerate(book.cells, 1) if "parameters" in tags(cell))
        injected = new_code_cell("\n".join([INJECTED, *lines]), id="given", metadata={"tags": ["injected-parameters"]})
        book.cells.insert(position, injected)
    return book


def packed(sources: dict[str, Path]) -> list[bytes]:
    """The texts and the weights as one compressed tar each, the same bytes for the same files."""
    weights = {name: path for name, path in sources.items() if name.endswith(".safetensors")}
    texts = {name: path for name, path in sources.items() if name not in weights}
    # Of text bzip2 makes a tenth less than xz, of weights a tenth more.
    archives = [bz2.compress(_tar(texts))]
    return [*archives, lzma.compress(_tar(weights), preset=9 | lzma.PRESET_EXTREME)] if weights else archives


def _tar(sources: dict[str, Path]) -> bytes:
    """The files by name, of no owner, no time and one mode."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(sources.items()):
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return plain.getvalue()

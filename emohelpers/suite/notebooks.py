"""The source notebooks: what each declares, in which order they run, and the one form in which they are kept."""

import ast
import hashlib
import importlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from emohelpers.config.errors import SuiteError

RECEIPT = "nbval-check-output"  # the tag by which nbval compares a cell's output, in lax mode too
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class NotebookError(SuiteError, ValueError):
    """Names the notebook, what is wrong with it or with what was asked of it, and what would be right."""


@dataclass(frozen=True)
class Notebook:
    """One source notebook; `sha256` covers its cells and needs, not its outputs."""

    path: Path
    needs: tuple[str, ...]  # stems of the notebooks that must have run before, from the metadata
    parameters: Mapping[str, Any]  # name -> default of the cell tagged `parameters`; Ellipsis where it is no literal
    sha256: str
    cells: int = 0  # of all kinds, as papermill counts them
    damaged: str = ""  # why the file cannot be read; all else is then empty
    settings: frozenset[str] = frozenset()  # every setting of its config, in capitals: papermill may pass these too

    @property
    def stem(self) -> str:
        return self.path.stem


def load(path: Path) -> NotebookNode:
    """The notebook in nbformat 4.

    Raises:
        NotebookError: the file is no notebook, for example cut off.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("nbformat") != 4:
            raise ValueError("it is not in nbformat 4")
        # Checked before it is read: nbformat itself only warns, and then goes on with what it has.
        nbformat.validate(content)
    except (OSError, ValueError, RecursionError, nbformat.ValidationError) as error:
        reason = getattr(error, "message", str(error))
        raise NotebookError(f"{path} is not a readable notebook: {reason[:200]}") from error
    return nbformat.v4.reads(text)


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def assigned(source: str) -> dict[str, Any]:
    """Names that a parameters cell binds, in order, with their literal defaults (Ellipsis where not literal)."""
    defaults: dict[str, Any] = {}
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for name in [target.id for target in targets if isinstance(target, ast.Name)]:
            try:
                defaults[name] = ast.literal_eval(node.value)
            except (ValueError, TypeError):
                defaults[name] = ...
    return defaults


def read(path: Path) -> Notebook:
    """What a notebook declares: parameters by its cell tagged `parameters`, needs by `metadata.emohelpers.needs`.

    Raises:
        NotebookError: the file is no notebook, or its parameters are no Python.
    """
    book = load(path)
    cells = [cell.source for cell in book.cells if "parameters" in tags(cell)]
    needs = needed(book)
    content = json.dumps([needs, [[cell.cell_type, tags(cell), cell.source] for cell in book.cells]])
    try:
        defaults = assigned(cells[0]) if cells else {}
    except SyntaxError as error:
        raise NotebookError(f"{path}: its cell tagged `parameters` is no Python: {error}") from error
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Notebook(path.resolve(), needs, defaults, sha256, len(book.cells), settings=settings(book))


def settings(book: NotebookNode) -> frozenset[str]:
    """The settings, in capitals, of the config classes that a notebook imports from `emohelpers.config`."""
    names: set[str] = set()
    for cell in book.cells:
        pattern = r"^from (emohelpers\.config\.\w+) import ([\w, ]+)$"
        for module, classes in re.findall(pattern, cell.source if cell.cell_type == "code" else "", re.M):
            for kind in classes.split(", "):
                names.update(getattr(importlib.import_module(module), kind).model_fields)
    return frozenset(name.upper() for name in names)


def needed(book: NotebookNode) -> tuple[str, ...]:
    """Stems of the notebooks that must have run before."""
    entry = book.metadata.get("emohelpers")
    needs = entry.get("needs") if isinstance(entry, dict) else None
    return tuple(map(str, needs)) if isinstance(needs, list) else ()


def find(folder: Path) -> dict[str, Notebook]:
    """Every notebook of a folder by its stem, in reading order; one that cannot be read is `damaged`.

    Raises:
        NotebookError: there is none, or one needs another that is not there.
    """
    books = {}
    for path in sorted(folder.glob("*.ipynb")):
        try:
            books[path.stem] = read(path)
        except NotebookError as error:
            books[path.stem] = Notebook(path.resolve(), (), {}, "", damaged=str(error))
    if not books:
        remedy = "start from the repository, or give --notebooks FOLDER"
        raise NotebookError(f"no notebooks in {folder.resolve()}: {remedy}")
    for book in books.values():
        for need in book.needs:
            if need not in books:
                raise NotebookError(f"{book.stem} needs {need}, which is not in {folder}: {', '.join(books)}")
    return books


def choose(books: Mapping[str, Notebook], names: Iterable[str]) -> list[str]:
    """Stems for what a user types: `03`, `3` or a whole stem; all where nothing is named."""
    stems = []
    for name in names:
        fits = [stem for stem in books if name == stem or name.zfill(2) == stem.split("_")[0]]
        if len(fits) != 1:
            raise NotebookError(f"{name!r} names {len(fits)} notebooks; there are: {', '.join(books)}")
        stems += fits
    return stems or list(books)


def order(books: Mapping[str, Notebook], stems: Iterable[str]) -> list[str]:
    """`stems` and all they need, prerequisites first, else in the order given."""
    plan: list[str] = []

    def visit(stem: str, above: tuple[str, ...]) -> None:
        if stem in above:
            raise NotebookError(f"notebooks need each other in a circle: {' -> '.join([*above, stem])}")
        for need in books[stem].needs:
            visit(need, (*above, stem))
        if stem not in plan:
            plan.append(stem)

    for stem in stems:
        visit(stem, ())
    return plan


def canonical(book: NotebookNode, executed: NotebookNode | None = None) -> str:
    """The text in which a notebook is kept: sources, tags and receipts; every other output, count and setting dropped.

    With `executed`, the receipts are taken from there, cell by cell.
    """
    if executed and [cell.source for cell in executed.cells] != [cell.source for cell in book.cells]:
        raise NotebookError("the executed notebook has other cells than its source")
    stripped = nbformat.v4.new_notebook(metadata={**METADATA})
    stripped.metadata["emohelpers"] = {"needs": list(needed(book))}
    for position, cell in enumerate(book.cells):
        # nbformat would draw a random id for a cell without one; ids that exist stay, so that diffs stay small.
        name = cell.get("id") or hashlib.sha256(f"{position} {cell.source}".encode()).hexdigest()[:8]
        source = cell.source.rstrip("\n")
        clean = NotebookNode(id=name, cell_type=cell.cell_type, metadata=NotebookNode(), source=source)
        if tags(cell):
            clean.metadata["tags"] = list(tags(cell))
        if cell.get("attachments"):
            clean["attachments"] = cell.attachments
        if cell.cell_type == "code":
            receipt = (executed or book).cells[position] if RECEIPT in tags(cell) else None
            clean["execution_count"] = receipt.execution_count if receipt else None
            clean["outputs"] = receipt.outputs if receipt else []
        stripped.cells.append(clean)
    return nbformat.writes(stripped, version=4).rstrip("\n") + "\n"


def is_canonical(path: Path) -> bool:
    """Whether a notebook is kept in the one form, byte for byte."""
    return canonical(load(path)).encode() == path.read_bytes()

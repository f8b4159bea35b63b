"""The source notebooks: what each declares, in which order they run, and the one form in which they are kept."""

import ast
import hashlib
import json
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

    @property
    def stem(self) -> str:
        return self.path.stem


def load(path: Path) -> NotebookNode:
    """The notebook in nbformat 4.

    Raises:
        NotebookError: the file is no notebook, for example cut off.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:  # NotJSONError is a ValueError
        raise NotebookError(f"{path} is not a readable notebook: {str(error)[:200]}") from error


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def assigned(source: str) -> dict[str, Any]:
    """Names that a parameters cell binds, in order, with their literal defaults (Ellipsis where not literal)."""
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for name in [target.id for target in targets if isinstance(target, ast.Name)]:
            try:
                found[name] = ast.literal_eval(node.value)
            except (ValueError, TypeError):
                found[name] = ...
    return found


def read(path: Path) -> Notebook:
    """What a notebook declares: parameters by its cell tagged `parameters`, needs by `metadata.emohelpers.needs`."""
    book = load(path)
    cells = [cell.source for cell in book.cells if "parameters" in tags(cell)]
    needs = tuple(book.metadata.get("emohelpers", {}).get("needs", ()))
    content = json.dumps([needs, [[cell.cell_type, tags(cell), cell.source] for cell in book.cells]])
    defaults = assigned(cells[0]) if cells else {}
    return Notebook(path.resolve(), needs, defaults, hashlib.sha256(content.encode()).hexdigest(), len(book.cells))


def find(folder: Path) -> dict[str, Notebook]:
    """Every notebook of a folder by its stem, in reading order."""
    found = {path.stem: read(path) for path in sorted(folder.glob("*.ipynb"))}
    if not found:
        raise NotebookError(
            f"no notebooks in {folder.resolve()}: start from the repository, or give --notebooks FOLDER"
        )
    for book in found.values():
        for need in book.needs:
            if need not in found:
                raise NotebookError(f"{book.stem} needs {need}, which is not in {folder}: {', '.join(found)}")
    return found


def choose(books: Mapping[str, Notebook], asked: Iterable[str]) -> list[str]:
    """Stems for what a user types: `03`, `3` or a whole stem; all when nothing is asked."""
    stems = []
    for name in asked:
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
    kept = nbformat.v4.new_notebook(metadata={**METADATA})
    kept.metadata["emohelpers"] = {"needs": list(book.metadata.get("emohelpers", {}).get("needs", []))}
    for position, cell in enumerate(book.cells):
        # nbformat would draw a random id for a cell without one; ids that exist stay, so that diffs stay small.
        name = cell.get("id") or hashlib.sha256(f"{position} {cell.source}".encode()).hexdigest()[:8]
        clean = NotebookNode(
            id=name, cell_type=cell.cell_type, metadata=NotebookNode(), source=cell.source.rstrip("\n")
        )
        if tags(cell):
            clean.metadata["tags"] = list(tags(cell))
        if cell.get("attachments"):
            clean["attachments"] = cell.attachments
        if cell.cell_type == "code":
            receipt = (executed or book).cells[position] if RECEIPT in tags(cell) else None
            clean["execution_count"] = receipt.execution_count if receipt else None
            clean["outputs"] = receipt.outputs if receipt else []
        kept.cells.append(clean)
    return nbformat.writes(kept, version=4).rstrip("\n") + "\n"


def is_canonical(path: Path) -> bool:
    """Whether a notebook is kept in the one form, byte for byte."""
    return canonical(load(path)).encode() == path.read_bytes()

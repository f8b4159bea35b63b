"""What shall run: notebooks, what they need, and one such chain for each point of a grid of parameters."""

import itertools
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emohelpers import config
from emohelpers.config import paths
from emohelpers.suite import notebooks, records
from emohelpers.suite.notebooks import Notebook, NotebookError
from emohelpers.suite.runs import Run

Books = Mapping[str, Notebook]
Point = dict[str, Any]  # parameter -> value; OVERRIDES.<name> for one setting inside of OVERRIDES


def axes(texts: Sequence[str]) -> list[Point]:
    """`["SEED=1,2", "BACKBONE=resnet50,vit_small"]` as the points of the grid; one empty point without any."""
    axes: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        if not (name and equals and rest):
            raise NotebookError(f"--grid {text!r} is not NAME=VALUE,VALUE,...")
        try:
            # First as a JSON list, for numbers and texts with commas; bare words are no JSON.
            values = json.loads(f"[{rest}]")
        except ValueError:
            values = [config.value(part, f"--grid {name} =") for part in rest.split(",")]
        if name in axes:
            raise NotebookError(f"--grid {name} is given twice: write --grid {name}=A,B")
        if len({json.dumps(entry, sort_keys=True) for entry in values}) < len(values):
            raise NotebookError(f"--grid {text!r} names a value twice")
        axes[name] = values
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def chains(books: Books, stems: Sequence[str], values: Point, points: Sequence[Point], name: str) -> list[list[Run]]:
    """For each point of the grid its runs, prerequisites first; a run that several points share is one and the same.

    Parameters must exist in every notebook of `stems`, and go to the prerequisites that have them. A prerequisite that
    lacks an axis of the grid is done once for all its values.

    Raises:
        NotebookError: an unknown parameter, a value of another type, or two runs that would write to one folder.
    """
    plain = ("", "auto", {}, ...)  # parameters cells are there to be edited: what was set in one counts as if given
    edited = {name: entry for stem in stems for name, entry in books[stem].parameters.items() if entry not in plain}
    every = merged({**edited, **values})
    overrides = every.get("OVERRIDES", {})
    if not isinstance(overrides, dict):
        raise NotebookError(f"OVERRIDES = {overrides!r} is not of the type of its default {{}}")
    settings = {"dataset_root": every.get("DATASET_ROOT"), **overrides}
    name = name or paths.run_name(config.chosen(every.get("PRESET", "auto"), settings))
    if "@" in name or Path(name).name != name:
        raise NotebookError(f"--run {name!r}: a plain name, without '@' and '/'")
    runs: dict[Path, Run] = {}
    plan = []
    for point in points:
        here: dict[str, Run] = {}
        depends: dict[str, set[str]] = {}  # stem -> axes that it or anything it needs depends on
        for stem in notebooks.order(books, stems):
            book = books[stem]
            strict = stem in stems
            chosen = merged(_known(book, {**values, **point}, strict=strict))
            if not book.damaged:
                fit(book, chosen)
            axes_here = _known(book, point, strict=strict)
            depends[stem] = set(axes_here).union(*[depends[need] for need in book.needs])
            # The folder is named after the axes that its results depend on, so that points can share it.
            run_name = name + label({axis: entry for axis, entry in point.items() if axis in depends[stem]})
            folder = paths.results(stem, run_name)
            needs = tuple(here[need] for need in book.needs)
            here[stem] = runs.setdefault(folder, Run(book, chosen, run_name, folder, needs))
        plan.append(list(here.values()))
    named = [run.title for run in runs.values() if run.values.get("OUTPUT_DIR")]
    if len(named) > 1:
        raise NotebookError(f"OUTPUT_DIR is one folder and {len(named)} runs would write to it: {', '.join(named)}")
    return plan


def _known(book: Notebook, point: Point, *, strict: bool) -> Point:
    return {
        axis: entry
        for axis, entry in point.items()
        if strict or axis.split(".")[0] in {*book.parameters, *book.settings}
    }


def merged(point: Point) -> Point:
    """The parameters that papermill gets: `OVERRIDES.<name>` becomes an entry of OVERRIDES."""
    settings = {axis.partition(".")[2]: entry for axis, entry in point.items() if axis.startswith("OVERRIDES.")}
    values = {axis: entry for axis, entry in point.items() if not axis.startswith("OVERRIDES.")}
    return values | ({"OVERRIDES": values.get("OVERRIDES", {}) | settings} if settings else {})


def label(point: Point) -> str:
    """`@SEED=1,BACKBONE=resnet50`: a point of the grid as part of a folder's name; what does not fit is hashed."""
    parts = []
    for axis, entry in point.items():
        text = entry if isinstance(entry, str) else json.dumps(entry)
        plain = re.sub(r"[^\w.+-]+", "_", text)[:40]
        parts.append(f"{axis}={plain}" + ("" if plain == text else f"~{config.digest(entry)[:6]}"))
    return "@" + ",".join(parts) if parts else ""


def fit(book: Notebook, values: Mapping[str, Any]) -> None:
    """Refuses names and types that the notebook's parameters cell does not have; papermill would only warn."""
    for name, entry in values.items():
        if name in book.settings and name not in book.parameters:
            continue  # its config looks at the value
        if name not in book.parameters:
            raise NotebookError(f"{book.stem} has no parameter {name}; it has {', '.join(book.parameters) or 'none'}")
        default = book.parameters[name]
        # By `type`, since isinstance would take True for an int.
        same = default is None or default is ... or type(entry) is type(default)
        if not same and not (type(default) is float and type(entry) is int):
            remedy = f"; write --param '{name}=\"...\"' for a text" if isinstance(default, str) else ""
            raise NotebookError(
                f"{book.stem}: {name} = {entry!r} is not of the type of its default {default!r}{remedy}"
            )


def earlier(root: Path) -> dict[tuple[str, str], float]:
    """(stem, pass of the suite) -> median seconds of its finished runs below `root`; "" stands for any pass."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for path in [*root.glob("*/status.json"), *root.glob("*/*/status.json")]:
        status = records.status(path.parent)
        if status.status == "done" and status.seconds is not None and not path.parent.is_symlink():
            for name in (status.run.partition("@")[0], ""):
                seconds.setdefault((status.stem, name), []).append(status.seconds)
    return {run: statistics.median(times) for run, times in seconds.items()}


def expected(run: Run, before: Mapping[tuple[str, str], float]) -> float | None:
    """Seconds that a run will take, by earlier ones; None where the notebook never finished."""
    return before.get((run.book.stem, run.name.partition("@")[0]), before.get((run.book.stem, "")))

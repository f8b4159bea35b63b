"""The command line: `run` executes notebooks by papermill, `receipts` renews the outputs that nbval compares."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emohelpers import config, files, notebooks, paths, runs
from emohelpers.notebooks import Notebook, NotebookError

DONE = ("done", "done before")
Books = Mapping[str, Notebook]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 all done, 1 something failed, 2 asked for what does not exist, 130 interrupted."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as an exception, so that a notebook's processes end before we do
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        books = notebooks.find(options.notebooks)
        asked = notebooks.choose(books, options.notebook)
        if options.command == "run":
            return run(books, asked, given(options.param), name=options.run, timeout=options.timeout)
        return check_stripped(books, asked) if options.check else receipts(books, asked, timeout=options.timeout)
    except NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m emohelpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute notebooks and what they need into outputs/<run>/<stem>/")
    renew = commands.add_parser("receipts", help="execute notebooks and keep the outputs of their receipt cells")
    for command in (run, renew):
        command.add_argument("notebook", nargs="*", help="number or stem, such as 03; all if none is named")
        command.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="their folder (%(default)s)")
        command.add_argument("--timeout", type=float, default=12 * 3600, help="seconds for one notebook (%(default)s)")
    run.add_argument("--run", default="", help="name of this pass of the suite (demo, or full with data of your own)")
    run.add_argument("--param", action="append", default=[], metavar="NAME=JSON", help="e.g. SEED=1; can be repeated")
    renew.add_argument("--check", action="store_true", help="only say whether all is stripped but the receipts")
    return parser


def given(texts: list[str]) -> dict[str, Any]:
    """`["SEED=1", "PRESET=demo"]` as a dictionary: values are JSON, bare words are strings."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise NotebookError(f"--param {text!r} is not NAME=VALUE")
        try:
            values[name] = json.loads(value)
        except ValueError as error:
            if value[:1] in ("{", "[", '"'):
                raise NotebookError(f"--param {text!r} is not JSON: {error}") from error
            values[name] = value
    return values


def fit(book: Notebook, values: Mapping[str, Any]) -> None:
    """Refuses names and types that the notebook's parameters cell does not have; papermill would only warn."""
    for name, value in values.items():
        if name not in book.parameters:
            raise NotebookError(f"{book.stem} has no parameter {name}; it has {', '.join(book.parameters) or 'none'}")
        default = book.parameters[name]
        same = default is None or default is ... or type(value) is type(default)
        if not same and not (type(default) is float and type(value) is int):
            raise NotebookError(
                f"{book.stem}: {name} = {value!r} is not of the type of its default {default!r}"
                + (f"; write --param '{name}=\"...\"' for a text" if isinstance(default, str) else "")
            )


def run(books: Books, asked: list[str], values: dict[str, Any], *, name: str = "", timeout: float) -> int:
    """Executes the notebooks asked for and what they need, prints a closing table, returns the exit code.

    A prerequisite that this run already holds, from the same source, is used as it is unless it is asked for itself.
    Parameters must exist in every notebook asked for, and go to prerequisites that have them.
    """
    plan = notebooks.order(books, asked)
    chosen = {stem: {k: v for k, v in values.items() if stem in asked or k in books[stem].parameters} for stem in plan}
    for stem in plan:
        fit(books[stem], chosen[stem])
    settings = {"dataset_root": values.get("DATASET_ROOT"), **values.get("OVERRIDES", {})}
    name = name or paths.run_name(config.chosen(values.get("PRESET", "auto"), settings))
    results: dict[str, tuple[str, float, Path]] = {}
    start = time.monotonic()
    for stem in plan:
        book, folder = books[stem], paths.run_folder(stem, run=name)
        missing = [need for need in book.needs if results[need][0] not in DONE]
        if missing:
            results[stem] = (f"skipped: needs {', '.join(missing)}", 0.0, folder)
        elif stem not in asked and runs.finished(book, folder, chosen[stem]):
            results[stem] = ("done before", 0.0, folder / f"{stem}.ipynb")
        else:
            results[stem] = runs.execute(book, folder, chosen[stem], run=name, timeout=timeout)
    return _close(results, f"in {time.monotonic() - start:.0f} s, run {name!r}")


def _close(results: Mapping[str, tuple[str, float, Path]], when: str) -> int:
    width, state = max(map(len, results)), max(len(status) for status, *_ in results.values())
    print(f"\n{'notebook':<{width}}  {'status':<{state}}  seconds  where to look")
    for stem, (status, seconds, place) in results.items():
        print(f"{stem:<{width}}  {status:<{state}}  {seconds:7.1f}  {runs.shown(place)}")
    done = sum(status in DONE for status, *_ in results.values())
    print(f"{done} of {len(results)} done {when}")
    return 0 if done == len(results) else 1


def receipts(books: Books, asked: list[str], *, timeout: float) -> int:
    """Executes the notebooks into a fresh outputs folder and writes their receipts back; all else is stripped."""
    root = tempfile.mkdtemp(prefix="emohelpers-receipts-")
    os.environ |= {"EMOHELPERS_OUTPUTS": root, "EMOHELPERS_CACHE": f"{root}/cache"}
    if code := run(books, asked, {}, name="demo", timeout=timeout):
        return code  # what ran stays, to be looked at
    for stem in asked:
        executed = notebooks.load(paths.run_folder(stem, run="demo") / f"{stem}.ipynb")
        files.write_text(books[stem].path, notebooks.canonical(notebooks.load(books[stem].path), executed))
        print(f"receipts written: {runs.shown(books[stem].path)}")
    shutil.rmtree(root)
    return 0


def check_stripped(books: Books, asked: list[str]) -> int:
    """Says which notebooks hold more than sources and receipts."""
    wrong = [books[stem].path for stem in asked if not notebooks.is_canonical(books[stem].path)]
    for path in wrong:
        print(f"{runs.shown(path)}: holds outputs or metadata beside its receipts; `make receipts` renews it")
    return 1 if wrong else 0

"""What the commands about notebooks do: run, receipts, bundle and page."""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.suite import batch, plan, records
from emohelpers.suite import notebooks as sources
from emohelpers.suite.notebooks import NotebookError
from emohelpers.suite.runs import Run, shown


def run(
    names: list[str],
    notebooks: Path,
    run: str,
    param: list[str],
    grid: list[str],
    index: int | None,
    force: bool,
    only_failed: bool,
    dry_run: bool,
    timeout: float,
    **places,
) -> int:
    """Executes notebooks and what they need at every point of the grid; `places` are the arguments of `_engine`."""
    books, stems = _chosen(notebooks, names)
    chains = plan.chains(books, stems, config.assignments(param), plan.axes(grid), run)
    if index is not None:
        if not 0 <= index < len(chains):
            raise NotebookError(f"--index {index}: the plan has the points 0 ... {len(chains) - 1}")
        chains = [chains[index]]

    def again(run: Run) -> bool:
        return force and run.book.stem in stems

    if dry_run:
        batch.preview(chains, places["workers"] or max(len(paths.cards()), 1), again)
        return 0
    # A run that several points of the grid share is done once.
    runs = list({run.folder: run for chain in chains for run in chain}.values())
    if only_failed:
        runs = [run for run in runs if records.status(run.folder).failed]
        if not runs:
            print("nothing began and did not end well")
            return 0
    _end_by_signals()
    start = time.monotonic()
    results = batch.carry_out(runs, _engine(**places), timeout=timeout, again=again)
    code = batch.close(results, f"in {time.monotonic() - start:.0f} s, run {runs[0].name.partition('@')[0]!r}")
    page()
    return code


def receipts(names: list[str], notebooks: Path, timeout: float, check: bool) -> int:
    """Executes notebooks into a fresh outputs folder and writes their receipts back; all else is stripped."""
    books, stems = _chosen(notebooks, names)
    if check:
        return _check_stripped([books[stem] for stem in stems])
    root = tempfile.mkdtemp(prefix="emohelpers-receipts-")
    # With an empty cache too: receipts must not depend on what lies on this machine.
    os.environ |= {"EMOHELPERS_OUTPUTS": root, "EMOHELPERS_CACHE": f"{root}/cache"}
    _end_by_signals()
    (chain,) = plan.chains(books, stems, {}, [{}], "demo")
    if code := batch.close(batch.carry_out(chain, batch.Local(), timeout=timeout), f"below {root}"):
        return code  # the results stay, to be looked at
    for stem in stems:
        path = books[stem].path
        executed = sources.load(paths.run_folder(stem, run="demo") / f"{stem}.ipynb")
        files.write_text(path, sources.canonical(sources.load(path), executed))
        print(f"receipts written: {shown(path)}")
    shutil.rmtree(root)
    return 0


def bundle(names: list[str], notebooks: Path, out: Path, user: str, param: list[str], offline: bool) -> None:
    """Writes the bundles, with what they need where there is no internet, and says how each is pushed."""
    from emohelpers.suite.bundle import build, contents, kaggle  # they know every recipe

    books, stems = _chosen(notebooks, names)
    owner = user or kaggle.USER
    for stem in stems:
        folder = build.write(books[stem], out, owner, offline=offline, values=config.assignments(param))
        size = (folder / f"{stem}.ipynb").stat().st_size
        print(f"# {size / 1000:.0f} kB\nkaggle kernels push -p {shown(folder)} --accelerator NvidiaTeslaT4")
    if offline:
        from emohelpers.suite.bundle import supplies  # loads timm

        used = [contents.used(sources.load(books[stem].path)) for stem in stems]
        modules = {module for content in used for module in content.extras}
        lines = sorted({line for module in modules for line in contents.EXTRAS.get(module, ())})
        trunks = sorted({content.weights for content in used} - {""})
        wheels = supplies.wheels(out / "wheels", lines)
        weights = supplies.weights(out / "weights", trunks)
        for paths_written, name, slug in ((wheels, "wheels", kaggle.WHEELS), (weights, "weights", kaggle.WEIGHTS)):
            if paths_written:
                print(f"# {len(paths_written)} {name}\n{supplies.described(out / name, owner, slug)}")
    if not user:
        print(f"# --user NAME writes your name on Kaggle in place of {owner}; uploading the .ipynb by hand needs none")


def page() -> None:
    """Writes outputs/index.html and says where it is."""
    from emohelpers.suite.page import index  # it draws and compares: a list of runs need not wait for it

    print(f"page: {shown(index.write(paths.outputs_root()))}")


def _chosen(folder: Path, names: list[str]) -> tuple[plan.Books, list[str]]:
    """All notebooks of a folder, and the stems of those that were named."""
    books = sources.find(folder)
    return books, sources.choose(books, names)


def _end_by_signals() -> None:
    """Makes signals that end us exceptions, so that the processes of a notebook end before we do."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


def _engine(engine: str, address: str, workers: int, threads: int) -> batch.Engine:
    if engine == "local":
        return batch.Local(workers, threads)
    try:
        from emohelpers.suite import cluster

        return cluster.Cluster(address, workers, threads)
    except ModuleNotFoundError as error:
        remedy = "pip install -e '.[cluster]', or leave --engine out"
        raise NotebookError(f"--engine ray needs Ray, which is not installed ({error}): {remedy}") from error


def _check_stripped(books: list[sources.Notebook]) -> int:
    """Says which notebooks hold more than sources and receipts; 1 if any does."""
    code = 0
    for book in books:
        if book.damaged or not sources.is_canonical(book.path):
            reason = book.damaged or "holds outputs or metadata beside its receipts; `make receipts` renews it"
            print(f"{shown(book.path)}: {reason}")
            code = 1
    return code

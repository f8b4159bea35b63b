"""The command line: `run` executes notebooks by papermill, `receipts` renews the outputs that nbval compares."""

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.suite import batch, notebooks, plan
from emohelpers.suite.notebooks import Notebook, NotebookError
from emohelpers.suite.runs import Run, shown, status

Books = Mapping[str, Notebook]
ELSEWHERE = {  # command -> its module, which has a `main` of the same arguments and is imported only when asked for
    "train": ("suite.headless", "train a recipe and evaluate it"),
    "evaluate": ("suite.headless", "evaluate a checkpoint, on a folder of your own too"),
    "ablation": ("suite.headless", "train a recipe and its variants"),
    "folds": ("suite.headless", "k-fold cross-validation, and the k models as one"),
    "across": ("suite.headless", "train on each data set, test on every one"),
    "explain": ("explain.folder", "panels of maps for a folder of pictures, by a checkpoint"),
    "predict": ("export.predict", "name the emotion of faces: a picture, a folder"),
    "appeal": ("ranking.command", "rank photographs: audit, train, evaluate, export, quantise, score"),
}


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 all done, 1 something failed, 2 asked for what does not exist, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in ELSEWHERE:
        module, _ = ELSEWHERE[arguments[0]]
        return importlib.import_module(f"emohelpers.{module}").main(arguments)
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as an exception, so that a notebook's processes end before we do
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        if options.command == "page":
            return page()
        books = notebooks.find(options.notebooks)
        asked = notebooks.choose(books, options.notebook)
        if options.command == "run":
            return run(books, asked, options)
        if options.command == "bundle":
            return bundles(books, asked, options)
        return check_stripped(books, asked) if options.check else receipts(books, asked, timeout=options.timeout)
    except (NotebookError, config.ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m emohelpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute notebooks and what they need into outputs/<run>/<stem>/")
    renew = commands.add_parser("receipts", help="execute notebooks and keep the outputs of their receipt cells")
    pack = commands.add_parser("bundle", help="write notebooks that carry the package, ready for Kaggle and Colab")
    for command in (run, renew, pack):
        command.add_argument("notebook", nargs="*", help="number or stem, such as 03; all if none is named")
        command.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="their folder (%(default)s)")
    for command in (run, renew):
        command.add_argument("--timeout", type=float, default=12 * 3600, help="seconds for one notebook (%(default)s)")
    run.add_argument("--run", default="", help="name of this pass of the suite (demo, or full with data of your own)")
    run.add_argument("--param", action="append", default=[], metavar="NAME=JSON", help="e.g. SEED=1; can be repeated")
    run.add_argument("--grid", action="append", default=[], metavar="NAME=A,B", help="e.g. SEED=1,2,3; one run a point")
    run.add_argument("--force", action="store_true", help="run what was asked for even if nothing changed")
    run.add_argument("--only-failed", action="store_true", help="of the plan only what began and did not end well")
    run.add_argument("--dry-run", action="store_true", help="say what would run, why, and about how long it takes")
    run.add_argument("--index", type=int, help="only this point of the grid, from 0: for SLURM arrays")
    run.add_argument("--workers", type=int, default=0, help="runs side by side (one a graphics card, else one)")
    run.add_argument("--threads", type=int, default=0, help="processor threads a run (the cores, shared by --workers)")
    run.add_argument("--engine", choices=("local", "ray"), default="local", help="where runs are done (%(default)s)")
    run.add_argument("--address", default="", help="of a Ray cluster that is up; a new local one if empty")
    renew.add_argument("--check", action="store_true", help="only say whether all is stripped but the receipts")
    pack.add_argument("--out", type=Path, default=Path("dist/kaggle"), help="where they go (%(default)s)")
    pack.add_argument("--user", default="", help="your name on Kaggle, for kernel-metadata.json")
    pack.add_argument("--offline", action="store_true", help="for sessions without internet: also wheels and weights")
    pack.add_argument("--repository", default="", metavar="OWNER/NAME", help="on GitHub, for the badges")
    commands.add_parser("page", help="write outputs/index.html again")
    for name, (_, told) in ELSEWHERE.items():
        commands.add_parser(name, help=told, add_help=False)
    return parser


def run(books: Books, asked: list[str], options: argparse.Namespace) -> int:
    """Executes the notebooks asked for and what they need at every point of the grid; returns the exit code."""
    values = config.assignments(options.param)
    points = plan.axes(options.grid)
    chains = plan.chains(books, asked, values, points, options.run)
    if options.index is not None:
        if not 0 <= options.index < len(chains):
            raise NotebookError(f"--index {options.index}: the plan has the points 0 ... {len(chains) - 1}")
        chains = [chains[options.index]]

    def again(one: Run) -> bool:
        return options.force and one.book.stem in asked

    if options.dry_run:
        batch.preview(chains, options.workers or max(len(paths.cards()), 1), again)
        return 0
    todo = list({one.folder: one for chain in chains for one in chain}.values())
    if options.only_failed:
        todo = [one for one in todo if status(one.folder).get("status", "done") != "done"]
        if not todo:
            print("nothing began and did not end well")
            return 0
    start = time.monotonic()
    ended = batch.carry_out(todo, _engine(options), timeout=options.timeout, again=again)
    code = batch.close(ended, f"in {time.monotonic() - start:.0f} s, run {todo[0].name.partition('@')[0]!r}")
    return max(code, page())


def _engine(options: argparse.Namespace) -> batch.Engine:
    if options.engine == "local":
        return batch.Local(options.workers, options.threads)
    from emohelpers.suite import cluster  # Ray is an extra

    return cluster.Cluster(options.address, options.workers, options.threads)


def receipts(books: Books, asked: list[str], *, timeout: float) -> int:
    """Executes the notebooks into a fresh outputs folder and writes their receipts back; all else is stripped."""
    root = tempfile.mkdtemp(prefix="emohelpers-receipts-")
    os.environ |= {"EMOHELPERS_OUTPUTS": root, "EMOHELPERS_CACHE": f"{root}/cache"}
    (chain,) = plan.chains(books, asked, {}, [{}], "demo")
    if code := batch.close(batch.carry_out(chain, batch.Local(), timeout=timeout), f"below {root}"):
        return code  # what ran stays, to be looked at
    for stem in asked:
        executed = notebooks.load(paths.run_folder(stem, run="demo") / f"{stem}.ipynb")
        files.write_text(books[stem].path, notebooks.canonical(notebooks.load(books[stem].path), executed))
        print(f"receipts written: {shown(books[stem].path)}")
    shutil.rmtree(root)
    return 0


def check_stripped(books: Books, asked: list[str]) -> int:
    """Says which notebooks hold more than sources and receipts."""
    wrong = [books[stem].path for stem in asked if not notebooks.is_canonical(books[stem].path)]
    for path in wrong:
        print(f"{shown(path)}: holds outputs or metadata beside its receipts; `make receipts` renews it")
    return 1 if wrong else 0


def bundles(books: Books, asked: list[str], options: argparse.Namespace) -> int:
    """Writes the bundles, with what they need where there is no internet, and says how each is pushed."""
    from emohelpers.suite.bundle import build  # it knows every recipe

    user = options.user or build.USER
    out = options.out
    places = [build.write(books[stem], out, user, offline=options.offline) for stem in asked]
    for place in places:
        size = (place / f"{place.name}.ipynb").stat().st_size
        print(f"# {size / 1000:.0f} kB\nkaggle kernels push -p {shown(place)} --accelerator NvidiaTeslaT4")
    if options.offline:
        from emohelpers.suite.bundle import supplies  # loads timm

        contents = [build.used(notebooks.load(books[stem].path)) for stem in asked]
        wanted = {one for content in contents for module in content.extras for one in build.EXTRAS.get(module, ())}
        made = [(supplies.wheels(out / "wheels", sorted(wanted)), "wheels", build.WHEELS)]
        trunks = sorted({content.weights for content in contents} - {""})
        made.append((supplies.weights(out / "weights", trunks), "weights", build.WEIGHTS))
        for found, folder, slug in made:
            if found:
                print(f"# {len(found)} {folder}\n{supplies.described(out / folder, user, slug)}")
    if options.repository:
        print(f"badges: {shown(files.write_text(out / 'README.md', build.badges(asked, options.repository)))}")
    if not options.user:
        print(f"# --user NAME writes your name on Kaggle in place of {user}; uploading the .ipynb by hand needs none")
    return 0


def page() -> int:
    """Writes outputs/index.html and says where it is."""
    from emohelpers.suite.page import (
        index as page,  # it draws and compares, which a run that is only listed need not wait for
    )

    try:
        print(f"page: {shown(page.write(paths.outputs_root()))}")
    except OSError as error:  # the disk is full, say: the runs' own table is above
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0

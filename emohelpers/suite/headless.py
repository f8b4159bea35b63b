"""The notebooks' work without notebooks: train, evaluate, ablation, folds, across, over the same config objects."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pandas import DataFrame

from emohelpers import config, metrics, models
from emohelpers.config import files, paths
from emohelpers.config.faces import Baseline, Enhanced, Transfer
from emohelpers.datasets import faces as manifests
from emohelpers.datasets import pixels as store
from emohelpers.report import facts as report
from emohelpers.report import sentences
from emohelpers.suite.notebooks import NotebookError
from emohelpers.train import ablation, folds, study

RECIPES = {"baseline": Baseline, "transfer": Transfer, "enhanced": Enhanced}
TOLD = (
    NotebookError,
    config.ConfigError,
    manifests.ManifestError,
    FileNotFoundError,
    PermissionError,
    ValueError,
    RuntimeError,
)


def main(arguments: list[str]) -> int:
    """`arguments` begin with the command; 0: done, 2: asked for what cannot be done (the reason is printed)."""
    options = _parser().parse_args(arguments)
    try:
        return options.act(options)
    except TOLD as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m emohelpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, act, told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=told)
        made.set_defaults(act=act)
        made.add_argument("--out", default="", help="folder for the results (outputs/headless/<recipe> if empty)")
        return made

    learn = command("train", _train, "train a recipe and evaluate it on its golden set")
    parts = command("ablation", _ablation, "train a recipe and its variants; a table of paired differences")
    parts.add_argument("--variant", action="append", default=[], help="only this one; can be repeated")
    parts.add_argument("--teacher", default="", help="checkpoint that the small student imitates")
    over = command("across", _across, "train here, test there: every data set against every other")
    over.add_argument(
        "--on", action="append", default=[], metavar="MANIFEST[:ROOT]", help="a data set; give two or more"
    )
    cut = command("folds", _folds, "k trainings, each tested on what it has not seen; then all of them as one model")
    cut.add_argument("--k", type=int, default=5, help="number of folds (%(default)s)")
    for made in (learn, parts, over, cut):
        made.add_argument("recipe", choices=list(RECIPES))
        made.add_argument("--preset", default="auto", choices=("auto", "demo", "full"))
        made.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting, e.g. epochs=3")
    test = command("evaluate", _evaluate, "evaluate a checkpoint, the newest if none is named")
    test.add_argument("checkpoint", nargs="?", default="", help="a .pth file that this suite wrote")
    test.add_argument("--data", default="", help="external hold-out folder or Kaggle handle; empty: its own golden set")
    test.add_argument("--manifest", default="", help="how that folder is laid out (the checkpoint's own if empty)")
    test.add_argument("--labels", default="", help="its table of labels")
    return parser


def _train(options: argparse.Namespace) -> int:
    cfg = config.make(RECIPES[options.recipe], options.preset, **config.assignments(options.set))
    run = paths.run_folder(options.recipe, run="headless", output_dir=options.out or cfg.output_dir)
    files.write_json(run / "config.json", cfg.model_dump(mode="json"))
    faces = study.prepare(cfg)
    print(faces.leaks)
    done = study.fit(cfg, faces, run)
    _, parts = study.build(cfg, faces)
    found = study.predict(done.model, parts["golden"], faces.part("golden"), flip=cfg.flip_test)
    result = _write(run, found, faces.classes, cfg, faces.dataset, split=faces.golden.sha256, seconds=done.seconds)
    print(sentences.block(done, result, faces.table))
    print(f"{done.checkpoint}")
    return 0


def _ablation(options: argparse.Namespace) -> int:
    cfg = config.make(RECIPES[options.recipe], options.preset, **config.assignments(options.set))
    run = paths.run_folder(f"{options.recipe}_ablation", run="headless", output_dir=options.out)
    table = ablation.run(cfg, study.prepare(cfg), run, options.variant or None, teacher=options.teacher)
    print(table.round(3).to_string(index=False))
    return 0


def _across(options: argparse.Namespace) -> int:
    if len(options.on) < 2:
        raise config.ConfigError("--on MANIFEST[:ROOT] is needed at least twice")
    sets = {}
    for text in options.on:
        manifest, _, root = text.partition(":")
        if Path(manifest).stem in sets:
            raise config.ConfigError(f"--on {text}: there is a data set {Path(manifest).stem} already; rename its YAML")
        sets[Path(manifest).stem] = {"manifest": manifest, "dataset_root": root}
    cfg = config.make(RECIPES[options.recipe], options.preset, **config.assignments(options.set))
    run = paths.run_folder(f"{options.recipe}_across", run="headless", output_dir=options.out)
    print(folds.across(cfg, sets, run).round(3).to_string(index=False))
    return 0


def _folds(options: argparse.Namespace) -> int:
    cfg = config.make(RECIPES[options.recipe], options.preset, **config.assignments(options.set))
    run = paths.run_folder(f"{options.recipe}_folds", run="headless", output_dir=options.out)
    faces = study.prepare(cfg)
    table, members = folds.cross_validate(cfg, faces, options.k, run)
    print(table.round(3).to_string(index=False))
    rows = faces.part("golden")
    golden = study.batches(members[0], faces.pixels, rows, cfg.batch_size)
    together = folds.options(members, golden, rows, cfg.bootstrap)
    files.write_csv(together, run / "options.csv")
    print("\nOn the golden test set:", together.round(3).to_string(index=False), sep="\n")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    checkpoint = Path(options.checkpoint) if options.checkpoint else models.newest(paths.outputs_root())
    model = models.load(checkpoint)
    print(f"{checkpoint}: {model.spec['backbone']}, epoch {model.facts['epoch']}")
    cfg = trained_by(model.facts)
    run = paths.run_folder(f"{checkpoint.stem}_evaluated", run="headless", output_dir=options.out)
    if (run / "metrics.json").is_file():
        print(f"an earlier evaluation in {run} is replaced; --out names another folder")
    if options.data:
        found, dataset, split = _abroad(model, cfg, options)
    else:
        faces = study.prepare(cfg)
        rows = faces.part("golden")
        dataset = faces.dataset
        split = faces.golden.sha256
        batches = study.batches(model, faces.pixels, rows, cfg.batch_size)
        found = study.predict(model, batches, rows, flip=cfg.flip_test)
    result = _write(run, found, model.spec["classes"], cfg, dataset, split=split, seconds=0.0)
    print(report.figures_table(result).to_string())
    return 0


def trained_by(facts: Mapping[str, Any]):
    """The config that a checkpoint's training had.

    Raises:
        ConfigError: it names no recipe of this suite.
    """
    named = {kind.__name__: kind for kind in RECIPES.values()}
    if facts.get("recipe") not in named:
        raise config.ConfigError(f"the checkpoint names no known recipe ({facts.get('recipe')}): {', '.join(named)}")
    return config.restored(named[facts["recipe"]], facts["config"])


def _abroad(model, cfg, options: argparse.Namespace) -> tuple[DataFrame, manifests.Dataset, str]:
    """Predictions for the pictures of an external folder, and what was tested: all that the training has not seen."""
    dataset = manifests.load(options.manifest or cfg.manifest, options.data, options.labels)
    pixels = store.build(dataset, store.side_for(dataset, cfg), paths.cache_folder() / "pixels")
    dataset = manifests.check(dataset, pixels, cfg.max_unreadable)
    strange = sorted(set(dataset.classes) - set(model.spec["classes"]))
    rows = dataset.table[~dataset.table["label"].isin(strange)]
    if strange:
        print(f"left out, since the model has no such class: {', '.join(strange)} ({len(dataset.table) - len(rows)})")
    try:
        taught = study.prepare(cfg)
    except (FileNotFoundError, ValueError) as error:
        split = "not checked against the training pictures, which are not here"
        print(f"{split}: {str(error).splitlines()[0]}")
    else:
        new = folds.strange(rows, pixels, taught, cfg)
        split = f"{len(rows) - len(new)} pictures that the training knows were left out"
        print(split)
        rows = new
    if rows.empty:
        raise metrics.PredictionError(f"{options.data} holds nothing that the model could be tested on")
    batches = study.batches(model, pixels, rows, cfg.batch_size)
    found = study.predict(model, batches, rows, flip=cfg.flip_test)
    return found, dataset, f"{len(rows)} of {options.data}; {split}"


def _write(run: Path, found: DataFrame, classes, cfg, dataset, **facts: Any) -> dict[str, Any]:
    files.write_csv(found, run / "predictions.csv")
    result = metrics.classification(found, classes, resamples=cfg.bootstrap)
    report.save_metrics(run, result, data=dataset.name, demo=dataset.demo, **facts)
    return result

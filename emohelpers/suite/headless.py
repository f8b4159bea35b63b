"""The notebooks' work without notebooks: train, evaluate, ablation, folds, across, over the same config objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pandas import DataFrame
from torch.nn import Module

from emohelpers import config, metrics, models
from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError
from emohelpers.config.faces import Baseline, Enhanced, Transfer
from emohelpers.config.shared import Training
from emohelpers.datasets import faces as manifests
from emohelpers.datasets import pixels as store
from emohelpers.report import facts, sentences
from emohelpers.train import ablation, distil, folds, study

RECIPES = {"baseline": Baseline, "transfer": Transfer, "enhanced": Enhanced}


def train(recipe: str, preset: str, settings: list[str], out: str) -> None:
    """Trains a recipe and evaluates it on its golden set."""
    cfg = _config(recipe, preset, settings)
    if cfg.teacher:
        distil.teacher(cfg.teacher)  # one that is missing is told before the data are prepared
    folder = _folder(recipe, out or cfg.output_dir)
    files.write_json(folder / "config.json", cfg.model_dump(mode="json"))
    faces = _faces(cfg)
    fit = study.fit(cfg, faces, folder)
    _, parts = study.build(cfg, faces)
    predictions = study.predict_rows(fit.model, faces, faces.part("golden"), cfg)
    context = {"split": faces.golden.sha256, "seconds": fit.seconds}
    result = _write(folder, predictions, faces.classes, cfg, faces.dataset, **context)
    print(sentences.block(fit, result, faces.table))
    print(fit.checkpoint)


def ablate(recipe: str, preset: str, settings: list[str], variants: list[str], teacher: str, out: str) -> None:
    """Trains a recipe and its variants, and prints their paired differences."""
    cfg = _config(recipe, preset, settings)
    ablation.plan(cfg, variants or None, teacher)  # a wrong name is told before the data are prepared
    folder = _folder(f"{recipe}_ablation", out)
    table = ablation.run(cfg, _faces(cfg), folder, variants or None, teacher=teacher)
    _show(table)


def across(recipe: str, preset: str, settings: list[str], data_sets: list[str], out: str) -> None:
    """Trains on each data set and tests on every one; `data_sets` are MANIFEST or MANIFEST:ROOT.

    Raises:
        ConfigError: fewer than two data sets, or two of one name.
    """
    if len(data_sets) < 2:
        raise config.ConfigError("--on MANIFEST[:ROOT] is needed at least twice")
    inputs = {}
    for text in data_sets:
        manifest, _, root = text.partition(":")
        name = Path(manifest).stem
        if name in inputs:
            raise config.ConfigError(f"--on {text}: there is a data set {name} already; rename its YAML")
        inputs[name] = {"manifest": manifest, "dataset_root": root}
    cfg = _config(recipe, preset, settings)
    _show(folds.across(cfg, inputs, _folder(f"{recipe}_across", out)))


def cross_validate(recipe: str, preset: str, settings: list[str], k: int, out: str) -> None:
    """Trains `k` models, each tested on what it has not seen; then all of them as one model, on the golden set."""
    cfg = _config(recipe, preset, settings)
    folder = _folder(f"{recipe}_folds", out)
    faces = _faces(cfg)
    table, members = folds.cross_validate(cfg, faces, k, folder)
    _show(table)
    rows = faces.part("golden")
    golden = study.batches(members[0], faces.pixels, rows, cfg.batch_size)
    combinations = folds.options(members, golden, rows, cfg.bootstrap)
    files.write_csv(combinations, folder / "options.csv")
    print("\nOn the golden test set:")
    _show(combinations)


def evaluate(checkpoint: str, data: str, manifest: str, labels: str, out: str) -> None:
    """Evaluates a checkpoint, the newest if it is "", on its golden set or on an external folder `data`."""
    path = Path(checkpoint) if checkpoint else models.newest(paths.outputs_root())
    model = models.load(path)
    print(f"{path}: {model.spec['backbone']}, epoch {model.facts['epoch']}")
    cfg = trained_by(model.facts)
    folder = _folder(f"{path.stem}_evaluated", out)
    if (folder / "metrics.json").is_file():
        print(f"an earlier evaluation in {folder} is replaced; --out names another folder")
    if data:
        dataset = manifests.load(manifest or cfg.manifest, data, labels)
        pixels, rows, split = _external(model, cfg, dataset, data)
    else:
        faces = study.prepare(cfg)
        study.refuse_trained_on(model, faces, path)
        dataset = faces.dataset
        pixels = faces.pixels
        rows = faces.part("golden")
        split = faces.golden.sha256
    batches = study.batches(model, pixels, rows, cfg.batch_size)
    predictions = study.predict(model, batches, rows, flip=cfg.flip_test, precision=cfg.precision)
    result = _write(folder, predictions, model.spec["classes"], cfg, dataset, split=split, seconds=0.0)
    print(facts.figures_table(result).to_string())


def trained_by(about: Mapping[str, Any]) -> Training:
    """The config of a checkpoint's training, by the `facts` of the checkpoint.

    Raises:
        ConfigError: it names no recipe of this suite.
    """
    named = {kind.__name__: kind for kind in RECIPES.values()}
    recipe = about.get("recipe")
    if recipe not in named:
        raise config.ConfigError(f"the checkpoint names no known recipe ({recipe}): {', '.join(named)}")
    return config.restored(named[recipe], about["config"])


def _config(recipe: str, preset: str, settings: list[str]) -> Training:
    return config.make(RECIPES[recipe], preset, **config.assignments(settings))


def _faces(cfg: Training) -> study.Faces:
    faces = study.prepare(cfg)
    print(faces.dataset.title, *faces.notes, sep="\n- ")
    return faces


def _folder(name: str, out: str) -> Path:
    return paths.claimed(paths.run_folder(name, run="headless", output_dir=out))


def _show(table: DataFrame) -> None:
    print(table.round(3).to_string(index=False))


def _external(model: Module, cfg: Training, dataset: manifests.Dataset, data: str):
    """Pixels and rows of an external folder that the training has not seen, and a sentence about them for `split`."""
    pixels = store.build(dataset, store.side_for(dataset, cfg), paths.cache_folder() / "pixels")
    dataset = manifests.check(dataset, pixels, cfg.max_unreadable)
    # Classes that the model never learned cannot be asked for.
    foreign = sorted(set(dataset.classes) - set(model.spec["classes"]))
    rows = dataset.table[~dataset.table["label"].isin(foreign)]
    if foreign:
        print(f"left out, since the model has no such class: {', '.join(foreign)} ({len(dataset.table) - len(rows)})")
    # Pictures of the training, and their twins, would flatter the model.
    try:
        training = study.prepare(cfg)
    except (SuiteError, FileNotFoundError) as error:
        split = "not checked against the training pictures, which are not here"
        print(f"{split}: {str(error).splitlines()[0]}")
    else:
        new = folds.strange(rows, pixels, training, cfg)
        split = f"{len(rows) - len(new)} pictures that the training knows were left out"
        print(split)
        rows = new
    if rows.empty:
        raise metrics.PredictionError(f"{data} holds nothing that the model could be tested on")
    return pixels, rows, f"{len(rows)} of {data}; {split}"


def _write(folder: Path, predictions: DataFrame, classes, cfg, dataset: manifests.Dataset, **about) -> dict[str, Any]:
    """Writes predictions.csv and metrics.json, of which it returns the figures."""
    files.write_csv(predictions, folder / "predictions.csv")
    result = metrics.classification(predictions, classes, resamples=cfg.bootstrap)
    facts.save_metrics(folder, result, data=dataset.name, demo=dataset.demo, **about)
    return result

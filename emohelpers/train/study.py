"""From a config to pictures, model and predictions: what notebook 01 does step by step, for all that does it often."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from numpy import ndarray
from pandas import DataFrame
from torch.nn import Module

from emohelpers import metrics, models
from emohelpers.config import paths
from emohelpers.datasets import edits, leaks, pixels, splits
from emohelpers.datasets import faces as manifests
from emohelpers.datasets.golden import Golden
from emohelpers.datasets.leaks import Leaks
from emohelpers.datasets.pixels import Pixels
from emohelpers.images import batches as images
from emohelpers.images import votes
from emohelpers.images.batches import Batches
from emohelpers.models import cache
from emohelpers.train import loop, objectives
from emohelpers.train.distil import Distillation
from emohelpers.train.errors import TrainingError
from emohelpers.train.evaluation import probabilities
from emohelpers.train.outcome import Fit

PAIRED = ("difference", "low", "high", "verdict")  # of a comparison, what a row of a study's table keeps


@dataclass(frozen=True)
class Faces:
    """A data set, decoded, split and guarded."""

    dataset: manifests.Dataset
    pixels: Pixels
    table: DataFrame  # split = train, val, golden
    golden: Golden
    leaks: Leaks

    @property
    def classes(self) -> tuple[str, ...]:
        return self.dataset.classes

    @property
    def notes(self) -> list[str]:
        """What is to be read before a training: of the data set, its traps, the guard, the golden set."""
        return [*self.dataset.notes, *self.dataset.traps, str(self.leaks), *self.golden.notes]

    def part(self, name: str) -> DataFrame:
        """The rows of train, val or golden, in the order of their batches."""
        return self.table[self.table["split"] == name]

    def counts(self) -> DataFrame:
        """Pictures by class (rows) and part (columns train, val, golden), with sums as "all"."""
        counts = pd.crosstab(self.table["label"], self.table["split"])
        counts = counts.reindex(index=list(self.classes), columns=["train", "val", "golden"], fill_value=0)
        counts = counts.rename_axis(index="class", columns=None)
        counts["all"] = counts.sum(axis=1)
        counts.loc["all"] = counts.sum()
        return counts

    def totals(self) -> dict[str, int]:
        """Pictures of train, val and golden, and of all."""
        return self.counts().loc["all"].to_dict()

    def examples(self, each: int, seed: int) -> tuple[ndarray, list[str]]:
        """Some pictures of each class, uint8 (n, side, side, 3), and their labels."""
        rows = self.table.groupby("label").sample(each, random_state=seed)
        return self.pixels.take(self.pixels.rows(rows["path"])), list(rows["label"])


def prepare(cfg) -> Faces:
    """The faces of a config, from its manifest to the guarded split; all notebooks share one golden set.

    Raises:
        ManifestError, SplitError: with all problems at once, before any training.
    """
    dataset = manifests.load(cfg.manifest, cfg.dataset_root, cfg.labels_csv)
    if cfg.combined_labels:
        dataset = edits.read(dataset, cfg.combined_labels, cfg.augmented_root)
    # Before the check, since only decoding shows which files are damaged.
    decoded = pixels.build(dataset, pixels.side_for(dataset, cfg), paths.cache_folder() / "pixels")
    dataset = manifests.check(dataset, decoded, cfg.max_unreadable)
    golden_folder = paths.outputs_root() / "golden"
    table, golden, leaks = splits.parts(dataset.table, decoded, cfg, golden_folder, dataset.name)
    return Faces(dataset, decoded, table, golden, leaks)


def build(cfg, faces: Faces) -> tuple[Module, dict[str, Batches]]:
    """The config's model, its first stage trainable, and the batches of each part as it wants them."""
    model = models.build(cfg, faces.classes)
    # This also writes the preprocessing into the model's spec, from where checkpoints take it.
    prepared = models.preprocess(model, side=faces.pixels.side, zoom=cfg.eval_zoom, grey=cfg.grayscale)
    models.freeze(model, cfg.trainable)
    return model, images.by_split(faces.table, faces.pixels, prepared, faces.classes, cfg)


def keep_activations(model: Module, parts: dict[str, Batches], cfg) -> tuple[dict[str, Batches], str]:
    """The batches with what the frozen layers make of them kept, where the config asks for it and it pays; and why."""
    folder = paths.cache_folder() / "activations" / paths.run_name(cfg.preset)
    parts, plan = cache.prepare(model, parts, cfg, folder)
    return parts, str(plan)


def objective(cfg, faces: Faces, model: Module | None = None) -> objectives.Classification:
    """What a config minimises: classification, with `model` imitating a teacher if the config names one."""
    labels = faces.part("train")["label"]
    if cfg.teacher:
        if model is None:
            raise models.WeightsError("a teacher needs to know its student: give objective() the model.")
        aim = Distillation.of(cfg, faces.classes, labels, model)
        refuse_trained_on(aim.teacher, faces, cfg.teacher)
        return aim
    return objectives.Classification.of(cfg, faces.classes, labels)


def fit(cfg, faces: Faces, folder: str | Path, *, name: str = "best_model.pth", quiet: bool = False) -> Fit:
    """One training of a config on these faces, see `train.fit`."""
    model, parts = build(cfg, faces)
    aim = objective(cfg, faces, model)
    return loop.fit(model, parts["train"], parts["val"], aim, cfg, folder, name=name, quiet=quiet)


def whole(done: Fit) -> Fit:
    """The training, if it reached its end: half of one is nothing to be compared.

    Raises:
        TrainingError: it is paused.
    """
    if done.status == "paused":
        raise TrainingError(
            f"the training in {done.checkpoint.parent} is paused, its time is up: run again to go on with it and with "
            "those after it (Kaggle: attach this output first)."
        )
    return done


def refuse_trained_on(model: Module, faces: Faces, name: str | Path) -> None:
    """Refuses a loaded model whose training or validation had pictures that are golden today.

    Raises:
        TrainingError: it had some; `name` of the checkpoint says which model it is.
    """
    facts = getattr(model, "facts", {})
    if "learned" not in facts:
        print(f"{name} does not say what it was trained on (an earlier version wrote it): it may know golden faces.")
        return
    golden = faces.part("golden")["path"]
    hashes = zip(golden, faces.pixels.hashes(golden), strict=True)
    learned = set(facts["learned"].tolist())
    # By content and not by path, since files may have been renamed.
    known = [path for path, sha256 in hashes if not learned.isdisjoint(leaks.numbers([sha256]).tolist())]
    if known:
        raise TrainingError(
            f"{name} was trained or chosen on {len(known):,} of the {len(golden):,} pictures that are golden today, "
            f"e.g. {known[0]}: the data or the golden set have changed since, and its figures would measure memory. "
            f"Train it again, or give the golden set of its training as TESTSET_CSV (now {faces.golden.file})."
        )


def batches(model: Module, pixels: Pixels, rows: DataFrame, batch_size: int) -> Batches:
    """Any rows as a finished model wants them, in order; rows of another class than the model's are an error."""
    classes = model.spec["classes"]
    targets = votes.hard(rows, classes)
    if pd.isna(targets).any():
        unknown = sorted(set(rows["label"]) - set(classes))
        raise metrics.PredictionError(f"the model has no class {', '.join(unknown)}; leave those rows out")
    preprocess = models.prepared(model, pixels.side)
    return Batches(pixels, pixels.rows(rows["path"]), targets, preprocess, batch_size=batch_size)


def predict(
    model: Module, batches: Batches, rows: DataFrame, *, flip: bool = False, precision: str = "auto"
) -> DataFrame:
    """The table of predictions for `rows`, which are those of `batches` in their order; see `evaluate`."""
    shares = probabilities(model, batches, flip=flip, precision=precision)
    return metrics.predictions(rows["path"], rows["label"], shares, model.spec["classes"], group=rows["group"])


def figures(predictions: DataFrame, classes: Sequence[str], resamples: int) -> dict[str, Any]:
    """A row of a table: n, accuracy and macro F1 with the ends of their 95 % intervals, ECE."""
    scores = metrics.classification(predictions, classes, resamples=resamples)
    row: dict[str, Any] = {"n": len(predictions)}
    for name in ("accuracy", "macro_f1"):
        score = scores[name]
        row |= {name: score["value"], f"{name}_low": score["low"], f"{name}_high": score["high"]}
    return row | {"ece": scores["ece"]["value"]}


def predict_part(model: Module, faces: Faces, part: str, cfg) -> DataFrame:
    """The table of predictions of a finished model for train, val or golden, training pictures unaugmented too."""
    return predict_rows(model, faces, faces.part(part), cfg)


def predict_rows(model: Module, faces: Faces, rows: DataFrame, cfg) -> DataFrame:
    """The table of predictions of a finished model for any of these faces."""
    prepared = batches(model, faces.pixels, rows, cfg.batch_size)
    return predict(model, prepared, rows, flip=cfg.flip_test, precision=cfg.precision)


def stages(model: Module, cfg) -> DataFrame:
    """What each stage of a config trains, and how many parameters that is."""
    return DataFrame(models.stages(model, {0: cfg.trainable, **cfg.unfreeze})).round(3)

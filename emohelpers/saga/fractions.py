"""Trainings with none, some or all of the edits, over several seeds, and whether that helped."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure
from pandas import DataFrame

from emohelpers import config, metrics, models, report, train
from emohelpers.config import files, paths
from emohelpers.config.faces import Baseline
from emohelpers.datasets import edits
from emohelpers.metrics import calibrate, compare, reliability
from emohelpers.saga import seeds
from emohelpers.saga.ramp import Ramped, subset
from emohelpers.saga.seeds import Key
from emohelpers.train import study
from emohelpers.train.study import Faces

NOT_WEIGHTS = {"golden", "golden_cap", "twin_similarity"}  # decide the golden set, whose hash tells
JUDGED = {"weights", "teacher", "flip_test", "cache", "cache_views", "cache_fresh"}  # stand aside, and still matter
CHECKPOINT = "vit_baseline_best_model.pth"  # of notebook 01
SHOWN = ("accuracy", "macro_f1", "f1")  # in the figure of differences


@dataclass(frozen=True)
class Arm:
    """One training and what it says of the golden set."""

    fraction: float
    seed: int
    synthetic: int  # edits in its training part
    epochs: int
    predictions: DataFrame
    fit: train.Fit | None  # None: notebook 01's, taken over
    status: str


@dataclass(frozen=True)
class Trainings:
    """Every fraction of the edits with every seed."""

    arms: dict[Key, Arm]
    without: Arm  # notebook 01's
    main: Arm  # all edits, the same seed
    classes: tuple[str, ...]
    resamples: int

    def __str__(self) -> str:
        fit = self.main.fit
        main = f"{self.main.synthetic:,} edits; {self.main.status}; best epoch {fit.best['epoch']}; {fit.seconds:.0f} s"
        return f"{len(self.arms)} trainings; the main one: {main}"

    @property
    def seconds(self) -> float:
        """Wall time of all trainings but notebook 01's."""
        return sum(arm.fit.seconds for arm in self.arms.values() if arm.fit)

    def compare(self) -> DataFrame:
        """The main training against notebook 01's, picture by picture, see `metrics.compare`."""
        pair = (self.without.predictions, self.main.predictions)
        return compare.compare(*pair, self.classes, resamples=self.resamples)

    def over_seeds(self) -> DataFrame:
        """All edits against none, see `seeds.over_seeds`."""
        return seeds.over_seeds(self.predictions(), self.classes, self.main.fraction, self.resamples)

    def ablation(self) -> DataFrame:
        """One row a fraction, see `seeds.ablation`."""
        table = seeds.ablation(self.predictions(), self.classes, self.resamples)
        edits = {arm.fraction: arm.synthetic for arm in self.arms.values()}
        table.insert(1, "edits", table["fraction"].map(edits))
        return table

    def predictions(self) -> dict[Key, DataFrame]:
        return {key: arm.predictions for key, arm in self.arms.items()}


def with_combined_labels(cfg):
    """The config with the combined table of notebook 02 of the same run, where none is named.

    Raises:
        InputNotFound: notebook 02 has not run, or its output is not attached.
    """
    run = paths.run_name(cfg.preset)
    table = paths.find_result("02_saga_combine_labels", edits.NAME, run=run, named=cfg.combined_labels)
    return config.with_settings(cfg, combined_labels=str(table))


def with_edits(cfg, faces: Faces) -> Faces:
    """The faces with as many edits as the largest training gets, after the cap on their share."""
    return replace(faces, table=subset(faces.table, max(cfg.fractions), cfg.synthetic_cap, cfg.split_seed))


def train_fractions(cfg, faces: Faces, folder: str | Path) -> Trainings:
    """Every fraction with every seed, in order; the training without edits and with `cfg.seed` is notebook 01's own.

    The largest fraction with `cfg.seed` is the result of the notebook and lies in `folder` itself, the others in
    `folder/arms`. Finished ones are taken up again.

    Raises:
        ConfigError: notebook 01's is no fair opponent, see `baseline`.
    """
    folder = Path(folder)
    main = (max(cfg.fractions), cfg.seed)
    arms = {(0.0, cfg.seed): baseline(cfg, faces)}
    for fraction, seed in _keys(cfg):
        key = (fraction, seed)
        if key in arms:
            continue
        print(f"fraction {fraction:g}, seed {seed}", flush=True)
        arm_folder = folder if key == main else folder / "arms" / f"fraction_{fraction:g}_seed_{seed}"
        arms[key] = fit(cfg, faces, fraction, seed, arm_folder, quiet=key != main)
    return Trainings(arms, arms[0.0, cfg.seed], arms[main], faces.classes, cfg.bootstrap)


def fit(cfg, faces: Faces, fraction: float, seed: int, folder: Path, *, quiet: bool = True) -> Arm:
    """One arm: the recipe of 01 on the photographs and a fraction of the edits.

    With `cfg.same_steps` it gets as many optimizer steps as without edits: fewer epochs over more pictures, since more
    training alone would be an advantage.
    """
    faces = replace(faces, table=subset(faces.table, fraction, cfg.synthetic_cap, cfg.split_seed))
    synthetic = (faces.part("train")["source"] != "original").to_numpy()
    epochs = cfg.epochs
    if cfg.same_steps:
        epochs = max(round(cfg.epochs * float(1 - synthetic.mean())), 1)
    recipe = _recipe(cfg, seed=seed, epochs=epochs)
    model, batches = study.build(recipe, faces)
    if cfg.ramp_epochs and synthetic.any():
        batches["train"] = Ramped.of(batches["train"], synthetic, cfg.ramp_epochs)
    objective = study.objective(recipe, faces)
    fitted = train.fit(model, batches["train"], batches["val"], objective, recipe, folder, quiet=quiet)
    study.whole(fitted)
    predictions = study.predict_rows(fitted.model, faces, faces.part("golden"), recipe)
    files.write_csv(predictions, folder / "predictions.csv")
    return Arm(fraction, seed, int(synthetic.sum()), len(fitted.history), predictions, fitted, fitted.status)


def baseline(cfg, faces: Faces) -> Arm:
    """Notebook 01's own training as the arm without edits: same golden set, same recipe, same seed, or an error.

    Raises:
        ConfigError: its golden set or a setting that decides the weights differs; each is named.
        TrainingError: its model was trained on pictures that are golden today.
    """
    folder = _of_baseline(cfg, "metrics.json").parent
    facts = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    problems = [*_unlike(facts, faces), *_unlike_settings(settings, cfg)]
    if problems:
        lines = "\n  ".join(problems)
        raise config.ConfigError(
            f"the baseline in {folder} is no fair opponent:\n  {lines}\n"
            "Give both notebooks the same settings, or name another run of 01 as BASELINE_DIR."
        )
    checkpoint = _of_baseline(cfg, CHECKPOINT)
    study.refuse_trained_on(models.load(checkpoint, classes=faces.classes), faces, checkpoint)
    predictions = metrics.read_predictions(folder / "predictions.csv")
    return Arm(0.0, cfg.seed, 0, facts["best_epoch"], predictions, None, facts["status"])


def calibration(trainings: Trainings, cfg, faces: Faces) -> DataFrame:
    """Calibration error of both models before and after the temperature of the validation part, a row a model."""
    _, batches = study.build(_recipe(cfg, seed=cfg.seed, epochs=cfg.epochs), faces)
    checkpoint = _of_baseline(cfg, CHECKPOINT)
    nets = {
        "without edits": (models.load(checkpoint, classes=faces.classes), trainings.without),
        "with edits": (trainings.main.fit.model, trainings.main),
    }
    rows = []
    for name, (model, arm) in nets.items():
        val = study.predict(model, batches["val"], faces.part("val"), precision=cfg.precision)
        mended = calibrate.mend(val, arm.predictions, faces.classes)
        before, after = mended.ece
        row = {
            "model": name,
            "ECE": before,
            "NLL": metrics.values(arm.predictions, faces.classes)["nll"],
            "temperature": mended.temperature,
            "ECE after": after,
            "NLL after": metrics.values(mended.predictions, faces.classes)["nll"],
            "floor": reliability.floor(metrics.read(mended.predictions, faces.classes).confidence),
        }
        rows.append(row)
    return DataFrame(rows)


def gain_figure(gains: DataFrame) -> Figure:
    """The differences of `over_seeds` in accuracy, macro F1 and F1 of every class."""
    rows = gains[gains["figure"].isin(SHOWN)]
    rows = rows.assign(variant=rows["class"] + " " + rows["figure"])
    return report.differences(rows, title="With edits less without")


def _keys(cfg) -> Iterator[Key]:
    for seed in cfg.seeds:
        for fraction in cfg.fractions:
            yield fraction, seed


def _recipe(cfg, *, seed: int, epochs: int):
    """The recipe of notebook 01 with the values of a `config.Augmented`."""
    return config.with_settings(cfg, Baseline, seed=seed, epochs=epochs)


def _of_baseline(cfg, name: str) -> Path:
    """A file of notebook 01: in `cfg.baseline_dir`, else of the same run."""
    named = str(Path(cfg.baseline_dir) / name) if cfg.baseline_dir else ""
    return paths.find_result("01_baseline_training", name, run=paths.run_name(cfg.preset), named=named)


def _unlike(facts: Mapping, faces: Faces) -> Sequence[str]:
    problems = []
    if facts["split"] != faces.golden.sha256:
        problems.append(f"golden set: {facts['split'][:12]} there, {faces.golden.sha256[:12]} here")
    if facts["status"] == "paused":
        problems.append("status: its training is paused there; finish it first")
    return problems


def _unlike_settings(settings: Mapping, cfg) -> Sequence[str]:
    here = _recipe(cfg, seed=cfg.seed, epochs=cfg.epochs).model_dump(mode="json")
    skipped = config.marked(Baseline, config.Aside) - JUDGED | NOT_WEIGHTS
    shared = [name for name in here if name in settings and name not in skipped]
    return [f"{name}: {settings[name]!r} there, {here[name]!r} here" for name in shared if here[name] != settings[name]]

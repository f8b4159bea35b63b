"""What each part of a recipe is worth: it is left out or exchanged, everything else stays, pictures are the same."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from emohelpers import config, metrics
from emohelpers.config import files
from emohelpers.metrics import compare
from emohelpers.train import distil, study
from emohelpers.train.study import Faces

RECIPE = "recipe"
COLUMNS = ["variant", "against", "accuracy", "macro_f1", "difference", "low", "high", "verdict"]


def variants(cfg, teacher: str = "") -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> (what it is compared with, changed settings) of every variant of a recipe.

    Args:
        teacher: checkpoint for the small student to imitate; without one that row is left out.
    """
    changes: dict[str, dict[str, Any]] = {
        "no MixUp, no CutMix": {"mixup": 0.0, "cutmix": 0.0},
        "CutMix only": {"mixup": 0.0, "cutmix": 1.0},
        "MixUp or CutMix": {"mixup": cfg.mixup or 0.4, "cutmix": 1.0},
        "focal loss": {"loss": "focal"},
        "LDAM loss": {"loss": "ldam", "head": "cosine", "mixup": 0.0, "cutmix": 0.0},
        "no class weights": {"class_weight_power": 0.0},
        "class weights": {"class_weight_power": 0.6},
        "weighted sampler": {"sampler_power": 0.6, "class_weight_power": 0.0},
        "logit adjustment": {"logit_adjustment": 0.6, "class_weight_power": 0.0},
        "no label smoothing": {"label_smoothing": 0.0},
        "no averaging": {"ema": 0.0},
        "one cycle": {"schedule": "onecycle"},
        "cosine": {"schedule": "cosine"},
        "restarts": {"schedule": "restarts"},
        "all layers at once": {"trainable": "all", "unfreeze": {}},
        "constant augmentation": {"strength": {}},
        "no erasing": {"erasing": 0.0},
        "grayscale": {"grayscale": True},
        "linear head": {"head": "linear"},
    }
    settings = dict(cfg)
    plan = {}
    for name, change in changes.items():
        if not change.items() <= settings.items():  # what the recipe does already is no variant
            plan[name] = (RECIPE, change)
    small = {
        "backbone": cfg.student,
        "weights": cfg.student_weights,
        "head": "linear",
        "trainable": "all",
        "unfreeze": {},
    }
    plan["small student"] = (RECIPE, small)
    # Compared with the untaught student, so that the difference is what the teacher alone adds.
    if teacher:
        plan["small student, taught"] = ("small student", {**small, "teacher": teacher})
    return plan


def plan(cfg, names: Sequence[str] | None = None, teacher: str = "") -> dict[str, tuple[str, Any]]:
    """Name -> (what it is compared with, its config) of the recipe and of the variants in `names` (None: all).

    Raises:
        ConfigError: an unknown variant, or a variant that the recipe does not allow.
        InputNotFound, WeightsError: the teacher is not there, or no checkpoint.
    """
    if teacher:
        distil.teacher(teacher)
    everything = {RECIPE: (RECIPE, {}), **variants(cfg, teacher)}
    if names is None:
        names = list(everything)
    if unknown := [name for name in names if name not in everything]:
        raise config.ConfigError(f"no such variant: {', '.join(unknown)}. There are: {', '.join(everything)}")
    # A variant brings what it is compared with, and comes after it in the order of `everything`.
    chosen = {*names, *(everything[name][0] for name in names), *[RECIPE] * bool(names)}
    return {
        name: (against, config.with_settings(cfg, **{**cfg.ablation, **change}))
        for name, (against, change) in everything.items()
        if name in chosen
    }


def run(cfg, faces: Faces, folder: str | Path, names: Sequence[str] | None = None, teacher: str = "") -> DataFrame:
    """Trains the recipe and its variants (None: all) with `cfg.ablation`'s values, one after the other.

    One row each, figures on the validation part, `difference` in macro F1 to `against` with its paired 95 % interval.
    The golden set stays out of it: what is chosen by a table must not be judged by the same pictures. A row that was
    trained before is not trained again.

    Raises what `plan` does, before anything is trained.
    """
    predictions: dict[str, DataFrame] = {}
    rows = []
    for name, (against, settings) in plan(cfg, names, teacher).items():
        predictions[name], row = _train(settings, faces, Path(folder) / _slug(name))
        compared = compare.compare(predictions[against], predictions[name], faces.classes, resamples=cfg.bootstrap)
        gain = compare.overall(compared, "macro_f1")
        row |= {column: gain[column] for column in study.PAIRED}
        rows.append({"variant": name, "against": against, **row})
    if not rows:
        return DataFrame(columns=COLUMNS)
    table = DataFrame(rows)
    files.write_csv(table, Path(folder) / "ablation.csv")
    return table


def _train(cfg, faces: Faces, folder: Path) -> tuple[DataFrame, dict[str, Any]]:
    """Predictions for the validation part, and a row of their figures."""
    done = study.whole(study.fit(cfg, faces, folder, quiet=True))
    predictions = study.predict_part(done.model, faces, "val", cfg)
    files.write_csv(predictions, folder / "predictions_val.csv")
    figures = metrics.values(predictions, faces.classes)
    row = {name: figures[name] for name in ("accuracy", "macro_f1", "ece")}
    return predictions, row | {"n": len(predictions), "epochs": len(done.history), "seconds": done.seconds}


def _slug(name: str) -> str:
    return "_".join(re.findall("[a-z0-9]+", name.lower()))

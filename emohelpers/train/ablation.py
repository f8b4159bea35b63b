"""What each part of a recipe is worth: it is left out or exchanged, everything else stays, pictures are the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emohelpers import config, metrics
from emohelpers.config import files
from emohelpers.metrics import compare
from emohelpers.train import study
from emohelpers.train.study import Faces

RECIPE = "recipe"


def variants(cfg, teacher: str = "") -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> (what it is compared with, changed settings) of every variant of a recipe.

    Args:
        teacher: checkpoint for the small student to imitate; without one that row is left out.
    """
    small = {
        "backbone": cfg.student,
        "weights": cfg.student_weights,
        "head": "linear",
        "trainable": "all",
        "unfreeze": {},
    }
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
    told = dict(cfg)
    real = {n: (RECIPE, c) for n, c in changes.items() if any(told[k] != v for k, v in c.items())}
    real["small student"] = (RECIPE, small)
    if teacher:
        real["small student, taught"] = ("small student", {**small, "teacher": teacher})
    return real


def run(
    cfg, faces: Faces, folder: str | Path, names: Sequence[str] | None = None, *, teacher: str = ""
) -> pd.DataFrame:
    """Trains the recipe and its variants (None: all) with `cfg.ablation`'s values, one after the other.

    One row each, figures on the validation part, `difference` in macro F1 to `against` with its paired 95 % interval.
    The golden set stays out of it: what is chosen by a table must not be judged by the same pictures. A row that was
    trained before is not trained again.

    Raises:
        ConfigError: an unknown variant, or a variant that the recipe does not allow, before anything is trained.
    """
    known = {RECIPE: (RECIPE, {}), **variants(cfg, teacher)}
    if unknown := [name for name in names or () if name not in known]:
        raise config.ConfigError(f"no such variant: {', '.join(unknown)}. There are: {', '.join(known)}")
    if names is not None and not names:
        return pd.DataFrame(
            columns=["variant", "against", "accuracy", "macro_f1", "difference", "low", "high", "verdict"]
        )
    wanted = [RECIPE, *(known if names is None else names)]
    wanted += [known[name][0] for name in wanted if known[name][0] not in wanted]
    plan = {name: config.with_settings(cfg, **{**cfg.ablation, **known[name][1]}) for name in known if name in wanted}
    tables: dict[str, pd.DataFrame] = {}
    rows = []
    for name, settings in plan.items():
        tables[name], row = _one(settings, faces, Path(folder) / _slug(name))
        rows.append({"variant": name, "against": known[name][0], **row})
        rows[-1] |= _difference(tables[known[name][0]], tables[name], faces.classes, cfg.bootstrap)
    table = pd.DataFrame(rows)
    files.write_csv(table, Path(folder) / "ablation.csv")
    return table


def _one(settings, faces: Faces, folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    done = study.whole(study.fit(settings, faces, folder, quiet=True))
    _, parts = study.build(settings, faces)
    found = study.predict(done.model, parts["val"], faces.part("val"), flip=settings.flip_test)
    files.write_csv(found, folder / "predictions_val.csv")
    figures = metrics.classification(found, faces.classes, resamples=100)
    row = {name: figures[name]["value"] for name in ("accuracy", "macro_f1", "ece")}
    return found, row | {"n": len(found), "epochs": len(done.history), "seconds": done.seconds}


def _difference(a: pd.DataFrame, b: pd.DataFrame, classes: Sequence[str], resamples: int) -> Mapping[str, Any]:
    compared = compare.compare(a, b, classes, resamples=resamples)
    line = compared[(compared["class"] == "all") & (compared["figure"] == "macro_f1")].iloc[0]
    return {name: line[name] for name in ("difference", "low", "high", "verdict")}


def _slug(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name).split()).lower()

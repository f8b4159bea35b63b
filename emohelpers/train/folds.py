"""Does it hold elsewhere? Other data sets, other folds, a picture's mirror image, several nets together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from emohelpers import config, metrics
from emohelpers.config import files
from emohelpers.datasets import splits
from emohelpers.datasets.pixels import Pixels
from emohelpers.images import batches as images
from emohelpers.metrics import compare
from emohelpers.models.ensemble import Mixture
from emohelpers.train import study
from emohelpers.train.study import Faces


def across(cfg, sets: Mapping[str, Mapping[str, Any]], folder: str | Path) -> pd.DataFrame:
    """Trains on each data set and tests on the golden set of every one: a row a pair, over the classes both know.

    Pictures that the model was trained on, or twins of them, are left out of a foreign golden set (`known` of them).

    Args:
        sets: name -> settings that say which data, e.g. {"fer": {"manifest": "ferplus", "dataset_root": "..."}}.
    """
    settings = {name: config.with_settings(cfg, **values) for name, values in sets.items()}
    faces = {name: study.prepare(one) for name, one in settings.items()}  # all problems before any training
    rows = []
    for here in sets:
        model = study.whole(study.fit(settings[here], faces[here], Path(folder) / here, quiet=True)).model
        for there in sets:
            found = _abroad(model, faces[there], settings[there], None if here == there else faces[here])
            rows.append({"trained on": here, "tested on": there, **found})
    table = pd.DataFrame(rows)
    files.write_csv(table, Path(folder) / "across.csv")
    return table


def strange(rows: pd.DataFrame, pixels: Pixels, taught: Faces, cfg) -> pd.DataFrame:
    """The rows of another data set that are no picture, nor a twin of one, of a model's training or validation."""
    learned = taught.table[taught.table["split"] != "golden"]
    return rows[~splits.known(rows, pixels, learned, taught.pixels, cfg.twin_similarity)]


def _abroad(model: nn.Module, faces: Faces, cfg, taught: Faces | None) -> dict[str, Any]:
    shared = [name for name in model.spec["classes"] if name in faces.classes]
    if len(shared) < 2:
        raise metrics.PredictionError(
            f"{faces.dataset.title} shares fewer than two classes with the model ({', '.join(model.spec['classes'])})"
        )
    rows = faces.part("golden")
    rows = rows[rows["label"].isin(shared)]
    others = rows if taught is None else strange(rows, faces.pixels, taught, cfg)
    left, rows = len(rows) - len(others), others
    if rows.empty:
        raise metrics.PredictionError(f"the model was trained on every golden picture of {faces.dataset.title}")
    batches = study.batches(model, faces.pixels, rows, cfg.batch_size)
    found = study.predict(model, batches, rows, flip=cfg.flip_test)
    columns = metrics.columns(shared)
    shares = found[columns].to_numpy() / found[columns].to_numpy().sum(1, keepdims=True)
    found = metrics.predictions(found["path"], found["label"], shares, shared, group=found["group"])
    return {"classes": len(shared), "known": left, **_figures(found, shared, cfg.bootstrap)}


def folds(table: pd.DataFrame, k: int, seed: int) -> np.ndarray:
    """(n,) fold 0 .. k-1 of each row; no group is torn apart, classes are spread evenly (scikit-learn's)."""
    made = np.empty(len(table), int)
    cut = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(cut.split(table, table["label"], table["group"])):
        made[held] = number
    return made


def cross_validate(cfg, faces: Faces, k: int, folder: str | Path) -> tuple[pd.DataFrame, list[nn.Module]]:
    """k trainings, each tested on a fold that it has not seen: a row a fold, and the k models for an ensemble.

    The next fold chooses the epoch, the others are trained on. Folds are of training and validation part; the golden
    set stays out. Synthetic rows are in no fold's test, and are trained on only where their source is.
    """
    if k < 3:
        raise ValueError(f"k={k}: one fold tests, one chooses the epoch, and at least one must be left to train on")
    rest = faces.table[faces.table["split"] != "golden"].reset_index(drop=True)
    fold, real = folds(rest, k, cfg.split_seed), (rest["source"] == "original").to_numpy()
    rows, members = [], []
    for number in range(k):
        held = np.where(fold == number, "test", np.where(fold == (number + 1) % k, "val", "train"))
        part = np.where(real | (held == "train"), held, "out")
        table = rest.assign(split=part)
        cut = replace(faces, table=table[table["split"] != "out"])
        home = Path(folder) / f"fold_{number + 1}"
        model = study.whole(study.fit(cfg, cut, home, quiet=True)).model
        _, parts = study.build(cfg, cut)
        found = study.predict(model, parts["test"], cut.part("test"), flip=cfg.flip_test)
        files.write_csv(found, home / "predictions.csv")
        rows.append({"fold": number + 1, **_figures(found, cut.classes, cfg.bootstrap)})
        members.append(model)
    table = pd.DataFrame(rows)
    files.write_csv(table, Path(folder) / "folds.csv")
    return table, members


def options(members: Sequence[nn.Module], batches: images.Batches, rows: pd.DataFrame, resamples: int) -> pd.DataFrame:
    """The first model alone, with the mirror image, and (where there are several) all together: one comparison table.

    `difference` is in accuracy to the first row, paired, with its 95 % interval.
    """
    tried = {"one model": (members[:1], False), "and mirror image": (members[:1], True)}
    if len({str(member.spec.get("preprocess")) for member in members}) > 1:
        print("The models prepare a picture in different ways (size, mean or std): they are not asked together.")
    elif len(members) > 1:
        tried |= {
            f"{len(members)} models": (members, False),
            f"{len(members)} models and mirror image": (members, True),
        }
    classes, lines, first = members[0].spec["classes"], [], None
    for name, (together, mirrored) in tried.items():
        found = study.predict(Mixture(together, mirrored=mirrored), batches, rows)
        first = found if first is None else first
        compared = compare.compare(first, found, classes, resamples=resamples).iloc[0]  # "all", accuracy
        lines.append({"option": name, **_figures(found, classes, resamples)})
        lines[-1] |= {key: compared[key] for key in ("difference", "low", "high", "verdict")}
    return pd.DataFrame(lines)


def _figures(found: pd.DataFrame, classes: Sequence[str], resamples: int) -> dict[str, Any]:
    result = metrics.classification(found, classes, resamples=resamples)
    row: dict[str, Any] = {"n": len(found)}
    for name in ("accuracy", "macro_f1"):
        row |= {name: result[name]["value"], f"{name}_low": result[name]["low"], f"{name}_high": result[name]["high"]}
    return row | {"ece": result["ece"]["value"]}

"""Does it hold elsewhere? Other data sets, other folds, a picture's mirror image, several nets together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from pandas import DataFrame
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn import Module

from emohelpers import config, metrics
from emohelpers.config import files
from emohelpers.datasets import leaks
from emohelpers.datasets.pixels import Pixels
from emohelpers.images.batches import Batches
from emohelpers.metrics import compare
from emohelpers.models.ensemble import Mixture
from emohelpers.train import study
from emohelpers.train.study import Faces


def across(cfg, sets: Mapping[str, Mapping[str, Any]], folder: str | Path) -> DataFrame:
    """Trains on each data set and tests on the golden set of every one: a row a pair, over the classes both know.

    Pictures that the model was trained on, or twins of them, are left out of a foreign golden set (`known` of them).

    Args:
        sets: name -> settings that say which data, e.g. {"fer": {"manifest": "ferplus", "dataset_root": "..."}}.
    """
    settings = {name: config.with_settings(cfg, **values) for name, values in sets.items()}
    faces = {name: study.prepare(cfg) for name, cfg in settings.items()}  # all problems before any training
    rows = []
    for here in sets:
        model = study.whole(study.fit(settings[here], faces[here], Path(folder) / here, quiet=True)).model
        for there in sets:
            # A model's own golden set is guarded against its twins already; a foreign one is not.
            learned = None if here == there else faces[here]
            row = _test(model, faces[there], settings[there], learned)
            rows.append({"trained on": here, "tested on": there, **row})
    table = DataFrame(rows)
    files.write_csv(table, Path(folder) / "across.csv")
    return table


def strange(rows: DataFrame, pixels: Pixels, learned: Faces, cfg) -> DataFrame:
    """The rows of another data set that are no picture, nor a twin of one, of a model's training or validation."""
    used = learned.table[learned.table["split"] != "golden"]
    return rows[~leaks.known(rows, pixels, used, learned.pixels, cfg.twin_similarity)]


def _test(model: Module, faces: Faces, cfg, learned: Faces | None) -> dict[str, Any]:
    """Figures on a golden set, over the classes that the model and the set share."""
    shared = [name for name in model.spec["classes"] if name in faces.classes]
    if len(shared) < 2:
        raise metrics.PredictionError(
            f"{faces.dataset.title} shares fewer than two classes with the model ({', '.join(model.spec['classes'])})"
        )
    golden = faces.part("golden")
    golden = golden[golden["label"].isin(shared)]
    rows = golden if learned is None else strange(golden, faces.pixels, learned, cfg)
    if rows.empty:
        raise metrics.PredictionError(f"the model was trained on every golden picture of {faces.dataset.title}")
    predictions = study.predict_rows(model, faces, rows, cfg)
    # probabilities of the shared classes alone, which sum to one again
    scores = predictions[metrics.columns(shared)].to_numpy()
    scores = scores / scores.sum(1, keepdims=True)
    predictions = metrics.predictions(rows["path"], rows["label"], scores, shared, group=rows["group"])
    counts = {"classes": len(shared), "known": len(golden) - len(rows)}
    return {**counts, **study.figures(predictions, shared, cfg.bootstrap)}


def folds(table: DataFrame, k: int, seed: int) -> ndarray:
    """(n,) fold 0 .. k-1 of each row; no group is torn apart, classes are spread evenly (scikit-learn's)."""
    numbers = np.empty(len(table), int)
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(table, table["label"], table["group"])):
        numbers[test] = number
    return numbers


def cross_validate(cfg, faces: Faces, k: int, folder: str | Path) -> tuple[DataFrame, list[Module]]:
    """k trainings, each tested on a fold that it has not seen: a row a fold, and the k models for an ensemble.

    The next fold chooses the epoch, the others are trained on. Folds are of training and validation part; the golden
    set stays out. Synthetic rows are in no fold's test, and are trained on only where their source is.

    Raises:
        ConfigError: k is below 3.
    """
    if k < 3:
        raise config.ConfigError(
            f"k={k}: one fold tests, one chooses the epoch, and at least one must be left to train on"
        )
    rest = faces.table[faces.table["split"] != "golden"].reset_index(drop=True)
    fold = folds(rest, k, cfg.split_seed)
    rows = []
    members = []
    for number in range(k):
        cut = replace(faces, table=_turn(rest, fold, number, k))
        home = Path(folder) / f"fold_{number + 1}"
        model = study.whole(study.fit(cfg, cut, home, quiet=True)).model
        predictions = study.predict_part(model, cut, "test", cfg)
        files.write_csv(predictions, home / "predictions.csv")
        rows.append({"fold": number + 1, **study.figures(predictions, cut.classes, cfg.bootstrap)})
        members.append(model)
    table = DataFrame(rows)
    files.write_csv(table, Path(folder) / "folds.csv")
    return table, members


def _turn(rest: DataFrame, fold: ndarray, number: int, k: int) -> DataFrame:
    """The rows with `split` train, val and test, where fold `number` tests and the next one validates."""
    chooser = (number + 1) % k
    table = rest.assign(split=np.select([fold == number, fold == chooser], ["test", "val"], "train"))
    # Synthetic rows share the group of their source, and so its fold; they stay where that fold is trained on.
    real = table["source"] == "original"
    return table[real | (table["split"] == "train")]


def on_golden(members: Sequence[Module], faces: Faces, cfg) -> DataFrame:
    """`options` on the golden set, prepared as the first model wants it."""
    rows = faces.part("golden")
    return options(members, study.batches(members[0], faces.pixels, rows, cfg.batch_size), rows, cfg.bootstrap)


def options(members: Sequence[Module], batches: Batches, rows: DataFrame, resamples: int) -> DataFrame:
    """The first model alone, with the mirror image, and (where there are several) all together: one comparison table.

    `difference` is in accuracy to the first row, paired, with its 95 % interval.
    """
    classes = members[0].spec["classes"]
    n = len(members)
    mixtures = {
        "one model": Mixture(members[:1]),
        "and mirror image": Mixture(members[:1], mirrored=True),
    }
    # A mixture shows all members the same tensor, so they must be prepared in the same way.
    if len({str(member.spec.get("preprocess")) for member in members}) > 1:
        print("The models prepare a picture in different ways (size, mean or std): they are not asked together.")
    elif n > 1:
        mixtures[f"{n} models"] = Mixture(members)
        mixtures[f"{n} models and mirror image"] = Mixture(members, mirrored=True)
    predictions = {name: study.predict(mixture, batches, rows) for name, mixture in mixtures.items()}
    lines = []
    for name, table in predictions.items():
        compared = compare.compare(predictions["one model"], table, classes, resamples=resamples)
        gain = compare.overall(compared, "accuracy")
        line = {"option": name, **study.figures(table, classes, resamples)}
        lines.append(line | {column: gain[column] for column in study.PAIRED})
    return DataFrame(lines)

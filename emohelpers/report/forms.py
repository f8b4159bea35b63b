"""The seeds' own files: label map, tables of parts, arrays of the history, a report; and the run to compare with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sklearn.metrics
from pandas import DataFrame
from torch.nn import Module

from emohelpers import metrics, models
from emohelpers.config import files, paths
from emohelpers.config.faces import Transfer
from emohelpers.metrics import compare
from emohelpers.models import statistics
from emohelpers.report.sentences import block, notes, promise, verdict
from emohelpers.train import Faces, Fit

ARRAYS = {  # the names of seed 001 section 7
    "train_loss": "train_loss",
    "train_acc": "train_accuracy",
    "val_loss": "val_loss",
    "val_acc": "val_accuracy",
    "val_macro_f1": "val_macro_f1",
    "lr_backbone": "lr_backbone",
    "lr_head": "lr_head",
    "epoch_times": "seconds",
}


def label_map(path: str | Path, classes: Sequence[str]) -> Path:
    """label_map.json: name -> position in the model's output."""
    return files.write_json(path, {name: i for i, name in enumerate(classes)})


def tables(folder: str | Path, table: DataFrame, classes: Sequence[str]) -> Path:
    """splits.csv, and train.csv, val.csv, test.csv in the columns of seed 001's data; returns the first's path."""
    index = {name: i for i, name in enumerate(classes)}
    rows = DataFrame(
        {
            "filepath": table["path"],
            "label": table["label"],
            "label_id": table["label"].map(index),
            "split": table["split"].replace("golden", "test"),
            "source": table["source"],
        }
    )
    for part in ("train", "val", "test"):
        files.write_csv(rows[rows["split"] == part], Path(folder) / f"{part}.csv")
    return files.write_csv(table, Path(folder) / "splits.csv")


def arrays(history: DataFrame) -> dict[str, list[float]]:
    """The history as the seed's arrays, one value an epoch."""
    return {name: history[column].tolist() for name, column in ARRAYS.items() if column in history}


def compared_notebook(cfg) -> str:
    """The notebook whose predictions are compared, "" for none."""
    return cfg.predecessor if cfg.compare_with == "auto" else cfg.compare_with


def earlier(cfg, run: str, golden: DataFrame) -> Path | None:
    """The predictions that are compared, found and seen to be of this very golden set before anything is trained.

    With `compare_with="auto"` a run that finds none goes without them, and says so.

    Raises:
        InputNotFound, PredictionError: not there, or of another golden set, with the remedy.
    """
    name = compared_notebook(cfg)
    if not name:
        return None
    try:
        return _of_this_golden_set(name, run, golden)
    except (paths.InputNotFound, metrics.PredictionError) as error:
        if cfg.compare_with != "auto":
            remedy = 'or set OVERRIDES = {"compare_with": ""} to go without.'
            raise type(error)(f"{error} Its predictions are compared with; {remedy}") from error
        print(f"Nothing is compared with {name}: {error}")
        return None


def _of_this_golden_set(name: str, run: str, golden: DataFrame) -> Path:
    path = paths.find_result(name, "predictions.csv", run=run)
    compared = set(metrics.read_predictions(path)["path"])
    pictures = set(golden["path"])
    if compared != pictures:
        raise metrics.PredictionError(
            f"{path} is of another golden set ({len(compared)} pictures, {len(compared & pictures)} of them in "
            f"this one of {len(pictures)}). Run {name} on the same data with the same split."
        )
    return path


def checkpoint(cfg, earlier: Path | None, name: str, own: Path) -> Path:
    """The model beside the predictions that `earlier` found; this run's own where nothing is compared."""
    if earlier is None:
        return own
    path = earlier.parent / name
    if not path.is_file():
        raise paths.InputNotFound(
            f"{path} is missing: {compared_notebook(cfg)} writes it beside {earlier.name}. Run it again."
        )
    return path


def against(earlier: str | Path | None, predictions: DataFrame, classes: Sequence[str], resamples: int) -> DataFrame:
    """`comparison.compare` with an earlier notebook's predictions.csv; empty where none is given."""
    if earlier is None:
        return compare.NOTHING
    return compare.compare(metrics.read_predictions(earlier), predictions, classes, resamples=resamples)


def classification_report(predictions: DataFrame, classes: Sequence[str]) -> str:
    """scikit-learn's report."""
    options = {"labels": list(classes), "digits": 3, "zero_division": 0}
    return sklearn.metrics.classification_report(predictions["label"], predictions["predicted"], **options)


def seed_files(folder: str | Path, fit: Fit, faces: Faces) -> None:
    """The files that seed 001 promises beside the weights: three tables, label map, history arrays, final weights."""
    folder = Path(folder)
    tables(folder, faces.table, faces.classes)
    label_map(folder / "models" / "label_map.json", faces.classes)
    files.write_json(folder / "models" / "training_history.json", arrays(fit.history))
    statistics.write(folder / "final_weights.txt", fit.model)


def results(compared: DataFrame, cfg, fit: Fit, figures: Mapping[str, Any], faces: Faces, calibrated: DataFrame) -> str:
    """results.txt: the comparison in words, the original's promise, its result block and its notes."""
    texts = [verdict(compared, compared_notebook(cfg))]
    if cfg.promised_accuracy:
        texts.append(promise(figures, cfg.promised_accuracy))
    texts.append(block(fit, figures, faces.table))
    texts.append(notes(calibrated, faces.classes))
    return "\n\n".join(texts)


def rival(cfg, earlier: Path | None, fit: Fit, classes: Sequence[str]) -> Module:
    """The model of the notebook that is compared with; this run's own where nothing is."""
    return models.load(
        checkpoint(cfg, earlier, Transfer.model_fields["checkpoint"].default, fit.checkpoint), classes=classes
    )

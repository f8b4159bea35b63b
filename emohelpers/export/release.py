"""What leaves a training on faces: the files for other programs, then the folders of the hub and the model in use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy import ndarray
from pandas import DataFrame, Index
from torch.nn import Module

from emohelpers.export import camera, hub, int8, onnx, predict
from emohelpers.train.study import Faces

ONNX = "models/model_fixed.onnx"  # seed 001
INT8 = "models/model_int8.onnx"
COLUMNS = ["recipe", "megabytes", "flips", "accuracy", "ece", "reason"]  # of an int8 trial, for a reader
TITLE = "Emotion of a face"  # of the Space
DESCRIPTION = "One face that fills the picture."


@dataclass(frozen=True)
class Release:
    """The files of one model."""

    onnx: onnx.Exported
    int8: Path | None  # only if it was promoted
    trials: DataFrame  # a row an int8 recipe, with the reason where it is not worth it

    def __str__(self) -> str:
        return str(self.onnx)


def files(folder: Path, model: Module, faces: Faces, cfg: Any, temperature: float) -> Release:
    """Writes the ONNX file and, where one is worth it, the int8 file of a model below `folder`.

    The ONNX file is compared with the model on the golden faces. int8 is calibrated on training faces and chosen on
    validation faces, `cfg.int8_pictures` of each; what is not worth it lies in models/rejected/ with the reason.

    Raises:
        ExportError: no exporter gave a file that agrees with the model.
    """
    golden, golden_labels = _pictures(faces, faces.part("golden"))
    exported = onnx.write(
        model,
        folder / ONNX,
        golden,
        labels=golden_labels,
        temperature=temperature,
        data_sha256=faces.golden.sha256,
        fold=cfg.fold_constants,
    )
    calibration, _ = _pictures(faces, _sample(faces.part("train"), cfg))
    squares, labels = _pictures(faces, _sample(faces.part("val"), cfg))
    path = folder / INT8
    recipes = cfg.int8_recipes or int8.OF_CLASSES
    trials = int8.sweep(
        exported.path,
        path,
        calibration,
        squares,
        labels,
        recipes=recipes,
        most=cfg.int8_tries,
        rounds=cfg.timing_rounds,
    )
    return Release(exported, path if path.is_file() else None, trials[COLUMNS])


def share(folder: Path, checkpoint: Path, release: Release, faces: Faces, cfg: Any) -> predict.Answers:
    """Makes the folders of the hub and of its Space, uses the model, and sends both where `cfg.publish` says so.

    It answers for `cfg.photo`, else for some golden faces; the answers lie in own/. What was sent, or kept the hub from
    taking it, is printed.

    Raises:
        PublishError: a file of the run is missing.
    """
    dataset = faces.dataset
    data = {
        "title": dataset.title,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "traps": dataset.traps,
    }
    bundle = hub.bundle(
        folder,
        folder / "hub",
        checkpoint=checkpoint,
        onnx=release.onnx.path,
        int8=release.int8,
        repo=cfg.repo,
        data=data,
    )
    page = hub.space(folder / "space", release.onnx.path, title=TITLE, description=DESCRIPTION)
    examples, _ = _pictures(faces, faces.part("golden").head(16))
    answers = predict.pictures(release.onnx.path, camera.chosen(cfg.photo, folder, examples))
    answers.save(folder / "own")
    hub.publish(bundle, cfg.repo, wanted=cfg.publish, space=page)
    return answers


def _sample(rows: DataFrame, cfg: Any) -> DataFrame:
    return rows.sample(min(cfg.int8_pictures, len(rows)), random_state=cfg.seed)


def _pictures(faces: Faces, rows: DataFrame) -> tuple[ndarray, ndarray]:
    """(n, side, side, 3) uint8 squares of the rows, and their labels (n,) as indices."""
    squares = faces.pixels.take(faces.pixels.rows(rows["path"]))
    return squares, Index(faces.classes).get_indexer(rows["label"])

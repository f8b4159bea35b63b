"""Use a model: a picture, a folder or an array in; a table with probabilities, a CSV and a contact sheet out.

The face is found by `detector` and cropped; the column `face` says what was taken. A model may be a checkpoint, an ONNX
file, a published folder or repository, or one that is loaded already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy import ndarray
from pandas import DataFrame, Series
from scipy.special import softmax
from torch.nn import Module

from emohelpers import models
from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError
from emohelpers.datasets import locate, pixels
from emohelpers.export import detector, hub
from emohelpers.export.runner import BATCH, Runner, inputs
from emohelpers.report import galleries, style

ON_SHEET = 40  # faces on a contact sheet
PART = 256  # faces that are prepared at a time

Model = Module | Runner
Source = str | Path | ndarray | Sequence[str | Path | ndarray]


class PredictionInput(SuiteError, ValueError):
    """Nothing to predict, or a model that cannot: what was given, and what would do."""


@dataclass(frozen=True)
class Answers:
    """What a model said: a row a face, and the squares that it saw."""

    table: DataFrame  # path, face, left, top, side (pixels), predicted, confidence, p_<class> ...
    squares: ndarray  # (faces, side, side, 3) uint8, of the rows that have a prediction

    def __str__(self) -> str:
        return self.table[["path", "face", "predicted", "confidence"]].round(3).to_string(index=False)

    def sheet(self) -> Figure:
        """The first faces with what was said of each, framed in its colour."""
        rows = self.table.dropna(subset=["predicted"]).head(ON_SHEET)
        captions = [f"{Path(row.path).name[:18]}\n{row.predicted} {row.confidence:.0%}" for row in rows.itertuples()]
        title = "Predictions"
        if len(self.squares) > ON_SHEET:
            title += f" (first {ON_SHEET} of {len(self.squares)})"
        frames = style.colours(list(rows["predicted"]))
        return galleries.gallery(self.squares[:ON_SHEET], captions, title=title, frames=frames)

    def save(self, folder: str | Path) -> Path:
        """Writes predictions.csv, and contact_sheet.png if there is a face; returns the folder."""
        folder = Path(folder)
        files.write_csv(self.table, folder / "predictions.csv")
        if len(self.squares):
            style.save(self.sheet(), folder / "contact_sheet.png")
        return folder


def opened(model: str | Path | Model) -> Model:
    """A model ready to answer, from a .pth of `models.save`, an .onnx of `onnx.write`, a published folder or name."""
    if not isinstance(model, str | Path):
        return model
    suffix = Path(model).suffix
    if suffix == ".onnx":
        return Runner(paths.find_input(str(model)))
    if suffix == ".pth":
        return models.load(paths.find_input(str(model))).eval()
    return hub.load(model)


def pictures(
    model: str | Path | Model,
    source: Source,
    *,
    find: bool = True,
    every: bool = False,
    temperature: float | None = None,
) -> Answers:
    """What a model says of a picture file, a folder of them (searched below), an array or a list of these.

    Args:
        source: arrays are (H, W, 3) or (n, H, W, 3) uint8 RGB.
        find: look for the face; False takes each picture whole (its centre square), as training does.
        every: a row for every face that is found, not the largest alone.
        temperature: for a checkpoint, by default what it carries (a published one does) or 1; an ONNX file has its own.

    Where no face is found, or it fills the picture already, the whole picture is taken, and `face` says so. What is no
    picture gets a row without a prediction, with the reason.

    Raises:
        InputNotFound: no picture there.
        PredictionInput: a model without class names.
    """
    model = opened(model)
    classes, side = _facts(model)
    rows = []
    squares = []
    for name, picture in _named(source):
        if isinstance(picture, str):
            rows.append({"path": name, "face": picture})
            continue
        for reason, (left, top, width) in cuts(picture, find=find, every=every):
            row = {"path": name, "face": reason, "left": left, "top": top, "side": width, "square": len(squares)}
            rows.append(row)
            squares.append(pixels.fit_square(picture[top : top + width, left : left + width], side))
    table = DataFrame(rows, columns=["path", "face", "left", "top", "side", "square"])
    table = table.astype(dict.fromkeys(("left", "top", "side"), "Int64"))

    faces = np.stack(squares) if squares else np.empty((0, side, side, 3), np.uint8)
    parts = [probabilities(model, faces[i : i + PART], temperature) for i in range(0, len(faces), PART)]
    shares = DataFrame(np.concatenate(parts) if parts else np.empty((0, len(classes))), columns=classes)
    best = shares.idxmax(axis=1) if len(shares) else Series(dtype=object)
    answers = DataFrame({"predicted": best, "confidence": shares.max(axis=1)})
    answers = answers.join(shares.add_prefix("p_"))
    return Answers(table.join(answers, on="square").drop(columns="square"), faces)


def cuts(picture: ndarray, *, find: bool, every: bool) -> list[tuple[str, tuple[int, int, int]]]:
    """What is cut from a picture: [(reason, (left, top, side))], never empty."""
    height, width = picture.shape[:2]
    shorter = min(height, width)
    whole = ((width - shorter) // 2, (height - shorter) // 2, shorter)
    if not find:
        return [("not looked for: whole picture", whole)]
    boxes = detector.boxes(picture)
    if not boxes:
        return [("none found: whole picture", whole)]
    _, _, largest = boxes[0]
    if largest >= detector.FILLS * shorter:
        return [("fills the picture: whole picture", whole)]
    crops = [detector.crop(picture, box) for box in boxes]
    if every:
        return [(f"{number} of {len(crops)}", crop) for number, crop in enumerate(crops, 1)]
    return [("one" if len(crops) == 1 else f"largest of {len(crops)}", crops[0])]


def probabilities(model: Model, squares: ndarray, temperature: float | None = None) -> ndarray:
    """(n, side, side, 3) uint8 -> (n, K), by a checkpoint's model or an ONNX file."""
    if isinstance(model, Runner):
        return model.probabilities(squares)
    tensor = torch.from_numpy(inputs(squares, models.prepared(model, squares.shape[1])))
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits = torch.cat([model(part.to(device)).float().cpu() for part in tensor.split(BATCH)])
    return softmax(logits.numpy() / (temperature or model.spec.get("temperature", 1.0)), axis=1)


def _facts(model: Model) -> tuple[list[str], int]:
    """Names of the classes, and the side of the squares that the model takes."""
    if isinstance(model, Runner):
        facts = model.facts
        output = facts.get("output")
    else:
        if model.training:
            raise PredictionInput("the model is in training mode: call model.eval() first")
        facts = getattr(model, "spec", {})
        output = facts.get("task")
    if output not in (None, "classes"):
        raise PredictionInput(f"the model gives a {output}, not emotions: `appeal score` rates photographs by a score")
    if not facts.get("classes") or "preprocess" not in facts:
        raise PredictionInput("the model does not say its classes and preprocessing: load it with models.load")
    return list(facts["classes"]), facts["preprocess"]["side"]


def _named(source: Source) -> Iterator[tuple[str, ndarray | str]]:
    """(name, picture), or (name, what is wrong) of each picture."""
    if isinstance(source, ndarray):
        if source.ndim not in (3, 4) or source.shape[-1] != 3 or source.dtype != np.uint8:
            raise PredictionInput(f"an array of {source.dtype} {source.shape}: (n, H, W, 3) uint8 RGB is expected")
        for number, picture in enumerate(source if source.ndim == 4 else source[None]):
            yield f"array[{number}]", picture
    elif isinstance(source, str | Path):
        path = paths.find_input(str(source))
        for file in locate.pictures(path) if path.is_dir() else [path]:
            try:
                yield str(file), pixels.decode(file.read_bytes())
            except (pixels.UnreadableImage, OSError) as error:
                yield str(file), f"not a picture: {error}"
    else:
        for part in source:
            yield from _named(part)


def command(model: str, sources: list[str], out: str, whole: bool, every: bool) -> None:
    """`python -m emohelpers predict`: prints what a model says of pictures; `out` also gets a table and a sheet."""
    answers = pictures(model, sources, find=not whole, every=every)
    print(answers)
    if out:
        print(f"written: {answers.save(out)}")

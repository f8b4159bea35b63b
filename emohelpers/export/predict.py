"""Use a model: a picture, a folder or an array in; a table with probabilities, a CSV and a contact sheet out.

The face is found by `detector`, turned upright and cropped; the column `face` says what was taken. A model may be a
checkpoint, an ONNX file, a published folder or repository, or one that is loaded already.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy import ndarray
from pandas import DataFrame, Series
from PIL import Image
from scipy.special import softmax
from torch.nn import Module

from emohelpers import models
from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError
from emohelpers.datasets import decoding, locate
from emohelpers.datasets.detection import detector
from emohelpers.export import hub
from emohelpers.export.runner import BATCH, Runner, inputs
from emohelpers.models import devices
from emohelpers.report import galleries, style

TABLE = "predictions.csv"
ON_SHEET = 40  # faces on a contact sheet
PART = 256  # faces that are prepared at a time
SOURCES = "a file, a folder, a Pillow picture, bytes, or an array (n, H, W, 3) uint8 RGB; a tensor by .numpy()"
NO_DETECTOR = (
    "Whole pictures were taken: a ready notebook has no face detector. To find faces, attach the package's wheel."
)

Model = Module | Runner
Source = str | Path | bytes | ndarray | Image.Image | Iterable["Source"]


class PredictionInput(SuiteError, ValueError):
    """Nothing to predict, or a model that cannot: what was given, and what would do."""


@dataclass(frozen=True)
class Answers:
    """What a model said: a row a face, and the squares that it saw."""

    table: DataFrame  # path, face, left, top, side (pixels), roll (degrees), predicted, confidence, p_<class> ...
    squares: ndarray  # (faces, side, side, 3) uint8, of the rows that have a prediction
    notes: tuple[str, ...] = ()  # what was left out of a folder

    def __str__(self) -> str:
        rows = self.table[["path", "face", "predicted", "confidence"]].round(3).to_string(index=False)
        return "\n".join([rows, *self.notes])

    def sheet(self) -> Figure:
        """The first faces with what was said of each, framed in its colour."""
        rows = self.table.dropna(subset=["predicted"]).head(ON_SHEET)
        captions = [f"{Path(row.path).name[:18]}\n{row.predicted} {row.confidence:.0%}" for row in rows.itertuples()]
        title = "Predictions"
        if len(self.squares) > ON_SHEET:
            title += f" (first {ON_SHEET} of {len(self.squares)})"
        frames = style.colours(list(rows["predicted"]))
        return galleries.gallery(self.squares[:ON_SHEET], captions, title=title, frames=frames)

    def save(self, out: str | Path) -> Path:
        """Writes predictions.csv into a folder, or a CSV that is named, and a contact sheet if there is a face.

        Returns the folder.
        """
        target = paths.table_file(out, TABLE)
        files.write_csv(self.table, target)
        if len(self.squares):
            sheet = target.with_suffix(".png") if target.name != TABLE else target.with_name("contact_sheet.png")
            style.save(self.sheet(), sheet)
        return target.parent


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
    """What a model says of a picture file, a folder of them (searched below), a picture or a list of these.

    Args:
        source: pictures of Pillow, bytes of files, and arrays of uint8: (H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA on
            white, or several as (n, H, W, 3 or 4).
        find: look for the face; False takes each picture whole (its centre square), as training does.
        every: a row for every face that is found, not the largest alone.
        temperature: for a checkpoint, by default what it carries (a published one does) or 1; an ONNX file has its own.

    Where no face is found, or it fills the picture already, the whole picture is taken, and `face` says so. What is no
    picture gets a row without a prediction, with the reason.

    Raises:
        InputNotFound: no picture there.
        PredictionInput: a model without class names, or nothing that is a picture.
    """
    model = opened(model)
    classes, side = _facts(model)
    rows = []
    squares = []
    notes: list[str] = []
    if find and not detector.NET.is_file():
        find = False
        notes.append(NO_DETECTOR)
    for name, picture in _named(source, notes, count()):
        if isinstance(picture, str):
            rows.append({"path": name, "face": picture})
            continue
        for origin, cut in cuts(picture, find=find, every=every):
            rows.append({"path": name, **origin, "square": len(squares)})
            squares.append(decoding.fit_square(cut, side))
    if not rows:
        raise PredictionInput(f"nothing to predict: give {SOURCES}")
    table = DataFrame(rows, columns=["path", "face", "left", "top", "side", "roll", "square"])
    # Int64 keeps whole numbers beside the missing ones of rows that are no picture.
    table = table.astype(dict.fromkeys(("left", "top", "side"), "Int64"))

    faces = np.stack(squares) if squares else np.empty((0, side, side, 3), np.uint8)
    # In parts, since as float32 inputs the faces take about four times their memory.
    parts = [probabilities(model, faces[i : i + PART], temperature) for i in range(0, len(faces), PART)]
    shares = DataFrame(np.concatenate(parts) if parts else np.empty((0, len(classes))), columns=classes)
    best = shares.idxmax(axis=1) if len(shares) else Series(dtype=object)
    answers = DataFrame({"predicted": best, "confidence": shares.max(axis=1)})
    answers = answers.join(shares.add_prefix("p_"))
    return Answers(table.join(answers, on="square").drop(columns="square"), faces, tuple(notes))


def cuts(picture: ndarray, *, find: bool, every: bool) -> list[tuple[dict[str, Any], ndarray]]:
    """What is cut from a picture, never nothing: [(face: what it is, left, top, side, roll), (h, w, 3) uint8]."""
    height, width = picture.shape[:2]
    shorter = min(height, width)
    whole = {"left": (width - shorter) // 2, "top": (height - shorter) // 2, "side": shorter, "roll": 0.0}
    faces = detector.faces(picture) if find else []
    if not find:
        reason = "not looked for"
    elif not faces:
        reason = "none found"
    else:
        reason = "fills the picture" if faces[0].side >= detector.FILLS * shorter else ""
    if reason:
        return [({"face": f"{reason}: whole picture", **whole}, picture)]
    if every:
        names = [f"{number} of {len(faces)}" for number in range(1, len(faces) + 1)]
    else:
        names = ["one" if len(faces) == 1 else f"largest of {len(faces)}"]
    cut = []
    for name, face in zip(names, faces, strict=False):
        origin = dict(zip(("left", "top", "side"), face.square, strict=True)) | {"roll": round(face.roll, 1)}
        cut.append(
            ({"face": ", ".join(filter(None, [name, face.described()])), **origin}, detector.upright(picture, face))
        )
    return cut


def probabilities(model: Model, squares: ndarray, temperature: float | None = None) -> ndarray:
    """(n, side, side, 3) uint8 -> (n, K), by a checkpoint's model or an ONNX file."""
    if isinstance(model, Runner):
        return model.probabilities(squares)
    tensor = torch.from_numpy(inputs(squares, models.prepared(model, squares.shape[1])))
    device = next(model.parameters()).device
    with torch.inference_mode(), devices.autocast(device):
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


def _named(source: Source, notes: list[str], numbers: Iterator[int]) -> Iterator[tuple[str, ndarray | str]]:
    """(name, picture), or (name, what is wrong) of each picture; `notes` gets what was left out of folders."""
    if hasattr(source, "read"):  # an open file
        source = source.read()
    if isinstance(source, str | Path):
        listing = locate.pictures(paths.find_input(str(source)))
        notes += filter(None, [listing.note()])
        for file in listing.files:
            yield str(file), _read(decoding.picture, file)
    elif isinstance(source, bytes | bytearray):
        yield f"bytes[{next(numbers)}]", _read(decoding.decode, source)
    elif isinstance(source, Image.Image):
        yield f"picture[{next(numbers)}]", _read(decoding.to_srgb, source)
    elif isinstance(source, ndarray) and source.dtype != object:
        for picture in _of_array(source):
            yield f"array[{next(numbers)}]", decoding.to_srgb(Image.fromarray(picture))
    elif isinstance(source, Iterable) and not isinstance(source, torch.Tensor | Mapping):
        for part in source:
            yield from _named(part, notes, numbers)
    else:
        raise PredictionInput(f"{type(source).__name__} cannot be read: give {SOURCES}")


def _of_array(array: ndarray) -> list[ndarray]:
    """One or more pictures of an array, each (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA."""
    # Three axes are one picture with its channels, never several grey ones.
    single = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    several = array.ndim == 4 and array.shape[3] in (3, 4)
    if array.dtype != np.uint8 or not (single or several) or 0 in array.shape[-3:]:
        raise PredictionInput(f"an array of {array.dtype} {array.shape} cannot be read: give {SOURCES}")
    return [array] if single else list(array)


def _read(decode: Callable[[Any], ndarray], source: Any) -> ndarray | str:
    """The picture, or what is wrong with it: it costs its own row alone."""
    try:
        return decode(source)
    except decoding.BROKEN as error:
        return f"not a picture: {decoding.why(error)}"


def command(model: str, sources: list[str], out: str, whole: bool, every: bool) -> None:
    """`python -m emohelpers predict`: prints what a model says of pictures; `out` also gets a table and a sheet."""
    if out:
        paths.table_file(out, TABLE)  # it can be written there, or no work is done
    answers = pictures(model, sources, find=not whole, every=every)
    home = answers.save(out) if out else ""  # first: what is written cannot be lost by printing
    print(answers)
    if home:
        print(f"written: {home}")

"""Use a model: a picture, a folder or an array in; a table with probabilities, a CSV and a contact sheet out.

The face is found by `faces` and cropped; the column `face` says what was taken. A model may be a checkpoint, an ONNX
file, a published folder or repository, or one that is loaded already.
"""

import argparse
import base64
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.special import softmax
from torch import nn

from emohelpers import models
from emohelpers.config import files, paths
from emohelpers.datasets import locate, pixels
from emohelpers.export import detector, hub
from emohelpers.export.runner import Runner, inputs
from emohelpers.report import figures, style

SHOWN = 40  # faces on a contact sheet
PART = 256  # faces that are prepared at a time

Model = nn.Module | Runner
Source = str | Path | np.ndarray | Sequence[str | Path | np.ndarray]


class PredictionInput(ValueError):
    """Nothing to predict, or a model that cannot: what was given, and what would do."""


@dataclass(frozen=True)
class Answers:
    """What a model said: a row a face, and the squares that it saw."""

    table: pd.DataFrame  # path, face, left, top, side (pixels), predicted, confidence, p_<class> ...
    squares: np.ndarray  # (faces, side, side, 3) uint8, of the rows that have a prediction

    def sheet(self, path: str | Path | None = None, title: str = "Predictions") -> Figure:
        """The first faces with what was said of each, framed in its colour."""
        told = self.table.dropna(subset=["predicted"]).head(SHOWN)
        captions = [f"{Path(r.path).name[:18]}\n{r.predicted} {r.confidence:.0%}" for r in told.itertuples()]
        count = f" (first {SHOWN} of {len(self.squares)})" if len(self.squares) > SHOWN else ""
        frames = style.colours(list(told["predicted"]))
        return figures.gallery(self.squares[:SHOWN], captions, path, 8, title + count, False, frames)

    def save(self, folder: str | Path) -> Path:
        """Writes predictions.csv, and contact_sheet.png if there is a face; returns the folder."""
        files.write_csv(self.table, Path(folder) / "predictions.csv")
        if len(self.squares):
            self.sheet(Path(folder) / "contact_sheet.png")
        return Path(folder)


def opened(model: str | Path | Model) -> Model:
    """A model ready to answer, from a .pth of `models.save`, an .onnx of `export.onnx`, a published folder or name."""
    if not isinstance(model, str | Path):
        return model
    if Path(model).suffix == ".onnx":
        return Runner(paths.find_input(str(model)))
    if Path(model).suffix == ".pth":
        return models.load(paths.find_input(str(model))).eval()
    return hub.load(model)


def pictures(
    model: str | Path | Model, source: Source, *, find: bool = True, every: bool = False,
    temperature: float | None = None,
) -> Answers:  # fmt: skip
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
    ready = opened(model)
    classes, side = _facts(ready)
    rows, squares, shares = [], [], []
    for name, picture in _each(source):
        if isinstance(picture, str):
            rows.append({"path": name, "face": picture})
            continue
        for told, (left, top, width) in taken(picture, find=find, every=every):
            rows.append({"path": name, "face": told, "left": left, "top": top, "side": width, "row": len(squares)})
            squares.append(pixels.fit_square(picture[top : top + width, left : left + width], side))
    seen = np.stack(squares) if squares else np.empty((0, side, side, 3), np.uint8)
    for start in range(0, len(seen), PART):
        shares.append(probabilities(ready, seen[start : start + PART], temperature))
    table = pd.DataFrame(rows, columns=["path", "face", "left", "top", "side", "row"])
    found = pd.DataFrame(np.concatenate(shares) if shares else np.empty((0, len(classes))), columns=classes)
    best = found.idxmax(axis=1) if len(found) else pd.Series(dtype=object)
    said = pd.DataFrame({"predicted": best, "confidence": found.max(axis=1)}).join(found.add_prefix("p_"))
    table = table.join(said, on="row").drop(columns="row")
    return Answers(table.astype(dict.fromkeys(("left", "top", "side"), "Int64")), seen)


def taken(picture: np.ndarray, *, find: bool, every: bool) -> list[tuple[str, tuple[int, int, int]]]:
    """What is cut from a picture: [(why, (left, top, side))], never empty."""
    height, width = picture.shape[:2]
    cut = min(height, width)
    whole = ((width - cut) // 2, (height - cut) // 2, cut)
    if not find:
        return [("not looked for: whole picture", whole)]
    found = detector.boxes(picture)
    if not found:
        return [("none found: whole picture", whole)]
    if found[0][2] >= detector.FILLS * cut:
        return [("fills the picture: whole picture", whole)]
    if every:
        return [(f"{i + 1} of {len(found)}", detector.crop(picture, box)) for i, box in enumerate(found)]
    return [("one" if len(found) == 1 else f"largest of {len(found)}", detector.crop(picture, found[0]))]


def probabilities(model: Model, squares: np.ndarray, temperature: float | None = None) -> np.ndarray:
    """(n, side, side, 3) uint8 -> (n, K), by a checkpoint's model or an ONNX file."""
    if isinstance(model, Runner):
        return model.probabilities(squares)
    ready = torch.from_numpy(inputs(squares, models.prepared(model, squares.shape[1])))
    where = next(model.parameters()).device
    with torch.inference_mode():
        logits = torch.cat([model(part.to(where)).float().cpu() for part in ready.split(32)])
    return softmax(logits.numpy() / (temperature or model.spec.get("temperature", 1.0)), axis=1)


def _facts(model: Model) -> tuple[list[str], int]:
    if isinstance(model, Runner):
        classes, side = model.classes, model.preprocess.side
    else:
        if model.training:
            raise PredictionInput("the model is in training mode: call model.eval() first")
        spec = getattr(model, "spec", {})
        classes, side = list(spec.get("classes", ())), spec.get("preprocess", {}).get("side", 0)
    kind = model.facts.get("output") if isinstance(model, Runner) else spec.get("task")
    if kind not in (None, "classes"):
        raise PredictionInput(f"the model gives a {kind}, not emotions: `appeal score` rates photographs by a score")
    if not classes or not side:
        raise PredictionInput("the model does not say its classes and preprocessing: load it with models.load")
    return classes, side


def _each(source: Source) -> Iterator[tuple[str, np.ndarray | str]]:
    """(name, picture), or (name, what is wrong) of each picture."""
    if isinstance(source, np.ndarray):
        if source.ndim not in (3, 4) or source.shape[-1] != 3 or source.dtype != np.uint8:
            raise PredictionInput(f"an array of {source.dtype} {source.shape}: (n, H, W, 3) uint8 RGB is expected")
        for i, picture in enumerate(source if source.ndim == 4 else source[None]):
            yield f"array[{i}]", picture
    elif isinstance(source, str | Path):
        place = paths.find_input(str(source))
        for path in locate.pictures(place) if place.is_dir() else [place]:
            try:
                yield str(path), pixels.decode(path.read_bytes())
            except (pixels.UnreadableImage, OSError) as error:
                yield str(path), f"not a picture: {error}"
    else:
        for one in source:
            yield from _each(one)


def snapshot(path: str | Path) -> Path:
    """Takes a picture with the camera of this machine, on Colab with that of the browser, and writes it."""
    if paths.host() == "colab":
        from google.colab.output import eval_js  # only there

        return files.write_bytes(path, base64.b64decode(str(eval_js(CAMERA)).partition(",")[2]))
    camera = cv2.VideoCapture(0)
    try:
        for _ in range(5):  # the first frames are dark
            there, frame = camera.read()
    finally:
        camera.release()
    if not there:
        raise PredictionInput("no camera on this machine. Name a picture file, or use Colab, which asks the browser")
    return files.write_bytes(path, cv2.imencode(".png", frame)[1].tobytes())


def own(photo: str, folder: str | Path, otherwise: Source) -> Source:
    """The user's picture or folder, or with "camera" a new picture in `folder`; `otherwise` if none is named."""
    if photo == "camera":
        return snapshot(Path(folder) / "photo.png")
    return photo or otherwise


CAMERA = """(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({video: true});
  const video = document.createElement("video"), button = document.createElement("button");
  button.textContent = "Take the picture";
  document.body.append(video, button);
  video.srcObject = stream;
  await video.play();
  await new Promise((done) => { button.onclick = done; });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  stream.getTracks().forEach((track) => track.stop());
  video.remove(); button.remove();
  return canvas.toDataURL("image/png");
})()"""


def main(arguments: list[str] | None = None) -> int:
    """`python -m emohelpers predict MODEL PICTURES ...`; returns the exit code."""
    parser = argparse.ArgumentParser("python -m emohelpers", description=__doc__)
    predict = parser.add_subparsers(dest="command", required=True).add_parser(
        "predict", help="name the emotion of faces"
    )
    predict.add_argument("model", help="a .pth, an .onnx, a published folder, or a repository owner/name")
    predict.add_argument("pictures", nargs="+", help="picture files and folders")
    predict.add_argument("--out", default="", help="folder for predictions.csv and contact_sheet.png")
    predict.add_argument("--whole", action="store_true", help="do not look for the face")
    predict.add_argument("--every", action="store_true", help="every face, not the largest alone")
    options = parser.parse_args(arguments)
    try:
        found = pictures(options.model, options.pictures, find=not options.whole, every=options.every)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(found.table[["path", "face", "predicted", "confidence"]].round(3).to_string(index=False))
    if options.out:
        print(f"written: {found.save(options.out)}")
    return 0

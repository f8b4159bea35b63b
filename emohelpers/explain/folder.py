"""`explain` from the command line: figures of maps for a folder of pictures, by a checkpoint, without a notebook."""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers import config, models
from emohelpers.config import files, paths
from emohelpers.config.explain import Explain
from emohelpers.datasets import labels
from emohelpers.datasets import pixels as store
from emohelpers.datasets.locate import pictures
from emohelpers.explain import galleries
from emohelpers.explain.classifier import ExplanationError
from emohelpers.explain.explainer import Explainer
from emohelpers.report import style


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 done, 2 asked for what does not exist or cannot be explained."""
    parser = argparse.ArgumentParser("python -m emohelpers explain", description=__doc__)
    parser.add_argument("checkpoint", help="a .pth of notebooks 01, 03, 04 or 05")
    parser.add_argument("folder", help="pictures, at any depth; a folder named after an emotion is their label")
    parser.add_argument("--out", default="", help="where figures go (outputs/explain/<checkpoint>)")
    parser.add_argument("--methods", default="", help="such as grad_cam,shap; all that the model allows if not named")
    parser.add_argument("--layer", default="", help="target layer of the CAMs; chosen by evidence if not named")
    parser.add_argument(
        "--background", default="", help="a folder of training faces for SHAP; the pictures if not named"
    )
    parser.add_argument("--count", type=int, default=50, help="figures at most (%(default)s)")
    options = vars(parser.parse_args(arguments[1:]))
    try:
        folder = explain_folder(options.pop("checkpoint"), options.pop("folder"), **options)
    except (ExplanationError, models.WeightsError, config.ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"panels, predictions.csv, maps.npz in {folder}")
    return 0


def explain_folder(
    checkpoint: str,
    folder: str,
    *,
    out: str = "",
    methods: str = "",  # separated by commas; empty: all that suit the model
    layer: str = "",  # target layer of the CAMs; empty: chosen by evidence
    background: str = "",  # a folder of training faces for SHAP; empty: the pictures themselves
    count: int = 50,  # pictures at most
) -> Path:
    """Writes a figure a picture, `predictions.csv`, `layers.csv` and the maps as `maps.npz`; returns their folder.

    Raises:
        FileNotFoundError: no checkpoint, or no picture.
        ExplanationError: a picture cannot be read or the model cannot be explained.
        WeightsError, ConfigError: the checkpoint is of another kind; no such method.
    """
    # The model, the pictures as it was trained on them, and every method that suits it.
    cfg = config.make(Explain, "full", **({"methods": tuple(methods.split(","))} if methods else {}))
    model = models.load(paths.find_input(checkpoint, remedy="Give the path of a .pth of this suite."))
    side = model.spec["preprocess"]["side"]
    pixels = read(folder, side)
    explainer = Explainer(model, _background(background, pixels, cfg), cfg, layer=layer)
    classes = explainer.classifier.classes
    # Any label will do to be predicted; what is known of it comes afterwards.
    table = DataFrame({"path": pixels.paths[:count], "label": classes[0]})
    predictions = explainer.predict(table, pixels)
    predictions["label"] = [emotion(path, classes) for path in table["path"]]
    home = Path(out or paths.outputs_root() / "explain" / Path(checkpoint).stem)
    files.write_csv(predictions, home / "predictions.csv")
    # Layers by the evidence of some pictures, then the maps of all.
    squares = pixels.take(pixels.rows(table["path"]))
    few = slice(0, cfg.choice_each * len(classes))
    layers = explainer.choose_layers(squares[few], explainer.targets(predictions["predicted"][few]))
    files.write_csv(layers, home / "layers.csv")
    gallery = galleries.Gallery.of(explainer, squares, predictions)
    for name, figure in galleries.faces({model.spec["backbone"]: gallery}):
        style.save(figure, home / f"{name}.png")
    maps = {method: by_method.values for method, by_method in gallery.maps.items()}
    predicted = predictions["predicted"].to_numpy(str)
    with files.replace(home / "maps.npz") as temp:
        np.savez_compressed(temp, path=table["path"].to_numpy(str), predicted=predicted, **maps)
    return home


def _background(folder: str, pixels: store.Pixels, cfg) -> ndarray:
    """Some pictures of a folder, or of `pixels`, drawn, since paths are sorted by class."""
    array = read(folder, pixels.side).array if folder else pixels.array
    drawn = np.random.default_rng(cfg.seed).permutation(len(array))[: cfg.background]
    return array[np.sort(drawn)]


def read(folder: str, side: int) -> store.Pixels:
    """The pictures of a folder as `store.Pixels` of `side` pixels, in the order of their paths.

    Raises:
        FileNotFoundError: there is none.
        ExplanationError: one cannot be read; it is named.
    """
    root = paths.find_input(folder, remedy="Give a folder of pictures.")
    names = []
    squares = []
    for path in pictures(root):
        try:
            squares.append(store.fit_square(store.decode(path.read_bytes()), side))
        except store.UnreadableImage as error:
            raise ExplanationError(f"{path} cannot be read ({error}): take it out of the folder") from error
        names.append(path.relative_to(root).as_posix())
    return store.Pixels(names, np.stack(squares), [""] * len(names), np.zeros((len(names), 0), np.float32))


def emotion(path: str, classes: tuple[str, ...]) -> str:
    """The label that a picture's folder names, if it names a class of the model."""
    try:
        label = labels.canonical(Path(path).parent.name)
    except labels.UnknownLabel:
        return ""
    return label if label in classes else ""

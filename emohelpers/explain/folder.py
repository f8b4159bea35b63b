"""`explain` from the command line: figures of maps for a folder of pictures, by a checkpoint, without a notebook."""

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
from emohelpers.datasets.faces import write_unreadable
from emohelpers.datasets.locate import pictures
from emohelpers.explain import galleries
from emohelpers.explain.explainer import Explainer
from emohelpers.report import style


def command(**options) -> None:
    """`python -m emohelpers explain`: the arguments of `explain_folder`."""
    print(f"panels, predictions.csv, maps.npz in {explain_folder(**options)}")


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
    """Writes a figure a picture, the tables predictions, layers and left_out, and maps.npz; returns their folder.

    Raises:
        FileNotFoundError: no checkpoint, or no picture.
        UnreadableImage: no picture can be read.
        ExplanationError: the model cannot be explained.
        WeightsError, ConfigError: the checkpoint is of another kind; no such method.
    """
    # The model, the pictures as it was trained on them, and every method that suits it.
    cfg = config.make(Explain, "full", **({"methods": tuple(methods.split(","))} if methods else {}))
    model = models.load(paths.find_input(checkpoint, remedy="Give the path of a .pth of this suite."))
    side = model.spec["preprocess"]["side"]
    target = paths.table_file(out or paths.outputs_root() / "explain" / Path(checkpoint).stem, "predictions.csv")
    home = target.parent
    pixels = read(folder, side)
    explainer = Explainer(model, _background(background, pixels, cfg), cfg, layer=layer)
    classes = explainer.classifier.classes
    # Any label will do to be predicted; what is known of it comes afterwards.
    table = DataFrame({"path": pixels.paths[:count], "label": classes[0]})
    predictions = explainer.predict(table, pixels)
    predictions["label"] = [emotion(path, classes) for path in table["path"]]
    write_unreadable(home / "left_out.csv", pixels.unreadable)
    files.write_csv(predictions, target)
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
    """The pictures of a folder as `store.Pixels` of `side` pixels, in the order of their paths; says what was left out.

    Raises:
        FileNotFoundError: there is none.
        UnreadableImage: none can be read.
    """
    listing, squares = pictures(paths.find_input(folder, remedy="Give a folder of pictures.")).decoded(side)
    if note := listing.note():
        print(note, file=sys.stderr)
    names = listing.names
    return store.Pixels(names, squares, [""] * len(names), np.zeros((len(names), 0), np.float32), listing.left_out)


def emotion(path: str, classes: tuple[str, ...]) -> str:
    """The label that a picture's folder names, if it names a class of the model."""
    try:
        label = labels.canonical(Path(path).parent.name)
    except labels.UnknownLabel:
        return ""
    return label if label in classes else ""

"""`explain` from the command line: panels of maps for a folder of pictures, by a checkpoint, without a notebook."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from emohelpers import config, models
from emohelpers.config import files, paths
from emohelpers.datasets import labels
from emohelpers.datasets import pixels as store
from emohelpers.datasets.locate import pictures
from emohelpers.explain import explainer, galleries


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 done, 2 asked for what does not exist or cannot be explained."""
    parser = argparse.ArgumentParser("python -m emohelpers explain", description=__doc__)
    parser.add_argument("checkpoint", help="a .pth of notebooks 01, 03, 04 or 05")
    parser.add_argument("folder", help="pictures, at any depth; a folder named after an emotion is their label")
    parser.add_argument("--out", default="", help="where panels go (outputs/explain/<checkpoint>)")
    parser.add_argument("--methods", default="", help="such as grad_cam,shap; all that the model allows if not named")
    parser.add_argument("--layer", default="", help="target layer of the CAMs; chosen by evidence if not named")
    parser.add_argument(
        "--background", default="", help="a folder of training faces for SHAP; the pictures if not named"
    )
    parser.add_argument("--count", type=int, default=50, help="panels at most (%(default)s)")
    options = parser.parse_args(arguments[1:])
    try:
        folder = run(options)
    except (explainer.ExplanationError, models.WeightsError, config.ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"panels, predictions.csv, maps.npz in {folder}")
    return 0


def run(options: argparse.Namespace) -> Path:
    """Writes a panel a picture, `predictions.csv`, `layers.csv` and the maps as `maps.npz`; returns their folder."""
    asked = {"methods": tuple(options.methods.split(","))} if options.methods else {}
    cfg = config.make(config.Explain, "full", **asked)
    model = models.load(paths.find_input(options.checkpoint, remedy="Give the path of a .pth of this suite."))
    side = model.spec["preprocess"]["side"]
    pixels = read(options.folder, side)
    background = (read(options.background, side) if options.background else pixels).array
    some = np.random.default_rng(cfg.seed).permutation(len(background))[: cfg.background]  # paths are sorted by class
    one = explainer.Explainer(model, background[np.sort(some)], cfg, layer=options.layer)
    chosen = np.arange(len(pixels.paths))[: options.count]
    faces = pd.DataFrame({"path": [pixels.paths[i] for i in chosen]})
    faces["label"] = [emotion(path, one.subject.classes) for path in faces["path"]]  # "" where none is known
    judged = one.judge(faces.assign(label=one.subject.classes[0]), pixels).assign(label=faces["label"])
    said, squares = judged["predicted"], pixels.take(chosen)
    out = Path(options.out or paths.outputs_root() / "explain" / Path(options.checkpoint).stem)
    files.write_csv(judged, out / "predictions.csv")
    few = slice(0, cfg.choice_each * len(one.subject.classes))
    files.write_csv(one.choose(squares[few], one.targets(said[few])), out / "layers.csv")
    name = model.spec["backbone"]
    galleries.archive({name: one}, {name: judged}, faces, pixels, out)
    maps = {method: one.make(method, squares, one.targets(said), check=False).maps for method in one.methods}
    with files.replace(out / "maps.npz") as temp:
        np.savez_compressed(temp, path=faces["path"].to_numpy(str), predicted=said.to_numpy(str), **maps)
    return out


def read(folder: str, side: int) -> store.Pixels:
    """The pictures of a folder as `store.Pixels` of `side` pixels, in the order of their paths.

    Raises:
        FileNotFoundError: there is none.
        store.UnreadableImage: one cannot be read; it is named.
    """
    root = paths.find_input(folder, remedy="Give a folder of pictures.")
    found = pictures(root)
    squares = []
    for path in found:
        try:
            squares.append(store.fit_square(store.decode(path.read_bytes()), side))
        except store.UnreadableImage as error:
            raise explainer.ExplanationError(f"{path} cannot be read ({error}): take it out of the folder") from error
    names = [path.relative_to(root).as_posix() for path in found]
    return store.Pixels(names, np.stack(squares), [""] * len(names), np.zeros((len(names), 0), np.float32))


def emotion(path: str, classes: tuple[str, ...]) -> str:
    """The label that a picture's folder names, if it names a class of the model."""
    try:
        known = labels.canonical(Path(path).parent.name)
    except labels.UnknownLabel:
        return ""
    return known if known in classes else ""

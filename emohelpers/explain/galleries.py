"""Faces with their maps: a panel a face, archived; the mean of a class; the mistakes that a model was surest of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emohelpers import metrics
from emohelpers.datasets.pixels import Pixels
from emohelpers.explain import panels
from emohelpers.explain.explainer import TITLES, Explainer, Made
from emohelpers.explain.subject import empty


def archive(
    explainers: Mapping[str, Explainer], judged: Mapping[str, pd.DataFrame], faces: pd.DataFrame, pixels: Pixels,
    folder: str | Path, *, demo: bool = False,
) -> list[Path]:  # fmt: skip
    """One PNG a face of a fixed set: a row a model, a column a method, the maps of the class that the model named."""
    squares, made = pixels.take(pixels.rows(faces["path"])), {}
    columns = list(dict.fromkeys(method for one in explainers.values() for method in one.methods))
    for name, one in explainers.items():
        said = judged[name].set_index("path").loc[faces["path"]]
        made[name] = said, {method: drawn(one, method, squares, said["predicted"]) for method in one.methods}
    written = []
    for i, (path, label) in enumerate(zip(faces["path"], faces["label"], strict=True)):
        rows, captions = [], []
        for name, (said, maps) in made.items():
            picture = explainers[name].subject.preprocess.evaluate(squares[i : i + 1])
            rows.append([picture[0], *(maps[method][i] if method in maps else None for method in columns)])
            captions.append(f"{name}\n{spoken(said.iloc[i], explainers[name].subject.classes)}")
        target = Path(folder) / f"{i + 1:02d}_{label or Path(path).stem}.png"
        heads = ["face", *(TITLES[method] for method in columns)]
        panels.grid(rows, heads, captions, Path(path).name, path=target, demo=demo, side=1.5)
        written.append(target)
    return written


def overview(
    explainer: Explainer, judged: pd.DataFrame, faces: pd.DataFrame, pixels: Pixels, path: str | Path | None = None, *,
    title: str = "Maps", demo: bool = False,
) -> Figure:  # fmt: skip
    """All methods side by side, a row a face, for the class that the model named."""
    squares = pixels.take(pixels.rows(faces["path"]))
    said = judged.set_index("path").loc[faces["path"]]
    shown = explainer.subject.preprocess.evaluate(squares)
    columns = [drawn(explainer, method, squares, said["predicted"]) for method in explainer.methods]
    captions = [spoken(row, explainer.subject.classes) for _, row in said.iterrows()]
    heads = ["face", *(TITLES[method] for method in explainer.methods)]
    return panels.grid(list(zip(shown, *columns, strict=True)), heads, captions, title, path=path, demo=demo)


def class_means(
    made: Mapping[str, tuple[Explainer, Mapping[str, Made], Sequence[str]]], squares: np.ndarray,
    labels: Sequence[str], path: str | Path | None = None, *, title: str = "Mean map of each class", demo: bool = False,
) -> Figure:  # fmt: skip
    """The mean map of each class over its mean face, a row for each model and each of the methods named for it."""
    labels = np.asarray(labels)
    classes = list(dict.fromkeys(labels))
    rows, captions = [], []
    for name, (explainer, maps, methods) in made.items():
        shown = explainer.subject.preprocess.evaluate(squares)
        faces = np.stack([shown[labels == label].mean(0) for label in classes]).astype(np.uint8)
        for method in [name for name in dict.fromkeys(methods) if name in maps]:
            means = np.stack([unit(maps[method].maps[labels == label]).mean(0) for label in classes])
            rows.append(list(panels.overlay(faces, means)))
            captions.append(f"{name}\n{TITLES[method]}")
    heads = [f"{label}\nn = {(labels == label).sum()}" for label in classes]
    return panels.grid(rows, heads, captions, title, path=path, demo=demo)


def mistakes(
    explainer: Explainer, judged: pd.DataFrame, pixels: Pixels, method: str, count: int,
    path: str | Path | None = None, *, title: str = "Most confident mistakes", demo: bool = False,
) -> Figure:  # fmt: skip
    """The mistakes that the model was surest of: what spoke for the class it said, and for the class of the label."""
    sure = judged[metrics.columns(explainer.subject.classes)].max(axis=1)
    wrong = judged["label"] != judged["predicted"]
    worst = judged.assign(sure=sure)[wrong].nlargest(count, "sure")
    if worst.empty:
        return panels.grid([[]], [f"none among {len(judged)} faces"], [""], title, path=path, demo=demo, scale=False)
    squares = pixels.take(pixels.rows(worst["path"]))
    shown = explainer.subject.preprocess.evaluate(squares)
    said, label = (drawn(explainer, method, squares, worst[column]) for column in ("predicted", "label"))
    heads = [f"labelled {row.label}\nsaid {row.predicted} {row.sure:.0%}" for row in worst.itertuples()]
    captions = ["face", "what speaks for\nthe class it said", "what speaks for\nthe class of the label"]
    title = f"{title} ({len(worst)} of {int(wrong.sum())}), {TITLES[method]}"
    return panels.grid([list(shown), said, label], heads, captions, title, path=path, demo=demo, side=1.35)


def drawn(explainer: Explainer, method: str, squares: np.ndarray, names: Sequence[str]) -> list[np.ndarray | None]:
    """The maps of classes by name, laid over their pictures; None where a face has no map."""
    maps = explainer.make(method, squares, explainer.targets(names), check=False).maps
    over = panels.overlay(explainer.subject.preprocess.evaluate(squares), maps)
    return [None if blank else one for one, blank in zip(over, empty(maps), strict=True)]


def spoken(row: pd.Series, classes: Sequence[str]) -> str:
    """Two lines: the label, if one is known, and what the model said instead or too, each with its probability."""
    said, label = row["predicted"], row["label"]
    if not label:
        return f"{said}, {row[f'p_{said}']:.0%}\nno label known"
    if said == label:
        return f"{label}\nsaid so, {row[f'p_{label}']:.0%}"
    return f"{label} ({row[f'p_{label}']:.0%})\nsaid {said}, {row[f'p_{said}']:.0%}"


def unit(maps: np.ndarray) -> np.ndarray:
    """Each map divided by its largest absolute value, so that all faces count alike in a mean."""
    return maps / np.maximum(abs(maps).max(axis=(1, 2), keepdims=True), 1e-12)

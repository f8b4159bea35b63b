"""Faces with their maps: all methods side by side, the mean of a class, the mistakes that a model was surest of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy import ndarray
from pandas import DataFrame, Series

from emohelpers.config import files
from emohelpers.config.registry import METHODS
from emohelpers.datasets.pixels import Pixels
from emohelpers.explain import heatmaps
from emohelpers.explain.explainer import Explainer
from emohelpers.explain.methods import Maps
from emohelpers.report.galleries import surest


@dataclass(frozen=True)
class Gallery:
    """Faces as one model sees them, what it said of them, and the maps of the class that it named."""

    pictures: ndarray  # (n, img_size, img_size, 3) uint8
    predictions: DataFrame  # of `metrics.predictions`, a row a picture; label "" where none is known
    maps: dict[str, Maps]  # method -> maps

    @classmethod
    def of(cls, explainer: Explainer, squares: ndarray, predictions: DataFrame) -> "Gallery":
        """Of pictures (n, s, s, 3) uint8 and their predictions in the same order."""
        targets = explainer.targets(predictions["predicted"])
        maps = {method: explainer.maps(method, squares, targets, check=False) for method in explainer.methods}
        return cls(explainer.classifier.preprocess.evaluate(squares), predictions, maps)

    def columns(self) -> dict[str, list[ndarray | None]]:
        """Title -> a picture a face: the face, then its map by each method."""
        overlays = {METHODS[method].title: overlaid(self.pictures, maps) for method, maps in self.maps.items()}
        return {"face": list(self.pictures)} | overlays

    def captions(self) -> list[str]:
        return [caption(row) for _, row in self.predictions.iterrows()]


def overlaid(pictures: ndarray, maps: Maps) -> list[ndarray | None]:
    """Maps over their pictures; None where a face has no map."""
    overlays = heatmaps.overlay(pictures, maps.values)
    return [None if empty else overlay for overlay, empty in zip(overlays, maps.empty, strict=True)]


def caption(row: Series) -> str:
    """Two lines: the label, if one is known, and what the model said instead or too, each with its probability."""
    label = row["label"]
    predicted = row["predicted"]
    probability = row[f"p_{predicted}"]
    if not label:
        return f"{predicted}, {probability:.0%}\nno label known"
    if predicted == label:
        return f"{label}\nsaid so, {probability:.0%}"
    return f"{label} ({row[f'p_{label}']:.0%})\nsaid {predicted}, {probability:.0%}"


def overview(gallery: Gallery, title: str) -> Figure:
    """All methods side by side, a row a face."""
    columns = gallery.columns()
    return heatmaps.grid(list(zip(*columns.values(), strict=True)), gallery.captions(), list(columns), title)


def faces(galleries: Mapping[str, Gallery]) -> Iterator[tuple[str, Figure]]:
    """A figure a face, with the name of its file: a row a model, a column a method.

    Args:
        galleries: model -> the same faces in the same order.
    """
    columns = {model: gallery.columns() for model, gallery in galleries.items()}
    titles = list(dict.fromkeys(chain.from_iterable(columns.values())))
    first = next(iter(galleries.values()))
    for i, (path, label) in enumerate(first.predictions[["path", "label"]].itertuples(index=False)):
        # Models differ in their methods: a cell stays empty, so that columns keep their method.
        no_map = dict.fromkeys(titles)
        pictures = [no_map | {title: column[i] for title, column in columns[model].items()} for model in galleries]
        captions = [f"{model}\n{gallery.captions()[i]}" for model, gallery in galleries.items()]
        figure = heatmaps.grid([list(row.values()) for row in pictures], captions, titles, Path(path).name, side=1.5)
        yield f"{i + 1:02d}_{files.safe_name(label or Path(path).stem)}", figure


def class_means(
    explainers: Mapping[str, Explainer],
    maps: Mapping[str, Mapping[str, Maps]],
    methods: Mapping[str, Sequence[str]],
    squares: ndarray,
    labels: ndarray,
) -> Figure:
    """The mean map of each class over its mean face, a row for each model and each of the `methods` named for it.

    Args:
        maps: model -> method -> maps of the pictures `squares` (n, s, s, 3), labelled `labels` (n,).
    """

    def means(values: ndarray) -> ndarray:
        return np.stack([values[labels == label].mean(0) for label in classes])

    classes = list(dict.fromkeys(labels))
    rows = []
    captions = []
    for model, explainer in explainers.items():
        pictures = explainer.classifier.preprocess.evaluate(squares)
        mean_faces = means(pictures).astype(np.uint8)
        for method in dict.fromkeys(methods[model]):
            if method in maps[model]:
                # Scaled before the mean, so that one face with a strong map does not stand for its class.
                mean_maps = means(heatmaps.unit(maps[model][method].values))
                rows.append(list(heatmaps.overlay(mean_faces, mean_maps)))
                captions.append(f"{model}\n{METHODS[method].title}")
    columns = [f"{label}\nn = {(labels == label).sum()}" for label in classes]
    return heatmaps.grid(rows, captions, columns, "Mean map of each class")


def mistakes(
    explainer: Explainer, predictions: DataFrame, pixels: Pixels, method: str, count: int, name: str
) -> Figure:
    """The mistakes that the model `name` was surest of, and what spoke for the class it said and for the label's."""
    wrong = predictions["label"] != predictions["predicted"]
    worst = surest(predictions, explainer.classifier.classes, count)
    title = f"{name}: most confident mistakes"
    if worst.empty:
        return heatmaps.grid([[None]], [""], [f"none among {len(predictions)} faces"], title, scale=False)
    # Two maps a face: of the class that was said, and of the label's.
    squares = pixels.take(pixels.rows(worst["path"]))
    pictures = explainer.classifier.preprocess.evaluate(squares)
    rows = {"face": list(pictures)}
    questions = {"predicted": "what speaks for\nthe class it said", "label": "what speaks for\nthe class of the label"}
    for column, question in questions.items():
        maps = explainer.maps(method, squares, explainer.targets(worst[column]), check=False)
        rows[question] = overlaid(pictures, maps)
    columns = [f"labelled {row.label}\nsaid {row.predicted} {row.confidence:.0%}" for row in worst.itertuples()]
    title = f"{title} ({len(worst)} of {wrong.sum()}), {METHODS[method].title}"
    return heatmaps.grid(list(rows.values()), list(rows), columns, title, side=1.35)

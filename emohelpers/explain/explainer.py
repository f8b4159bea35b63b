"""Maps of one model's decisions by every method that suits it, each CAM from the layer that the evidence favours."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy import ndarray
from pandas import DataFrame, Index

from emohelpers import metrics
from emohelpers.config.registry import METHODS
from emohelpers.datasets.pixels import Pixels
from emohelpers.explain import faithfulness
from emohelpers.explain.classifier import Classifier, ExplanationError, candidates
from emohelpers.explain.methods import Maps
from emohelpers.metrics import bootstrap


class Explainer:
    """Every method that suits one model, with the layer of each CAM.

    Args:
        model: of `models.load`; it is copied, and stays as it is to the bit.
        background: (m, s, s, 3) uint8 of training pictures that SHAP compares with.
        cfg: the `config.Explain` fields.
        layer: target layer of all CAMs, named by hand; empty: the last candidate until `choose_layers` has looked.
    """

    def __init__(self, model, background: ndarray, cfg, *, layer: str = ""):
        self.cfg = cfg
        self.classifier = Classifier.of(model, layer=layer, batch_size=cfg.batch_size)
        self.layer_is_fixed = bool(layer)
        self.background = self.classifier.inputs(background)
        self.methods = [name for name in cfg.methods if METHODS[name].suits(self.classifier.model)]
        self.refused = {}  # method -> why it cannot explain this model
        self.layers = {name: self.classifier.layer for name in self.methods if METHODS[name].kind == "CAM"}

    def choose_layers(self, squares: ndarray, targets: ndarray) -> DataFrame:
        """Chooses each CAM's layer by the effect of its maps on the model.

        Of all candidates the one whose maps win most between insertion and deletion, on pictures (n, s, s, 3) that the
        evidence is not measured on afterwards; a layer with an empty map is out. A layer named by hand stays.

        Returns:
            a row for each method and layer: method, layer, grid, gain, low, high, chosen.
        """
        layers = [self.classifier.layer] if self.layer_is_fixed else candidates(self.classifier.model)
        columns = ["method", "layer", "grid", "gain", "low", "high", "chosen"]
        trials = DataFrame(columns=columns)
        # Over a copy: a method that is refused is removed meanwhile.
        for method in list(self.layers):
            table = DataFrame([self._trial(method, layer, squares, targets) for layer in layers], columns=columns)
            # The layer with the largest gain; one with an empty map has none.
            if table["gain"].notna().any():
                self.layers[method] = table.loc[table["gain"].idxmax(), "layer"]
            else:
                self._refuse(method, f"an empty map of some face at {', '.join(layers)}")
                del self.layers[method]
            table["chosen"] = table["layer"] == self.layers.get(method)
            trials = table if trials.empty else pd.concat([trials, table], ignore_index=True)
        return trials

    def _trial(self, method: str, layer: str, squares: ndarray, targets: ndarray) -> dict[str, object]:
        """Insertion less deletion of a layer's maps, with its interval; without them where a face has no map."""
        classifier = self.classifier.at(layer)
        inputs = classifier.inputs(squares)
        height, width = classifier.cells(inputs[:1])
        trial = {"method": method, "layer": layer, "grid": f"{height}x{width}"}
        maps = METHODS[method].maps(classifier, squares, targets, self.background, self.cfg, seed=0)
        if maps.empty.any():
            return trial
        steps = max(self.cfg.steps // 2, 4)
        curves = faithfulness.deletion_insertion(classifier, inputs, targets, maps.values, steps=steps)
        areas = faithfulness.areas(curves)
        figure = bootstrap.mean(areas["insertion"] - areas["deletion"], resamples=self.cfg.bootstrap)
        return trial | figure | {"gain": figure["value"]}

    def maps(
        self,
        method: str,
        squares: ndarray,
        targets: ndarray,
        *,
        seed: int = 0,
        classifier: Classifier | None = None,
        check: bool = True,
    ) -> Maps:
        """Maps (n, img_size, img_size) of the classes `targets` (n,) on pictures (n, s, s, 3) uint8 by one method.

        Args:
            classifier: another model of the same shape, such as one with random weights.
            check: refuse maps that are empty or not finite.

        Raises:
            ExplanationError: a map is empty, with the layer and the remedy.
        """
        layer = self.layers.get(method, "")
        classifier = (classifier or self.classifier).at(layer)
        maps = METHODS[method].maps(classifier, squares, targets, self.background, self.cfg, seed)
        if check and maps.empty.any():
            faces = np.flatnonzero(maps.empty)
            target_layer = f"; target layer {layer}" if layer else ""
            raise ExplanationError(
                f"{METHODS[method].title} of {len(faces)} of {len(squares)} faces is empty or not finite, the first "
                f"number {faces[0]}{target_layer}. Name another layer "
                f"({', '.join(candidates(classifier.model))}) or leave the method out (methods)."
            )
        return maps

    def all_maps(self, squares: ndarray, targets: ndarray, *, seed: int = 0) -> dict[str, Maps]:
        """Method -> maps. A method that has none for some face is refused from now on, with the reason in `refused`."""
        complete = {}
        for method in list(self.methods):
            maps = self.maps(method, squares, targets, seed=seed, check=False)
            if maps.empty.any():
                self._refuse(method, f"an empty map of {maps.empty.sum()} of {len(squares)} faces")
            else:
                complete[method] = maps
        return complete

    def _refuse(self, method: str, reason: str) -> None:
        if self.layer_is_fixed and method in self.layers:
            raise ExplanationError(
                f"{METHODS[method].title} gives {reason}, and the layer {self.classifier.layer} was named by hand. "
                f"Stages: {', '.join(candidates(self.classifier.model))}; or leave {method!r} out (methods)."
            )
        self.refused[method] = reason
        self.methods.remove(method)

    def predict(self, table: DataFrame, pixels: Pixels) -> DataFrame:
        """What the model says of the pictures of a table: `metrics.predictions`, with their groups."""
        rows = pixels.rows(table["path"])
        scores = []
        for batch in self.classifier.batches(len(rows)):
            inputs = self.classifier.inputs(pixels.take(rows[batch]))
            scores.append(self.classifier.probabilities(inputs))
        shares = torch.cat(scores).cpu().numpy()
        group = table["group"] if "group" in table else table["path"]
        return metrics.predictions(table["path"], table["label"], shares, self.classifier.classes, group=group)

    def targets(self, names: Sequence[str]) -> ndarray:
        """Class indices (n,) of names."""
        return Index(self.classifier.classes).get_indexer(Index(names)).astype(np.int64)

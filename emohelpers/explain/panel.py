"""All models of a run beside one another: the same faces, every method, the evidence, and the figures of it."""

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy import ndarray
from pandas import DataFrame, Series

from emohelpers import models
from emohelpers.config.registry import METHODS
from emohelpers.datasets.drawn import expressed
from emohelpers.explain import evidence, galleries
from emohelpers.explain import notes as interpretation
from emohelpers.explain.classifier import ExplanationError
from emohelpers.explain.explainer import Explainer
from emohelpers.explain.galleries import Gallery
from emohelpers.train import study
from emohelpers.train.study import Faces


class Panel:
    """Asks every model the same questions about the same faces.

    Args:
        trained: name -> model, of `explain.load`; each is copied and stays as it is to the bit.
        data: of `Run.faces`; what is explained are its golden faces, and validation faces choose the layers.
        cfg: the `config.Explain` fields.

    Attributes:
        predictions: model -> what it says of the golden faces, of `metrics.predictions`.
        probe: a fixed set of golden faces, right or wrong, whose figures are archived: path, label, group.
        faces: the faces behind every figure, named right by all models: path, label, group.
        maps: model -> method -> maps of these faces, since `measure`.
        evidence: model -> `Evidence`, since `measure`.
    """

    def __init__(self, trained: Mapping[str, torch.nn.Module], data: Faces, cfg: Any):
        self.started = time.monotonic()
        for name, model in trained.items():
            study.refuse_trained_on(model, data, name)
        self.trained = trained
        self.data = data
        self.cfg = cfg
        # SHAP compares with faces of the training part.
        background = data.part("train").sample(cfg.background, random_state=cfg.seed)
        squares = self._squares(background)
        self.explainers = {
            name: Explainer(model, squares, cfg, layer=cfg.layers.get(name, "")) for name, model in trained.items()
        }
        # Whom to ask about: a fixed set, and faces that all models name right.
        golden = data.part("golden")
        self.predictions = self._predictions(golden)
        self.probe = golden.groupby("label").sample(cfg.probe_each, random_state=cfg.seed)[["path", "label", "group"]]
        self.faces = named_right(self.predictions, cfg.faces_each, cfg.seed)
        self.maps = {}
        self.evidence = {}

    def __str__(self) -> str:
        lines = []
        for name, model in self.trained.items():
            predictions = self.predictions[name]
            right = (predictions["label"] == predictions["predicted"]).mean()
            parameters = models.count(model)["parameters"]
            epoch = "best epoch {epoch}, {monitor} {value:.3f}".format(**model.facts)
            lines.append(f"{name}: {parameters:,} parameters, {epoch}; {right:.3f} of the golden faces named right")
        return "\n".join(lines)

    @property
    def seconds(self) -> float:
        """Since the panel began."""
        return time.monotonic() - self.started

    @property
    def layers(self) -> dict[str, dict[str, str]]:
        """Model -> CAM -> target layer."""
        return {name: explainer.layers for name, explainer in self.explainers.items()}

    def choose_layers(self) -> DataFrame:
        """Chooses each CAM's layer on validation faces: tables of `Explainer.choose_layers` with a column `model`."""
        tuning = named_right(self._predictions(self.data.part("val")), self.cfg.choice_each, self.cfg.seed)
        squares = self._squares(tuning)
        tables = []
        for name, explainer in self.explainers.items():
            table = explainer.choose_layers(squares, explainer.targets(tuning["label"]))
            tables.append(table.assign(model=name))
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def galleries(self) -> dict[str, Gallery]:
        """Model -> the faces of the probe set with their maps."""
        squares = self._squares(self.probe)
        by_model = {}
        for name, explainer in self.explainers.items():
            predictions = self.predictions[name].set_index("path", drop=False).loc[self.probe["path"]]
            by_model[name] = Gallery.of(explainer, squares, predictions)
        return by_model

    def portraits(self) -> Iterator[tuple[str, Figure]]:
        """A figure for each face of the probe set, model below model, with the name of its file."""
        return galleries.faces(self.galleries)

    def overview(self, name: str) -> Figure:
        """All faces of the probe set by all methods for one model."""
        return galleries.overview(self.galleries[name], name)

    def measure(self) -> dict[str, evidence.Evidence]:
        """The evidence for each model's maps of `faces`; also where they look, if anyone knows what was drawn where."""
        squares = self._squares(self.faces)
        few = self.faces.groupby("label").head(self.cfg.check_each).index.to_numpy()
        regions = None if self.regions is None else self.regions["expressed"]
        groups = self.faces["group"].to_numpy()
        for name, explainer in self.explainers.items():
            targets = explainer.targets(self.faces["label"])
            self.maps[name] = explainer.all_maps(squares, targets, seed=self.cfg.seed)
            self.evidence[name] = evidence.measure(
                explainer, squares, targets, groups, self.maps[name], regions=regions, few=few
            )
        return self.evidence

    @cached_property
    def regions(self) -> dict[str, ndarray] | None:
        """Part -> masks (n, s, s) on `faces`, where the data set knows them."""
        return expressed.parts(self.data.dataset.root, self.faces["path"])

    def table(self) -> DataFrame:
        """Every verdict and figure: a row for each model and method."""
        return pd.concat(
            {name: measured.table() for name, measured in self.evidence.items()}, names=["model", "method"]
        )

    def verdicts(self) -> dict[str, dict[str, str]]:
        """Model -> method -> "believe", or what speaks against it."""
        return {name: measured.verdicts() for name, measured in self.evidence.items()}

    def figures(self) -> dict[str, dict[str, Any]]:
        """Name, "model, method, figure", -> value, interval and n, for metrics.json; the best pointing is first."""
        best = self.values("pointing").nlargest(1).index
        return {name: self._rows[name] for name in [*best, *self._rows]}

    def values(self, figure: str) -> Series:
        """One figure of every model and method that has it."""
        rows = {name: row["value"] for name, row in self._rows.items() if name.endswith(f", {figure}")}
        return Series(rows, dtype=float)

    @property
    def _rows(self) -> dict[str, dict[str, Any]]:
        return {
            f"{model}, {method}, {figure}": row
            for model, measured in self.evidence.items()
            for method, figures in measured.figures.items()
            for figure, row in figures.items()
        }

    def class_means(self) -> Figure:
        """The mean map of each class by the most believable CAM and by SHAP."""
        cams = [method for method in self.cfg.methods if METHODS[method].kind == "CAM"]
        methods = {name: (measured.best(cams), "shap") for name, measured in self.evidence.items()}
        squares = self._squares(self.faces)
        labels = self.faces["label"].to_numpy()
        return galleries.class_means(self.explainers, self.maps, methods, squares, labels)

    def mistakes(self, name: str) -> Figure:
        """The mistakes that a model was surest of, by the method that is most to be believed for it."""
        method = self.evidence[name].best()
        return galleries.mistakes(
            self.explainers[name], self.predictions[name], self.data.pixels, method, self.cfg.mistakes, name
        )

    def notes(self) -> str:
        """What this run showed, in sentences that follow from its figures alone."""
        labels = self.faces["label"].to_numpy()
        side = self.data.pixels.side
        parts = interpretation.parts(self.regions, (len(labels), side, side))
        lines = []
        for name, explainer in self.explainers.items():
            lines += interpretation.notes(
                name, explainer, self.evidence[name], self.maps[name], self.predictions[name], labels, parts
            )
        if self.data.dataset.demo:
            lines.append("All of this is about drawn faces: it shows that the checks work, and says nothing of people.")
        return "\n".join(lines)

    def _predictions(self, table: DataFrame) -> dict[str, DataFrame]:
        return {name: explainer.predict(table, self.data.pixels) for name, explainer in self.explainers.items()}

    def _squares(self, table: DataFrame) -> ndarray:
        """(n, s, s, 3) uint8."""
        return self.data.pixels.take(self.data.pixels.rows(table["path"]))


def named_right(predictions: Mapping[str, DataFrame], each: int, seed: int) -> DataFrame:
    """Up to `each` faces a class that every model names right: the same faces for all, in a fixed order.

    Args:
        predictions: model -> table of the same faces.

    Raises:
        ExplanationError: there is none.
    """
    tables = list(predictions.values())
    right = [set(table.loc[table["label"] == table["predicted"], "path"]) for table in tables]
    common = tables[0][tables[0]["path"].isin(set.intersection(*right))]
    chosen = common.sample(frac=1, random_state=seed).groupby("label").head(each)
    if chosen.empty:
        raise ExplanationError("no face is named right by all models: there is no decision to explain. Train longer.")
    return chosen.sort_values(["label", "path"], ignore_index=True)[["path", "label", "group"]]

"""Maps of a model's decisions by every method, from the layer that the evidence favours; one face or a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from emohelpers import metrics, models
from emohelpers.config import paths
from emohelpers.datasets import splits
from emohelpers.datasets.pixels import Pixels
from emohelpers.explain import attributions, cams, faithfulness
from emohelpers.explain.subject import ExplanationError, Subject, candidates, empty, is_transformer
from emohelpers.metrics import bootstrap

CAMS = {"grad_cam": cams.grad_cam, "grad_cam_pp": cams.grad_cam_pp, "layer_cam": cams.layer_cam}
TITLES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    "shap": "SHAP",
    "lime": "LIME",
    "rollout": "attention rollout",
}
DETERMINISTIC = (*CAMS, "rollout")
SMOOTH = 0.02  # standard deviation of what smooths SHAP's pixels into a map, in sides of the picture


@dataclass(frozen=True)
class Made:
    """Maps (n, h, w) float32 of one method, and what the method says of its own fit, (n,), where it does."""

    maps: np.ndarray  # CAMs and rollout 0..1; SHAP and LIME signed, in logits and probability
    fit: np.ndarray | None = None  # SHAP: unexplained share of the logit's gain; LIME: R2 of its linear model


class Explainer:
    """Every method that is valid for one model, with the layer of each CAM.

    Args:
        model: of `models.load`; it is copied, and stays as it is to the bit.
        background: (m, s, s, 3) uint8 of training pictures that SHAP compares with.
        cfg: the `recipes.Explain` fields.
        layer: target layer of all CAMs, named by hand; empty: the last candidate until `choose` has looked.
    """

    def __init__(self, model, background: np.ndarray, cfg, *, layer: str = ""):
        if unknown := [name for name in cfg.methods if name not in TITLES]:
            raise ExplanationError(f"no such method: {', '.join(unknown)}; there are {', '.join(TITLES)} (methods)")
        self.subject, self.cfg, self.named = Subject.of(model, layer=layer, batch_size=cfg.batch_size), cfg, bool(layer)
        self.background = self.subject.inputs(background)
        able = is_transformer(self.subject.model)
        self.methods = [name for name in cfg.methods if able or name != "rollout"]
        self.refused: dict[str, str] = {}  # method -> why it cannot explain this model
        self.layers = {name: self.subject.layer for name in self.methods if name in CAMS}

    def choose(self, squares: np.ndarray, targets: np.ndarray) -> pd.DataFrame:
        """Chooses each CAM's layer by what its maps do to the model, and returns what was seen.

        Of all candidates the one whose maps win most between insertion and deletion, on pictures (n, s, s, 3) that the
        evidence is not measured on afterwards; a layer with an empty map is out. A layer named by hand stays.
        """
        inputs, rows = self.subject.inputs(squares), []
        tried = [self.subject.layer] if self.named else candidates(self.subject.model)
        for method in list(self.layers):
            for layer in tried:
                rows.append((method, layer, *self._gain(method, layer, inputs, targets)))
            gains = {layer: gain for name, layer, gain, *_ in rows if name == method and np.isfinite(gain)}
            if gains:
                self.layers[method] = max(gains, key=gains.get)
            else:
                self._refuse(method, f"an empty map of some face at {', '.join(tried)}")
        self.layers = {method: layer for method, layer in self.layers.items() if method in self.methods}
        table = pd.DataFrame(rows, columns=["method", "layer", "gain", "low", "high"])
        sizes = {layer: self.cells(layer, inputs[:1]) for layer in tried}
        table.insert(2, "grid", [f"{h}x{w}" for h, w in table["layer"].map(sizes)])
        return table.assign(
            chosen=[self.layers.get(m) == name for m, name in zip(table["method"], table["layer"], strict=True)]
        )

    def _gain(self, method: str, layer: str, inputs: torch.Tensor, targets: np.ndarray) -> tuple[float, float, float]:
        """Insertion less deletion of a layer's maps, with its interval; NaN where a face has no map."""
        at = self.subject.at(layer)
        maps = CAMS[method](at, inputs, targets)
        if empty(maps).any():
            return (float("nan"),) * 3
        gone, come = faithfulness.deletion_insertion(at, inputs, targets, maps, steps=max(self.cfg.steps // 2, 4))
        gain = faithfulness.area_under(come) - faithfulness.area_under(gone)
        found = bootstrap.mean(gain, np.arange(len(gain)), resamples=self.cfg.bootstrap)
        return found["value"], found["low"], found["high"]

    @torch.no_grad()
    def cells(self, layer: str, inputs: torch.Tensor) -> tuple[int, int]:
        """Height and width of a layer's map."""
        at, seen = self.subject.at(layer), []
        handle = at.model.get_submodule(layer).register_forward_hook(lambda m, given, out: seen.append(at.grid(out)))
        try:
            at.model(inputs)
        finally:
            handle.remove()
        return tuple(seen[0].shape[2:])

    def make(
        self, method: str, squares: np.ndarray, targets: np.ndarray, *, seed: int = 0, subject: Subject | None = None,
        check: bool = True,
    ) -> Made:  # fmt: skip
        """Maps (n, img_size, img_size) of the classes `targets` (n,) on pictures (n, s, s, 3) uint8 by one method.

        Args:
            subject: another model of the same shape, such as one with random weights.
            check: refuse maps that are empty or not finite.
        """
        subject, cfg = subject or self.subject, self.cfg
        if method in CAMS:
            subject = subject.at(self.layers[method])
            made = Made(CAMS[method](subject, subject.inputs(squares), targets))
        elif method == "rollout":
            made = Made(cams.rollout(subject, subject.inputs(squares), targets))
        elif method == "shap":
            inputs = subject.inputs(squares)
            values = attributions.expected_gradients(
                subject, inputs, targets, self.background, samples=cfg.shap_samples, seed=seed
            )
            gap = attributions.completeness(subject, values, inputs, targets, self.background)
            made = Made(_smooth(values.sum(1)), gap)
        else:
            seen = subject.preprocess.evaluate(squares)
            made = Made(
                *attributions.lime(
                    subject, seen, targets, samples=cfg.lime_samples, segments=cfg.lime_segments, seed=seed
                )
            )
        if check and (bad := empty(made.maps)).any():
            layer = self.layers.get(method, "")
            raise ExplanationError(
                f"{TITLES[method]} of {bad.sum()} of {len(bad)} faces is empty or not finite, the first number "
                f"{bad.argmax()}{f'; target layer {layer}' if layer else ''}. Name another layer "
                f"({', '.join(candidates(subject.model))}) or leave the method out (methods)."
            )
        return made

    def make_all(self, squares: np.ndarray, targets: np.ndarray, *, seed: int = 0) -> dict[str, Made]:
        """Method -> maps. A method that has none for some face is refused from now on, and said to be."""
        made = {method: self.make(method, squares, targets, seed=seed, check=False) for method in self.methods}
        for method, one in list(made.items()):
            if (bad := empty(one.maps)).any():
                self._refuse(method, f"an empty map of {bad.sum()} of {len(bad)} faces")
                del made[method]
        return made

    def _refuse(self, method: str, why: str) -> None:
        if self.named and method in CAMS:
            raise ExplanationError(
                f"{TITLES[method]} gives {why}, and the layer {self.subject.layer} was named by hand. Stages: "
                f"{', '.join(candidates(self.subject.model))}; or leave {method!r} out (methods)."
            )
        self.refused[method] = why
        self.methods.remove(method)

    def judge(self, table: pd.DataFrame, pixels: Pixels) -> pd.DataFrame:
        """What the model says of the pictures of a table: `metrics.predictions`, with their groups."""
        rows, step = pixels.rows(table["path"]), self.cfg.batch_size
        parts = [pixels.take(rows[i : i + step]) for i in range(0, len(rows), step)]
        scores = torch.cat([self.subject.probabilities(self.subject.inputs(part)) for part in parts]).cpu().numpy()
        group = table["group"] if "group" in table else table["path"]
        return metrics.predictions(table["path"], table["label"], scores, self.subject.classes, group=group)

    def targets(self, names: Sequence[str]) -> np.ndarray:
        """Class indices (n,) of names."""
        return pd.Index(self.subject.classes).get_indexer(pd.Index(names)).astype(np.int64)


def _smooth(maps: np.ndarray) -> np.ndarray:
    width = SMOOTH * maps.shape[1]
    return np.stack([cv2.GaussianBlur(one, (0, 0), width) for one in maps.astype(np.float32)])


def made_by(notebooks: Mapping[str, str], run: str) -> list[Path]:
    """The checkpoints that notebooks (stem -> file) left in a run, or in an attached output of it.

    Raises:
        InputNotFound: all that are missing, and where they were looked for.
    """
    found, missing = [], []
    for stem, file in notebooks.items():
        try:
            found.append(paths.find_result(stem, file, run=run))
        except paths.InputNotFound as error:
            missing.append(str(error))
    if missing:
        raise paths.InputNotFound("\n".join([*missing, "Or name the checkpoints that you have in CHECKPOINTS."]))
    return found


def load(checkpoints: Sequence[str | Path], classes: Sequence[str], cfg: Any = None) -> dict[str, torch.nn.Module]:
    """Models by what they are called in figures: the backbone, and the checkpoint's folder where two are alike.

    Raises:
        ExplanationError: a model's training drew another golden set or split than `cfg` does, so that it may have been
            trained on the very faces that it is asked about.
    """
    loaded = [(Path(path), models.load(path, classes=classes)) for path in checkpoints]
    for path, model in loaded if cfg is not None else ():
        if apart := splits.apart(model.facts.get("config", {}), cfg):
            raise ExplanationError(
                f"{path} was trained with another split: {apart}. Give its settings in OVERRIDES, or name "
                "other CHECKPOINTS: what is explained must be faces that it has not seen."
            )
    names = [model.spec["backbone"] for _, model in loaded]
    return {
        name if names.count(name) == 1 else f"{name}_{path.parent.name}": model
        for name, (path, model) in zip(names, loaded, strict=True)
    }


def named_right(judged: Mapping[str, pd.DataFrame], each: int, seed: int) -> pd.DataFrame:
    """Up to `each` faces a class that every model names right: the same faces for all, in a fixed order."""
    right = [set(table.loc[table["label"] == table["predicted"], "path"]) for table in judged.values()]
    table = next(iter(judged.values()))
    common = table[table["path"].isin(set.intersection(*right))].sample(frac=1, random_state=seed)
    chosen = common.groupby("label").head(each).sort_values(["label", "path"], ignore_index=True)
    if chosen.empty:
        raise ExplanationError("no face is named right by all models: there is no decision to explain. Train longer.")
    return chosen[["path", "label", "group"]]

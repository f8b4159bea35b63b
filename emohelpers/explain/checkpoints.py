"""The models that are explained: checkpoints of this run, or of the user, that have not seen the golden faces."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from emohelpers import models
from emohelpers.config import paths
from emohelpers.datasets import leaks
from emohelpers.explain.classifier import ExplanationError


def of_notebooks(files: Mapping[str, str], run: str) -> list[Path]:
    """The checkpoints that notebooks (stem -> file) left in a run, or in an attached output of it."""
    return [paths.find_result(stem, file, run=run) for stem, file in files.items()]


def load(checkpoints: Sequence[str | Path], classes: Sequence[str], cfg: Any) -> dict[str, torch.nn.Module]:
    """Models by their names in figures: the backbone, and the checkpoint's folder where two are alike.

    Raises:
        ExplanationError: a model's training drew another golden set or split than `cfg` does, so that it may have been
            trained on the very faces that it is asked about.
    """
    files = [Path(checkpoint) for checkpoint in checkpoints]
    loaded = [models.load(file, classes=classes) for file in files]
    backbones = [model.spec["backbone"] for model in loaded]
    by_name = {}
    for file, model, backbone in zip(files, loaded, backbones, strict=True):
        if difference := leaks.apart(model.facts.get("config", {}), cfg):
            raise ExplanationError(
                f"{file} was trained with another split: {difference}. Give its settings in OVERRIDES, or name "
                "other CHECKPOINTS: what is explained must be faces that it has not seen."
            )
        name = backbone if backbones.count(backbone) == 1 else f"{backbone}_{file.parent.name}"
        by_name[name] = model
    return by_name

"""Which of two photographs do people prefer? A net that gives each a score, and the settings that it was trained by."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy import ndarray
from torch import nn
from torch.nn import Module

from emohelpers import config, models
from emohelpers.config import files
from emohelpers.datasets.text_files import read_yaml
from emohelpers.images.augment import Augmentation
from emohelpers.images.batches import Batches
from emohelpers.images.preprocess import Preprocess
from emohelpers.ranking import batches
from emohelpers.ranking.photographs import Photographs

SCORE = "score"  # the output of the net
OPINION = "opinion"  # and its auxiliary regression


def net(cfg: Any, photographs: Photographs) -> Module:
    """(B, 3, img_size, img_size) -> (B, 1) scores; (B, 2), with the opinion beside, where the training part has some.

    Backbone, a layer to 512, that embedding at length 1, and the outputs on it; seed 003 ends before them.
    """
    opinions = batches.opinions(photographs.part("train")).reshape(-1, 2)
    scored = np.isfinite(opinions).all(axis=1).any()
    model = models.build(cfg, [SCORE, OPINION] if scored and cfg.opinion_weight else [SCORE])
    model.spec["task"] = "score"  # no names of classes: `predict` refuses it, a model card speaks of pairs
    return model


def build(cfg: Any, photographs: Photographs, folder: Path) -> tuple[Module, dict[str, Batches]]:
    """The net of a config and the batches of each part; keeps `preprocess.yaml` and `train.yaml` in `folder`."""
    model = net(cfg, photographs)
    preprocess = models.preprocess(model, side=photographs.pixels.side, zoom=cfg.eval_zoom)
    write_settings(folder, cfg, preprocess)
    return model, batches.by_part(photographs, preprocess, cfg)


def scorer(model: Module) -> Module:
    """A copy that gives the score alone, (B, 1): what is exported."""
    alone = copy.deepcopy(model).eval()
    if model.spec["classes"] == [SCORE]:
        return alone
    head = alone.get_submodule(alone.pretrained_cfg["classifier"])
    last = head[-1]
    head[-1] = nn.Linear(last.in_features, 1)
    head[-1].load_state_dict({"weight": last.weight.detach()[:1], "bias": last.bias.detach()[:1]})
    alone.spec = {**model.spec, "classes": [SCORE]}
    return alone


def scores(model: Module, squares: ndarray) -> ndarray:
    """(n, side, side, 3) uint8 squares of the store -> (n,) scores, prepared as the model's spec says."""
    preprocess = models.prepared(model, squares.shape[1])
    return of_prepared(model, preprocess.evaluate(squares), preprocess)


def of_prepared(model: Module, pictures: ndarray, preprocess: Preprocess) -> ndarray:
    """(n, h, w, 3) uint8 as evaluation or augmentation cuts them -> (n,) scores."""
    device = next(model.parameters()).device
    model.eval()
    parts = []
    with torch.inference_mode():  # in fp32 on a card too: half precision would make ties of scores that are compared
        for part in torch.from_numpy(pictures).split(32):
            inputs = preprocess.enlarge(preprocess.normalise(part.to(device)))
            parts.append(model(inputs)[:, 0])
    return torch.cat(parts).float().cpu().numpy()


def stopping(cfg: Any, n_pairs: int) -> tuple[Any, str]:
    """The config with a stopping rule that `n_pairs` of validation can bear, and a sentence about it.

    Seed 003 stops when accuracy gains less than .5 % over five epochs. Below 200 pairs one pair is more than that; then
    the hinge loss, to which every pair adds something, decides.
    """
    if cfg.monitor == "val_accuracy" and n_pairs * cfg.min_delta < 1:
        share = f"{1 / n_pairs:.1%}"
        rule = f"{n_pairs} validation pairs: one is {share}, so the hinge loss decides, not {cfg.min_delta:.1%}"
        return config.with_settings(cfg, monitor="val_loss", min_delta=0.0), rule
    return cfg, f"{n_pairs} validation pairs: {cfg.monitor} decides, gains below {cfg.min_delta:.1%} do not count"


def write_settings(folder: Path, cfg: Any, preprocess: Preprocess) -> None:
    """`preprocess.yaml` and `train.yaml`: what a later training or another program needs to do the same."""
    augmentation = dataclasses.asdict(Augmentation.of(cfg))
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in augmentation.items()}
    steps = {
        "decode": {"colour": "sRGB", "square": "centre", "side_px": preprocess.side},
        "evaluate": {"resize_px": round(preprocess.img_size * preprocess.zoom), "centre_crop_px": preprocess.img_size},
        "normalise": {"mean": list(preprocess.mean), "std": list(preprocess.std)},
        "augment": {"sides": cfg.augmented, **plain},
    }
    settings = cfg.model_dump(mode="json")
    files.write_text(folder / "preprocess.yaml", yaml.safe_dump(steps, sort_keys=False))
    files.write_text(folder / "train.yaml", yaml.safe_dump(settings, sort_keys=False))


def read_settings(path: str | Path) -> dict[str, Any]:
    """The values of a `train.yaml`, for `config.make`."""
    values = read_yaml(path)
    if not isinstance(values, dict) or "preset" not in values:
        raise config.ConfigError(f"{path} is no train.yaml of this suite: it has no settings with a preset")
    return values

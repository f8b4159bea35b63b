"""Which of two photographs do people prefer? A net that gives each a score, trained on pairs by a hinge loss."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from emohelpers import config, models, train
from emohelpers.config import files
from emohelpers.datasets.pairs import Pairs
from emohelpers.datasets.pixels import Pixels
from emohelpers.images import render
from emohelpers.images.augment import Augmentation, Draws
from emohelpers.images.batches import Batches, Job
from emohelpers.images.preprocess import Preprocess
from emohelpers.models import devices

SCORE, OPINION = "score", "opinion"  # outputs of the net; the second is the auxiliary regression


def build(cfg, data: Pairs) -> nn.Module:
    """(B, 3, img_size, img_size) -> (B, 1) scores; (B, 2), with the opinion beside, where the training part has some.

    Backbone, a layer to 512, that embedding at length 1, and the outputs on it; seed 003 ends before them.
    """
    scored = data.part("train")[["good_score", "bad_score"]].notna().all(axis=1).any()
    model = models.build(cfg, [SCORE, OPINION] if scored and cfg.opinion_weight else [SCORE])
    model.spec["task"] = "score"  # no names of classes: `predict` refuses it, a model card speaks of pairs
    return model


def scorer(model: nn.Module) -> nn.Module:
    """A copy that gives the score alone, (B, 1): what is exported."""
    if model.spec["classes"] == [SCORE]:
        return model
    alone = copy.deepcopy(model)
    head = alone.get_submodule(alone.pretrained_cfg["classifier"])
    last = head[-1]
    head[-1] = nn.Linear(last.in_features, 1)
    head[-1].load_state_dict({"weight": last.weight.detach()[:1], "bias": last.bias.detach()[:1]})
    alone.spec = {**model.spec, "classes": [SCORE]}
    return alone.eval()


class PairBatches(Batches):
    """Batches of whole pairs, rows in the order good, bad, good, bad ...

    With `augmented` "both" the two sides of a pair get the same draw, so that what differs between them is what people
    judged; with "good" the bad side is only cut to size, as seed 003 has it.
    """

    def __init__(self, *arguments, augmented: str = "both", **options):
        super().__init__(*arguments, **options)
        self.augmented = augmented

    def digest(self) -> str:
        return config.digest(super().digest(), self.augmented)

    def plan(self, epoch: int) -> list[Job]:
        """Of each batch of this process the positions, pair by pair, and the random numbers of its pictures."""
        n, size = len(self.rows) // 2, self.batch_size // 2
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(n)
        first = self.augmentation.at(epoch).draw(n, rng)
        second = first if self.augmented == "both" else still(n, self.preprocess)
        made = []
        for start in range(0, len(self) * size, size):
            chosen = np.array_split(order[start : start + size], self.world)[self.rank]
            at = np.stack([2 * chosen, 2 * chosen + 1], 1).ravel()
            made.append(Job(at, _woven(first[chosen], second[chosen])))
        return made


def still(n: int, preprocess: Preprocess) -> Draws:
    """No augmentation of `n` pictures: the centre, as evaluation cuts it."""
    share = 1 / preprocess.zoom
    warp = np.zeros((n, 2, 3), np.float32)
    warp[:, 0, 0] = warp[:, 1, 1] = share
    return Draws(warp, np.ones((n, 3), np.float32), np.zeros((n, 4), np.float32))


def _woven(good: Draws, bad: Draws) -> Draws:
    def weave(name: str) -> np.ndarray:
        one, other = getattr(good, name), getattr(bad, name)
        return np.stack([one, other], 1).reshape(-1, *one.shape[1:])

    return Draws(*(weave(field.name) for field in dataclasses.fields(Draws)))


def batches(data: Pairs, pixels: Pixels, preprocess: Preprocess, cfg) -> dict[str, Batches]:
    """Batches of "train" (augmented, shuffled by pair), "val" and "test" (as they are)."""
    known = data.part("train")[["good_score", "bad_score"]].to_numpy(float).ravel()
    known = known[np.isfinite(known)]
    centre, spread = (known.mean(), max(known.std(), 1e-6)) if len(known) else (0.0, 1.0)
    made: dict[str, Batches] = {}
    for part in ("train", "val", "test"):
        rows = data.part(part)
        files_ = rows[["good", "bad"]].to_numpy().ravel()
        opinions = (rows[["good_score", "bad_score"]].to_numpy(float).ravel() - centre) / spread
        options = {"batch_size": cfg.batch_size, "seed": cfg.seed}
        given = (pixels, pixels.rows(files_), opinions.astype(np.float32), preprocess)
        if part == "train":
            look = Augmentation.of(cfg)
            made[part] = PairBatches(*given, augmentation=look, augmented=cfg.augmented, **options)
        else:
            made[part] = Batches(*given, **options)
    return made


def stopping(cfg, n_pairs: int) -> tuple[object, str]:
    """The config with a stopping rule that `n_pairs` of validation can bear, and a sentence about it.

    Seed 003 stops when accuracy gains less than .5 % over five epochs. Below 200 pairs one pair is more than that; then
    the hinge loss, to which every pair adds something, decides.
    """
    if cfg.monitor == "val_accuracy" and n_pairs * cfg.min_delta < 1:
        told = (
            f"{n_pairs} validation pairs: one is {1 / n_pairs:.1%}, so the hinge loss decides, not {cfg.min_delta:.1%}"
        )
        return config.with_settings(cfg, monitor="val_loss", min_delta=0.0), told
    return cfg, f"{n_pairs} validation pairs: {cfg.monitor} decides, gains below {cfg.min_delta:.1%} do not count"


def scored(model: nn.Module, data: Pairs, part: str, pixels: Pixels, preprocess: Preprocess) -> pd.DataFrame:
    """The pairs of a part with what the model says: `score_good`, `score_bad`, see `concordance`."""
    rows = data.part(part)
    names = pd.unique(rows[["good", "bad"]].to_numpy().ravel())
    at = pixels.rows(names)
    first = {pixels.sha256[row]: row for row in reversed(at)}  # each content once
    unique = np.array(sorted(first.values()))
    whole = Batches(pixels, unique, np.zeros(len(unique)), preprocess, batch_size=32)
    outputs, _ = train.evaluate(model, whole)
    score = dict(zip((pixels.sha256[row] for row in unique), outputs[:, 0].astype(float), strict=True))
    of = {name: score[pixels.sha256[row]] for name, row in zip(names, at, strict=True)}
    return rows.assign(score_good=rows["good"].map(of), score_bad=rows["bad"].map(of))


def original(cfg) -> Augmentation:
    """Seed 003's augmentation: flip .5, brightness and contrast +-10 %, rotation +-5 degrees; the rest as in `cfg`."""
    return dataclasses.replace(Augmentation.of(cfg), flip=0.5, brightness=0.1, contrast=0.1, rotation=5.0)


def tempted(model: nn.Module, training: PairBatches, cfg, augmented: str) -> nn.Module:
    """A copy that goes on training on pairs of a good picture with itself, augmented (`original`) as said.

    There is no appeal to learn in them, so whatever it prefers after `cfg.shortcut_epochs` passes is the augmentation.
    """
    device = devices.device()
    twice, copied = copy.copy(training.on(device)), copy.deepcopy(model).to(device).train()
    twice.rows, twice.augmented, twice._resident = np.repeat(training.rows[0::2], 2), augmented, None
    twice.augmentation = original(cfg)
    objective = train.Preference(margin=cfg.margin, opinion_weight=0.0)
    # Of equal sides the gradient is rounding noise, which Adam's usual eps of 1e-8 would blow up to full steps.
    mover = torch.optim.AdamW(copied.parameters(), lr=cfg.lr, weight_decay=0.0, eps=1e-5)
    for epoch in range(cfg.shortcut_epochs):
        for inputs, targets, _ in twice.epoch(epoch):
            mover.zero_grad()
            objective.loss(copied(inputs), targets).backward()
            mover.step()
    return copied.eval()


def shortcut(
    model: nn.Module, squares: np.ndarray, preprocess: Preprocess, look: Augmentation, seed: int
) -> np.ndarray:
    """(n,) whether the model prefers an augmented picture to the very same one left alone.

    A judge of photographs should have no reason to; one that was trained with augmentation of the good side only has.
    """
    n = len(squares)
    draws = look.draw(n, np.random.default_rng([seed, 31]))
    plain, changed = (render.on_cpu(squares, how, preprocess) for how in (still(n, preprocess), draws))
    return _scores(model, changed, preprocess) > _scores(model, plain, preprocess)


def scores(model: nn.Module, squares: np.ndarray) -> np.ndarray:
    """(n, side, side, 3) uint8 squares of the store -> (n,) scores, prepared as the model's spec says."""
    prepared = models.prepared(model, squares.shape[1])
    return _scores(model, prepared.evaluate(squares), prepared)


def _scores(model: nn.Module, pictures: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        parts = torch.from_numpy(pictures).split(32)
        made = [model(preprocess.enlarge(preprocess.normalise(part.to(device))))[:, 0] for part in parts]
    return torch.cat(made).float().cpu().numpy()


def write_settings(folder: str | Path, cfg, preprocess: Preprocess) -> list[Path]:
    """`preprocess.yaml` and `train.yaml`: what a later training or another program needs to do the same."""
    steps = {
        "decode": {"colour": "sRGB", "square": "centre", "side_px": preprocess.side},
        "evaluate": {"resize_px": round(preprocess.img_size * preprocess.zoom), "centre_crop_px": preprocess.img_size},
        "normalise": {"mean": list(preprocess.mean), "std": list(preprocess.std)},
        "augment": {"sides": cfg.augmented, **_plain(dataclasses.asdict(Augmentation.of(cfg)))},
    }
    made = []
    for name, content in (("preprocess.yaml", steps), ("train.yaml", cfg.model_dump(mode="json"))):
        made.append(files.write_text(Path(folder) / name, yaml.safe_dump(content, sort_keys=False)))
    return made


def _plain(values: dict) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def read_settings(path: str | Path) -> dict[str, Any]:
    """The values of a `train.yaml`, for `config.make`."""
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict) or "preset" not in values:
        raise config.ConfigError(f"{path} is no train.yaml of this suite: it has no settings with a preset")
    return values

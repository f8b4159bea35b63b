"""Training behind frozen layers: their activations, kept in a file that is mapped into memory, if that pays.

What frozen layers make of a picture stays the same while the others learn. So it is computed once for each of a few
augmented views (see `views`), and later passes go through the other layers alone. `prepare` decides by counted
operations and free space, says what it decided, and the training goes on either way.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import psutil
import timm
import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.flop_counter import FlopCounterMode

from emohelpers import config
from emohelpers.images.batches import Batches, Job
from emohelpers.models import class_token, cut, devices
from emohelpers.models.freeze import depth, freeze, moving
from emohelpers.models.trial import examined
from emohelpers.models.views import Shelf, Views

PAYS = 1.2  # times less work over the whole training, from which cache="auto" takes the cache
FEWEST = 2  # views that cache="auto" accepts
BACKWARD = 2  # times the operations of the forward pass
OF_DISK = 0.95  # of the free disk may be taken
OF_MEMORY = 0.7  # of the free memory: a mapped file of that size stays in the system's page cache
LARGEST = 65504 / 8  # number that is kept in fp16, with a margin for pictures that were not looked at


class NotKept(Exception):
    """Why activations are not kept."""


@dataclass(frozen=True)
class Plan:
    """What was decided, and why; `print` it."""

    cached: bool
    reason: str
    class_token: bool = False  # the last block computes the class token alone
    views: int = 0
    gigabytes: float = 0.0
    gflop: tuple[float, float] = (0.0, 0.0)  # of one training picture: with the trunk, without

    def __str__(self) -> str:
        token = "The last block computes the class token alone, with the same result. " if self.class_token else ""
        return token + self.reason


def prepare(model: Module, parts: dict[str, Batches], cfg, folder: Path) -> tuple[dict[str, Batches], Plan]:
    """`parts` with "train" and "val" on kept activations where that is possible and pays, and what was decided.

    `model` stays the whole model, for checkpoints, evaluation and pictures, and from now on takes activations too.
    Nothing is computed here: the first passes do.

    Args:
        cfg: the config's fields; `cache` and those that begin with it say what is wanted.
        folder: scratch space; caches of earlier settings in it are removed.
    """
    two = Job(np.arange(min(2, len(parts["val"].rows))), None)
    here = next(model.parameters()).device  # a card, where the model was trained before
    example = next(parts["val"].on(here).load([two]))[0]
    # This comes first: it changes the operations by which `_keep` decides whether a cache pays.
    alone = class_token.read_alone(model, example)
    try:
        kept_parts, plan = _keep(model, parts, cfg, folder, example)
    except NotKept as refusal:
        return parts, Plan(False, f"Every epoch computes the whole model: {refusal}.", alone)
    return {**parts, **kept_parts}, replace(plan, class_token=alone)


def _keep(model: Module, parts: dict[str, Batches], cfg, folder: Path, example: Tensor):
    _refuse_recipe(cfg)
    trunk, weights = _trunk(model, cfg, example)

    # Does it pay?
    gflop = _gflop(model, trunk, example)
    gain = _gain(gflop, cfg)
    if cfg.cache == "auto" and gain < PAYS:
        raise NotKept(f"keeping activations would save little (cache='auto': {gain:.2f} times less work)")

    # How many views fit, as what?
    precision = devices.precision(cfg.precision)
    with torch.no_grad():
        largest = cut.activations(model, trunk, example).abs().max()
    dtype = torch.float16 if precision in devices.HALF and largest < LARGEST else torch.float32
    width = prod(trunk.shape) * dtype.itemsize  # bytes of a picture
    pictures = {part: len(parts[part].rows) for part in ("train", "val")}
    views, free = _views_that_fit(pictures, width, cfg, folder)
    gigabytes = _gigabytes(pictures, views, width)

    # The folder's name says all that decides an activation.
    content = [parts[part].digest() for part in pictures]
    programs = [torch.__version__, timm.__version__]
    kind = [trunk.links, trunk.shape, precision, devices.device().type, str(dtype), views]
    key = config.digest(weights, content, programs, kind)
    home = folder / f"frozen-{key}"
    # Earlier caches go before the files are made: `_free` counted their room as free.
    for earlier in set(folder.glob("frozen-*")) - {home}:
        shutil.rmtree(earlier, ignore_errors=True)
    # Validation pictures are not augmented, so one view is all they have.
    views_of = {"train": views, "val": 1}
    kept_parts = {}
    for part, n in views_of.items():
        try:
            shelf = Shelf(home / f"{part}.rows", n * pictures[part], trunk.shape, dtype)
        except OSError as error:  # a quota, or another process was quicker
            raise NotKept(f"there is no room for {gigabytes:.2f} GB of activations: {error}") from error
        kept_parts[part] = Views(parts[part], model, shelf, n, key, precision, cfg)
    cut.enter(model, trunk)

    # What was decided, in words.
    plural = "view" if views == 1 else "views"
    wish = f" (wished: {cfg.cache_views})" if views < cfg.cache_views else ""
    mixed = "MixUp mixes activations. " if getattr(cfg, "mixup", 0) else ""
    whole, tail = gflop
    reason = (
        f"Frozen up to {trunk.links[-1]}: activations {trunk.shape} of {pictures['train']} pictures are kept as "
        f"{str(dtype).removeprefix('torch.')} in {views} augmented {plural}{wish}, {gigabytes:.2f} GB in a file mapped "
        f"into memory; free were {free}. {mixed}A training picture costs {whole:.3g} GFLOP in epochs 1 to {views}, "
        f"then {tail:.3g}: {gain:.1f} times less over {cfg.epochs} epochs (cache='off': every epoch draws new views)."
    )
    return kept_parts, Plan(True, reason, views=views, gigabytes=gigabytes, gflop=gflop)


def _views_that_fit(pictures: dict[str, int], width: int, cfg, folder: Path) -> tuple[int, str]:
    """How many views of `width` bytes a picture are kept, and what is free, in words."""
    memory, disk = _free(folder)
    free = f"{memory / 1e9:.1f} GB of memory, {disk / 1e9:.1f} GB of disk"
    room = min(OF_MEMORY * memory, OF_DISK * disk) - pictures["val"] * width
    views = min(cfg.cache_views, int(room // (pictures["train"] * width)))
    fewest = min(FEWEST, cfg.cache_views) if cfg.cache == "auto" else 1
    if views < fewest:
        least = _gigabytes(pictures, fewest, width)
        raise NotKept(f"activations take {least:.2f} GB at least, and free are {free}")
    return views, free


def _gigabytes(pictures: dict[str, int], views: int, width: int) -> float:
    return (views * pictures["train"] + pictures["val"]) * width / 1e9


def _refuse_recipe(cfg) -> None:
    """Refuses a recipe that cannot be trained on kept activations."""
    has = partial(getattr, cfg)  # a recipe without classes has none of these settings
    obstacles = {
        "cache='off'": cfg.cache == "off",
        "nothing is frozen in all epochs (trainable, unfreeze)": "all" in (cfg.trainable, *cfg.unfreeze.values()),
        "cutmix cuts rectangles out of pictures, and activations are none": has("cutmix", 0) > 0,
        "sampler_power draws a picture several times a pass, each time augmented anew": has("sampler_power", 0) > 0,
        "the augmentation changes with the epochs (strength)": any(epoch > 0 for epoch in has("strength", ())),
        "the teacher must see the pictures": bool(has("teacher", "")),
        "mixup mixes pictures, and mixing activations is another recipe: cache='on' takes it": (
            has("mixup", 0) > 0 and cfg.cache != "on"
        ),
    }
    for reason, holds in obstacles.items():
        if holds:
            raise NotKept(reason)


def _trunk(model: Module, cfg, example: Tensor) -> tuple[cut.Cut, str]:
    """Where the layers end that no stage of the training trains, and a digest of their weights."""
    # The stage that trains most decides: what any epoch changes cannot be kept.
    freeze(model, max(depth(model, stage) for stage in (cfg.trainable, *cfg.unfreeze.values())))
    trunk = cut.deepest(model, example)
    trained = moving(model)
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name not in trained:
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    # Back to what the first epoch trains.
    freeze(model, cfg.trainable)
    if trunk is None:
        raise NotKept("behind the frozen layers there is no place where it can be entered")
    return trunk, digest.hexdigest()


def _gflop(model: Module, trunk: cut.Cut, example: Tensor) -> tuple[float, float]:
    """GFLOP of one training picture: with the trunk, without."""
    whole = operations(model, example)
    cut.enter(model, trunk)
    with torch.no_grad():
        inner = cut.activations(model, trunk, example)
    tail = operations(model, inner.view(-1, *trunk.form))
    cut.leave(model)
    # Frozen layers have no backward pass: the trunk costs its forward pass alone.
    return (whole + BACKWARD * tail) / 1e9, (1 + BACKWARD) * tail / 1e9


def operations(model: Module, inputs: Tensor) -> float:
    """Floating-point operations of one forward pass of one sample of `inputs` (n, ...), by torch's own count."""
    with examined(model), FlopCounterMode(display=False) as counter:
        model(inputs[:1])
    return counter.get_total_flops()


def _gain(gflop: tuple[float, float], cfg) -> float:
    """How many times less work all epochs are with the wished views."""
    whole, tail = gflop
    # The whole model computes each view once, in the pass that shows it first.
    filling = min(cfg.cache_views, cfg.epochs)
    return cfg.epochs * whole / (filling * whole + (cfg.epochs - filling) * tail)


def _free(folder: Path) -> tuple[int, int]:
    """Free bytes of memory and disk; what `folder` holds counts as free, since it is used again or removed."""
    parent = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    earlier = 0
    # st_blocks counts 512 bytes on every file system; Windows does not have it.
    if os.name == "posix":
        earlier = sum(file.stat().st_blocks * 512 for file in folder.rglob("*.rows"))
    return psutil.virtual_memory().available, shutil.disk_usage(parent).free + earlier

"""Training behind frozen layers: whether their activations are kept, as what, and where; it pays or is left out.

`prepare` decides by counted operations and free space, says what it decided, and the training goes on either way.
"""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from emohelpers import config
from emohelpers.images.batches import Batches, Job
from emohelpers.models import class_token, devices, factory
from emohelpers.models.cache import memory, storage
from emohelpers.models.cache.views import Views

PAYS = 1.2  # times less work over the whole training, from which cache="auto" takes the cache
FEWEST = 2  # views that cache="auto" accepts
BACKWARD = 2  # times the operations of the forward pass


@dataclass(frozen=True)
class Plan:
    """What was decided, and why; `print` it."""

    cached: bool
    reason: str
    class_token: bool  # the last block computes the class token alone
    views: int = 0
    kind: str = ""  # fp32, fp16 or int8
    place: str = ""
    gigabytes: float = 0.0
    gflop: tuple[float, float] = (0.0, 0.0)  # of one training picture: with the trunk, without

    def __str__(self) -> str:
        token = "The last block computes the class token alone, with the same result. " if self.class_token else ""
        return token + self.reason


def prepare(
    model: nn.Module, parts: dict[str, Batches], cfg, folder: Path, *, room: storage.Room | None = None
) -> tuple[dict[str, Batches], Plan]:
    """`parts` with "train" and "val" on kept activations where that is possible and pays, and what was decided.

    `model` stays the whole model, for checkpoints, evaluation and pictures, and from now on takes activations too
    (`trunk.restore` undoes it). Nothing is computed here: the first passes do.

    Args:
        cfg: the `config.Training` fields; `cache` and those that begin with it say what is wanted.
        folder: scratch space; caches of earlier settings in it are removed.
        room: what is free; measured if not given.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    example = next(parts["val"].load([Job(np.arange(min(2, len(parts["val"].rows))), None)]))[0]
    alone = class_token.read_alone(model, example)

    def without(reason: str) -> tuple[dict[str, Batches], Plan]:
        return parts, Plan(False, f"Every epoch computes the whole model: {reason}.", alone)

    if reason := _obstacle(cfg):
        return without(reason)
    _freeze_deepest(model, cfg)
    where = memory.cut(model, example)
    still = {name: value for name, value in model.state_dict().items() if name not in factory.moving(model)}
    factory.freeze(model, cfg.trainable)
    if where is None:
        return without("behind the frozen layers there is no place where it can be entered")
    gflop, gain = _cost(model, where, example, cfg)
    if cfg.cache == "auto" and gain < PAYS:
        return without(f"keeping activations would save little (cache='auto': {gain:.2f} times less work)")
    with torch.no_grad():
        inner = memory.activations(model, where, example)
    kinds = [cfg.cache_kind] if cfg.cache_kind != "auto" else ["fp16", "int8"]
    kinds = [kind for kind in kinds if kind != "fp16" or inner.abs().max() < storage.FP16]
    room = room or storage.Room.measured(folder, device)
    counts = {part: len(parts[part].rows) for part in ("train", "val")}
    precision, failures = devices.precision(cfg.precision), []
    about = [_weights(still), where.links, where.shape, precision, device.type]
    about += [parts[part].digest() for part in counts] + [torch.__version__, timm.__version__]
    for views, kind, place, size in _choices(cfg, counts, where.shape, kinds, room):
        key = config.digest(about, views, kind)
        try:
            shelves = _shelves(folder, key, counts, views, storage.width(where.shape, kind), place, device)
        except (OSError, torch.OutOfMemoryError) as error:  # a quota, or another process was quicker
            failures.append(f"{size / 1e9:.2f} GB, {place}: {error}")
            continue
        memory.enter(model, where)
        made = {
            part: Views(parts[part], model, shelf, kind, views if part == "train" else 1, key, precision, cfg)
            for part, shelf in shelves.items()
        }
        told = _told(where, counts, views, kind, place, size, gflop, gain, cfg, room, failures)
        return parts | made, Plan(True, told, alone, views, kind, place, size / 1e9, gflop)
    least = min(_size(counts, where.shape, 1, kind) for kind in kinds) / 1e9 if kinds else float("inf")
    return without(
        f"one view's activations take {least:.2f} GB at least, and free are {_free(room)}"
        + "".join(f"; tried {failure}" for failure in failures)
    )


def _obstacle(cfg) -> str:
    """Why a recipe cannot be trained on kept activations, or ""."""
    has = partial(getattr, cfg)  # a recipe without classes has none of these settings
    why = {
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
    return next((reason for reason, holds in why.items() if holds), "")


def _freeze_deepest(model: nn.Module, cfg) -> None:
    """Freezes what no stage of the training trains."""
    factory.freeze(model, max(factory.depth(model, stage) for stage in (cfg.trainable, *cfg.unfreeze.values())))


def _cost(model: nn.Module, where: memory.Cut, example: torch.Tensor, cfg) -> tuple[tuple[float, float], float]:
    """GFLOP of a training picture with the trunk and without, and the work saved over all epochs."""
    whole = memory.operations(model, example) / 1e9
    memory.enter(model, where)
    with torch.no_grad():
        inner = memory.activations(model, where, example)
    tail = memory.operations(model, inner.view(-1, *where.form)) / 1e9
    memory.leave(model)
    first, later = whole + BACKWARD * tail, (1 + BACKWARD) * tail
    filling = min(cfg.cache_views, cfg.epochs)
    return (first, later), cfg.epochs * first / (filling * first + (cfg.epochs - filling) * later)


def _size(counts: dict[str, int], shape: tuple[int, ...], views: int, kind: str) -> int:
    return (views * counts["train"] + counts["val"]) * storage.width(shape, kind)


def _choices(cfg, counts, shape, kinds, room) -> Iterator[tuple[int, str, str, int]]:
    """Views, kind, place and bytes that fit, the best first: views, then places that are quick, then exactness."""
    for views in range(cfg.cache_views, min(FEWEST if cfg.cache == "auto" else 1, cfg.cache_views) - 1, -1):
        sized = [(kind, _size(counts, shape, views, kind)) for kind in kinds]
        fits = [(place, kind, size) for kind, size in sized for place in room.places(size)]
        for place, kind, size in sorted(fits, key=lambda fit: "slow" in fit[0]):
            yield views, kind, place, size


def _shelves(folder: Path, key: str, counts, views: int, size: int, place: str, device) -> dict[str, storage.Shelf]:
    home = folder / f"frozen-{key}"
    for old in {*folder.glob("frozen-*")} - {home}:
        shutil.rmtree(old, ignore_errors=True)
    where = {"device": device if place == "card" else torch.device("cpu")}
    made = {}
    for part, count in counts.items():
        file = home / f"{part}.rows" if place.startswith("disk") else None
        made[part] = storage.Shelf(count * (views if part == "train" else 1), size, file=file, **where)
    return made


def _weights(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _free(room: storage.Room) -> str:
    card = f"{room.card / 1e9:.1f} GB of the card, " if room.card else ""
    return f"{card}{room.memory / 1e9:.1f} GB of memory, {room.disk / 1e9:.1f} GB of disk"


def _told(where, counts, views, kind, place, size, gflop, gain, cfg, room, failures) -> str:
    shown = "1 augmented view" if views == 1 else f"{views} augmented views"
    shown += f" (wished: {cfg.cache_views})" if views < cfg.cache_views else ""
    held = {"card": "of the card's memory", "memory": "of memory"}.get(place, f"in a file mapped into memory ({place})")
    tried = "".join(f"No room: {failure}. " for failure in failures)
    mixed = "MixUp mixes activations. " if getattr(cfg, "mixup", 0) else ""
    return (
        f"{tried}Frozen up to {where.links[-1]}: activations {where.shape} of {counts['train']} pictures are kept as "
        f"{kind} in {shown}, {size / 1e9:.2f} GB {held}; free were {_free(room)}. {mixed}"
        f"A training picture costs {gflop[0]:.3g} GFLOP in epochs 1 to {views}, then {gflop[1]:.3g}: {gain:.1f} times "
        f"less over {cfg.epochs} epochs (cache='off': every epoch draws new views)."
    )

"""A ViT-B/16 at 224 pixels with its last two blocks trained: kept activations against computing the trunk anew.

python benchmarks/frozen_trunk.py [--backbone NAME] [--img_size N] [--rounds N] [--batch N]

All contenders are `train.fit`'s own pass (forward, loss, backward, clip, AdamW) over the same pictures with the same
augmentation. "cached" has its views on the shelf: what every pass costs after the first `cache_views` ones, which fill
it at the price of "recompute". Weights are random: they do not decide the speed. CPU time, interleaved rounds.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rounds import race, ratio, report

from emohelpers import config, models
from emohelpers.config.faces import Baseline
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.datasets.pixels import Pixels
from emohelpers.images import batches
from emohelpers.images.augment import Augmentation
from emohelpers.models import cache, devices
from emohelpers.train import objectives
from emohelpers.train.loop import Trainer


def pictures(n: int, side: int) -> Pixels:
    """Noise: what is in a picture does not decide the speed."""
    array = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
    names = [str(i) for i in range(n)]
    return Pixels(names, array, names, np.zeros((n, 256), np.float32))


def contender(args, mode: str, class_token: bool, folder: Path) -> tuple[Trainer, cache.Plan | None]:
    """A run of `train.fit` that stands at the beginning of its first epoch."""
    cfg = config.make(
        Baseline, "full", backbone=args.backbone, img_size=args.img_size, batch_size=args.batch, cache=mode,
        cache_views=1, trainable=args.trainable,
    )  # fmt: skip
    free = cfg.model_copy(update={"weights": "random", "trainable": "all"})  # `build` refuses to freeze a random trunk
    model = models.build(free, EMOTIONS)
    models.freeze(model, cfg.trainable)
    prepared = models.preprocess(model, side=96, zoom=1.0)
    store, labels = pictures(args.batch, 96), np.arange(args.batch) % len(EMOTIONS)
    options = {"batch_size": args.batch, "seed": 0}
    rows, look = np.arange(args.batch), Augmentation.of(cfg)
    parts = {
        "train": batches.Batches(store, rows, labels, prepared, augmentation=look, **options),
        "val": batches.Batches(store, rows[:2], labels[:2], prepared, **options),
    }
    plan = None
    if mode == "on" or class_token:
        parts, plan = cache.prepare(model, parts, cfg, folder / "cache")
    if not class_token:
        block = model.blocks[-1] if hasattr(model, "blocks") else model
        vars(block).pop("forward", None) if block is not model else None
    objective = objectives.Classification(EMOTIONS)
    run = Trainer(model, parts["train"], parts["val"], objective, cfg, folder, folder / "m.pth", quiet=True)
    run._enter(0)
    return run, plan


def main(args) -> None:
    torch.set_num_threads(args.threads)
    home, runs = Path(tempfile.mkdtemp()), {}
    kinds = {
        "recompute": ("off", False), "recompute + class token": ("off", True), "cached": ("on", False),
        "cached + class token": ("on", True),
    }  # fmt: skip
    for name, (mode, token) in kinds.items():
        runs[name], plan = contender(args, mode, token, home / name.replace(" ", "_"))
        if mode == "on":
            print(name, "-", plan)

    def passing(run: Trainer):
        def once() -> int:
            for _ in range(args.passes):
                run._pass(0)
            return args.passes * args.batch

        return once

    started = time.monotonic()
    taken = race({name: passing(run) for name, run in runs.items()}, rounds=args.rounds)
    ratios = {f"{name} over recompute": ratio(taken, name, "recompute") for name in list(kinds)[1:]}
    report(f"frozen_trunk_{args.backbone}", taken, ratios, "picture")
    print(f"{time.monotonic() - started:.0f} s, peak memory {devices.peak_memory_gb():.1f} GB, {args.threads} threads")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--img_size", type=int, default=224)
    parser.add_argument("--trainable", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    main(parser.parse_args())

"""A small training as a script, for tests that kill it or start it twice: training_job.py FOLDER [key=value ...]"""

import atexit
import json
import sys
from pathlib import Path

import numpy as np
import pictures
import torch

from emohelpers import config, models, train
from emohelpers.config.faces import Baseline
from emohelpers.datasets import pixels as store
from emohelpers.images import batches
from emohelpers.images.augment import Augmentation
from emohelpers.train import losses, objectives

HARD = {  # everything that has state: averages, momentum, schedule, dropout, mixing, stages
    "weights": "random", "backbone": "test_vit", "trainable": "all", "img_size": 32, "epochs": 6, "batch_size": 16,
    "lr": 1e-3, "ema": 0.99, "mixup": 0.4, "cutmix": 1.0, "mix_probability": 0.5, "schedule": "onecycle",
    "class_weight_power": 0.5, "patience": 0,
}  # fmt: skip


def job(folder: Path, *, each: int = 16, **values):
    """Model, training and validation batches, objective and config of the small training; `each` pictures a class."""
    cfg = config.make(Baseline, "demo", **{**HARD, **values})
    made = (folder / "in").is_dir()  # two processes must not both write
    data = (pictures.known if made else pictures.write)(folder / "in", each=each)
    pixels = store.build(data, 32, folder / "cache")
    model = models.build(cfg, data.classes)
    prepared = models.preprocess(model, side=32, zoom=cfg.eval_zoom)
    labels = np.array([data.classes.index(name) for name in data.table["label"]])
    rows = np.arange(len(labels))
    held = rows % 4 == 3
    options = {"batch_size": cfg.batch_size, "seed": cfg.seed}
    training = batches.Batches(
        pixels, rows[~held], labels[~held], prepared, augmentation=Augmentation.of(cfg), **options
    )
    validation = batches.Batches(pixels, rows[held], labels[held], prepared, **options)
    objective = objectives.Classification(
        data.classes, each=losses.cross_entropy(cfg, np.ones(8)), mixup=cfg.mixup, cutmix=cfg.cutmix,
        mix_probability=cfg.mix_probability,
    )  # fmt: skip
    return model, training, validation, objective, cfg


def threads(name: str) -> int:
    """Threads of this process whose name holds `name`."""
    return sum(name in place.read_text() for place in Path("/proc/self/task").glob("*/comm"))


if __name__ == "__main__":
    # in one write, or the lines of two processes run into each other
    atexit.register(lambda: sys.stdout.write(f"threads of gloo left at the end: {threads('gloo')}\n"))
    torch.set_num_threads(1)
    home = Path(sys.argv[1])
    values = {k: json.loads(v) for k, v in (a.split("=", 1) for a in sys.argv[2:])}
    parts = job(home, **values)
    print("start", flush=True)
    done = train.fit(*parts, home / "out", name="best.pth")
    print("done", done.status, len(done.history), flush=True)

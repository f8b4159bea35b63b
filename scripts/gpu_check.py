"""What this machine's cards do, in about five minutes, as a block to paste into an issue: gpu_check.py [--small]

The card's figures beside the CPU's, half precision, pictures a second, memory, the forecast, two cards where there are.
`--small` takes the demo's small net and few pictures. Nothing is downloaded; the pictures are drawn.
"""

import contextlib
import gc
import io
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from emohelpers import config, train
from emohelpers.config.faces import Baseline
from emohelpers.models import devices
from emohelpers.train import study

FULL = {"backbone": "vit_base_patch16_224", "weights": "random", "img_size": 224, "trainable": "all", "batch_size": 32}
SMALL = {"trainable": 2, "batch_size": 32}
CLOSE = {"no": 1e-3, "fp16": 0.05, "bf16": 0.3}  # largest difference of a logit from the CPU's


def line(name: str, text: str) -> None:
    print(f"{name:<12} {text}", flush=True)


def machine() -> None:
    card = torch.cuda.get_device_properties(0)
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    line("card", f"{names}; compute {card.major}.{card.minor}; {card.total_memory / 1e9:.1f} GB")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "accelerate", "numpy"))
    line("versions", f"Python {platform.python_version()}, {packages}, CUDA {torch.version.cuda}")
    line("precision", f"auto is {devices.precision()}")


def parity(cfg, faces) -> None:
    """The same model's logits of the same pictures, on the CPU and on the card."""
    model, _ = study.build(cfg, faces)
    batches = study.batches(model, faces.pixels, faces.part("val")[:32], 16)
    pictures = torch.cat([inputs for inputs, *_ in batches.epoch()])
    model.eval()
    with torch.inference_mode():
        expected = model(pictures)
        model.cuda()
        for precision in dict.fromkeys(["no", devices.precision()]):
            dtype = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
            with torch.autocast("cuda", dtype, enabled=precision != "no"):
                difference = (model(pictures.cuda()).float().cpu() - expected).abs().max().item()
            verdict = "close" if difference <= CLOSE[precision] else "NOT CLOSE"
            line("parity", f"{precision}: largest difference of a logit from the CPU's {difference:.2g}, {verdict}")


def training(cfg, faces, folder: Path) -> None:
    """Two epochs: do they learn in half precision, how fast, in how much memory, and as long as was forecast?"""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        done = study.fit(cfg, faces, folder)
    history = done.history
    line("training", f"loss {', '.join(f'{loss:.3f}' for loss in history['train_loss'])}; {done.status}")
    if "skipped" in history:
        line("overflow", f"steps skipped an epoch: {', '.join(f'{count:g}' for count in history['skipped'])}")
    line("speed", f"{history['images_per_s'].iloc[-1]:.0f} pictures/s, validation included")
    line("memory", f"peak of a training {done.peak_memory_gb:.2f} GB")
    forecast = re.search("about (?:(\\d+) min )?([\\d.]+) s an epoch", said.getvalue())
    if forecast:
        expected = 60 * int(forecast[1] or 0) + float(forecast[2])
        line("forecast", f"{expected:.1f} s an epoch; it took {history['seconds'].iloc[-1]:.1f} s, validation included")


def repeated(cfg, faces, folder: Path) -> None:
    """Memory that is left taken after each of three short trainings."""
    taken = []
    for number in range(3):
        study.fit(config.with_settings(cfg, epochs=1, seed=number), faces, folder / str(number), quiet=True)
        taken.append(torch.cuda.memory_allocated() / 1e6)
    line("left taken", ", ".join(f"{megabytes:.1f} MB" for megabytes in taken) + " after three trainings")


def evaluation(cfg, faces) -> None:
    model, _ = study.build(cfg, faces)
    batches = study.batches(model, faces.pixels, faces.part("val"), cfg.batch_size)
    train.evaluate(model, batches)  # the first pass starts the card up
    torch.cuda.synchronize()
    started = time.monotonic()
    outputs, _ = train.evaluate(model, batches)
    seconds = time.monotonic() - started
    line("evaluation", f"{len(outputs) / seconds:.0f} pictures/s, all finite: {bool(np.isfinite(outputs).all())}")


def two_cards(folder: Path) -> None:
    if torch.cuda.device_count() < 2:
        line("two cards", "there is one")
        return
    program = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "emohelpers", "train", "baseline"]
    options = ["--preset", "demo", "--out", str(folder), "--set", "epochs=2"]
    started = time.monotonic()
    ran = subprocess.run([sys.executable, *program, *options], capture_output=True, text=True)
    end = ran.stderr.strip().splitlines()[-1:] if ran.returncode else ["done"]
    line("two cards", f"{' '.join(end)}, {time.monotonic() - started:.0f} s for the demo's 01 with two epochs")


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA card here. Kaggle: Settings -> Accelerator -> GPU T4 x2.")
    started = time.monotonic()
    cfg = config.make(Baseline, "demo", **(SMALL if "--small" in sys.argv else FULL), epochs=2, patience=0)
    with contextlib.redirect_stdout(io.StringIO()):
        faces = study.prepare(cfg)
    if "--small" in sys.argv:
        faces = replace(faces, table=faces.table.groupby(["split", "label"]).head(48))
    print(f"```\ngpu-check of {cfg.backbone}, {cfg.img_size} px, batch {cfg.batch_size}")
    machine()
    with tempfile.TemporaryDirectory() as folder:
        for check in (parity, evaluation):
            check(cfg, faces)
        for check in (training, repeated):
            gc.collect()
            check(cfg, faces, Path(folder) / check.__name__)
        two_cards(Path(folder) / "two")
    line("took", f"{time.monotonic() - started:.0f} s\n```")


if __name__ == "__main__":
    main()

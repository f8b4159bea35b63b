"""From picture files to normalised, augmented tensors: our input path beside PIL + torchvision, one core each.

Both crop and resize, mirror, rotate, change brightness, contrast and saturation, erase and normalise, with the same
strengths. The peer opens its files in every epoch, as an ImageFolder does; ours decoded them once, and what that cost
is spread over the 30 epochs of notebook 01.
"""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from rounds import race, ratio, report
from torchvision import transforms

from emohelpers.datasets import faces
from emohelpers.datasets import pixels as store
from emohelpers.images.augment import ERASED_AREA, ERASED_RATIO, Augmentation
from emohelpers.images.batches import Batches
from emohelpers.images.preprocess import Preprocess
from emohelpers.models import devices

COUNT, EPOCHS = 512, 30
HALF = (0.5, 0.5, 0.5)


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    devices.keep_memory()  # both run in this process and both gain
    dataset = faces.load("demo_faces")
    table = dataset.table.iloc[:COUNT]
    small = type("Part", (), {"table": table, "root": dataset.root, "name": "bench"})
    started = time.process_time()
    pixels = store.build(small, 96, Path(tempfile.mkdtemp()), workers=1)
    decoding = (time.process_time() - started) / COUNT / EPOCHS
    strengths = Augmentation()
    for size in (96, 224):
        ours = Batches(
            pixels, np.arange(COUNT), np.zeros(COUNT, int), Preprocess(96, size, 1.0, HALF, HALF),
            batch_size=32, augmentation=strengths,
        )  # fmt: skip
        peer = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=strengths.crop_scale, ratio=strengths.crop_ratio),
                transforms.RandomHorizontalFlip(strengths.flip),
                transforms.RandomRotation(strengths.rotation),
                transforms.ColorJitter(strengths.brightness, strengths.contrast, strengths.saturation),
                transforms.ToTensor(),
                transforms.Normalize(HALF, HALF),
                transforms.RandomErasing(strengths.erasing, ERASED_AREA, ERASED_RATIO),
            ]
        )

        def run_ours(ours=ours) -> int:
            return sum(len(x) for x, _, _ in ours.epoch(0))

        def run_peer(peer=peer) -> int:
            paths = [dataset.root / path for path in table["path"]]
            batches = (paths[i : i + 32] for i in range(0, COUNT, 32))
            return sum(len(torch.stack([peer(Image.open(p).convert("RGB")) for p in batch])) for batch in batches)

        taken = race({"ours": run_ours, "PIL + torchvision": run_peer})
        taken["ours"] = [seconds + decoding for seconds in taken["ours"]]
        ratios = {"ours, images/s/core": ratio(taken, "ours", "PIL + torchvision")}
        report(f"input_path_{size}", taken, ratios, "picture")


if __name__ == "__main__":
    main()

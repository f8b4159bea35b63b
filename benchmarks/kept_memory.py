"""What the use of memory saves a training on a CPU: the same bare loop in fresh processes, with it and without.

Kept is `devices.keep_memory`, huge pages are what importing the package asks of PyTorch, and out of place are the
activations after `models.out_of_place`.
"""

import os
import subprocess
import sys
import time

import timm
import torch
import torch.nn.functional as F
from rounds import ratio, report

from emohelpers import models
from emohelpers.models import devices

ROUNDS, WARM_UP, STEPS, BATCH, SIZE = 5, 8, 12, 64, 96
USUAL = {"THP_MEM_ALLOC_ENABLE": "0"}
WAYS = {
    "as usual": ("", USUAL), "kept": ("kept", USUAL), "kept, huge pages": ("kept", {}),
    "kept, huge pages, out of place": ("kept out", {}),
}  # fmt: skip


def loop(out_of_place: bool) -> float:
    """CPU seconds a step of a MobileNetV2 training."""
    torch.set_num_threads(1)
    model = timm.create_model("mobilenetv2_100", num_classes=8).to(memory_format=torch.channels_last)
    if out_of_place:
        models.out_of_place(model)
    pictures, targets = torch.randn(BATCH, 3, SIZE, SIZE), torch.randint(8, (BATCH,))
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for step in range(STEPS + WARM_UP):
        if step == WARM_UP:
            started = time.process_time()
        F.cross_entropy(model(pictures), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - started) / STEPS


def main() -> None:
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for n in range(ROUNDS):
        for way in sorted(WAYS, reverse=n % 2 == 0):
            how, names = WAYS[way]
            done = subprocess.run(
                [sys.executable, __file__, how], env=os.environ | names, capture_output=True, text=True, check=True
            )
            taken[way].append(float(done.stdout))
    ratios = {f"{way} over as usual": ratio(taken, way, "as usual") for way in list(WAYS)[1:]}
    report("kept_memory", taken, ratios, "step")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        if "kept" in sys.argv[1]:
            devices.keep_memory()
        print(loop("out" in sys.argv[1]))
    else:
        main()

"""What `devices.keep_memory` saves a training on a CPU: the same bare loop in fresh processes, with it and without."""

import subprocess
import sys
import time

import timm
import torch
import torch.nn.functional as F
from rounds import ratio, report

from emohelpers import devices

ROUNDS, STEPS, BATCH, SIZE = 5, 4, 64, 96


def loop() -> float:
    """CPU seconds a step of a MobileNetV2 training."""
    torch.set_num_threads(1)
    model = timm.create_model("mobilenetv2_100", num_classes=8)
    pictures, targets = torch.randn(BATCH, 3, SIZE, SIZE), torch.randint(8, (BATCH,))
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(STEPS + 2):
        if step == 2:
            started = time.process_time()
        F.cross_entropy(model(pictures), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - started) / STEPS


def main() -> None:
    taken: dict[str, list[float]] = {"kept": [], "as usual": []}
    for n in range(ROUNDS):
        for who in sorted(taken, reverse=n % 2 == 0):
            done = subprocess.run([sys.executable, __file__, who], capture_output=True, text=True, check=True)
            taken[who].append(float(done.stdout))
    report("kept_memory", taken, {"kept over as usual": ratio(taken, "kept", "as usual")}, "step")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        if sys.argv[1] == "kept":
            devices.keep_memory()
        print(loop())
    else:
        main()

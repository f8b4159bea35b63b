"""Training in bf16 on a CPU that has it: ours, bf16 as PyTorch's autocast does it, and fp32, side by side.

Ours runs depthwise convolutions with a stride or a wide kernel in fp32 (`models.depthwise_in_fp32`): oneDNN
differentiates these in bf16 by its reference code. On AMX bf16 halves what memory must carry and multiplies faster;
`ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16` shows what a processor without AMX would gain. CPU time, interleaved rounds.
"""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext

import timm
import torch
import torch.nn.functional as F
from rounds import race, ratio, report

from emohelpers import models
from emohelpers.models import devices

NETS = {"mobilenetv2_100": 64, "tf_efficientnet_b0": 64, "convnext_nano": 32, "resnet50": 32}  # pictures a batch
STEPS, SIZE = 3, 96
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


def stepper(name: str, batch: int, half: bool, own: bool) -> Callable[[], int]:
    """Trains a net of its own on one batch of noise, STEPS steps a call."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=8).train().to(memory_format=torch.channels_last)
    models.out_of_place(model)
    pictures = torch.randn(batch, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    targets, optimizer = torch.randint(8, (batch,)), torch.optim.AdamW(model.parameters(), fused=True)

    def steps() -> int:
        with models.depthwise_in_fp32(model) if own else nullcontext():
            for _ in range(STEPS):
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    output = model(pictures)
                F.cross_entropy(output.float(), targets).backward()
                optimizer.step()
                optimizer.zero_grad()
        return STEPS

    return steps


def main(name: str) -> None:
    torch.set_num_threads(THREADS)
    ways = {"ours": (True, True), "autocast": (True, False), "fp32": (False, False)}
    taken = race({way: stepper(name, NETS[name], *how) for way, how in ways.items()}, rounds=5)
    ratios = {f"ours over {peer}": ratio(taken, "ours", peer) for peer in ("autocast", "fp32")}
    report(f"bf16_{name}", taken, ratios, "step")


if __name__ == "__main__":
    try:
        devices.precision("bf16")
    except devices.UnusableDevice as error:
        sys.exit(print(f"nothing to measure here: {error}"))
    devices.keep_memory()
    for name in sys.argv[1:] or NETS:
        main(name)

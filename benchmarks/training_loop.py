"""What `train.fit` costs over a bare loop: the same steps on tensors that already lie on the device.

Bare: forward, cross-entropy, backward, clip, AdamW, nothing else. Ours adds averages of the epoch's figures, the look
at the loss, the schedule, the progress bar, and all that makes a run resumable; on a CPU it computes activations out of
place, which saves more than all that costs. CPU time, interleaved rounds.
"""

import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from rounds import race, ratio, report

from emohelpers import config, models
from emohelpers.config.faces import Baseline
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.train import objectives, optim
from emohelpers.train.loop import Trainer

STEPS, BATCH, SIZE = 8, 32, 96


class Tensors:
    """Batches that lie on the device, as `train.fit` takes them."""

    batch_size = BATCH

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def on(self, *_):
        return self

    def digest(self):
        return "tensors"

    def epoch(self, epoch=0):
        yield from self.batches


def main(backbone: str) -> None:
    torch.set_num_threads(1)
    cfg = config.make(
        Baseline, "demo", backbone=backbone, weights="random", trainable="all", head="linear", img_size=SIZE,
        label_smoothing=0.0, schedule="constant", warmup_epochs=0.0, weight_decay=0.01,
    )  # fmt: skip
    torch.manual_seed(0)
    batches = [
        (torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last), torch.randint(8, (BATCH,)), None)
        for _ in range(STEPS)
    ]
    data = Tensors(batches)
    folder = Path(tempfile.mkdtemp())
    net = models.build(cfg, EMOTIONS)
    run = Trainer(net, data, data, objectives.Classification(EMOTIONS), cfg, folder, folder / "m.pth", quiet=True)
    run._enter(0)
    bare = models.build(cfg, EMOTIONS).to(memory_format=torch.channels_last).train()
    optimizer = optim.optimizer(bare, cfg)
    epochs = iter(range(10**6))

    def ours() -> int:
        run._pass(next(epochs))
        return STEPS

    def plain() -> int:
        for inputs, targets, _ in batches:
            F.cross_entropy(bare(inputs), targets).backward()
            torch.nn.utils.clip_grad_norm_(bare.parameters(), cfg.clip)
            optimizer.step()
            optimizer.zero_grad()
        return STEPS

    taken = race({"train.fit": ours, "bare loop": plain}, rounds=15)
    report(
        f"training_loop_{backbone}",
        taken,
        {"train.fit over a bare loop": ratio(taken, "bare loop", "train.fit")},
        "step",
    )


if __name__ == "__main__":
    for name in sys.argv[1:] or ["mobilenetv2_100", "test_vit"]:
        main(name)

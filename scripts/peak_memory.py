"""Memory of training steps of full-size nets by batch size, as a table: peak_memory.py, on any CUDA card.

Without one: CARD_META=1 python tests/card.py scripts/peak_memory.py. There nothing is computed; PyTorch's allocator
books the memory of a T4, without the work space of cuDNN and cuBLAS and without CUDA's own (some 0.3 GB).
"""

import gc

import torch

from emohelpers import config, models
from emohelpers.config.faces import Baseline, Transfer
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.models import class_token, devices
from emohelpers.train import objectives
from emohelpers.train.step import Step

BATCHES = (16, 32, 64, 128)
NETS = {  # title -> recipe, timm's name, what is trained, pixels
    "ViT-B/16, last two blocks": (Baseline, "vit_base_patch16_224", 2, 224),
    "ViT-B/16": (Baseline, "vit_base_patch16_224", "all", 224),
    "ResNet-50": (Transfer, "resnet50", "all", 224),
    "ConvNeXt-B": (Transfer, "convnext_base", "all", 224),
    "EfficientNet-B3": (Transfer, "tf_efficientnet_b3", "all", 300),
}


def peak(recipe, backbone: str, trainable: str | int, side: int, batch: int) -> str:
    """Gigabytes of two steps, the optimizer's state and averaged weights included."""
    gc.collect()
    torch.cuda.empty_cache()
    settings = {"backbone": backbone, "weights": "random", "trainable": "all", "unfreeze": {}, "img_size": side}
    cfg = config.make(recipe, "full", **settings, batch_size=batch)
    processes = devices.accelerator(cfg.precision)
    model = models.build(cfg, EMOTIONS)
    if cfg.channels_last:
        model.to(memory_format=torch.channels_last)
    models.freeze(model, trainable)
    class_token.read_alone(model, torch.zeros(2, 3, side, side))
    model.to(processes.device)
    objective = objectives.Classification(EMOTIONS, mixup=cfg.mixup)
    parts = []
    step = Step(model, objective, cfg, 100, processes, parts.append)
    step.train(trainable)
    models.training_mode(model)
    pictures = torch.zeros(batch, 3, side, side, device=processes.device)
    targets = torch.zeros(batch, dtype=torch.int64, device=processes.device)
    torch.cuda.reset_peak_memory_stats()
    step(pictures, targets)
    step(pictures, targets)
    return "in parts" if parts else f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"


if __name__ == "__main__":
    print(f"| GB, {torch.cuda.get_device_name()}, {devices.precision()} | " + " | ".join(map(str, BATCHES)) + " |")
    print("|---" * (len(BATCHES) + 1) + "|")
    for title, net in NETS.items():
        print(f"| {title}, {net[-1]} px | " + " | ".join(peak(*net, batch) for batch in BATCHES) + " |", flush=True)

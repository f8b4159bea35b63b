"""A loop in the manner of timm's training script: DataLoader, optimizer factory, autocast off on a CPU."""

import torch
import torch.nn.functional as F
from job import DECAY, LR, Clock, Job, faces
from pictures import dataset
from timm.optim import create_optimizer_v2
from torch.utils.data import DataLoader

VARIANTS = ("as documented", "tuned")


def train(job: Job, variant: str, model: torch.nn.Module, clock: Clock) -> torch.nn.Module:
    """Tuned: decoded pictures, channels-last, fused AdamW, no loss read while training."""
    tuned = variant == "tuned"
    paths, labels, *_ = faces(job)
    loader = DataLoader(dataset(job, variant, paths, labels), job.batch, shuffle=True, drop_last=True)
    if tuned:
        model = model.to(memory_format=torch.channels_last)
        free = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(free, LR, weight_decay=DECAY, fused=True)
    else:
        optimizer = create_optimizer_v2(model, opt="adamw", lr=LR, weight_decay=DECAY)
    model.train()
    for _ in range(job.epochs):
        total = 0.0
        for inputs, targets in loader:
            if tuned:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not tuned:
                total += loss.item() * len(inputs)
            clock()
    return model

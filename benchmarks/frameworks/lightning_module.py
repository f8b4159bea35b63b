"""PyTorch Lightning on the same net, as its documentation shows a LightningModule."""

import lightning
import torch
import torch.nn.functional as F
from job import DECAY, LR, Clock, Job, faces
from pictures import dataset
from torch.utils.data import DataLoader

VARIANTS = ("as documented", "tuned")


class Module(lightning.LightningModule):
    """Cross-entropy and AdamW; logs its loss unless tuned."""

    def __init__(self, model: torch.nn.Module, clock: Clock, tuned: bool):
        super().__init__()
        self.model, self.clock, self.tuned = model, clock, tuned

    def training_step(self, batch, _) -> torch.Tensor:
        inputs, targets = batch
        loss = F.cross_entropy(self.model(inputs), targets)
        if not self.tuned:
            self.log("train_loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, *_) -> None:
        self.clock()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        moved = [p for p in self.parameters() if p.requires_grad] if self.tuned else self.parameters()
        return torch.optim.AdamW(moved, LR, weight_decay=DECAY, **({"fused": True} if self.tuned else {}))


def train(job: Job, variant: str, model: torch.nn.Module, clock: Clock) -> torch.nn.Module:
    """Tuned: decoded pictures, channels-last, fused AdamW, no logger, bar, checkpoint or sanity check."""
    tuned = variant == "tuned"
    paths, labels, *_ = faces(job)
    loader = DataLoader(dataset(job, variant, paths, labels), job.batch, shuffle=True, drop_last=True)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    if tuned:
        model = model.to(memory_format=torch.channels_last)
    model.train()  # Lightning keeps the mode that it finds
    options = quiet if tuned else {"log_every_n_steps": 10, "enable_checkpointing": False, "logger": False}
    lightning.Trainer(max_epochs=job.epochs, **options).fit(Module(model, clock, tuned), loader)
    return model

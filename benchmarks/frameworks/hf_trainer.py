"""Hugging Face's Trainer on the same net: a module that returns loss and logits, as its documentation asks."""

import tempfile

import torch
import torch.nn.functional as F
from job import DECAY, LR, Clock, Job, faces
from pictures import dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

VARIANTS = ("as documented", "tuned")


class Net(torch.nn.Module):
    """(B, 3, h, w) and labels -> loss and logits."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.model(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Ticks(TrainerCallback):
    """Tells the clock of every step."""

    def __init__(self, clock: Clock):
        self.clock = clock

    def on_step_end(self, args, state, control, **_) -> None:
        self.clock()


def collate(examples: list) -> dict[str, torch.Tensor]:
    pixels = torch.stack([picture for picture, _ in examples])
    return {"pixel_values": pixels, "labels": torch.tensor([label for _, label in examples])}


def train(job: Job, variant: str, model: torch.nn.Module, clock: Clock) -> torch.nn.Module:
    """Tuned: decoded pictures, fused AdamW, neither logs nor checkpoints nor a look at NaN losses."""
    paths, labels, *_ = faces(job)
    shared = {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": job.batch, "num_train_epochs": job.epochs,
        "learning_rate": LR, "weight_decay": DECAY, "remove_unused_columns": False, "report_to": "none",
        "dataloader_drop_last": True, "use_cpu": not torch.cuda.is_available(), "lr_scheduler_type": "constant",
    }  # fmt: skip
    tuned = {
        "optim": "adamw_torch_fused", "logging_strategy": "no", "save_strategy": "no", "disable_tqdm": True,
        "logging_nan_inf_filter": False, "dataloader_pin_memory": False,
    }  # fmt: skip
    arguments = TrainingArguments(**shared, **(tuned if variant == "tuned" else {"logging_steps": 10}))
    if variant == "tuned":
        model = model.to(memory_format=torch.channels_last)
    data = dataset(job, variant, paths, labels)
    Trainer(Net(model), arguments, data_collator=collate, train_dataset=data, callbacks=[Ticks(clock)]).train()
    return model

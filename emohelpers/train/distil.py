"""A small student imitates a teacher (Hinton et al., arXiv 1503.02531)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from emohelpers import config, models
from emohelpers.config import paths
from emohelpers.train import losses
from emohelpers.train.objectives import Classification


class Distillation(Classification):
    """Classification, and the teacher's softened probabilities on the very same (augmented, mixed) pictures.

    Loss: (1 - share) * the classification's + share * T^2 * KL(teacher_T || student_T).
    """

    def __init__(
        self,
        classes: Sequence[str],
        teacher: Module,
        student: Module,
        *,
        share: float,
        temperature: float,
        **options,
    ):
        super().__init__(classes, **options)
        here = student.spec["preprocess"]
        there = teacher.spec["preprocess"]
        if here["img_size"] != there["img_size"]:
            raise models.WeightsError(
                f"the teacher sees {there['img_size']} px, the student img_size={here['img_size']}."
            )
        mean = _channels(here["mean"])
        std = _channels(here["std"])
        teacher_mean = _channels(there["mean"])
        teacher_std = _channels(there["std"])
        # from the student's normalisation to the teacher's
        self.scale = std / teacher_std
        self.shift = (mean - teacher_mean) / teacher_std
        self.teacher = teacher.eval().requires_grad_(False)
        self.share = share
        self.temperature = temperature
        # The teacher decides the student's weights, so it belongs to the run's key.
        sums = [(name, tensor.double().sum().item()) for name, tensor in teacher.state_dict().items()]
        self.fingerprint = config.digest(sums)

    @classmethod
    def of(cls, cfg, classes: Sequence[str], labels: Sequence[str], student: Module) -> "Distillation":
        """The objective of a config that names a teacher: a checkpoint of the same classes and img_size."""
        guide = teacher(cfg.teacher, classes)
        options = Classification.options(cfg, classes, labels)
        return cls(classes, guide, student, share=cfg.teacher_share, temperature=cfg.teacher_temperature, **options)

    @torch.no_grad()
    def mix(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w) and (B,) -> pictures and (B, 2, classes): the targets, and the teacher's probabilities."""
        inputs, targets = super().mix(inputs, targets)
        device = inputs.device
        self.teacher.to(device)
        # Of the pictures after augmentation and mixing, so that the advice cannot be computed once and kept.
        scale, shift = (losses.on_device(constant, device) for constant in (self.scale, self.shift))
        logits = self.teacher(inputs * scale + shift).float()
        advice = (logits / self.temperature).softmax(1)
        return inputs, torch.stack([losses.shares(targets, len(self.classes)), advice], 1)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar training loss of (B, classes) logits and (B, 2, classes) targets."""
        truth, advice = targets.unbind(1)
        log_p = (logits / self.temperature).log_softmax(1)
        # Soft gradients shrink by 1/T^2 and are scaled back, so that `share` means the same at any T.
        imitation = F.kl_div(log_p, advice, reduction="batchmean") * self.temperature**2
        return (1 - self.share) * super().loss(logits, truth) + self.share * imitation

    def running(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Batch means shown while training: of the true targets."""
        return super().running(logits, targets[:, 0])


def _channels(values: Sequence[float]) -> Tensor:
    """(3,) -> (3, 1, 1)"""
    return torch.tensor(values).view(3, 1, 1)


def teacher(checkpoint: str, classes: Sequence[str] = ()) -> Module:
    """The model of a setting `teacher`; raises `InputNotFound` and `WeightsError` with the remedy."""
    remedy = "teacher must be a checkpoint that this suite wrote (best_model.pth); empty: none."
    return models.load(paths.find_input(checkpoint, remedy=remedy), classes=classes or None)

"""A small student imitates a teacher (Hinton et al., arXiv 1503.02531)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from emohelpers import config, models
from emohelpers.config import paths
from emohelpers.train import losses
from emohelpers.train.objectives import Classification


class Distillation(Classification):
    """Classification, and the teacher's softened probabilities on the very same (augmented, mixed) pictures.

    Loss: (1 - share) * the classification's + share * T^2 * KL(teacher_T || student_T).
    """

    def __init__(
        self, classes: Sequence[str], teacher: nn.Module, student: nn.Module, *, share: float, temperature: float,
        **options,
    ):  # fmt: skip
        super().__init__(classes, **options)
        own, theirs = (model.spec["preprocess"] for model in (student, teacher))
        if own["img_size"] != theirs["img_size"]:
            raise models.WeightsError(
                f"the teacher sees {theirs['img_size']} px, the student img_size={own['img_size']}."
            )
        mean, std, mean_t, std_t = (torch.tensor(s[k]).view(3, 1, 1) for s in (own, theirs) for k in ("mean", "std"))
        self.affine = std / std_t, (mean - mean_t) / std_t  # from the student's normalisation to the teacher's
        self.teacher, self.share, self.temperature = teacher.eval().requires_grad_(False), share, temperature
        state = teacher.state_dict().items()
        self.fingerprint = config.digest([(name, tensor.double().sum().item()) for name, tensor in state])

    @classmethod
    def of(cls, cfg, classes: Sequence[str], labels: Sequence[str], student: nn.Module) -> "Distillation":
        """The objective of a config that names a teacher: a checkpoint of the same classes and img_size."""
        remedy = "teacher must be a checkpoint that this suite wrote (best_model.pth); empty: none."
        teacher = models.load(paths.find_input(cfg.teacher, remedy=remedy), classes=classes)
        options = Classification.options(cfg, classes, labels)
        return cls(classes, teacher, student, share=cfg.teacher_share, temperature=cfg.teacher_temperature, **options)

    @torch.no_grad()
    def mix(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, h, w) and (B,) -> pictures and (B, 2, classes): the targets, and the teacher's probabilities."""
        inputs, targets = super().mix(inputs, targets)
        self.teacher.to(inputs.device)
        scale, shift = (row.to(inputs.device) for row in self.affine)
        wise = (self.teacher(inputs * scale + shift).float() / self.temperature).softmax(1)
        return inputs, torch.stack([losses.shares(targets, len(self.classes)), wise], 1)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Scalar training loss of (B, classes) logits and (B, 2, classes) targets."""
        own, wise = targets.unbind(1)
        log_p = (logits / self.temperature).log_softmax(1)
        imitation = F.kl_div(log_p, wise, reduction="batchmean") * self.temperature**2
        return (1 - self.share) * super().loss(logits, own) + self.share * imitation

    def running(self, logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().running(logits, targets[:, 0])

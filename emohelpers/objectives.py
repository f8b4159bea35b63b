"""What a training minimises and how its outputs are scored; `train` knows no more of a task than this."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from emohelpers import metrics


class Classification:
    """Cross-entropy over declared classes, with label smoothing, class weights, MixUp and CutMix.

    The loss is the batch mean of w(target) * cross-entropy. Since the weights average 1 over the training part, hard
    and mixed targets, and one process or several, share one scale (torch's own weighted mean divides by the weights
    of the batch, and only for hard targets).
    """

    figures = ("loss", "accuracy", "macro_f1")  # what `scores` measures; `monitor` is "val_" and one of these

    def __init__(
        self, classes: Sequence[str], *, weights: np.ndarray | None = None, smoothing: float = 0.0,
        mixup: float = 0.0, cutmix: float = 0.0, mix_probability: float = 1.0,
    ):  # fmt: skip
        self.classes, self.smoothing = list(classes), smoothing
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        n = len(self.classes)
        self.mixers = [kind(alpha=a, num_classes=n) for kind, a in ((v2.MixUp, mixup), (v2.CutMix, cutmix)) if a]
        self.mix_probability = mix_probability

    @classmethod
    def of(cls, cfg, classes: Sequence[str], labels: Sequence[str]) -> "Classification":
        """The objective that a config describes; `labels` of the training part give the class weights."""
        weights = metrics.weights(labels, classes, cfg.class_weight_power) if cfg.class_weight_power else None
        mixing = {"mixup": cfg.mixup, "cutmix": cfg.cutmix, "mix_probability": cfg.mix_probability}
        return cls(classes, weights=weights, smoothing=cfg.label_smoothing, **mixing)

    def mix(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, h, w) and (B,) -> the same, or mixed pictures and (B, classes) soft targets."""
        if self.mixers and len(inputs) > 1 and torch.rand(()) < self.mix_probability:
            return self.mixers[int(torch.randint(len(self.mixers), ()))](inputs, targets)
        return inputs, targets

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Scalar training loss of (B, classes) logits and (B,) or (B, classes) targets."""
        each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
        if self.weights is not None:
            weights = self.weights.to(logits.device)
            each = each * (weights[targets] if targets.ndim == 1 else targets @ weights)
        return each.mean()

    def running(self, logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Batch means shown while training, as tensors (reading them would stall the device)."""
        hard = targets if targets.ndim == 1 else targets.argmax(1)
        return {"accuracy": (logits.detach().argmax(1) == hard).float().mean()}

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures of a whole pass: plain cross-entropy (no smoothing, no weights), accuracy, macro F1."""
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets).long()).item()
        return {"loss": loss, **metrics.quick(targets, logits.argmax(1), len(self.classes))}

"""What a training minimises and how its outputs are scored; `train` knows no more of a task than this."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from emohelpers import metrics
from emohelpers.metrics import regression
from emohelpers.train import losses


class Classification:
    """Cross-entropy (or another of `losses`) over declared classes, with class weights, MixUp and CutMix.

    The loss is the batch mean of w(target) * loss of a picture. As the weights average 1 over the training part, hard
    and mixed targets, and one process or several, share one scale (torch's own weighted mean divides by the weights
    of the batch, and only for hard targets).
    """

    fingerprint = ""  # names what else decides the weights, beside config and data
    figures = ("loss", "accuracy", "macro_f1", "weighted_f1")  # `monitor` is "val_" and one of these

    def __init__(
        self,
        classes: Sequence[str],
        *,
        each: losses.Loss = losses.plain,
        weights: np.ndarray | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mix_probability: float = 1.0,
    ):
        self.classes, self.each = list(classes), each
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        n = len(self.classes)
        self.mixers = [kind(alpha=a, num_classes=n) for kind, a in ((v2.MixUp, mixup), (v2.CutMix, cutmix)) if a]
        self.mix_probability = mix_probability

    @classmethod
    def of(cls, cfg, classes: Sequence[str], labels: Sequence[str]) -> "Classification":
        """The objective that a config describes; `labels` of the training part give the class weights.

        Raises:
            ValueError: the config names a teacher, which `distillation.Distillation` alone listens to.
        """
        if cfg.teacher:
            raise ValueError(f"teacher={cfg.teacher!r}: this training imitates none; notebooks 04 and 05 do")
        return cls(classes, **cls.options(cfg, classes, labels))

    @staticmethod
    def options(cfg, classes: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
        """What a config says of loss, class weights and mixing, as arguments of this class."""
        weights = metrics.weights(labels, classes, cfg.class_weight_power) if cfg.class_weight_power else None
        mixing = {"mixup": cfg.mixup, "cutmix": cfg.cutmix, "mix_probability": cfg.mix_probability}
        return {"weights": weights, "each": losses.of(cfg, classes, labels), **mixing}

    def mix(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, h, w) and (B,) -> the same, or mixed pictures and (B, classes) soft targets."""
        if self.mixers and len(inputs) > 1 and torch.rand(()) < self.mix_probability:
            return self.mixers[int(torch.randint(len(self.mixers), ()))](inputs, targets)
        return inputs, targets

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Scalar training loss of (B, classes) logits and (B,) or (B, classes) targets."""
        each = self.each(logits, targets)
        if self.weights is not None:
            weights = self.weights.to(logits.device)
            each = each * (weights[targets] if targets.ndim == 1 else targets @ weights)
        return each.mean()

    def running(self, logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Batch means shown while training, as tensors (reading them would stall the device)."""
        hard = targets if targets.ndim == 1 else targets.argmax(1)
        return {"accuracy": (logits.detach().argmax(1) == hard).float().mean()}

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures of a whole pass: plain cross-entropy (no smoothing, no weights), accuracy, F1 of all and each."""
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets).long()).item()
        counts = np.bincount(targets * len(self.classes) + logits.argmax(1), minlength=len(self.classes) ** 2)
        f1 = np.nan_to_num(metrics.class_scores(counts[None])[3][0])
        each = {f"f1_{name}": float(value) for name, value in zip(self.classes, f1, strict=True)}
        return {"loss": loss, **metrics.quick(targets, logits.argmax(1), len(self.classes)), **each}


class Regression:
    """Concordance and squared error of valence and arousal: `ccc_share` * (1 - mean CCC) + the rest * MSE.

    The training loss takes CCC over the batch (computed in parts when memory runs out, so not quite the same then);
    `scores` takes it over the whole set. Targets and outputs are on -1..1; the outputs are not bent into it.
    With `sections` a song is so many rows in a pass that is scored, and their mean is its prediction.
    """

    fingerprint = ""
    figures = ("loss", "ccc", "ccc_valence", "ccc_arousal", "rmse")

    def __init__(self, ccc_share: float = 0.5, sections: int = 1):
        self.ccc_share, self.sections, self.fingerprint = ccc_share, sections, f"ccc {ccc_share}"

    def mix(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nothing is mixed."""
        return inputs, targets

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Scalar training loss of (B, 2) outputs and (B, 2) ratings."""
        targets = targets.float()
        error = F.mse_loss(outputs, targets)
        mean, wanted = outputs.mean(0), targets.mean(0)
        together = ((outputs - mean) * (targets - wanted)).mean(0)
        spread = outputs.var(0, unbiased=False) + targets.var(0, unbiased=False) + (mean - wanted) ** 2
        ccc = 2 * together / (spread + 1e-6)
        return self.ccc_share * (1 - ccc.mean()) + (1 - self.ccc_share) * error

    def running(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Batch means shown while training."""
        return {"rmse": F.mse_loss(outputs.detach().float(), targets.float()).sqrt()}

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures of a whole pass: the loss, CCC of both targets and their mean, RMSE."""
        outputs, targets = (regression.together(rows, self.sections) for rows in (outputs, targets))
        loss = self.loss(torch.from_numpy(outputs), torch.from_numpy(targets)).item()
        valence, arousal = (float(value) for value in regression.ccc(targets, outputs))
        rmse = float(np.sqrt(np.mean((outputs - targets) ** 2)))
        return {
            "loss": loss, "ccc": (valence + arousal) / 2, "ccc_valence": valence, "ccc_arousal": arousal, "rmse": rmse,
        }  # fmt: skip

"""What a training minimises and how its outputs are scored; `train` knows no more of a task than this."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor
from torch.nn import Module
from torchvision.transforms import v2

from emohelpers import metrics
from emohelpers.config import ConfigError
from emohelpers.metrics import regression
from emohelpers.train import losses
from emohelpers.train.errors import TrainingError


class Objective:
    """What `fit` asks of an objective: `mix`, `loss` and `running` of a batch, `scores` of a whole pass."""

    fingerprint = ""  # names what else decides the weights, beside config and data
    figures: tuple[str, ...] = ("loss",)  # of `scores`; `monitor` is "val_" and one of these

    def mix(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As they are; only classifiers mix pictures."""
        return inputs, targets


class Classification(Objective):
    """Cross-entropy (or another of `losses`) over declared classes, with class weights, MixUp and CutMix.

    The loss is the batch mean of w(target) * loss of a picture. As the weights average 1 over the training part, hard
    and mixed targets, and one process or several, share one scale (torch's own weighted mean divides by the weights
    of the batch, and only for hard targets).
    """

    figures = ("loss", "accuracy", "macro_f1", "weighted_f1")

    def __init__(
        self,
        classes: Sequence[str],
        *,
        each: losses.Loss = losses.plain,
        weights: ndarray | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mix_probability: float = 1.0,
    ):
        self.classes = list(classes)
        self.each = each
        self.mix_probability = mix_probability
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        self.mixers: list[Module] = []
        if mixup:
            self.mixers.append(v2.MixUp(alpha=mixup, num_classes=len(classes)))
        if cutmix:
            self.mixers.append(v2.CutMix(alpha=cutmix, num_classes=len(classes)))

    @classmethod
    def of(cls, cfg, classes: Sequence[str], labels: Sequence[str]) -> "Classification":
        """The objective that a config describes; `labels` of the training part give the class weights.

        Raises:
            ValueError: the config names a teacher, which `distil.Distillation` alone listens to.
        """
        if cfg.teacher:
            raise ConfigError(f"teacher={cfg.teacher!r}: this training imitates none; notebooks 04 and 05 do")
        return cls(classes, **cls.options(cfg, classes, labels))

    @staticmethod
    def options(cfg, classes: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
        """What a config says of loss, class weights and mixing, as arguments of this class."""
        power = cfg.class_weight_power
        return {
            "each": losses.of(cfg, classes, labels),
            "weights": metrics.weights(labels, classes, power) if power else None,
            "mixup": cfg.mixup,
            "cutmix": cfg.cutmix,
            "mix_probability": cfg.mix_probability,
        }

    def mix(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w) and (B,) -> the same, or mixed pictures and (B, classes) soft targets."""
        # torch's random numbers alone: the seed of an epoch decides them, so that a resumed run mixes alike.
        if self.mixers and len(inputs) > 1 and torch.rand(()) < self.mix_probability:
            mixer = self.mixers[int(torch.randint(len(self.mixers), ()))]
            return mixer(inputs, targets)
        return inputs, targets

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar training loss of (B, classes) logits and (B,) or (B, classes) targets."""
        each = self.each(logits, targets)
        if self.weights is not None:
            weights = losses.on_device(self.weights, logits.device)
            # A soft target's weight is the mean of the classes' weights by its shares.
            each = each * (weights[targets] if targets.ndim == 1 else targets @ weights)
        return each.mean()

    def running(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Batch means shown while training, as tensors (reading them would stall the device)."""
        hard = targets if targets.ndim == 1 else targets.argmax(1)
        return {"accuracy": (logits.detach().argmax(1) == hard).float().mean()}

    def scores(self, logits: ndarray, targets: ndarray) -> dict[str, float]:
        """Figures of a whole pass: plain cross-entropy (no smoothing, no weights), accuracy, F1 of all and each."""
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets).long()).item()
        predicted = logits.argmax(1)
        n = len(self.classes)
        figures = {"loss": loss, **metrics.quick(targets, predicted, n)}
        confusion = np.bincount(targets * n + predicted, minlength=n * n)
        _, _, _, f1 = metrics.class_scores(confusion[None])
        for name, value in zip(self.classes, np.nan_to_num(f1[0]), strict=True):
            figures[f"f1_{name}"] = float(value)
        return figures


class Regression(Objective):
    """Concordance and squared error of valence and arousal: `ccc_share` * (1 - mean CCC) + the rest * MSE.

    The training loss takes CCC over the batch (computed in parts when memory runs out, so not quite the same then);
    `scores` takes it over the whole set. Targets and outputs are on -1..1; the outputs are not bent into it.
    With `sections` a song is so many rows in a pass that is scored, and their mean is its prediction.
    """

    figures = ("loss", "ccc", "ccc_valence", "ccc_arousal", "rmse")

    def __init__(self, ccc_share: float = 0.5, sections: int = 1):
        self.ccc_share = ccc_share
        self.sections = sections
        self.fingerprint = f"ccc {ccc_share}"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Scalar training loss of (B, 2) outputs and (B, 2) ratings."""
        targets = targets.float()
        error = F.mse_loss(outputs, targets)
        mean = outputs.mean(0)
        true_mean = targets.mean(0)
        covariance = ((outputs - mean) * (targets - true_mean)).mean(0)
        # Variances over n, not n - 1, as the covariance above is a mean over n.
        spread = outputs.var(0, unbiased=False) + targets.var(0, unbiased=False) + (mean - true_mean) ** 2
        ccc = 2 * covariance / (spread + 1e-6)
        return self.ccc_share * (1 - ccc.mean()) + (1 - self.ccc_share) * error

    def running(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Batch means shown while training."""
        return {"rmse": F.mse_loss(outputs.detach().float(), targets.float()).sqrt()}

    def scores(self, outputs: ndarray, targets: ndarray) -> dict[str, float]:
        """Figures of a whole pass: the loss, CCC of both targets and their mean, RMSE."""
        outputs = regression.together(outputs, self.sections)
        targets = regression.together(targets, self.sections)
        valence, arousal = regression.ccc(targets, outputs).tolist()
        return {
            "loss": self.loss(torch.from_numpy(outputs), torch.from_numpy(targets)).item(),
            "ccc": (valence + arousal) / 2,
            "ccc_valence": valence,
            "ccc_arousal": arousal,
            "rmse": float(np.sqrt(np.mean((outputs - targets) ** 2))),
        }


class Preference(Objective):
    """Hinge loss max(0, margin - (good - bad)) of pairs, and the squared error of the opinion where there is one.

    Pictures come in pairs, good before bad; targets are opinions (2n,), standardised over the training part, or NaN.
    """

    figures = ("loss", "accuracy")

    def __init__(self, *, margin: float, opinion_weight: float):
        self.margin = margin
        self.opinion_weight = opinion_weight
        self.fingerprint = f"hinge {margin} {opinion_weight}"

    @classmethod
    def of(cls, cfg) -> "Preference":
        """The objective that a config describes."""
        return cls(margin=cfg.margin, opinion_weight=cfg.opinion_weight)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Scalar of (2n, 1 or 2) outputs."""
        good, bad = _sides(outputs[:, 0])
        loss = F.margin_ranking_loss(good, bad, torch.ones_like(good), margin=self.margin)
        if outputs.shape[1] == 2:
            known = ~targets.isnan()
            # NaN times 0 is NaN: a missing opinion becomes a number before it is masked.
            error = (outputs[:, 1] - targets.nan_to_num()).square() * known
            loss = loss + self.opinion_weight * error.sum() / known.sum().clamp(min=1)
        return loss

    def running(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Share of pairs in the right order."""
        good, bad = _sides(outputs.detach()[:, 0])
        return {"accuracy": (good > bad).float().mean()}

    def scores(self, outputs: ndarray, targets: ndarray) -> dict[str, float]:
        """Hinge loss alone, and pairwise accuracy, of a whole pass."""
        good = outputs[0::2, 0]
        bad = outputs[1::2, 0]
        hinge = np.maximum(0, self.margin - (good - bad)).mean()
        return {"loss": float(hinge), "accuracy": float((good > bad).mean())}


def _sides(scores: Tensor) -> tuple[Tensor, Tensor]:
    if len(scores) % 2:
        raise TrainingError(
            f"{len(scores)} pictures in a part of a batch tear a pair apart: let accumulation divide batch_size / 2."
        )
    return scores[0::2], scores[1::2]

"""Losses of single pictures, (B, classes) logits and (B,) or (B, classes) targets -> (B,).

Each takes hard targets and soft ones (MixUp, votes) alike: a one-hot target gives exactly what its index gives.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from emohelpers import metrics
from emohelpers.models import heads

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def of(cfg, classes: Sequence[str], labels: Sequence[str]) -> Loss:
    """The loss that a config names; `labels` of the training part give LDAM its margins and adjustment its shift."""
    loss = cross_entropy(cfg.label_smoothing)
    if cfg.loss == "focal":
        loss = focal(cfg.focal_gamma, cfg.label_smoothing)
    if cfg.loss == "ldam":
        if cfg.head != "cosine":
            raise ValueError(f"loss='ldam' sets margins between angles and needs head='cosine', not {cfg.head!r}.")
        counts = np.array([list(labels).count(name) for name in classes])
        loss = ldam(counts, cfg.ldam_margin, cfg.label_smoothing)
    if cfg.logit_adjustment:
        loss = adjusted(loss, metrics.weights(labels, classes, cfg.logit_adjustment))
    return loss


def cross_entropy(smoothing: float = 0.0) -> Loss:
    """torch's own."""
    return lambda logits, targets: F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def focal(gamma: float, smoothing: float = 0.0) -> Loss:
    """-(1 - p)^gamma log p: what is right already counts little (Lin et al., arXiv 1708.02002, eq. 4)."""

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_p = logits.log_softmax(1)
        soft = shares(targets, logits.shape[1])
        soft = soft * (1 - smoothing) + smoothing / logits.shape[1]
        return -(soft * (1 - log_p.exp()) ** gamma * log_p).sum(1)

    return loss


def ldam(counts: np.ndarray, margin: float, smoothing: float = 0.0) -> Loss:
    """Cross-entropy of logits whose true class must lead by a margin ~ count^-1/4, the rarest's being `margin` of
    cosine (Cao et al., arXiv 1906.07413, eq. 13); a mixed target has its share of each margin."""
    raw = np.maximum(counts, 1) ** -0.25
    margins = torch.tensor(heads.COSINE_SCALE * margin * raw / raw.max(), dtype=torch.float32)

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        shifted = logits - shares(targets, logits.shape[1]) * margins.to(logits.device)
        return F.cross_entropy(shifted, targets, reduction="none", label_smoothing=smoothing)

    return loss


def adjusted(loss: Loss, rarity: np.ndarray) -> Loss:
    """`loss` of the logits less log `rarity`, (classes,) (1/frequency)**tau (Menon et al., arXiv 2007.07314, eq. 10).

    In training alone each class starts with the lead of its frequency, so the model need not learn that lead: it says
    rare classes oftener, as if its probabilities were divided by frequency**tau.
    """
    lead = -torch.as_tensor(np.log(rarity), dtype=torch.float32)
    return lambda logits, targets: loss(logits + lead.to(logits.device), targets)


def shares(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """(B,) or (B, classes) targets -> (B, classes) float."""
    return targets if targets.ndim == 2 else F.one_hot(targets, classes).float()

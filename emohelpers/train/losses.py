"""Losses of single pictures, (B, classes) logits and (B,) or (B, classes) targets -> (B,).

Each takes hard targets and soft ones (MixUp, votes) alike: a one-hot target gives exactly what its index gives. A loss
is registered by name and made of a config and the pictures of each class, (classes,), in the training part.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor

from emohelpers import metrics
from emohelpers.config import ConfigError
from emohelpers.config.registry import LOSSES
from emohelpers.models import heads

Loss = Callable[[Tensor, Tensor], Tensor]


def of(cfg, classes: Sequence[str], labels: Sequence[str]) -> Loss:
    """The loss that a config names; `labels` are those of the training part.

    Raises:
        ValueError: the loss needs another head than the config's.
    """
    labels = list(labels)
    counts = np.array([labels.count(name) for name in classes])
    loss = LOSSES[cfg.loss](cfg, counts)
    if cfg.logit_adjustment:
        return adjusted(loss, metrics.weights(labels, classes, cfg.logit_adjustment))
    return loss


@LOSSES.register("cross_entropy")
def cross_entropy(cfg, counts: ndarray) -> Loss:
    """torch's own."""
    return partial(plain, smoothing=cfg.label_smoothing)


@LOSSES.register("focal")
def focal(cfg, counts: ndarray) -> Loss:
    """-(1 - p)^gamma log p: what is right already counts little (Lin et al., arXiv 1708.02002, eq. 4)."""
    gamma = cfg.focal_gamma
    smoothing = cfg.label_smoothing

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        classes = logits.shape[1]
        log_p = logits.log_softmax(1)
        soft = shares(targets, classes) * (1 - smoothing) + smoothing / classes
        return -(soft * (1 - log_p.exp()) ** gamma * log_p).sum(1)

    return loss


@LOSSES.register("ldam")
def ldam(cfg, counts: ndarray) -> Loss:
    """Cross-entropy of logits whose true class must lead by a margin ~ count^-1/4.

    Cao et al., arXiv 1906.07413, eq. 13. The rarest class's margin is `cfg.ldam_margin` of cosine; a mixed target has
    its share of each margin.
    """
    if cfg.head != "cosine":
        raise ConfigError(f"loss='ldam' sets margins between angles and needs head='cosine', not {cfg.head!r}.")
    rarity = np.maximum(counts, 1) ** -0.25
    widest = heads.COSINE_SCALE * cfg.ldam_margin
    margins = torch.tensor(widest * rarity / rarity.max(), dtype=torch.float32)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        margin = shares(targets, logits.shape[1]) * on_device(margins, logits.device)
        return plain(logits - margin, targets, cfg.label_smoothing)

    return loss


def adjusted(loss: Loss, rarity: ndarray) -> Loss:
    """`loss` of the logits less log `rarity`, (classes,) (1/frequency)**tau (Menon et al., arXiv 2007.07314, eq. 10).

    In training alone each class starts with the lead of its frequency, so the model need not learn that lead: it says
    rare classes oftener, as if its probabilities were divided by frequency**tau.
    """
    lead = -torch.as_tensor(np.log(rarity), dtype=torch.float32)
    return lambda logits, targets: loss(logits + on_device(lead, logits.device), targets)


@lru_cache(maxsize=16)
def on_device(constant: Tensor, device: torch.device) -> Tensor:
    """A constant, copied to a device once: the CPU waits for each copy."""
    return constant.to(device)


def shares(targets: Tensor, classes: int) -> Tensor:
    """(B,) or (B, classes) targets -> (B, classes) float."""
    return targets if targets.ndim == 2 else F.one_hot(targets, classes).float()


def plain(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each picture, (B,)."""
    return F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)

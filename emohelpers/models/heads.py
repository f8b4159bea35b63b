"""The last layers: from a trunk's features (B, features) to logits (B, classes).

A head is one function, registered by its name: (features, classes, width, dropout) -> module. `width` is its hidden
layer, `dropout` its (first) rate; `head="name"` in a config takes it.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Module

from emohelpers.config.registry import HEADS

COSINE_SCALE = 30.0  # logits of "cosine" are within +- this; Cao et al., arXiv 1906.07413


def build(kind: str, features: int, classes: int, width: int, dropout: float) -> Module:
    """A head of a registered kind."""
    return HEADS[kind](features, classes, width, dropout)


@HEADS.register("mlp")
def mlp(features: int, classes: int, width: int, dropout: float) -> Module:
    """Seed 000's."""
    return nn.Sequential(
        nn.Linear(features, width),
        nn.BatchNorm1d(width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )


@HEADS.register("linear")
def linear(features: int, classes: int, width: int, dropout: float) -> Module:
    """One layer; some timm families start with logits of tens, which would undo the trunk: these start small."""
    head = nn.Linear(features, classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head


@HEADS.register("layernorm")
def layernorm(features: int, classes: int, width: int, dropout: float) -> Module:
    """The deeper head that seed 001 gives ResNet-50."""
    return nn.Sequential(
        nn.Linear(features, width),
        nn.ReLU(),
        nn.LayerNorm(width),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )


@HEADS.register("batchnorm")
def batchnorm(features: int, classes: int, width: int, dropout: float) -> Module:
    """Seed 002's classifier with several dropout rates and Xavier's start."""
    head = nn.Sequential(
        nn.BatchNorm1d(features),
        nn.Dropout(dropout),
        nn.Linear(features, width),
        nn.ReLU(),
        nn.BatchNorm1d(width),
        nn.Dropout(dropout / 2),
        nn.Linear(width, classes),
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return head


class Cosine(nn.Linear):
    """Logits that depend on the angle between features and class alone, as the margins of LDAM ask for."""

    def forward(self, features: Tensor) -> Tensor:
        return COSINE_SCALE * F.linear(F.normalize(features), F.normalize(self.weight))


@HEADS.register("cosine")
def cosine(features: int, classes: int, width: int, dropout: float) -> Module:
    """Goes with the loss "ldam"."""
    return Cosine(features, classes, bias=False)


class Unit(Module):
    """Each row at length 1 (L2)."""

    def forward(self, features: Tensor) -> Tensor:
        # Not F.normalize or norm: onnxruntime's quantiser knows the shapes of neither Expand nor ReduceL2.
        return features * (features * features).sum(dim=1, keepdim=True).clamp(min=1e-12).rsqrt()


@HEADS.register("embedding")
def embedding(features: int, classes: int, width: int, dropout: float) -> Module:
    """Seed 003's: a layer whose rows have length 1."""
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(features, width),
        Unit(),
        nn.Linear(width, classes),
    )

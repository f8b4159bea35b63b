"""The last layers: from a trunk's features (B, features) to logits (B, classes)."""

import torch
import torch.nn.functional as F
from torch import nn

COSINE_SCALE = 30.0  # logits of "cosine" are within +- this; Cao et al., arXiv 1906.07413


class Cosine(nn.Linear):
    """Logits that depend on the angle between features and class alone, as the margins of LDAM ask for."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return COSINE_SCALE * F.linear(F.normalize(features), F.normalize(self.weight))


class Unit(nn.Module):
    """Each row at length 1 (L2)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Not F.normalize or norm: onnxruntime's quantiser knows the shapes of neither Expand nor ReduceL2.
        return features * (features * features).sum(dim=1, keepdim=True).clamp(min=1e-12).rsqrt()


def build(kind: str, features: int, classes: int, width: int, dropout: float) -> nn.Module:
    """A head of a kind of `config.Model.head`; `width` is its hidden layer, `dropout` its (first) rate.

    "mlp" is seed 000's, "layernorm" the deeper head that seed 001 gives ResNet-50, "batchnorm" seed 002's classifier
    with several dropout rates and Xavier's start, "cosine" goes with the loss "ldam", "embedding" is seed 003's: a
    layer whose rows have length 1.
    """
    if kind == "cosine":
        return Cosine(features, classes, bias=False)
    if kind == "linear":
        made = nn.Linear(features, classes)  # some timm families start with logits of tens: that would undo the trunk
        nn.init.normal_(made.weight, std=0.01)
        nn.init.zeros_(made.bias)
        return made
    if kind == "mlp":
        rest = [nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(dropout)]
        return nn.Sequential(nn.Linear(features, width), *rest, nn.Linear(width, classes))
    if kind == "layernorm":
        rest = [nn.ReLU(), nn.LayerNorm(width), nn.Dropout(dropout)]
        return nn.Sequential(nn.Linear(features, width), *rest, nn.Linear(width, classes))
    if kind == "batchnorm":
        first = [nn.BatchNorm1d(features), nn.Dropout(dropout), nn.Linear(features, width), nn.ReLU()]
        made = nn.Sequential(*first, nn.BatchNorm1d(width), nn.Dropout(dropout / 2), nn.Linear(width, classes))
        for layer in made:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        return made
    if kind == "embedding":
        rest = [nn.Linear(features, width), Unit(), nn.Linear(width, classes)]
        return nn.Sequential(nn.Dropout(dropout), *rest)
    raise ValueError(f"head={kind!r} is not one of linear, mlp, layernorm, batchnorm, cosine, embedding")

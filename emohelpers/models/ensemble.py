"""Several opinions as one model: different nets, and each picture's mirror image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import Module

from emohelpers.config import ConfigError


class Mixture(Module):
    """Mean probability of classifiers of one input and one label order, (B, 3, h, w) -> (B, classes) log-probabilities.

    `mirrored` asks each of them about the mirrored picture too (test-time augmentation).
    """

    def __init__(self, members: Sequence[Module], *, mirrored: bool = False):
        super().__init__()
        orders = {tuple(member.spec["classes"]) for member in members}
        inputs = {str(member.spec.get("preprocess")) for member in members}
        if len(orders) != 1 or len(inputs) != 1:
            raise ConfigError(
                f"{len(members)} models cannot be mixed: they have {len(orders)} label orders and {len(inputs)} ways "
                "to prepare a picture. Give models of the same classes, img_size and normalisation."
            )
        self.members = nn.ModuleList(members)
        self.mirrored = mirrored
        self.spec = members[0].spec

    def forward(self, inputs: Tensor) -> Tensor:
        views = [inputs, inputs.flip(3)] if self.mirrored else [inputs]
        log_p = [member(view).float().log_softmax(1) for member in self.members for view in views]
        return torch.stack(log_p).logsumexp(0) - torch.tensor(float(len(log_p))).log()

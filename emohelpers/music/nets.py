"""The two nets of the conditional GAN.

The generator is steered by noise and condition in every block; the discriminator is kept smooth (spectral norm,
Miyato et al., arXiv 1802.05957) and sees the condition by projection (Miyato and Koyama, arXiv 1802.05637).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, no_grad
from torch.nn import Conv2d, ConvTranspose2d, GroupNorm, Identity, LeakyReLU, Linear, Module, ModuleList, Sequential
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

from emohelpers.config import ConfigError
from emohelpers.music.sound import RANGE_DB

# side of the first map; channels at most
SMALLEST = 4
WIDEST = 512
MOOD = 64  # numbers that a condition becomes


class Conditional(Module):
    """A net that standardises its conditions (B, 2) by the training ratings."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__()
        self.settings = settings
        self.register_buffer("ratings", torch.tensor([[0.0, 0.0], [1.0, 1.0]]))  # mean and std of the training ratings

    def standard(self, ratings: Tensor) -> Tensor:
        """(B, 2) on -1..1 -> mean 0 and standard deviation 1 over the training ratings."""
        mean, std = self.ratings
        return (ratings - mean) / std


class Block(Module):
    """Twice the size: (B, a, h, w) -> (B, b, 2h, 2w), scaled and shifted by noise and condition."""

    def __init__(self, a: int, b: int, style: int):
        super().__init__()
        self.norm = GroupNorm(min(8, a), a, affine=False)  # no running statistics: a clip depends on itself alone
        self.style = Linear(style, 2 * a)
        self.grow = ConvTranspose2d(a, b, 4, 2, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        x = leaky_relu(self.norm(x) * (1 + scale) + shift, 0.2)
        return self.grow(x)


class Generator(Conditional):
    """Noise (B, latent) and conditions (B, 2) on -1..1 -> (B, 1, h, w) standardised; `clips` gives dB.

    Raises:
        ValueError: a shape that no number of doublings reaches.
    """

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        height, width = settings["shape"]
        doublings = _doublings(settings["shape"])
        first = (height // 2**doublings, width // 2**doublings)
        channels = _channels(settings["width"], doublings)[::-1]
        style = settings["latent"] + MOOD
        self.condition = Sequential(Linear(2, MOOD), LeakyReLU(0.2))
        self.map = (channels[0], *first)
        self.start = Linear(style, math.prod(self.map))
        self.blocks = ModuleList(Block(a, b, style) for a, b in pairwise(channels))
        self.last = Conv2d(channels[-1], 1, 3, padding=1)
        self.register_buffer("scale", torch.tensor([0.5, 0.25]))  # mean and std of the training pictures (0..1)

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        style = torch.cat([noise, self.condition(self.standard(conditions))], 1)
        x = self.start(style).view(-1, *self.map)
        for block in self.blocks:
            x = block(x, style)
        return self.last(leaky_relu(x, 0.2))

    def pictures(self, outputs: Tensor) -> Tensor:
        """(B, 1, h, w) standardised -> (B, h, w) on the data's own scale, 0..1 and a little beyond."""
        mean, std = self.scale
        return outputs[:, 0] * std + mean

    @no_grad()
    def clips(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """(B, h, w) dB below the loudest point, -80..0."""
        return (self.pictures(self(noise, conditions)).clamp(0, 1) - 1) * RANGE_DB


class Discriminator(Conditional):
    """(B, 1, h, w) and conditions (B, 2) -> how real they are together (B,)."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        smooth = spectral_norm if settings["regulariser"] == "spectral" else Identity()
        channels = _channels(settings["width"], _doublings(settings["shape"]))
        channels[0] = 1  # a picture has one
        layers: list[Module] = []
        for a, b in pairwise(channels):
            layers += [smooth(Conv2d(a, b, 4, 2, 1)), LeakyReLU(0.2)]
        self.body = Sequential(*layers)
        self.real = smooth(Linear(channels[-1], 1))
        self.match = smooth(Linear(2, channels[-1]))

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        features = self.body(x).mean((2, 3))
        matching = self.match(self.standard(conditions)) * features
        return self.real(features)[:, 0] + matching.sum(1)


def _doublings(shape: Sequence[int]) -> int:
    """How often the first map is doubled."""
    doublings = int(math.log2(min(shape) / SMALLEST))
    if doublings < 1 or any(side % 2**doublings for side in shape):
        factor = 2 ** max(doublings, 1)
        raise ConfigError(f"gan_shape={tuple(shape)}: each side must be a multiple of {factor}, at least 8")
    return doublings


def _channels(width: int, doublings: int) -> list[int]:
    """Channels at full size and after each halving."""
    return [min(width * 2**i, WIDEST) for i in range(doublings + 1)]

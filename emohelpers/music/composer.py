"""The two nets of the conditional GAN, and what the trained generator composes: clips in half-precision files.

The generator is steered by noise and condition in every block; the discriminator is kept smooth (spectral norm,
Miyato et al., arXiv 1802.05957) and sees the condition by projection (Miyato and Koyama, arXiv 1802.05637).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from emohelpers.config import files
from emohelpers.models import WeightsError
from emohelpers.music.sound import RANGE_DB

SMALLEST, WIDEST = 4, 512  # side of the first map; channels at most
JITTER = 0.05  # standard deviation added to a drawn training condition, on -1..1
SHARD = 1024  # clips a file


class Block(nn.Module):
    """Twice the size: (B, a, h, w) -> (B, b, 2h, 2w), scaled and shifted by noise and condition."""

    def __init__(self, a: int, b: int, style: int):
        super().__init__()
        self.norm = nn.GroupNorm(min(8, a), a, affine=False)  # no running statistics: a clip depends on itself alone
        self.style = nn.Linear(style, 2 * a)
        self.grow = nn.ConvTranspose2d(a, b, 4, 2, 1)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        x = F.leaky_relu(self.norm(x) * (1 + scale) + shift, 0.2)
        return self.grow(x)


class Generator(nn.Module):
    """Noise (B, latent) and conditions (B, 2) on -1..1 -> (B, 1, h, w) standardised; `clips` gives dB."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__()
        self.settings = settings
        steps, start = _steps(settings["shape"])
        channels = [min(settings["width"] * 2**i, WIDEST) for i in range(steps, -1, -1)]
        style = settings["latent"] + 64
        self.condition = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2))
        self.start = nn.Linear(style, channels[0] * start[0] * start[1])
        self.map = (channels[0], *start)
        self.blocks = nn.ModuleList(Block(a, b, style) for a, b in zip(channels, channels[1:], strict=False))
        self.last = nn.Conv2d(channels[-1], 1, 3, padding=1)
        self.register_buffer("scale", torch.tensor([0.5, 0.25]))  # mean and std of the training pictures (0..1)
        self.register_buffer("ratings", torch.tensor([[0.0, 0.0], [1.0, 1.0]]))  # mean and std of the conditions

    def forward(self, noise: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        wanted = (conditions - self.ratings[0]) / self.ratings[1]
        style = torch.cat([noise, self.condition(wanted)], 1)
        x = self.start(style).view(-1, *self.map)
        for block in self.blocks:
            x = block(x, style)
        return self.last(F.leaky_relu(x, 0.2))

    def pictures(self, made: torch.Tensor) -> torch.Tensor:
        """(B, 1, h, w) standardised -> (B, h, w) on the data's own scale, 0..1 and a little beyond."""
        return made[:, 0] * self.scale[1] + self.scale[0]

    @torch.no_grad()
    def clips(self, noise: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """(B, h, w) dB below the loudest point, -80..0."""
        return (self.pictures(self(noise, conditions)).clamp(0, 1) - 1) * RANGE_DB


class Discriminator(nn.Module):
    """(B, 1, h, w) and conditions (B, 2) -> how real they are together (B,)."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__()
        self.settings = settings
        smooth = spectral_norm if settings["regulariser"] == "spectral" else nn.Identity()
        steps, _ = _steps(settings["shape"])
        channels = [1] + [min(settings["width"] * 2**i, WIDEST) for i in range(1, steps + 1)]
        layers: list[nn.Module] = []
        for a, b in zip(channels, channels[1:], strict=False):
            layers += [smooth(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.real = smooth(nn.Linear(channels[-1], 1))
        self.match = smooth(nn.Linear(2, channels[-1]))
        self.register_buffer("ratings", torch.tensor([[0.0, 0.0], [1.0, 1.0]]))

    def forward(self, x: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        features = self.body(x).mean((2, 3))
        wanted = (conditions - self.ratings[0]) / self.ratings[1]
        return self.real(features)[:, 0] + (self.match(wanted) * features).sum(1)


def _steps(shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
    """How often the first map is doubled, and its size."""
    steps = int(math.log2(min(shape) / SMALLEST))
    start = tuple(side // 2**steps for side in shape)
    if steps < 1 or any(side % 2**steps for side in shape):
        raise ValueError(f"gan_shape={tuple(shape)}: each side must be a multiple of {2 ** max(steps, 1)}, at least 8")
    return steps, start


def load(path: str | Path) -> Generator:
    """A generator from generator.pth, strictly; raises `WeightsError` for anything else."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        generator = Generator(saved["settings"])
        generator.load_state_dict(saved["weights"], strict=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises half a dozen types for a file that is not this checkpoint
        raise WeightsError(f"{path} holds no generator of this suite: {str(error)[:200]}") from error
    return generator.eval()


def conditions(ratings: np.ndarray, n: int, rng: np.random.Generator, kind: str = "training") -> np.ndarray:
    """(n, 2) float32 conditions: training ratings, each a little moved, or uniform on the square (the original's).

    Most of the square holds no song: a uniform draw asks for music that nothing was learned about.
    """
    if kind == "uniform":
        return rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    drawn = ratings[rng.integers(len(ratings), size=n)] + rng.normal(0, JITTER, (n, 2))
    return np.clip(drawn, ratings.min(0), ratings.max(0)).astype(np.float32)


@dataclass(frozen=True)
class Composed:
    """Synthetic clips in half-precision shards, each with its condition."""

    table: pd.DataFrame  # clip, file, row, valence, arousal
    folder: Path

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ratings(self) -> np.ndarray:
        """(n, 2) the conditions, float32."""
        return self.table[["valence", "arousal"]].to_numpy(np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(n, h, w) float16 dB of some clips, from the memory-mapped files."""
        part = self.table.iloc[rows]
        maps = {name: np.load(self.folder / name, mmap_mode="r") for name in part["file"].unique()}
        return np.stack([maps[name][row] for name, row in zip(part["file"], part["row"], strict=True)])


@torch.no_grad()
def compose(generator: Generator, n: int, ratings: np.ndarray, cfg, folder: str | Path) -> Composed:
    """Exactly `n` clips into `folder`/synthetic-<k>.npy (float16 dB) and synthetic.csv, the same for the same seed.

    Args:
        ratings: (songs, 2) of the training songs, from which conditions are drawn (`cfg.gan_conditions`).
    """
    folder, device = Path(folder), next(generator.parameters()).device
    rng = np.random.default_rng([cfg.seed, 3])
    wanted = conditions(np.asarray(ratings), n, rng, cfg.gan_conditions)
    names = [f"synthetic-{k:03d}.npy" for k in range(-(-n // SHARD))]
    for k, name in enumerate(names):
        part = torch.from_numpy(wanted[k * SHARD : (k + 1) * SHARD])
        noise = torch.from_numpy(rng.standard_normal((len(part), generator.settings["latent"]), np.float32))
        batches = zip(noise.split(64), part.split(64), strict=True)
        made = [generator.clips(z.to(device), c.to(device)).cpu() for z, c in batches]
        with files.replace(folder / name) as temp:
            np.save(temp, torch.cat(made).half().numpy())
    at = np.arange(n)
    table = pd.DataFrame({"clip": [f"synthetic_{i:05d}" for i in at], "file": [names[i // SHARD] for i in at]})
    table = table.assign(row=at % SHARD, valence=wanted[:, 0], arousal=wanted[:, 1])
    files.write_csv(table, folder / "synthetic.csv")
    return Composed(table, folder)

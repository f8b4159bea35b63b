"""What synthetic clips are worth: how far they are from real ones, how varied, how copied, and whether their condition
can be read back by a net that has seen real songs alone. Every figure stands beside the same figure of real clips.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import linalg
from torch import nn

from emohelpers.metrics import regression
from emohelpers.models import devices
from emohelpers.train.objectives import Regression

FEATURES = 32  # of the reader, in which distances are taken: few, since songs are few
EPOCHS, BATCH, RATE = 30, 32, 2e-3
HALVES = 10  # random halves of the real clips behind every distance
COARSE = 16  # side of the pictures that are compared for copies


class Reader(nn.Module):
    """A small convolutional net, (B, h, w) in 0..1 -> valence and arousal (B, 2); `features` are (B, 32)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in ((1, 16), (16, 32), (32, 64), (64, FEATURES)):
            layers += [nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
        self.body, self.read = nn.Sequential(*layers), nn.Linear(FEATURES, 2)

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.body(2 * pictures.unsqueeze(1) - 1).mean((2, 3))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.read(self.features(pictures))


@dataclass(frozen=True)
class Judge:
    """A trained reader; arrays in, arrays out."""

    net: Reader

    @torch.no_grad()
    def _run(self, function, pictures: np.ndarray) -> np.ndarray:
        device = next(self.net.parameters()).device
        starts = range(0, len(pictures), 256)
        parts = [torch.from_numpy(np.asarray(pictures[i : i + 256], np.float32)) for i in starts]
        return torch.cat([function(part.to(device)).cpu() for part in parts]).numpy()

    def ratings(self, pictures: np.ndarray) -> np.ndarray:
        """(n, h, w) in 0..1 -> (n, 2) what valence and arousal it hears."""
        return self._run(self.net, pictures)

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """(n, h, w) in 0..1 -> (n, 32)."""
        return self._run(self.net.features, pictures)


def reader(pictures: np.ndarray, ratings: np.ndarray, *, seed: int = 0, epochs: int = EPOCHS) -> Judge:
    """Trains a reader on real training clips alone, shifted around in time; (n, h, w) in 0..1 and (n, 2)."""
    device = devices.device()
    torch.manual_seed(seed)
    net, objective = Reader().to(device), Regression(0.5)
    clips = torch.from_numpy(np.asarray(pictures, np.float32)).to(device)
    wanted = torch.from_numpy(np.asarray(ratings, np.float32)).to(device)
    steps = epochs * max(len(clips) // BATCH, 1)
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    size = min(BATCH, len(clips))
    for _ in range(epochs):
        order = torch.randperm(len(clips))
        for i in range(max(len(clips) // BATCH, 1)):
            at = order[i * size : (i + 1) * size]
            turned = torch.roll(clips[at], int(torch.randint(clips.shape[2], ())), dims=2)
            loss = objective.loss(net(turned), wanted[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Judge(net.eval())


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two clouds (n, d), (m, d) taken as Gaussian; Heusel et al., arXiv 1706.08500, eq. 6."""
    (mean_a, cov_a), (mean_b, cov_b) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    values = linalg.eigvals(cov_a @ cov_b)  # the trace of the root of a product of covariances: sum of their roots
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b) - 2 * np.sqrt(np.abs(values.real)).sum())


def kernel(a: np.ndarray, b: np.ndarray) -> float:
    """Squared kernel distance, unbiased, kernel (x.y/d + 1)**3; Binkowski et al., arXiv 1801.01401."""

    def similar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within = sum((m.sum() - np.trace(m)) / (len(x) * (len(x) - 1)) for x in (a, b) for m in [similar(x, x)])
    return float(within - 2 * similar(a, b).mean())


def check(
    judge: Judge, train: np.ndarray, held: np.ndarray, held_ratings: np.ndarray, made: np.ndarray, wanted: np.ndarray,
    *, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """A row a check: `synthetic`, the same of `real` clips, and what the two mean.

    Args:
        train: real clips that the GAN was trained on, in 0..1, (n, h, w). held: real ones that it never saw.
        made: synthetic ones, `wanted` (m, 2) their conditions.
    """
    rng = np.random.default_rng(seed)
    spread = judge.features(train)
    scale, centre = spread.std(0) + 1e-6, spread.mean(0)
    real, fake = (spread - centre) / scale, (judge.features(made) - centre) / scale
    half = min(len(real) // 2, len(fake))
    distances: dict[str, list[float]] = {name: [] for name in ("frechet", "frechet_floor", "kernel", "kernel_floor")}
    for _ in range(HALVES):
        order = rng.permutation(len(real))
        one, two = real[order[:half]], real[order[half : 2 * half]]
        three = fake[rng.permutation(len(fake))[:half]]
        for name, distance in (("frechet", frechet), ("kernel", kernel)):
            distances[name].append(distance(one, three))
            distances[f"{name}_floor"].append(distance(one, two))
    mean = {name: float(np.mean(values)) for name, values in distances.items()}
    small_train, small_held, small_made = (_coarse(x) for x in (train, held, made))
    few = min(200, len(small_train), len(small_made))
    varied = [_pairwise(x[rng.permutation(len(x))[:few]]) for x in (small_made, small_train)]
    near = [np.median(_nearest(x, small_train)) for x in (small_made, small_held)]
    copies = float((_nearest(small_made, small_train) < np.quantile(_nearest(small_held, small_train), 0.01)).mean())
    read, held_read = regression.ccc(wanted, judge.ratings(made)), regression.ccc(held_ratings, judge.ratings(held))
    rows = [
        ("Frechet distance", mean["frechet"], mean["frechet_floor"], "real: two halves of the training songs"),
        ("kernel distance", mean["kernel"], mean["kernel_floor"], "real: two halves; 0 is alike, may be below"),
        ("diversity", varied[0], varied[1], "mean distance between two clips"),
        ("nearest training clip", near[0], near[1], "median distance; much nearer than held-out songs would be copies"),
        ("closer than 1% of held-out songs", copies, 0.01, "share of clips; far above .01 would be copies"),
        ("condition read back, valence", read[0], held_read[0], "CCC of the reader; real: on held-out songs' ratings"),
        ("condition read back, arousal", read[1], held_read[1], "CCC of the reader; real: on held-out songs' ratings"),
    ]
    return pd.DataFrame(rows, columns=["check", "synthetic", "real", "meaning"]).set_index("check")


def _coarse(pictures: np.ndarray) -> np.ndarray:
    """(n, h, w) -> (n, 256) float32: what is left of a clip at 16x16."""
    clips = torch.from_numpy(np.asarray(pictures, np.float32)).unsqueeze(1)
    return nn.functional.adaptive_avg_pool2d(clips, COARSE).flatten(1).numpy()


def _pairwise(x: np.ndarray) -> float:
    apart = torch.pdist(torch.from_numpy(x))
    return float(apart.mean())


def _nearest(x: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) distance of each row to the nearest of `among`."""
    return torch.cdist(torch.from_numpy(x), torch.from_numpy(among)).min(1).values.numpy()

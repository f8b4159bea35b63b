"""What synthetic clips are worth: how far they are from real ones, how varied, how copied, and whether their condition
can be read back by a net that has seen real songs alone. Every figure stands beside the same figure of real clips.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy import ndarray
from numpy.random import Generator, default_rng
from pandas import DataFrame
from scipy import linalg
from torch import Tensor, from_numpy, no_grad
from torch.nn import BatchNorm2d, Conv2d, Linear, Module, ReLU, Sequential
from torch.nn.functional import adaptive_avg_pool2d
from torch.optim.lr_scheduler import OneCycleLR

from emohelpers.metrics import regression
from emohelpers.models import devices
from emohelpers.music import sound
from emohelpers.music.collection import Collection
from emohelpers.music.composer import Composed
from emohelpers.train.objectives import Regression

CHANNELS = (1, 16, 32, 64, 32)  # of the reader; distances are taken in the last: few, since songs are few
EPOCHS = 30
BATCH = 32
RATE = 2e-3
HALVES = 10  # random halves of the real clips behind every distance
COARSE = 16  # side of the pictures that are compared for copies
FEW = 200  # clips behind diversity, at most


class Reader(Module):
    """A small convolutional net, (B, h, w) in 0..1 -> valence and arousal (B, 2); `features` are (B, 32)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[Module] = []
        for a, b in pairwise(CHANNELS):
            layers += [Conv2d(a, b, 3, 2, 1), BatchNorm2d(b), ReLU()]
        self.body = Sequential(*layers)
        self.read = Linear(b, 2)

    def features(self, pictures: Tensor) -> Tensor:
        return self.body(2 * pictures.unsqueeze(1) - 1).mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.read(self.features(pictures))

    @no_grad()
    def hear(self, pictures: ndarray) -> tuple[ndarray, ndarray]:
        """(n, h, w) in 0..1 -> features (n, 32), and (n, 2) what valence and arousal it hears."""
        device = self.read.weight.device
        features = [self.features(batch.to(device).float()) for batch in from_numpy(pictures).split(256)]
        ratings = [self.read(batch) for batch in features]
        return torch.cat(features).cpu().numpy(), torch.cat(ratings).cpu().numpy()


def reader(pictures: ndarray, ratings: ndarray, *, seed: int = 0, epochs: int = EPOCHS) -> Reader:
    """Trains a reader on real training clips alone, shifted around in time; (n, h, w) in 0..1 and (n, 2)."""
    device = devices.device()
    torch.manual_seed(seed)
    net = Reader().to(device)
    objective = Regression(0.5)
    clips = torch.tensor(pictures, dtype=torch.float32, device=device)
    targets = torch.tensor(ratings, dtype=torch.float32, device=device)
    size = min(BATCH, len(clips))
    batches = len(clips) // size
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, RATE, total_steps=epochs * batches)
    for _ in range(epochs):
        order = torch.randperm(len(clips)).to(device)
        for rows in order.split(size)[:batches]:
            # Turned in time, so that the reader of a few songs does not know them by where they start.
            shift = int(torch.randint(clips.shape[2], ()))
            outputs = net(torch.roll(clips[rows], shift, dims=2))
            optimizer.zero_grad()
            objective.loss(outputs, targets[rows]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def frechet(a: ndarray, b: ndarray) -> float:
    """Frechet distance of two clouds (n, d), (m, d) taken as Gaussian; Heusel et al., arXiv 1706.08500, eq. 6."""
    cov_a = np.cov(a, rowvar=False)
    cov_b = np.cov(b, rowvar=False)
    apart = a.mean(0) - b.mean(0)
    # abs: rounding makes eigenvalues near 0 negative.
    roots = np.sqrt(np.abs(linalg.eigvals(cov_a @ cov_b).real))  # of the product's root: their sum is its trace
    return float((apart**2).sum() + np.trace(cov_a + cov_b) - 2 * roots.sum())


def kernel(a: ndarray, b: ndarray) -> float:
    """Squared kernel distance, unbiased, kernel (x.y/d + 1)**3; Binkowski et al., arXiv 1801.01401."""
    return float(_within(a) + _within(b) - 2 * _similar(a, b).mean())


def _similar(x: ndarray, y: ndarray) -> ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _within(x: ndarray) -> float:
    """Mean similarity of two different rows."""
    similar = _similar(x, x)
    n = len(x)
    return (similar.sum() - np.trace(similar)) / (n * (n - 1))


def check(songs: Collection, composed: Composed, cfg) -> DataFrame:
    """Trains a reader on the training songs and compares composed clips with real ones, see `table`."""
    real = songs.clips(cfg.gan_shape, "train")
    net = reader(real, songs.ratings("train"), seed=cfg.seed)
    unheard = songs.clips(cfg.gan_shape, "val", "test")
    unheard_ratings = songs.ratings("val", "test")
    synthetic = sound.pictures(composed.take(composed.table.index), cfg.gan_shape)
    return table(net, real, unheard, unheard_ratings, synthetic, composed.ratings)


def read_back(checks: DataFrame) -> ndarray:
    """(2,) CCC with which the reader hears the valence and the arousal that clips were composed for."""
    return checks.filter(like="read back", axis=0)["synthetic"].to_numpy()


def table(
    net: Reader,
    train: ndarray,
    unheard: ndarray,
    unheard_ratings: ndarray,
    synthetic: ndarray,
    conditions: ndarray,
    *,
    seed: int = 0,
) -> DataFrame:
    """A row a check: `synthetic`, the same of `real` clips, and what the two mean.

    Args:
        net: of `reader`, trained on the same clips as the GAN.
        train: real clips that the GAN was trained on, in 0..1, (n, h, w). unheard: real ones that it never saw, and
            their ratings.
        synthetic: (m, h, w) and their conditions (m, 2).
    """
    rng = default_rng(seed)
    features, _ = net.hear(train)
    synthetic_features, heard = net.hear(synthetic)
    _, unheard_heard = net.hear(unheard)
    frechets, kernels = _distances(features, synthetic_features, rng)
    valence, arousal = regression.ccc(conditions, heard)
    real_valence, real_arousal = regression.ccc(unheard_ratings, unheard_heard)

    # Copies and variety are looked for in what is left of a clip at 16 x 16.
    real = _coarse(train)
    fresh = _coarse(unheard)
    composed = _coarse(synthetic)
    few = min(FEW, len(real), len(composed))
    variety = _spread(composed, few, rng), _spread(real, few, rng)
    nearest = _nearest(composed, real)
    usual = _nearest(fresh, real)
    near = np.median(nearest), np.median(usual)
    # The nearest 1 % of held-out songs set the limit, hence 0.01 as the figure of real clips.
    copies = (nearest < np.quantile(usual, 0.01)).mean()

    reads = "CCC of the reader; real: on held-out songs' ratings"
    rows = [
        ("Frechet distance", *frechets, "real: two halves of the training songs"),
        ("kernel distance", *kernels, "real: two halves; 0 is alike, may be below"),
        ("diversity", *variety, "mean distance between two clips"),
        ("nearest training clip", *near, "median distance; much nearer than held-out songs would be copies"),
        ("closer than 1% of held-out songs", copies, 0.01, "share of clips; far above .01 would be copies"),
        ("condition read back, valence", valence, real_valence, reads),
        ("condition read back, arousal", arousal, real_arousal, reads),
    ]
    return DataFrame(rows, columns=["check", "synthetic", "real", "meaning"]).set_index("check")


def _distances(real: ndarray, synthetic: ndarray, rng: Generator) -> list[tuple[float, float]]:
    """Frechet's and the kernel distance of synthetic from real features, and of two halves of the real ones."""
    centre = real.mean(0)
    scale = real.std(0) + 1e-6
    real = (real - centre) / scale
    synthetic = (synthetic - centre) / scale
    # All clouds are of one size, since Frechet's distance falls as clips are added.
    half = min(len(real) // 2, len(synthetic))
    draws = []
    for _ in range(HALVES):
        order = rng.permutation(len(real))
        first = real[order[:half]]
        second = real[order[half : 2 * half]]
        composed = synthetic[rng.permutation(len(synthetic))[:half]]
        draws.append([[distance(first, cloud) for cloud in (composed, second)] for distance in (frechet, kernel)])
    return np.mean(draws, axis=0).tolist()


def _coarse(pictures: ndarray) -> ndarray:
    """(n, h, w) -> (n, 256) float32."""
    clips = torch.tensor(pictures, dtype=torch.float32)
    return adaptive_avg_pool2d(clips, COARSE).flatten(1).numpy()


def _spread(x: ndarray, few: int, rng: Generator) -> float:
    """Mean distance between two of a few rows."""
    rows = rng.permutation(len(x))[:few]
    return float(torch.pdist(from_numpy(x[rows])).mean())


def _nearest(x: ndarray, among: ndarray) -> ndarray:
    """(n,) distance of each row to the nearest of `among`."""
    return torch.cdist(from_numpy(x), from_numpy(among)).min(1).values.numpy()

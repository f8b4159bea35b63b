"""Does a map say what the model does? Deletion and insertion beside controls, random weights, agreement, stability."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy.integrate import trapezoid
from scipy.stats import rankdata
from torchvision.transforms.functional import gaussian_blur

from emohelpers.explain.subject import Subject

COARSE = 8  # cells a side of a random control: as smooth as the maps that it stands beside
CENTRE = 0.25  # standard deviation of the centre control, in sides of the picture
BLUR = 0.12  # standard deviation of what a removed pixel is replaced by, in sides of the picture


def random_maps(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Maps (n, h, w) in 0..1 that know nothing: coarse noise, smoothed."""
    cells = np.random.default_rng(seed).random((shape[0], 1, COARSE, COARSE), np.float32)
    return torch.nn.functional.interpolate(torch.from_numpy(cells), shape[1:], mode="bicubic")[:, 0].numpy()


def centre_maps(shape: tuple[int, int, int]) -> np.ndarray:
    """Maps (n, h, w) that know only that faces are in the middle: a Gaussian."""
    y, x = (np.linspace(-0.5, 0.5, size, dtype=np.float32) for size in shape[1:])
    return np.broadcast_to(np.exp(-(y[:, None] ** 2 + x**2) / (2 * CENTRE**2)), shape).copy()


def deletion_insertion(
    subject: Subject, inputs: torch.Tensor, targets: np.ndarray, maps: np.ndarray, *, steps: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The probability of class `targets` (n,) while a picture's highest pixels go, and while they come: each
    (n, steps + 1), from no pixel to all (Petsiuk et al., arXiv 1806.07421). What is absent is blurred.
    """
    sigma = BLUR * inputs.shape[-1]
    size = 2 * round(2 * sigma) + 1
    blurred = gaussian_blur(gaussian_blur(inputs, [size, 1], sigma), [1, size], sigma)  # in two passes: 20 times faster
    chance = np.random.default_rng(seed).random(maps[0].shape, np.float32)  # decides among equal pixels
    order = np.stack([np.lexsort((chance.ravel(), -one.ravel())) for one in maps])
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    rank = torch.from_numpy(rank).view(len(maps), 1, *maps.shape[1:]).to(inputs.device)
    wanted = torch.from_numpy(targets).to(inputs.device)[:, None]
    curves = []
    for step in range(steps + 1):
        taken = rank < round(step / steps * order.shape[1])
        for present, absent in ((blurred, inputs), (inputs, blurred)):
            scores = subject.probabilities(torch.where(taken, present, absent))
            curves.append(scores.gather(1, wanted)[:, 0].cpu().numpy())
    return np.stack(curves[::2], axis=1), np.stack(curves[1::2], axis=1)


def area_under(curves: np.ndarray) -> np.ndarray:
    """Area (n,) under curves (n, steps + 1) over 0..1."""
    return trapezoid(curves, axis=1) / (curves.shape[1] - 1)


def randomised(subject: Subject, inputs: torch.Tensor, seed: int) -> Subject:
    """The subject with every weight drawn anew (Adebayo et al., arXiv 1810.03292): same net, nothing learned.

    Each tensor is drawn with the spread that it had, and running statistics are taken from `inputs`, so that
    signals neither die nor explode.
    """
    drawn, dice = copy.deepcopy(subject.model), torch.Generator().manual_seed(seed)
    for tensor in drawn.parameters():
        noise = torch.randn(tensor.shape, generator=dice).to(tensor.device)
        centre = tensor.mean() if tensor.ndim < 2 else 0  # a norm's gains stay around one
        tensor.data = centre + noise * (tensor.std() if tensor.numel() > 1 else 0)
    norms = [module for module in drawn.modules() if getattr(module, "running_mean", None) is not None]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average
        norm.train()
    with torch.no_grad():
        for part in inputs.split(subject.batch_size):
            drawn(part)
    return replace(subject, model=drawn.eval())


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's signed correlation of maps (n, h, w), pair by pair: (n,), NaN where one of the two is constant."""
    a, b = (rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (one, other))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def agreement(maps: dict[str, np.ndarray]) -> pd.DataFrame:
    """Mean rank correlation of every two methods' maps of the same faces, a table method x method."""
    names = list(maps)
    table = pd.DataFrame(np.eye(len(names)), names, names)
    for i, one in enumerate(names):
        for other in names[:i]:
            table.loc[one, other] = table.loc[other, one] = np.nanmean(rank_correlation(maps[one], maps[other]))
    return table

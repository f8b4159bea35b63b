"""Does a map say what the model does? Deletion and insertion beside controls, random weights, agreement, stability."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from numpy import ndarray
from pandas import DataFrame
from scipy.integrate import trapezoid
from scipy.stats import rankdata
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from emohelpers.explain.classifier import Classifier

COARSE = 8  # cells a side of a random control: as smooth as the maps that it stands beside
CENTRE = 0.25  # standard deviation of the centre control, in sides of the picture
BLUR = 0.12  # standard deviation of what a removed pixel is replaced by, in sides of the picture


def random_maps(shape: tuple[int, int, int], seed: int) -> ndarray:
    """Maps (n, h, w) in 0..1 that know nothing: coarse noise, smoothed."""
    n, *size = shape
    cells = np.random.default_rng(seed).random((n, 1, COARSE, COARSE), np.float32)
    return torch.nn.functional.interpolate(torch.from_numpy(cells), size, mode="bicubic")[:, 0].numpy()


def centre_maps(shape: tuple[int, int, int]) -> ndarray:
    """Maps (n, h, w) that know only that faces are in the middle: a Gaussian."""
    y, x = (np.linspace(-0.5, 0.5, size, dtype=np.float32) for size in shape[1:])
    blob = np.exp(-(y[:, None] ** 2 + x**2) / (2 * CENTRE**2))
    return np.broadcast_to(blob, shape).copy()


def deletion_insertion(
    classifier: Classifier, inputs: Tensor, targets: ndarray, maps: ndarray, *, steps: int, seed: int = 0
) -> dict[str, ndarray]:
    """The probability of class `targets` (n,) while a picture's highest pixels go, and while they come.

    Petsiuk et al., arXiv 1806.07421. Missing pixels are blurred.

    Returns:
        "deletion" and "insertion", each (n, steps + 1), from no pixel to all.
    """
    # In two passes, which is twenty times faster.
    sigma = BLUR * inputs.shape[-1]
    # Kernels must be odd; two standard deviations to either side.
    size = 2 * round(2 * sigma) + 1
    blurred = gaussian_blur(gaussian_blur(inputs, [size, 1], sigma), [1, size], sigma)
    rank = torch.from_numpy(_ranks(maps, seed))[:, None].to(inputs.device)
    column = torch.from_numpy(targets).to(inputs.device)[:, None]

    def probability(pictures: Tensor) -> ndarray:
        return classifier.probabilities(pictures).gather(1, column)[:, 0].cpu().numpy()

    # Step by step a larger share of the highest pixels.
    deletion = []
    insertion = []
    for step in range(steps + 1):
        highest = rank < round(step / steps * maps[0].size)
        deletion.append(probability(torch.where(highest, blurred, inputs)))
        insertion.append(probability(torch.where(highest, inputs, blurred)))
    return {"deletion": np.stack(deletion, axis=1), "insertion": np.stack(insertion, axis=1)}


def _ranks(maps: ndarray, seed: int) -> ndarray:
    """Place of each pixel (n, h, w), 0 for the highest; chance decides among equal ones, not where they lie."""
    chance = np.random.default_rng(seed).random(maps[0].size, np.float32)
    # lexsort sorts by its last key first; argsort of an order gives each pixel its place in it.
    ranks = [np.lexsort((chance, -values)).argsort() for values in maps.reshape(len(maps), -1)]
    return np.stack(ranks).reshape(maps.shape)


def areas(curves: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """Area (n,) under each of the curves (n, steps + 1), over 0..1."""
    return {name: trapezoid(curve, axis=1) / (curve.shape[1] - 1) for name, curve in curves.items()}


def randomised(classifier: Classifier, inputs: Tensor, seed: int) -> Classifier:
    """The classifier with every weight drawn anew (Adebayo et al., arXiv 1810.03292): same net, nothing learned.

    Each tensor is drawn with the spread that it had, and running statistics are taken from `inputs`, so that
    signals neither die nor explode.
    """
    model = copy.deepcopy(classifier.model)
    generator = torch.Generator().manual_seed(seed)
    # Weights of the same spread.
    for tensor in model.parameters():
        noise = torch.randn(tensor.shape, generator=generator).to(tensor.device)
        centre = tensor.mean() if tensor.ndim < 2 else 0  # a norm's gains stay around one
        spread = tensor.std() if tensor.numel() > 1 else 0
        tensor.data = centre + noise * spread
    # Statistics of these inputs.
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.reset_running_stats()
            module.momentum = None  # the plain average
            module.train()
    with torch.no_grad():  # in fp32 on a card too: a random net's numbers may leave the range of half precision
        for batch in inputs.split(classifier.batch_size):
            model(batch)
    return replace(classifier, model=model.eval())


def rank_correlation(a: ndarray, b: ndarray) -> ndarray:
    """Spearman's signed correlation of maps (n, h, w), pair by pair: (n,), NaN where one of the two is constant."""
    x = _centred_ranks(a)
    y = _centred_ranks(b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))


def _centred_ranks(maps: ndarray) -> ndarray:
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)


def agreement(maps: Mapping[str, ndarray]) -> DataFrame:
    """Mean rank correlation of every two methods' maps of the same faces, a table method x method."""
    table = DataFrame(np.eye(len(maps)), list(maps), list(maps))
    for a, b in combinations(maps, 2):
        table.loc[a, b] = table.loc[b, a] = np.nanmean(rank_correlation(maps[b], maps[a]))
    return table

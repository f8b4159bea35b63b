"""Maps from outside a model: SHAP by expected gradients, LIME by hiding segments, both in whole batches."""

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from numpy import ndarray
from torch import Tensor

from emohelpers.explain.classifier import Classifier
from emohelpers.models import devices

SCALE = 1024  # of gradients on their way: in half precision small ones would be lost; a power of two rounds nothing


def expected_gradients(
    classifier: Classifier,
    inputs: Tensor,
    targets: ndarray,
    background: Tensor,
    *,
    samples: int,
    seed: int,
) -> ndarray:
    """SHAP values (n, 3, h, w) float32 of the logits `targets` (n,), against a background (m, 3, h, w).

    The estimator of shap.GradientExplainer (Erion et al., arXiv 1906.10670): the gradient at random points between a
    background picture and this one, times their difference. Here the points are spread evenly over the path and the
    background pictures taken in turn, and batches hold samples of several pictures. The library needs twice the
    samples, and twice the time, until two seeds agree as much (benchmarks/results/shap_seeds.json).
    """
    rng = np.random.default_rng(seed)
    n = len(inputs)
    device = classifier.device
    # One row a picture: how far along the path each sample lies, and which background picture the path begins at.
    strata = np.stack([rng.permutation(samples) for _ in range(n)])
    position = (strata + rng.random((n, samples))) / samples
    starts = np.stack([np.resize(rng.permutation(len(background)), samples) for _ in range(n)])
    # Flat, so that a batch holds samples of several pictures.
    position = torch.from_numpy(position).float().to(device).view(-1, 1, 1, 1)
    starts = torch.from_numpy(starts.ravel()).to(device)
    pictures = torch.arange(n, device=device).repeat_interleave(samples)
    classes = torch.from_numpy(targets).to(device)[pictures, None]
    # The mean over each picture's samples of gradient times difference.
    total = torch.zeros_like(inputs)
    for batch in classifier.batches(n * samples):
        picture = pictures[batch]
        start = background[starts[batch]]
        difference = inputs[picture] - start
        point = (start + position[batch] * difference).requires_grad_()
        with torch.enable_grad(), devices.autocast(device):
            score = SCALE * classifier.model(point).float().gather(1, classes[batch]).sum()
        (gradient,) = torch.autograd.grad(score, point)
        total.index_add_(0, picture, gradient / SCALE * difference)
    return (total / samples).cpu().numpy()


def unexplained(
    classifier: Classifier, values: ndarray, inputs: Tensor, targets: ndarray, background: Tensor
) -> ndarray:
    """How far SHAP values are from adding up, (n,): |their sum - gain| / |gain|, gain = f(x) - mean f(background)."""
    scores = classifier.logits(inputs).cpu().numpy()[np.arange(len(targets)), targets]
    expected = classifier.logits(background).mean(0).cpu().numpy()[targets]
    gain = scores - expected
    return abs(values.sum((1, 2, 3)) - gain) / np.maximum(abs(gain), 1e-6)


class _BatchedLime(LimeImageExplainer):
    """lime's explainer with its hidden pictures composed at once, on the model's device; the same draws and results."""

    def __init__(self, classifier: Classifier, seed: int):
        super().__init__(random_state=seed)
        self.classifier = classifier

    def data_labels(self, image, fudged_image, segments, classifier_fn, num_samples, batch_size=10):
        """Rows of 0 (hidden) and 1 (visible), (m, segments), and the probabilities (m, K) of such pictures."""
        device = self.classifier.device
        names, number = np.unique(segments, return_inverse=True)
        visible = self.random_state.randint(0, 2, num_samples * len(names)).reshape(num_samples, len(names))
        # The first row is the whole picture, from which lime measures the distance of the others.
        visible[0] = 1
        # All pictures of a batch are composed at once: each pixel asks whether its segment is visible.
        picture, replacement = torch.from_numpy(np.stack([image, fudged_image])).to(device)
        segment = torch.from_numpy(number.reshape(segments.shape)).to(device)
        probabilities = []
        for rows in torch.from_numpy(visible.astype(bool)).to(device).split(self.classifier.batch_size):
            pictures = torch.where(rows[:, segment][..., None], picture, replacement)
            probabilities.append(self.classifier.probabilities(self.classifier.normalise(pictures)))
        return visible, torch.cat(probabilities).double().cpu().numpy()


def lime(
    classifier: Classifier, pictures: ndarray, targets: ndarray, *, samples: int, segments: int, seed: int
) -> tuple[ndarray, ndarray]:
    """LIME (Ribeiro et al., arXiv 1602.04938) of pictures (n, s, s, 3) uint8 as evaluation prepares them.

    Returns:
        the weight of each pixel's segment (n, s, s) float32, signed, and how much of the model the linear surrogate
        explains, R2 (n,).
    """
    superpixels = SegmentationAlgorithm("slic", n_segments=segments, compactness=10, sigma=1, start_label=0)
    maps = np.zeros(pictures.shape[:3], np.float32)
    fits = np.zeros(len(pictures))
    for i, (picture, target) in enumerate(zip(pictures, targets.tolist(), strict=True)):
        explanation = _BatchedLime(classifier, seed).explain_instance(
            picture,
            None,
            labels=(target,),
            top_labels=None,
            num_samples=samples,
            segmentation_fn=superpixels,
            random_seed=seed,
        )
        # Each pixel takes the weight of its segment.
        names, number = np.unique(explanation.segments, return_inverse=True)
        weights = np.zeros(len(names), np.float32)
        # local_exp numbers segments as the columns of `data_labels` do: in the order of np.unique.
        for segment, weight in explanation.local_exp[target]:
            weights[segment] = weight
        maps[i] = weights[number].reshape(maps[i].shape)
        fits[i] = explanation.score
    return maps, fits

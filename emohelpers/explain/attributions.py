"""Maps from outside the model: SHAP by expected gradients, LIME by hiding segments, both in whole batches."""

from collections.abc import Callable

import numpy as np
import shap
import torch
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm

from emohelpers.explain.subject import ExplanationError, Subject, private


def expected_gradients(
    subject: Subject, inputs: torch.Tensor, targets: np.ndarray, background: torch.Tensor, *, samples: int, seed: int
) -> np.ndarray:
    """SHAP values (n, 3, h, w) float32 of the logits `targets` (n,), against a background (m, 3, h, w).

    The estimator of shap.GradientExplainer (Erion et al., arXiv 1906.10670): the gradient at random places between a
    background picture and this one, times their difference. Here the places are spread evenly over the path and the
    background pictures taken in turn, which leaves less to chance at the same number of samples.
    """
    rng = np.random.default_rng(seed)
    shape, device = (len(inputs), samples), subject.device
    strata = np.stack([rng.permutation(samples) for _ in range(len(inputs))])
    share = torch.from_numpy((strata + rng.random(shape)) / samples).float().to(device).view(-1, 1, 1, 1)
    turns = np.stack([np.resize(rng.permutation(len(background)), samples) for _ in range(len(inputs))])
    other, wanted = torch.from_numpy(turns.ravel()).to(device), torch.from_numpy(np.repeat(targets, samples)).to(device)
    which = torch.arange(len(inputs), device=device).repeat_interleave(samples)
    total = torch.zeros_like(inputs)
    for part in torch.arange(len(which), device=device).split(subject.batch_size):
        start = background[other[part]]
        difference = inputs[which[part]] - start
        point = (start + share[part] * difference).requires_grad_()
        with torch.enable_grad():
            score = subject.model(point).gather(1, wanted[part, None]).sum()
        (slope,) = torch.autograd.grad(score, point)
        total.index_add_(0, which[part], slope * difference)
    return (total / samples).cpu().numpy()


def completeness(
    subject: Subject, values: np.ndarray, inputs: torch.Tensor, targets: np.ndarray, background: torch.Tensor
) -> np.ndarray:
    """What SHAP values leave unexplained, (n,): |sum of values - (f(x) - mean f(background))| / |f(x) - mean f(b)|."""
    rows = np.arange(len(targets))
    gap = (
        subject.logits(inputs).cpu().numpy()[rows, targets] - subject.logits(background).mean(0).cpu().numpy()[targets]
    )
    return abs(values.sum((1, 2, 3)) - gap) / np.maximum(abs(gap), 1e-6)


def deep(subject: Subject, inputs: torch.Tensor, targets: np.ndarray, background: torch.Tensor) -> np.ndarray:
    """SHAP values (n, 3, h, w) by shap.DeepExplainer, for nets in which its rules add up.

    Raises:
        ExplanationError: they do not (LayerNorm, GELU, SiLU, attention, residual sums that are added in place).
    """
    own = private(subject.model)  # when it fails it leaves its hooks behind
    try:
        values = shap.DeepExplainer(own, background).shap_values(inputs.clone(), check_additivity=True)
    except (RuntimeError, AssertionError) as error:
        raise ExplanationError(
            f"DeepExplainer does not add up for {type(own).__name__} ({str(error).splitlines()[0][:120]}): "
            "use 'shap', which is valid for every net that has gradients."
        ) from error
    return np.stack([values[i, ..., target] for i, target in enumerate(targets)]).astype(np.float32)


class _Batched(LimeImageExplainer):
    """lime's explainer with its hidden pictures made at once, on the model's device; the same draws and results."""

    def data_labels(self, image, fudged_image, segments, classifier_fn, num_samples, batch_size=10):
        count = len(np.unique(segments))
        shown = self.random_state.randint(0, 2, num_samples * count).reshape(num_samples, count)
        shown[0] = 1
        return shown, classifier_fn(image, fudged_image, np.unique(segments, return_inverse=True)[1], shown)


def lime(
    subject: Subject, squares: np.ndarray, targets: np.ndarray, *, samples: int, segments: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """LIME (Ribeiro et al., arXiv 1602.04938) of pictures (n, s, s, 3) uint8 as evaluation prepares them.

    Returns:
        the weight of each pixel's segment (n, s, s) float32, signed, and how much of the model the linear surrogate
        explains, R2 (n,).
    """
    cut = SegmentationAlgorithm("slic", n_segments=segments, compactness=10, sigma=1, start_label=0)
    maps, scores = np.zeros(squares.shape[:3], np.float32), np.zeros(len(squares))
    for i, (square, target) in enumerate(zip(squares, targets, strict=True)):
        found = _Batched(random_state=seed).explain_instance(
            square, _hidden(subject), labels=(int(target),), top_labels=None, num_samples=samples, segmentation_fn=cut,
            random_seed=seed,
        )  # fmt: skip
        weights = dict(found.local_exp[int(target)])
        for place, segment in enumerate(np.unique(found.segments)):
            maps[i][found.segments == segment] = weights[place]
        scores[i] = found.score
    return maps, scores


def _hidden(subject: Subject) -> Callable:
    """Probabilities (m, K) of a picture of which some segments are replaced, for rows of 0 and 1 (m, segments)."""

    def predict(square: np.ndarray, fudged: np.ndarray, place: np.ndarray, shown: np.ndarray) -> np.ndarray:
        both = torch.from_numpy(np.stack([fudged, square])).to(subject.device)
        where = torch.from_numpy(place.reshape(square.shape[:2])).to(subject.device)
        rows = torch.from_numpy(shown.astype(bool)).to(subject.device)
        made = []
        for part in rows.split(subject.batch_size):
            pictures = torch.where(part[:, where][..., None], both[1], both[0])
            made.append(subject.probabilities(subject.normalise(pictures)))
        return torch.cat(made).double().cpu().numpy()

    return predict

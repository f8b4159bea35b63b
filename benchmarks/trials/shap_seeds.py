"""Our SHAP values against shap.GradientExplainer's on the models of a run: CPU time, and how far two seeds agree.

`python benchmarks/trials/shap_seeds.py outputs/demo`, after notebooks 01 and 05. The library is used at its best: one
explainer a class, of one logit, so that it computes no gradient that nobody asked for. Maps are smoothed as in notebook
06, and what two seeds of them have in common is their mean rank correlation.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import shap
import torch

from emohelpers.config.explain import Explain

sys.path.append(str(Path(__file__).parents[1]))
import rounds

from emohelpers import config, explain
from emohelpers.explain import attributions, faithfulness
from emohelpers.explain.methods import SMOOTH
from emohelpers.models import devices
from emohelpers.train import study

OURS = 32  # gradients a face
LIBRARY = (32, 64, 128)
FACES_EACH = 3  # golden faces a class


class OneLogit(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, target: int):
        super().__init__()
        self.model = model
        self.target = target

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)[:, self.target : self.target + 1]


def by_library(classifier, inputs, targets, background, *, samples: int, seed: int) -> np.ndarray:
    values = np.zeros(inputs.shape, np.float32)
    for target in np.unique(targets):
        model = OneLogit(classifier.model, int(target))
        explainer = shap.GradientExplainer(model, background, batch_size=classifier.batch_size)
        rows = targets == target
        values[rows] = explainer.shap_values(inputs[rows], nsamples=samples, rseed=seed)[..., 0]
    return values


def smooth(values: np.ndarray) -> np.ndarray:
    sigma = SMOOTH * values.shape[-1]
    return np.stack([cv2.GaussianBlur(pixels, (0, 0), sigma) for pixels in values.sum(1)])


def count_of(estimate: Callable[..., np.ndarray]) -> int:
    """Faces that one call explains."""
    return len(estimate(seed=0))


def main(run: str) -> None:
    torch.set_num_threads(1)
    devices.keep_memory()
    cfg = config.make(Explain, "demo")
    faces = study.prepare(cfg)
    models = explain.load([Path(run) / stem / file for stem, file in cfg.checkpoints.items()], faces.classes, cfg)
    background = faces.part("train").sample(cfg.background, random_state=cfg.seed)
    chosen = faces.part("golden").groupby("label").head(FACES_EACH)
    squares, base = (faces.pixels.take(faces.pixels.rows(rows["path"])) for rows in (chosen, background))
    results = {}
    for name, model in models.items():
        explainer = explain.Explainer(model, base, cfg)
        classifier, targets = explainer.classifier, explainer.targets(chosen["label"])
        question = (classifier, classifier.inputs(squares), targets, explainer.background)

        contenders = {f"ours, {OURS}": partial(attributions.expected_gradients, *question, samples=OURS)}
        for samples in LIBRARY:
            contenders[f"shap, {samples}"] = partial(by_library, *question, samples=samples)
        race = {who: partial(count_of, estimate) for who, estimate in contenders.items()}
        seconds = rounds.race(race, rounds=5)
        results[name] = {}
        for who, estimate in contenders.items():
            first, second = estimate(seed=0), estimate(seed=1)
            gap = attributions.unexplained(classifier, first, question[1], targets, explainer.background)
            likeness = faithfulness.rank_correlation(smooth(first), smooth(second))
            results[name][who] = {
                "seconds a face": float(np.median(seconds[who])),
                "ours is faster": rounds.ratio(seconds, f"ours, {OURS}", who),
                "two seeds": float(likeness.mean()),
                "unexplained, median": float(np.median(gap)),
            }
            print(name, who, results[name][who], flush=True)
    place = rounds.HERE / "results" / "shap_seeds.json"
    place.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What is measured of a ranking: the pairs of a part with scores, and the figures that follow from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame
from torch.nn import Module

from emohelpers import models, train
from emohelpers.export.runner import Runner
from emohelpers.images.batches import Batches
from emohelpers.images.preprocess import Preprocess
from emohelpers.metrics import pairs as pair_metrics
from emohelpers.ranking.photographs import Photographs


@dataclass(frozen=True)
class Judged:
    """Everything that is measured of a part."""

    pairs: DataFrame  # with score_good and score_bad
    pictures: DataFrame  # scene, path, opinion, score: one row a picture
    figures: dict[str, Any]  # pairwise_accuracy, tau, rho: each value, low, high, n
    gaps: DataFrame  # accuracy by how far opinions are apart

    @property
    def accuracy(self) -> dict[str, Any]:
        return self.figures["pairwise_accuracy"]


def judge(model: Module, photographs: Photographs, cfg: Any, part: str = "test") -> Judged:
    """The pairs of a part with scores, pictures, figures and gaps."""
    pairs = scored(model, photographs, part, models.prepared(model, photographs.pixels.side))
    pictures = pair_metrics.pictures(pairs, photographs.contents())
    correlations, _ = pair_metrics.correlations(pictures, resamples=cfg.bootstrap)
    accuracy = pair_metrics.accuracy(pairs, resamples=cfg.bootstrap)
    figures = {"pairwise_accuracy": accuracy, **correlations}
    return Judged(pairs, pictures, figures, pair_metrics.by_gap(pairs))


def scored(model: Module, photographs: Photographs, part: str, preprocess: Preprocess) -> DataFrame:
    """The pairs of a part with what the model says, as `score_good` and `score_bad`; equal contents score alike."""
    pairs = photographs.part(part)
    pixels = photographs.pixels
    names = pd.unique(pairs[["good", "bad"]].to_numpy().ravel())
    contents = photographs.contents()
    rows = pixels.rows(names)
    first = {pixels.sha256[row]: row for row in reversed(rows)}  # each content once
    unique = np.array(sorted(first.values()))
    outputs, _ = train.evaluate(model, Batches(pixels, unique, np.zeros(len(unique)), preprocess, batch_size=32))
    scores = dict(zip((pixels.sha256[row] for row in unique), outputs[:, 0].astype(float), strict=True))
    by_name = {name: scores[contents[name]] for name in names}
    return pairs.assign(score_good=pairs["good"].map(by_name), score_bad=pairs["bad"].map(by_name))


def scored_by_file(runner: Runner, photographs: Photographs, part: str) -> DataFrame:
    """The pairs of a part with an ONNX file's scores, as `scored` has PyTorch's."""
    pairs = photographs.part(part)
    good = runner.logits(photographs.squares(pairs["good"]))
    bad = runner.logits(photographs.squares(pairs["bad"]))
    return pairs.assign(score_good=good.astype(float), score_bad=bad.astype(float))

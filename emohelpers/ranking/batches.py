"""Batches of whole pairs: rows in the order good, bad, good, bad ..."""

from typing import Any

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers import config
from emohelpers.images.augment import Augmentation, Draws
from emohelpers.images.batches import Batches, Job
from emohelpers.images.preprocess import Preprocess
from emohelpers.ranking.photographs import Photographs


class PairBatches(Batches):
    """Batches of whole pairs, rows in the order good, bad, good, bad ...

    With `augmented` "both" the two sides of a pair get the same draw, so that what differs between them is what people
    judged; with "good" the bad side is only cut to size, as seed 003 has it.
    """

    def __init__(self, *arguments, augmented: str = "both", **options):
        super().__init__(*arguments, **options)
        self.augmented = augmented

    def digest(self) -> str:
        return config.digest(super().digest(), self.augmented)

    def plan(self, epoch: int) -> list[Job]:
        """Of each batch of this process the positions, pair by pair, and the random numbers of its pictures."""
        n = len(self.rows) // 2
        size = self.batch_size // 2
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(n)
        good = self.augmentation.at(epoch).draw(n, rng)
        bad = good if self.augmented == "both" else still(n, self.preprocess)
        jobs = []
        for start in range(0, len(self) * size, size):
            pairs = np.array_split(order[start : start + size], self.world)[self.rank]
            positions = _woven(2 * pairs, 2 * pairs + 1)
            draws = {name: _woven(values[pairs], getattr(bad, name)[pairs]) for name, values in vars(good).items()}
            jobs.append(Job(positions, Draws(**draws)))
        return jobs


def still(n: int, preprocess: Preprocess) -> Draws:
    """No augmentation of `n` pictures: the centre, as evaluation cuts it."""
    draws = Draws.still(n).rounded()
    draws.warp[:] *= 1 / preprocess.zoom
    return draws


def _woven(good: ndarray, bad: ndarray) -> ndarray:
    """(n, ...) and (n, ...) -> (2n, ...), in turn."""
    return np.stack([good, bad], 1).reshape(-1, *good.shape[1:])


def opinions(rows: DataFrame) -> ndarray:
    """(2n,) opinions of the pairs' pictures, good before bad; NaN where there is none."""
    return rows[["good_score", "bad_score"]].to_numpy(float).ravel()


def by_part(photographs: Photographs, preprocess: Preprocess, cfg: Any) -> dict[str, Batches]:
    """Batches of "train" (augmented, shuffled by pair), "val" and "test" (as they are)."""
    known = opinions(photographs.part("train"))
    known = known[np.isfinite(known)]
    centre, spread = (known.mean(), max(known.std(), 1e-6)) if len(known) else (0.0, 1.0)
    batches = {}
    for part in photographs.counts:
        pairs = photographs.part(part)
        rows = photographs.pixels.rows(pairs[["good", "bad"]].to_numpy().ravel())
        targets = ((opinions(pairs) - centre) / spread).astype(np.float32)
        options = {"batch_size": cfg.batch_size, "seed": cfg.seed}
        kind = Batches
        if part == "train":
            kind = PairBatches
            options |= {"augmentation": Augmentation.of(cfg), "augmented": cfg.augmented}
        batches[part] = kind(photographs.pixels, rows, targets, preprocess, **options)
    return batches

"""The same person."""

import cv2
import numpy as np
from numpy import ndarray

from emohelpers.config.registry import GATES
from emohelpers.saga.gates.gate import Sample, Scores


@GATES.register("identity")
class Identity:
    """The same person in the same picture: cosine of colour layouts, 8 x 8 in CIELAB, less the mean face.

    An editor is told to change the expression and nothing else, so hair, skin, clothes, pose and background must stay;
    all that is in a picture's coarse colours, which an expression hardly touches. It needs no download and nobody's
    face model; it is no face recognition: the same person in another pose fails, a double in the same scene passes.
    """

    name = "identity"
    side = 8

    def __init__(self, floor: float, faces: ndarray) -> None:
        self.floor = floor
        self.mean = self._layout(faces).mean(0)

    @classmethod
    def of(cls, cfg, sample: Sample) -> "Identity":
        return cls(cfg.identity_floor, sample.train)

    @property
    def threshold(self) -> str:
        return f">= {self.floor:.3f}"

    def _layout(self, squares: ndarray) -> ndarray:
        layouts = []
        for square in squares:
            small = cv2.resize(square, (self.side, self.side), interpolation=cv2.INTER_AREA)
            layouts.append(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32).ravel())
        return np.stack(layouts)

    def embed(self, squares: ndarray) -> ndarray:
        """(n, s, s, 3) -> (n, 192) of unit length."""
        layouts = self._layout(squares) - self.mean
        return layouts / np.maximum(np.linalg.norm(layouts, axis=1, keepdims=True), 1e-6)

    def score(self, faces, edits, targets) -> Scores:
        return {"identity": (self.embed(faces) * self.embed(edits)).sum(1)}

    def passes(self, scores, targets) -> ndarray:
        return scores["identity"] >= self.floor

    def calibrate(self, sample, share, rng) -> None:
        """Each face against its double: the most alike face of another group."""
        embedded = self.embed(sample.faces)
        same_group = sample.groups[:, None] == sample.groups[None]
        cosines = np.where(same_group, -1, embedded @ embedded.T)
        self.floor = float(np.quantile(cosines.max(1), 1 - share))

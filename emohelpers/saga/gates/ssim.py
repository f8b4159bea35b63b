"""Not the same picture again, and not another one."""

import cv2
import numpy as np
from numpy import ndarray

from emohelpers.config.registry import GATES
from emohelpers.datasets.decoding import decode
from emohelpers.saga.gates.gate import GateError, Sample, Scores


@GATES.register("ssim")
class Ssim:
    """Neither the same picture nor an altogether other one (seed 000: .35 to .95)."""

    name = "ssim"

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    @classmethod
    def of(cls, cfg, sample: Sample) -> "Ssim":
        return cls(*cfg.ssim)

    @property
    def threshold(self) -> str:
        return f"{self.low:.2f} .. {self.high:.2f}"

    def score(self, faces, edits, targets) -> Scores:
        return {"ssim": np.array([ssim(grey(face), grey(edit)) for face, edit in zip(faces, edits, strict=True)])}

    def passes(self, scores, targets) -> ndarray:
        return (scores["ssim"] >= self.low) & (scores["ssim"] <= self.high)

    def calibrate(self, sample, share, rng) -> None:
        """Above: faces saved again as JPEG; below: a face against one of another group."""
        faces = sample.faces
        copies = saved_again(faces, rng.integers(60, 96, len(faces)))
        strangers = [rng.choice(np.flatnonzero(sample.groups != group)) for group in sample.groups]
        of_copies = self.score(faces, copies, None)["ssim"]
        of_strangers = self.score(faces, faces[strangers], None)["ssim"]
        self.high = float(np.quantile(of_copies, share))
        self.low = float(np.quantile(of_strangers, 1 - share))
        if self.low >= self.high:
            raise GateError(
                f"ssim: strangers ({self.low:.2f}) are as alike as copies ({self.high:.2f}); set it by hand"
            )


def grey(square: ndarray) -> ndarray:
    """(s, s, 3) -> (s, s) uint8."""
    return cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)


def ssim(a: ndarray, b: ndarray) -> float:
    """Structural similarity of two grey pictures (Wang et al. 2004): Gaussian windows of 11 pixels, sigma 1.5."""
    a = a.astype(np.float64)
    b = b.astype(np.float64)
    mean_a = _blurred(a)
    mean_b = _blurred(b)
    variance_a = _blurred(a * a) - mean_a**2
    variance_b = _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    c1 = (0.01 * 255) ** 2
    c2 = (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean())


def saved_again(faces: ndarray, quality: int | ndarray) -> ndarray:
    """Faces (n, s, s, 3) uint8 RGB after one more JPEG of this quality, or of (n,) qualities."""
    copies = []
    for face, percent in zip(faces, np.broadcast_to(quality, len(faces)), strict=True):
        _, jpeg = cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(percent)])
        copies.append(decode(jpeg.tobytes()))
    return np.stack(copies)


def _blurred(picture: ndarray) -> ndarray:
    return cv2.GaussianBlur(picture, (11, 11), 1.5)[5:-5, 5:-5]

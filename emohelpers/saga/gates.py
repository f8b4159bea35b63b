"""Four gates that an edit must pass: not the same picture again, not another one; the target by two opinions; the same
person. Each scores (n, side, side, 3) uint8 faces and their edits, and says which scores are good enough.

`calibrate` sets a gate by faces of the validation part that stand for a wrong edit, so that at most the stated share of
those would pass. No edit is needed for that, and no golden face is seen.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from emohelpers import models
from emohelpers.config import paths
from emohelpers.datasets import pixels
from emohelpers.images.preprocess import Preprocess
from emohelpers.metrics import calibrate as calibration
from emohelpers.models import devices
from emohelpers.models.ensemble import Mixture

NAMES = ("ssim", "clip", "classifier", "identity")
BATCH = 64


class GateError(RuntimeError):
    """A gate that cannot run, with the two remedies: what it needs, or its name in `gates_off`."""


def grey(squares: np.ndarray) -> np.ndarray:
    """(n, s, s, 3) -> (n, s, s) uint8."""
    return np.stack([cv2.cvtColor(square, cv2.COLOR_RGB2GRAY) for square in squares])


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two grey pictures (Wang et al. 2004): Gaussian windows of 11 pixels, sigma 1.5."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def blur(x):
        return cv2.GaussianBlur(x, (11, 11), 1.5)[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, both = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


class Ssim:
    """Neither the same picture nor an altogether other one (seed 000: .35 to .95)."""

    name, column = "ssim", "ssim"

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def score(self, faces, edits, targets) -> dict[str, np.ndarray]:
        return {"ssim": np.array([ssim(a, b) for a, b in zip(grey(faces), grey(edits), strict=True)])}

    def passes(self, scores, targets) -> np.ndarray:
        return (scores["ssim"] >= self.low) & (scores["ssim"] <= self.high)

    def calibrate(self, faces, labels, groups, share: float, rng) -> str:
        """Above: faces saved again as JPEG; below: a face against one of another group."""
        again = np.stack(
            [pixels.decode(jpeg(face, int(q))) for face, q in zip(faces, rng.integers(60, 96, len(faces)), strict=True)]
        )
        other = _stranger(groups, rng)
        same, strange = (self.score(faces, edits, None)["ssim"] for edits in (again, faces[other]))
        self.high, self.low = float(np.quantile(same, share)), float(np.quantile(strange, 1 - share))
        if self.low >= self.high:
            raise GateError(
                f"ssim: strangers ({self.low:.2f}) are as alike as copies ({self.high:.2f}); set it by hand"
            )
        return f"{self.low:.2f} .. {self.high:.2f}"


class Clip:
    """The edit's cosine with the words "a photo of a <target> face" (seed 000: above .22, ViT-B/32)."""

    name, column = "clip", "clip"

    def __init__(self, model: str, floor: float, words: str = "a photo of a {target} face"):
        from transformers import CLIPModel, CLIPProcessor  # an extra: only where the gate is on

        place = paths.located(model)
        try:
            self.model = CLIPModel.from_pretrained(str(place or model)).eval()
            self.processor = CLIPProcessor.from_pretrained(str(place or model))
        except (OSError, ValueError) as error:
            raise GateError(
                f"clip: {model!r} could not be loaded ({str(error)[:150]}). Turn Internet on, attach the model and "
                'name its folder as clip_model, or switch the gate off: OVERRIDES = {"gates_off": ["clip"]}.'
            ) from error
        self.device = devices.device()
        self.model.to(self.device)
        self.floor, self.words = floor, words

    @torch.no_grad()
    def cosines(self, squares: np.ndarray, words: Sequence[str]) -> np.ndarray:
        """(n, len(words)) cosines of pictures and texts."""
        rows = []
        for start in range(0, len(squares), BATCH):
            batch = list(squares[start : start + BATCH])
            inputs = self.processor(text=list(words), images=batch, return_tensors="pt", padding=True).to(self.device)
            out = self.model(**inputs)
            image, text = (torch.nn.functional.normalize(x, dim=-1) for x in (out.image_embeds, out.text_embeds))
            rows.append((image @ text.T).float().cpu().numpy())
        return np.concatenate(rows)

    def score(self, faces, edits, targets) -> dict[str, np.ndarray]:
        names = sorted(set(targets))
        table = self.cosines(edits, [self.words.format(target=name) for name in names])
        return {"clip": table[np.arange(len(edits)), [names.index(target) for target in targets]]}

    def passes(self, scores, targets) -> np.ndarray:
        return scores["clip"] > self.floor

    def calibrate(self, faces, labels, groups, share: float, rng) -> str:
        """A face with the words of another emotion."""
        names = np.unique(labels)
        wrong = np.array([rng.choice(names[names != label]) for label in labels])
        self.floor = float(np.quantile(self.score(None, faces, wrong)["clip"], 1 - share))
        return f"> {self.floor:.3f}"


class Classifier:
    """The suite's own baseline says the target, surely enough (seed 000: p >= .65), of the edit and its mirror image.

    The checkpoint is loaded strictly with its own label order and preprocessing; its probabilities are scaled by the
    temperature of the validation part, or "65 % sure" would mean something else for every model.
    """

    name, column = "classifier", "p_target"

    def __init__(self, checkpoint, floor: float, classes: Sequence[str]):
        model = models.load(checkpoint, classes=classes)
        self.classes = list(classes)
        self.config = model.facts.get("config", {})  # of its training
        self.prepare = Preprocess.read(model.spec["preprocess"])
        self.device = devices.device()
        self.model = Mixture([model], mirrored=True).to(self.device).eval()
        self.temperature, self.floors = 1.0, dict.fromkeys(self.classes, floor)

    @torch.no_grad()
    def log_p(self, squares: np.ndarray) -> np.ndarray:
        """(n, s, s, 3) -> (n, classes) log-probabilities before the temperature."""
        parts = [self.prepare.evaluate(squares[i : i + BATCH]) for i in range(0, len(squares), BATCH)]
        inputs = (self.prepare.normalise(torch.from_numpy(part).to(self.device)) for part in parts)
        return torch.cat([self.model(x).float().cpu() for x in inputs]).numpy()

    def fit_temperature(self, faces: np.ndarray, labels: Sequence[str]) -> None:
        """On validation faces (n, s, s, 3)."""
        self.temperature = calibration.temperature(self.log_p(faces), [self.classes.index(name) for name in labels])

    def score(self, faces, edits, targets) -> dict[str, np.ndarray]:
        p = torch.from_numpy(self.log_p(edits) / self.temperature).softmax(1).numpy()
        at = [self.classes.index(target) for target in targets]
        return {"p_target": p[np.arange(len(p)), at], "said": np.array(self.classes, object)[p.argmax(1)]}

    def passes(self, scores, targets) -> np.ndarray:
        sure = scores["p_target"] >= np.array([self.floors[target] for target in targets])
        return sure & (scores["said"] == np.asarray(targets, object))

    def calibrate(self, faces, labels, groups, share: float, rng) -> str:
        """For each target the faces that are labelled otherwise."""
        p = torch.from_numpy(self.log_p(faces) / self.temperature).softmax(1).numpy()
        for i, target in enumerate(self.classes):
            self.floors[target] = float(np.quantile(p[labels != target, i], 1 - share))
        return f"argmax, p >= {min(self.floors.values()):.2f} to {max(self.floors.values()):.2f} by class"


class Identity:
    """The same person in the same picture: cosine of colour layouts, 8 x 8 in CIELAB, less the mean face.

    An editor is told to change the expression and nothing else, so hair, skin, clothes, pose and background must stay;
    all that is in a picture's coarse colours, which an expression hardly touches. It needs no download and nobody's
    face model; it is no face recognition: the same person in another pose fails, a double in the same scene passes.
    """

    name, column, side = "identity", "identity", 8

    def __init__(self, floor: float, faces: np.ndarray):
        self.floor, self.mean = floor, self._layout(faces).mean(0)

    def _layout(self, squares: np.ndarray) -> np.ndarray:
        small = (cv2.resize(s, (self.side, self.side), interpolation=cv2.INTER_AREA) for s in squares)
        return np.stack([cv2.cvtColor(s, cv2.COLOR_RGB2LAB).astype(np.float32).ravel() for s in small])

    def embed(self, squares: np.ndarray) -> np.ndarray:
        """(n, s, s, 3) -> (n, 192) of unit length."""
        found = self._layout(squares) - self.mean
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)

    def score(self, faces, edits, targets) -> dict[str, np.ndarray]:
        return {"identity": (self.embed(faces) * self.embed(edits)).sum(1)}

    def passes(self, scores, targets) -> np.ndarray:
        return scores["identity"] >= self.floor

    def calibrate(self, faces, labels, groups, share: float, rng) -> str:
        """Each face against its double: the most alike face of another group."""
        found = self.embed(faces)
        alike = np.where(groups[:, None] == groups[None], -1, found @ found.T)
        self.floor = float(np.quantile(alike.max(1), 1 - share))
        return f">= {self.floor:.3f}"


def jpeg(square: np.ndarray, quality: int) -> bytes:
    """A face saved again: file content of (s, s, 3) uint8 RGB."""
    return cv2.imencode(".jpg", square[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _stranger(groups: np.ndarray, rng) -> np.ndarray:
    """For each row one of another group."""
    return np.array([rng.choice(np.flatnonzero(groups != group)) for group in groups])

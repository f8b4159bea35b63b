"""The target by words."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy import ndarray

from emohelpers.config import paths
from emohelpers.config.redaction import brief
from emohelpers.config.registry import GATES
from emohelpers.models import devices
from emohelpers.saga.gates.gate import GateError, Sample, Scores, batches, of_targets


@GATES.register("clip")
class Clip:
    """The edit's cosine with the words "a photo of a <target> face" (seed 000: above .22, ViT-B/32)."""

    name = "clip"
    words = "a photo of a {target} face"

    def __init__(self, model: str, floor: float) -> None:
        from transformers import CLIPModel, CLIPProcessor  # an extra: only where the gate is on

        source = str(paths.located(model) or model)
        try:
            self.model = CLIPModel.from_pretrained(source).eval()
            self.processor = CLIPProcessor.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise GateError(
                f"clip: {model!r} could not be loaded ({brief(error, 150)}). Turn Internet on, attach the model and "
                'name its folder as clip_model, or switch the gate off: OVERRIDES = {"gates_off": ["clip"]}.'
            ) from error
        self.device = devices.device()
        self.model.to(self.device)
        self.floor = floor

    @classmethod
    def of(cls, cfg, sample: Sample) -> "Clip":
        return cls(cfg.clip_model, cfg.clip_floor)

    @property
    def threshold(self) -> str:
        return f"> {self.floor:.3f}"

    @torch.no_grad()
    def cosines(self, squares: ndarray, words: Sequence[str]) -> ndarray:
        """(n, len(words)) cosines of pictures and texts."""
        rows = []
        for batch in batches(squares):
            inputs = self.processor(text=list(words), images=list(batch), return_tensors="pt", padding=True)
            with devices.autocast(self.device):
                output = self.model(**inputs.to(self.device))
            pictures = torch.nn.functional.normalize(output.image_embeds.float(), dim=-1)
            texts = torch.nn.functional.normalize(output.text_embeds.float(), dim=-1)
            rows.append((pictures @ texts.T).cpu().numpy())
        return np.concatenate(rows)

    def score(self, faces, edits, targets) -> Scores:
        names = sorted(set(targets))
        cosines = self.cosines(edits, [self.words.format(target=name) for name in names])
        return {"clip": of_targets(cosines, targets, names)}

    def passes(self, scores, targets) -> ndarray:
        return scores["clip"] > self.floor

    def calibrate(self, sample, share, rng) -> None:
        """A face with the words of another emotion."""
        names = np.unique(sample.labels)
        claims = [rng.choice(names[names != label]) for label in sample.labels]
        self.floor = float(np.quantile(self.score(None, sample.faces, claims)["clip"], 1 - share))

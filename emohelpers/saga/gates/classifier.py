"""The target by the suite's own baseline."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy import ndarray

from emohelpers import models
from emohelpers.config import paths
from emohelpers.config.registry import GATES
from emohelpers.datasets import leaks
from emohelpers.images.preprocess import Preprocess
from emohelpers.metrics import calibrate
from emohelpers.models import devices
from emohelpers.models.ensemble import Mixture
from emohelpers.saga.gates.gate import GateError, Sample, Scores, batches, of_targets

BASELINE = ("01_baseline_training", "vit_baseline_best_model.pth")


@GATES.register("classifier")
class Classifier:
    """The suite's own baseline says the target, surely enough (seed 000: p >= .65), of the edit and its mirror image.

    The checkpoint is loaded strictly with its own label order and preprocessing; its probabilities are scaled by the
    temperature of the validation part, or "65 % sure" would mean something else for every model.
    """

    name = "classifier"

    def __init__(self, checkpoint, floor: float, classes: Sequence[str]) -> None:
        model = models.load(checkpoint, classes=classes)
        self.classes = list(classes)
        self.config = model.facts.get("config", {})  # of its training
        self.prepare = Preprocess.read(model.spec["preprocess"])
        self.device = devices.device()
        self.model = Mixture([model], mirrored=True).to(self.device).eval()
        self.temperature = 1.0
        self.floors = dict.fromkeys(self.classes, floor)

    @classmethod
    def of(cls, cfg, sample: Sample) -> "Classifier":
        try:
            checkpoint = paths.find_result(*BASELINE, run=paths.run_name(cfg.preset), named=cfg.baseline)
        except paths.InputNotFound as error:
            off = 'Or switch the gate off by its name: OVERRIDES = {"gates_off": ["classifier"]}.'
            raise GateError(f"classifier: {error}\n{off}") from error
        gate = cls(checkpoint, cfg.p_target, sample.classes)
        if apart := leaks.apart(gate.config, cfg):
            raise GateError(
                f"classifier: the baseline was trained with another split: {apart}. Its temperature and thresholds "
                "would stand on faces that it knows. Give both notebooks the same settings."
            )
        true = [gate.classes.index(label) for label in sample.labels]
        gate.temperature = calibrate.temperature(gate.log_p(sample.faces), true)
        return gate

    @property
    def threshold(self) -> str:
        return f"argmax, p >= {min(self.floors.values()):.2f} to {max(self.floors.values()):.2f} by class"

    @torch.no_grad()
    def log_p(self, squares: ndarray) -> ndarray:
        """(n, s, s, 3) -> (n, classes) log-probabilities before the temperature."""
        rows = []
        for batch in batches(squares):
            inputs = torch.from_numpy(self.prepare.evaluate(batch)).to(self.device)
            with devices.autocast(self.device):
                rows.append(self.model(self.prepare.normalise(inputs)).float().cpu())
        return torch.cat(rows).numpy()

    def probabilities(self, squares: ndarray) -> ndarray:
        """(n, classes) at the temperature."""
        return torch.from_numpy(self.log_p(squares) / self.temperature).softmax(1).numpy()

    def score(self, faces, edits, targets) -> Scores:
        p = self.probabilities(edits)
        return {"p_target": of_targets(p, targets, self.classes), "said": np.array(self.classes, object)[p.argmax(1)]}

    def passes(self, scores, targets) -> ndarray:
        sure = scores["p_target"] >= np.array([self.floors[target] for target in targets])
        return sure & (scores["said"] == np.asarray(targets, object))

    def calibrate(self, sample, share, rng) -> None:
        """For each target the faces that are labelled otherwise."""
        p = self.probabilities(sample.faces)
        for i, target in enumerate(self.classes):
            self.floors[target] = float(np.quantile(p[sample.labels != target, i], 1 - share))

"""Notebook 02: edits of rare classes, a guard, and the combined table."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from emohelpers.config.registry import EDITORS, GATES
from emohelpers.config.settings import Count, Positive, Share
from emohelpers.config.shared import Data


class Saga(Data):
    """Notebook 02: edits of rare classes, a guard, and the combined table (seed 000)."""

    writes: ClassVar[tuple[str, ...]] = (
        "combined_labels.csv",
        "label_map.json",
        "augmented_labels.csv",
        "augmented_affectnet_dataset.zip",
        "saga/status.json",
        "guard.csv",
        "removed.csv",
        "metrics.json",
    )

    manifest: str = "affectnet"
    seed: int = 42
    baseline: str = ""  # checkpoint of the classifier gate; empty: notebook 01's of the same run
    editor: Annotated[str, EDITORS.choice] = "attached"  # of augmented_root: seed 000's way
    keep_unmatched: bool = False  # attached edits whose face is unknown: no gate and no lineage can judge them
    class_cap: Share = 0.5  # of a class's training pictures, synthetic at most
    total_cap: Share = 0.5  # of all training pictures, synthetic at most
    attempts: Positive = 3.0  # tries a slot, at most: a refused edit gives its slot back
    max_calls: int = Field(0, ge=0)  # requests of one run, 0: no limit; each may cost money
    prompt: str = (
        "Change the facial expression of this person from {current} to {target}. Keep the same person, pose, hair, "
        "clothes, light, background and framing. Change nothing else."
    )
    gates_off: tuple[Annotated[str, GATES.choice], ...] = ()  # by name; all others must run
    false_accept: Share = 0.0  # of wrong validation faces that a gate may let pass; 0: thresholds as below
    ssim: tuple[float, float] = (0.35, 0.95)  # seed 000
    clip_floor: float = 0.22  # cosine; seed 000
    p_target: Share = 0.65  # of the classifier, temperature-scaled; seed 000
    identity_floor: float = 0.9  # cosine of colour layouts; of drawn edits 98 % lie above, of doubles 5 %
    clip_model: str = "openai/clip-vit-base-patch32"  # seed 000; or a folder
    gemini_model: str = "gemini-2.5-flash-image"  # seed 000
    gemini_url: str = ""  # another address of the service
    requests_per_minute: Count = 10  # of gemini
    diffusion_model: str = "timbrooks/instruct-pix2pix"  # or a folder; 2 GB in half precision
    diffusion_steps: Count = 20
    diffusion_side: Count = 512  # pixels, a multiple of 8
    weakest: Share = 0.5  # intensity of the demo's weakest edits

    @model_validator(mode="after")
    def _judged(self) -> "Saga":
        if self.keep_unmatched and set(self.gates_off) < set(GATES):
            raise ValueError("keep_unmatched: without its face no gate can judge an edit; name all gates in gates_off")
        return self

    def results_needed(self) -> list[tuple[str, str, str]]:  # notebook, its file, and another that is named
        baseline = ("01_baseline_training", "vit_baseline_best_model.pth", self.baseline)
        return [baseline] if "classifier" not in self.gates_off else []

    demo: ClassVar[dict[str, Any]] = {
        "manifest": "demo_faces",
        "editor": "demo",
        "img_size": 96,
        "gates_off": ("clip",),  # its weights would have to be downloaded
        "false_accept": 0.05,
        "total_cap": 0.25,
    }

"""Notebook 06: maps of trained models."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from emohelpers.config.registry import METHODS
from emohelpers.config.settings import Count
from emohelpers.config.shared import Data


class Explain(Data):
    """Notebook 06: maps of trained models, and the evidence that they mean something (seed 001, sections 9 and 15)."""

    manifest: str = "affectnet"
    seed: int = 42
    checkpoints: dict[str, str] = {  # notebook -> file of its run: a transformer and a CNN
        "01_baseline_training": "vit_baseline_best_model.pth",
        "05_enhanced_cnn": "artifacts/enhanced_model_v3/best_model.pth",
    }
    checkpoint_files: tuple[str, ...] = ()  # .pth files that are named; empty: those above
    methods: tuple[Annotated[str, METHODS.choice], ...] = (
        "grad_cam",
        "grad_cam_pp",
        "layer_cam",
        "shap",
        "lime",
        "rollout",
    )
    layers: dict[str, str] = {}  # model's name in the figures -> target layer of its CAMs; else chosen by evidence
    probe_each: int = Field(2, ge=1)  # faces a class whose panels are archived
    faces_each: int = Field(16, ge=1)  # faces a class behind every figure, all named right by all models
    choice_each: int = Field(6, ge=1)  # validation faces a class that choose the layers
    check_each: int = Field(4, ge=1)  # of the faces, behind random weights and stability, which cost most
    mistakes: int = Field(8, ge=1)  # in the gallery of errors
    background: int = Field(64, ge=1)  # training pictures that SHAP compares with
    shap_samples: int = Field(128, ge=1)  # gradients a face
    lime_samples: int = Field(500, ge=10)  # hidden pictures a face; lime's default is 1000
    lime_segments: int = Field(50, ge=2)  # superpixels a face
    steps: int = Field(24, ge=2)  # of deletion and insertion
    controls: int = Field(3, ge=1)  # random maps a face
    random_weights: int = Field(3, ge=1)  # nets with weights drawn anew
    batch_size: Count = 32  # pictures in one pass
    bootstrap: int = Field(2000, ge=100)  # resamples behind every interval

    def results_needed(self) -> list[tuple[str, str, str]]:  # notebook, its file, and another that is named
        return [("", "", file) for file in self.checkpoint_files] or [(s, f, "") for s, f in self.checkpoints.items()]

    writes: ClassVar[tuple[str, ...]] = (
        "probe.csv",
        "layers.png",
        "panels/*.png",  # one a face of the probe set
        "maps_*.png",  # one a model
        "faithfulness.png",
        "belief.png",
        "belief.csv",
        "agreement.png",
        "class_means.png",
        "mistakes_*.png",  # one a model
        "notes.txt",
        "metrics.json",
    )
    demo: ClassVar[dict[str, Any]] = {
        "manifest": "demo_faces",
        "img_size": 96,
        "probe_each": 1,
        "faces_each": 8,
        "choice_each": 4,
        "check_each": 2,
        "background": 32,
        "shap_samples": 32,
        "lime_samples": 64,
        "batch_size": 64,
        "lime_segments": 40,
        "steps": 8,
        "controls": 2,
        "bootstrap": 1000,
    }

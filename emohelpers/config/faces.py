"""Notebooks 01, 03, 04 and 05: classifiers of faces.

The defaults are the originals' recipes; `demo` is the same path at the scale of two CPU cores.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from emohelpers.config.registry import HEADS, INT8_RECIPES, SCHEDULES
from emohelpers.config.settings import Aside, Count, Depth, Positive, Share
from emohelpers.config.shared import Data, Model, Training


class Baseline(Training, Model, Data):
    """Notebooks 01 and 03: ViT on AffectNet (seed 000)."""

    writes: ClassVar[tuple[str, ...]] = (
        "vit_baseline_best_model.pth",
        "testset_saved.csv",
        "confusion_matrix_baseline.png",
        "splits.csv",
        "predictions.csv",
        "metrics.json",
        "history.csv",
        "config.json",
    )

    manifest: str = "affectnet"
    checkpoint: str = "vit_baseline_best_model.pth"  # seed 000

    demo: ClassVar[dict[str, Any]] = {
        "manifest": "demo_faces",
        "backbone": "test_vit",
        "weights": "demo",
        "img_size": 96,
        "head_width": 64,
        "epochs": 10,
        "batch_size": 64,
        "lr": 1e-3,
        "bootstrap": 1000,
    }


class Augmented(Baseline):
    """Notebook 03: the recipe of 01 on photographs and edits, several times (seed 000)."""

    writes: ClassVar[tuple[str, ...]] = (
        "vit_augmented_best_model.pth",
        "confusion_matrix_augmented.png",
        "predictions.csv",
        "comparison.csv",
        "ablation.csv",
        "calibration.csv",
        "metrics.json",
        "history.csv",
        "config.json",
    )

    baseline_dir: str = ""  # results of notebook 01; empty: of the same run
    fractions: tuple[Share, ...] = (0.0, 1.0)  # of the edits; the ablation has 0, .25, .5, 1
    seeds: tuple[int, ...] = (42, 43, 44)  # of weights, order and augmentation; the split stays
    synthetic_cap: Share = 0.5  # of a class's training pictures, at most
    ramp_epochs: float = Field(0.0, ge=0)  # epochs until all edits are in; 0: from the start
    same_steps: bool = True  # as many optimizer steps as without edits: more pictures are not more training
    checkpoint: str = "vit_augmented_best_model.pth"  # seed 000

    @model_validator(mode="after")
    def _comparable(self) -> "Augmented":
        if 0.0 not in self.fractions or max(self.fractions) == 0 or self.seed not in self.seeds:
            raise ValueError("fractions need 0 and something above it, and seeds must hold the run's own seed")
        return self

    def results_needed(self) -> list[tuple[str, str, str]]:  # notebook, its file, and another that is named
        table = ("02_saga_combine_labels", "combined_labels.csv", self.combined_labels)
        return [("01_baseline_training", "vit_baseline_best_model.pth", self.baseline_dir), table]

    demo: ClassVar[dict[str, Any]] = Baseline.demo | {"seeds": (42, 43)}


class Transfer(Training, Model, Data):
    """Notebook 04: any timm backbone, first its head, then all of it (seed 001)."""

    writes: ClassVar[tuple[str, ...]] = (
        "models/best_model.pth",
        "models/label_map.json",
        "models/model_fixed.onnx",
        "models/training_history.json",
        "hub/README.md",
        "own/predictions.csv",
        "space/app.py",
        "config.json",
        "confusion_matrix.png",
        "curves.png",
        "fairness.csv",
        "final_weights.txt",
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "reliability.png",
        "results.txt",
        "splits.csv",
        "steps.csv",
        "test.csv",
        "train.csv",
        "val.csv",
        "weights.csv",
    )

    manifest: str = "affectnet"
    checkpoint: str = "models/best_model.pth"  # seed 001
    eval_zoom: float = Field(1.14, ge=1, le=1.5)  # resize 1.14x, then centre crop; seed 001 section 5
    backbone: str = "resnet50"  # or convnext_base, tf_efficientnet_b3_ns, vit_base_patch16_224, any; seed 001 section 2
    head: Annotated[str, HEADS.choice] = "layernorm"  # seed 001's for resnet50
    trainable: Depth = 0  # stage 1: the head; seed 001 section 3
    unfreeze: dict[int, Depth] = {3: "all"}  # freeze_backbone_epochs; seed 001
    epochs: Count = 80  # at most; seed 001
    lr: Positive = 1e-3  # lr_head; seed 001
    lr_backbone: Positive | None = 1e-4  # seed 001
    warmup_epochs: float = Field(3.0, ge=0)  # linear in stage 1, cosine in stage 2; seed 001
    label_smoothing: float = Field(0.05, ge=0, lt=1)  # seed 001
    mixup: float = Field(0.4, ge=0)  # seed 001; cutmix stays off
    ema: float = Field(0.999, ge=0, lt=1)  # seed 001
    class_weight_power: Share = 0.6  # seed 001 section 5
    crop_scale: tuple[Share, Share] = (0.75, 1.0)  # seed 001 section 5
    rotation: float = Field(15.0, ge=0, le=180)  # degrees; seed 001 section 5
    predecessor: ClassVar[str] = "01_baseline_training"  # what "auto" compares with
    compare_with: Aside[str] = "auto"  # notebook whose predictions are compared; auto: where they are at hand; "": none
    audit: Aside[tuple[str, ...]] = ("skin_group", "age_group")  # columns of the fairness table, where they exist
    statistics: str = "head"  # parameters described every epoch: "all", "head" or a pattern; seed 001 section 7
    promised_accuracy: Aside[Share] = 0.0  # of the original, shown beside the measured one; 0: none
    student: Aside[str] = "mobilenetv3_small_100"  # backbone of the small student that an ablation teaches
    student_weights: Aside[str] = "hub"
    ablations: Aside[tuple[str, ...]] = ()  # variants that the notebook trains; all of them: make ablation
    ablation: Aside[dict[str, Any]] = {"epochs": 20}  # settings of every row of an ablation
    fold_constants: Aside[bool] = True  # while the ONNX file is written; seed 001
    int8_pictures: Aside[Count] = 256  # training pictures for int8 ranges, validation pictures that choose a recipe
    int8_recipes: Aside[tuple[Annotated[str, INT8_RECIPES.choice], ...]] = ()  # in turn; empty: int8.OF_CLASSES
    int8_tries: Aside[Count] = 9  # recipes that are tried, of those that fit the net
    timing_rounds: Aside[Count] = 40  # measurements behind a speed
    repo: Aside[str] = ""  # owner/name on the Hugging Face hub; empty: the folder is made and nothing is sent; seed 001
    publish: Aside[bool] = False  # send it; needs HF_TOKEN as a secret or in .env, or `hf auth login`; seed 001
    photo: Aside[str] = ""  # a picture or folder of yours; "camera": take one; empty: some golden faces

    demo: ClassVar[dict[str, Any]] = {
        "manifest": "demo_faces",
        "backbone": "test_vit",
        "weights": "demo",
        "img_size": 96,
        "head_width": 64,
        "epochs": 6,
        "unfreeze": {1: "all"},
        "warmup_epochs": 1.0,
        "batch_size": 64,
        "lr": 3e-3,
        "lr_backbone": 1e-3,
        "bootstrap": 1000,
        "student": "test_efficientnet",
        "student_weights": "random",
        "ablations": ("no MixUp, no CutMix", "focal loss"),
        "ablation": {"epochs": 2, "trainable": 1, "unfreeze": {}},
        "int8_pictures": 64,
        "int8_tries": 3,
        "timing_rounds": 10,
    }


class Enhanced(Transfer):
    """Notebook 05: five stages of unfreezing under one cycle of the learning rate (seed 002)."""

    writes: ClassVar[tuple[str, ...]] = (
        "artifacts/enhanced_model_v3/best_model.pth",
        "artifacts/enhanced_model_v3/epoch_5.pth",
        "models/model_fixed.onnx",
        "hub/README.md",
        "classification_report.txt",
        "config.json",
        "confusion_matrix.png",
        "curves.html",
        "curves.png",
        "history.csv",
        "metrics.json",
        "options.csv",
        "predictions.csv",
        "results.txt",
        "splits.csv",
        "steps.csv",
    )

    checkpoint: str = "artifacts/enhanced_model_v3/best_model.pth"  # seed 002
    promised_accuracy: Aside[Share] = 0.85  # seed 002
    head: Annotated[str, HEADS.choice] = "batchnorm"  # dropouts, Xavier; seed 002
    head_dropout: float = Field(0.5, ge=0, lt=1)  # dropout_rate, the second layer has half of it; seed 002
    batch_size: Count = 16  # seed 002
    lr_backbone: Positive | None = 1e-5  # seed 002
    schedule: Annotated[str, SCHEDULES.choice] = "onecycle"  # over the whole run; seed 002
    unfreeze: dict[int, Depth] = {10: 0.25, 20: 0.5, 30: 0.75, 40: "all"}  # + layer4, + layer3, + layer2, all; seed 002
    patience: int = Field(15, ge=0)  # seed 002
    label_smoothing: float = Field(0.1, ge=0, lt=1)  # seed 002
    mixup: float = Field(0.3, ge=0)  # seed 002
    cutmix: float = Field(1.0, ge=0)  # seed 002 names none; the paper's, arXiv 1905.04899
    mix_probability: Share = 0.8  # of the two together; seed 002
    class_weight_power: Share = 0.0  # seed 002 names none
    ema: float = Field(0.9999, ge=0, lt=1)  # seed 002
    strength: dict[int, Positive] = {0: 0.5, 10: 1.25}  # conservative, then aggressive in fine-tuning; seed 002
    save_every: int = Field(5, ge=0)  # epochs; seed 002
    ablation: dict[str, Any] = {  # the same stages in half of the time
        "epochs": 40,
        "unfreeze": {5: 0.25, 10: 0.5, 15: 0.75, 20: "all"},
        "strength": {0: 0.5, 5: 1.25},
    }
    predecessor: ClassVar[str] = "04_transfer_learning"  # seed 002's baseline is the transfer learning of seed 001

    demo: ClassVar[dict[str, Any]] = Transfer.demo | {
        "backbone": "test_byobnet",
        "epochs": 9,
        "unfreeze": {1: 0.25, 2: 0.5, 3: 0.75, 4: "all"},
        "strength": {0: 0.5, 1: 1.25},
        "ablations": ("no MixUp, no CutMix", "cosine"),
    }

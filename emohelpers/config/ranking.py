"""Notebook 08: which of two photographs people prefer."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from emohelpers.config.registry import INT8_RECIPES
from emohelpers.config.settings import Aside, Count, Depth, Positive, Share
from emohelpers.config.shared import FORMERLY_OF_CLASSES, Augmentation, Model, Optimisation


class Ranking(Augmentation, Optimisation, Model):
    """Notebook 08: which of two photographs of a scene people prefer (seed 003)."""

    preset: Aside[Literal["demo", "full"]]
    dataset_root: Aside[str] = ""  # a folder, or a Kaggle handle, with training_files/<folder>/{good,bad}
    splits_json: Aside[str] = ""  # empty: splits.json beside the folders
    output_dir: Aside[str] = ""  # empty: outputs/<run>/<stem>
    drawn_scenes: int = Field(0, ge=0)  # drawn by code where no dataset_root is given; 0: none
    min_gap: Positive = 0.8  # of 5; opinions of drawn scenes that far apart make a pair
    min_side: Aside[Count] = 224  # pixels of the shorter side; seed 003
    twin_similarity: Share = 0.96  # cosine of 16x16 grey thumbnails from which two pictures count as one
    img_size: int = Field(224, ge=16)  # pixels; seed 003
    eval_zoom: float = Field(256 / 224, ge=1, le=1.5)  # resized to 256, centre 224; seed 003
    backbone: str = "mobilenetv3_large_100"  # torchvision's mobilenet_v3_large; seed 003
    head: Literal["embedding"] = "embedding"  # at length 1, the score on it; seed 003
    head_width: Count = 512  # seed 003
    head_dropout: float = Field(0.0, ge=0, lt=1)  # seed 003 has none
    trainable: Depth = "all"
    margin: Positive = 0.2  # seed 003
    opinion_weight: float = Field(0.2, ge=0)  # of the mean opinion's squared error; seed 003
    augmented: Literal["both", "good"] = "both"  # the good side only, as in seed 003, teaches to see the augmentation
    epochs: Count = 40  # at most; seed 003 names none
    lr: Positive = 3e-4  # seed 003; weight decay 1e-4 as shared
    warmup_epochs: float = Field(5.0, ge=0)  # seed 003
    clip: float = Field(5.0, ge=0)  # global norm; seed 003
    monitor: str = "val_accuracy"  # the hinge loss where the validation part is too small to tell; seed 003
    min_delta: float = Field(0.005, ge=0)  # .5 % over patience evaluations; seed 003
    save_every: int = Field(2, ge=0)  # epochs; seed 003
    crop_scale: tuple[Share, Share] = (0.765, 0.767)  # 224 of 256 pixels, somewhere
    crop_ratio: tuple[Positive, Positive] = (1.0, 1.0)
    rotation: float = Field(5.0, ge=0, le=180)  # degrees; seed 003
    brightness: Share = 0.1  # seed 003
    contrast: Share = 0.1  # seed 003
    saturation: Share = 0.0
    erasing: Share = 0.0
    int8_recipes: Aside[tuple[Annotated[str, INT8_RECIPES.choice], ...]] = ()  # in turn; empty: int8.OF_SCORES
    int8_tries: Aside[Count] = 5  # recipes that are tried, of those that fit the net
    timing_rounds: Aside[Count] = 40  # measurements behind a speed
    shortcut_epochs: Aside[Count] = 5  # of the experiment that augments the good side only
    project: str = "emo-aen"  # of the trackers; seed 003
    checkpoint: str = "best.pt"  # seed 003
    version: Aside[str] = "1.0.0"  # of the model, in its files and in the model changelog
    repo: Aside[str] = ""  # owner/name on the Hugging Face hub; empty: the folder is made and nothing is sent
    publish: Aside[bool] = False  # send it; needs HF_TOKEN as a secret or in .env, or `hf auth login`

    retired: ClassVar[tuple[str, ...]] = ("cache_kind", "teacher", "flip_test")
    former: ClassVar[dict[str, Any]] = FORMERLY_OF_CLASSES | {"loss": "hinge"}
    writes: ClassVar[tuple[str, ...]] = (
        "best.pt",
        "models/emo_aen.onnx",
        "emo_aen_bundle.zip",
        "manifest.json",
        "model_changelog.md",
        "preprocess.yaml",
        "train.yaml",
        "audit.csv",
        "pairs_test.csv",
        "metrics.json",
        "history.csv",
        "config.json",
        "hub/README.md",
    )
    demo: ClassVar[dict[str, Any]] = {
        "drawn_scenes": 180,
        "min_side": 112,
        "twin_similarity": 0.98,  # drawn landscapes are more alike than photographs
        "backbone": "test_efficientnet",
        "weights": "random",
        "img_size": 80,
        "epochs": 12,
        "rotation": 1.0,  # more would undo the tilt that spoils some of them
        "lr": 3e-3,
        "warmup_epochs": 1.0,
        "int8_tries": 2,
        "timing_rounds": 20,
        "shortcut_epochs": 4,
        "bootstrap": 1000,
    }

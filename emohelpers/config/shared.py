"""Settings that several notebooks share, each with its unit, its default and where that comes from."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emohelpers.config.registry import AUGMENTATIONS, HEADS, LOSSES, SCHEDULES
from emohelpers.config.settings import Added, Aside, Count, Depth, Positive, Settings, Share


class Data(Settings):
    """Which pictures, and which of them are kept apart."""

    preset: Aside[Literal["demo", "full"]]
    manifest: str  # a name in data_manifests/ or the path of a YAML
    dataset_root: Aside[str] = ""  # a folder, or a Kaggle handle; empty: the manifest's own handle
    labels_csv: Aside[str] = ""  # empty: the manifest's table, found below dataset_root
    combined_labels: Aside[str] = ""  # original + synthetic rows, written by notebook 02; empty: the originals alone
    augmented_root: Aside[str] = ""  # folder of its synthetic faces
    output_dir: Aside[str] = ""  # empty: outputs/<run>/<stem>, on Kaggle /kaggle/working/<seed's name>
    testset_csv: Aside[str] = ""  # an existing golden set; empty: written once per data set
    # Drawn, 150 a class as seed 000 has it; or "official": the test part that the data set declares.
    golden: str = Field("balanced:150", pattern=r"^(balanced:\d+|stratified:0?\.\d+|official)$")
    golden_cap: Share = 0.2  # of a class, at most, goes to a balanced golden set
    val_share: Share = 0.2  # of what the golden set leaves; seed 000
    split_seed: int = 42  # draws golden set and validation part; seed 000
    max_unreadable: Aside[Share] = 0.0  # of the pictures may be skipped and are listed; the seeds trained on black ones
    twin_similarity: Share = (
        0.96  # cosine of 16x16 grey thumbnails from which two pictures count as one; 0.94 errs on real faces
    )
    img_size: Annotated[int, Field(ge=16)] = 224  # pixels, what the model sees
    eval_zoom: Annotated[float, Field(ge=1, le=1.5)] = 1.0  # shorter side is img_size * eval_zoom, then centre crop
    grayscale: bool = False  # colour taken away in training, evaluation and prediction alike; seed 001's open question


class Model(Settings):
    """What is trained, from which weights, and which part of it."""

    backbone: str = "vit_base_patch16_224"  # any timm name; seed 000
    weights: Aside[str] = "hub"  # "hub" (timm's own), a local file or folder with its config, "demo", or "random"
    head: Annotated[str, HEADS.choice] = "mlp"  # see models/heads.py; mlp: seed 000
    head_width: Count = 512
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    trainable: Depth = 2  # seed 000


class Optimisation(Settings):
    """How the weights move, whatever is learned."""

    retired: ClassVar[tuple[str, ...]] = ("cache_kind",)
    seed: int = 42
    checkpoint: Aside[str] = "best_model.pth"  # the best weights, below the results folder
    epochs: Count = 30  # at most; seed 000
    batch_size: Count = 32  # over all processes together; seed 000
    accumulation: Aside[Count] = 1  # parts that a batch is computed in; doubled when memory runs out
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1e-4  # head; per step, at batch_size; seed 000
    lr_backbone: Positive | None = None  # None: the same as lr
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4  # decoupled; not on biases and norms; seed 000
    schedule: Annotated[str, SCHEDULES.choice] = "cosine"  # ends when training ends
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    restarts: Count = 3  # cosine cycles of schedule="restarts"
    unfreeze: dict[int, Depth] = {}  # epoch -> trainable, e.g. {3: "all"}
    patience: Annotated[int, Field(ge=0)] = 5  # epochs without gain before stopping, 0: never; seed 000
    min_delta: Annotated[float, Field(ge=0)] = 0.0  # smallest change that counts as gain
    monitor: str = "val_macro_f1"  # a column of the history
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay a step, warmed up as (1+t)/(10+t); 0: off
    clip: Annotated[float, Field(ge=0)] = 1.0  # gradient norm; 0: off
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"  # auto: what the card computes natively, CPU: fp32
    channels_last: bool = True  # memory format of convolutional nets
    compile: bool = False  # torch.compile; the time it takes is told
    cache: Aside[Literal["auto", "on", "off"]] = "off"  # frozen layers' activations are kept, see models/cache.py
    cache_views: Aside[Count] = 4  # augmented views of each training picture that are kept
    cache_fresh: Aside[Share] = 0.0  # of the batches after those views is augmented and computed anew
    time_budget_h: Aside[Positive | None] = None  # hours of this process, it stops before; hosted: SESSION_HOURS
    trackers: Aside[tuple[str, ...]] = ()  # "tensorboard", "wandb", ...: by accelerate
    project: Aside[str] = ""  # under which trackers file the run; empty: the checkpoint's name
    save_every: Aside[Annotated[int, Field(ge=0)]] = 0  # epochs between checkpoints kept beside the best; 0: none
    statistics: Aside[str] = ""  # regular expression: parameters that are described every epoch
    bootstrap: Aside[Annotated[int, Field(ge=100)]] = 2000  # resamples behind every interval


class Augmentation(Settings):
    """How training pictures are changed, each anew in every epoch."""

    crop_scale: tuple[Share, Share] = (0.8, 1.0)  # share of the area
    crop_ratio: tuple[Positive, Positive] = (0.9, 1.11)  # width / height of the crop
    flip: Share = 0.5
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0  # degrees to either side
    brightness: Share = 0.2  # factor 1 +- this
    contrast: Share = 0.2
    saturation: Share = 0.2
    erasing: Share = 0.25  # probability of one blanked rectangle
    extra_augmentations: Added[dict[Annotated[str, AUGMENTATIONS.choice], Positive]] = {}  # name -> strength
    strength: dict[int, Positive] = {}  # epoch -> factor on all of these from then on, e.g. {0: 0.5, 10: 1.25}


class Classification(Settings):
    """What is minimised where pictures belong to classes."""

    class_weight_power: Share = 0.0  # weights (1/freq)**power, mean 1 over the training part; 0: off
    logit_adjustment: Share = 0.0  # tau: rare classes are said oftener, ~ p / freq**tau; Menon et al., 2007.07314
    sampler_power: Share = 0.0  # drawn with replacement and probability ~ (1/freq)**power; 0: each once an epoch
    loss: Annotated[str, LOSSES.choice] = "cross_entropy"  # ldam needs head="cosine"
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0  # Lin et al., arXiv 1708.02002
    ldam_margin: Positive = 0.5  # cosine, of the rarest class; Cao et al., arXiv 1906.07413
    soft_labels: Share = 0.0  # of each target: the raters' votes (votes_<emotion>); the rest is the label
    teacher: Aside[str] = ""  # checkpoint that the training imitates; empty: none
    teacher_share: Share = 0.7  # of the loss that the teacher gives
    teacher_temperature: Positive = 2.0  # softens both sides; Hinton et al., arXiv 1503.02531
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1  # seed 000
    mixup: Annotated[float, Field(ge=0)] = 0.0  # alpha of Beta; 0: off
    cutmix: Annotated[float, Field(ge=0)] = 0.0  # alpha of Beta; with mixup: one of the two a batch
    mix_probability: Share = 1.0  # of a batch being mixed at all
    flip_test: Aside[bool] = False  # evaluation averages a picture and its mirror image


# What songs and pairs inherited of classifiers in earlier versions, always off: the names of their trainings hold it.
FORMERLY_OF_CLASSES = {
    "class_weight_power": 0.0,
    "logit_adjustment": 0.0,
    "sampler_power": 0.0,
    "focal_gamma": 2.0,
    "ldam_margin": 0.5,
    "soft_labels": 0.0,
    "teacher_share": 0.7,
    "teacher_temperature": 2.0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "mix_probability": 1.0,
}


class Training(Classification, Augmentation, Optimisation):
    """All of a classifier's training."""

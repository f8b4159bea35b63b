"""Notebook 07: valence and arousal of songs."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from emohelpers.config.settings import Added, Aside, Count, Depth, Positive, Share
from emohelpers.config.shared import FORMERLY_OF_CLASSES, Model, Optimisation


class Music(Optimisation, Model):
    """Notebook 07: valence and arousal of songs, a conditional GAN and a vision transformer (seed 004)."""

    preset: Aside[Literal["demo", "full"]]
    manifest: str = "deam"  # a name in data_manifests/songs/ or the path of a YAML
    dataset_root: Aside[str] = ""  # a folder, or a Kaggle handle; empty: the data set's own
    labels_csv: Aside[str] = ""  # one CSV of ratings or the folder that holds them; empty: found below dataset_root
    output_dir: Aside[str] = ""  # empty: outputs/<run>/<stem>, on Kaggle /kaggle/working/vit_augmented
    max_unreadable: Aside[Share] = 0.01  # of the songs may be left out (and are listed)
    folds: int = Field(5, ge=2)  # one of so many parts is the test; the seed's test was 64 % synthetic
    fold: int = Field(0, ge=0)  # which of them: for a cross-validation run 0 .. folds-1
    val_share: float = Field(0.15, gt=0, le=0.5)  # of the other songs
    split_seed: int = 42
    sample_rate: Count = 22050  # Hz; seed 004
    seconds: Positive = 30.0  # from the start of each song; seed 004
    n_fft: Count = 2048  # samples; seed 004
    hop: Count = 512  # samples; seed 004
    mels: Count = 128  # bands; seed 004
    fmin: float = Field(20.0, ge=0)  # Hz; seed 004
    fmax: Positive = 8000.0  # Hz; seed 004
    img_size: int = Field(224, ge=16)  # pixels; seed 004
    sections: Count = 6  # of a clip, a picture each, judged together; 1: all of it squeezed into one, as seed 004 did
    n_synthetic: Count = 3200  # clips; seed 004
    synthetic_cap: float = Field(0.5, ge=0, lt=1)  # of the training rows at most; the seed's had 64 %
    gan_shape: tuple[Count, Count] = (128, 256)  # mel bands and frames; each a power of two times the other's part
    gan_latent: Count = 64  # numbers of noise
    gan_width: Count = 32  # channels at full size, doubled as the map halves
    gan_gradient_penalty: Added[float] = Field(0.0, ge=0)  # of the squared gradient; 0: spectral norm in its place
    gan_condition_weight: float = Field(1.0, ge=0)  # of the loss that reads valence and arousal back
    gan_epochs: Count = 150  # about 30 minutes on a T4 (seed 004)
    gan_batch: Count = 32
    gan_lr: float = Field(1e-4, ge=0)  # of the generator; four times less than the discriminator's (TTUR)
    gan_lr_discriminator: Positive = 4e-4
    gan_ema: float = Field(0.999, ge=0, lt=1)  # decay a step of the generator that is kept
    ast_shape: tuple[Count, Count] = (128, 1280)  # mel bands and frames, multiples of 16
    ast_width: Count = 288  # a multiple of 48; with 6 layers about 6 million parameters; seed 004
    ast_layers: Count = 6  # seed 004
    ast_epochs: Count = 60  # from scratch it needs more than the ViT
    ast_lr: Positive = 3e-4
    backbone: str = "vit_base_patch16_224.orig_in21k"  # timm's name of google/vit-base-patch16-224-in21k; seed 004
    trainable: Depth = 0  # the head first
    unfreeze: dict[int, Depth] = {2: 2, 6: 4}  # then more and more blocks from the top
    head_width: Count = 256
    epochs: Count = 24  # at most; seed 004's notebook
    lr: Positive = 3e-4  # of the head
    lr_backbone: Positive | None = 3e-5
    patience: int = Field(8, ge=0)
    monitor: str = "val_ccc"  # mean of valence and arousal, over the whole validation part
    ema: float = Field(0.99, ge=0, lt=1)
    cache: Literal["auto", "on", "off"] = "auto"
    ccc_share: Share = 0.5  # of the loss; the rest is the squared error
    time_shift: bool = True  # a clip begins anywhere and goes on from its start; of several sections one is shown
    gain_db: float = Field(3.0, ge=0)  # louder or softer by up to
    mel_mask: Share = 0.15  # of the bands blanked at most
    time_mask: Share = 0.15  # of the frames blanked at most

    retired: ClassVar[tuple[str, ...]] = ("cache_kind", "teacher", "flip_test", "match_variance")
    former: ClassVar[dict[str, Any]] = FORMERLY_OF_CLASSES | {
        "loss": "cross_entropy",
        "crop_scale": (0.8, 1.0),
        "crop_ratio": (0.9, 1.11),
        "flip": 0.5,
        "rotation": 10.0,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "erasing": 0.25,
        "strength": {},
        "clip_from": "start",
        "gan_regulariser": "spectral",
        "gan_penalty": 10.0,
        "gan_conditions": "training",
    }
    writes: ClassVar[tuple[str, ...]] = (
        "ast_model.pth",
        "best_vit_model.pth",
        "config.json",
        "curves.png",
        "discriminator.pth",
        "generator.pth",
        "metrics.json",
        "predictions.csv",
        "real_vs_synthetic.png",
        "results.txt",
        "scatter.png",
        "splits.csv",
        "synthetic.csv",
        "vit_output.zip",
        "vit_real.pth",
        "vit_synthetic.pth",
    )
    demo: ClassVar[dict[str, Any]] = {
        "manifest": "demo_songs",
        "seconds": 8.0,
        "mels": 64,
        "img_size": 96,
        "sections": 3,
        "backbone": "test_vit",
        "weights": "demo",
        "trainable": 2,
        "unfreeze": {2: "all"},
        "head_width": 64,
        "epochs": 12,
        "lr": 2e-3,
        "lr_backbone": 1e-3,
        "gan_shape": (64, 32),
        "gan_width": 8,
        "gan_latent": 32,
        "gan_epochs": 28,
        "gan_batch": 16,
        "gan_lr": 1e-3,
        "gan_lr_discriminator": 2e-3,
        "gan_ema": 0.99,
        "ast_shape": (64, 96),
        "ast_width": 48,
        "ast_epochs": 24,
        "ast_lr": 1e-3,
        "bootstrap": 1000,
    }

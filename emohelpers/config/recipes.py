"""One config a notebook: what it adds to the shared settings of `config`, and the values of its demo.

The defaults are the original's recipe (preset "full"); `demo` holds the same path at the scale of two CPU cores.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from emohelpers.config.settings import Count, Data, Depth, Model, Positive, Share, Training, off

OF_CLASSES = (
    "label_smoothing", "mixup", "cutmix", "class_weight_power", "logit_adjustment", "sampler_power", "soft_labels",
    "teacher",
)  # fmt: skip


class Baseline(Training, Model, Data):
    """Notebooks 01 and 03: ViT on AffectNet (seed 000)."""

    manifest: str = "affectnet"

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


class Saga(Data):
    """Notebook 02: edits of rare classes, a guard, and the combined table (seed 000)."""

    manifest: str = "affectnet"
    seed: int = 42
    baseline: str = ""  # checkpoint of the classifier gate; empty: notebook 01's of the same run
    editor: Literal["attached", "gemini", "diffusers", "demo"] = "attached"  # of augmented_root: seed 000's way
    keep_unmatched: bool = False  # attached edits whose face is unknown: no gate and no lineage can judge them
    class_cap: Share = 0.5  # of a class's training pictures, synthetic at most
    total_cap: Share = 0.5  # of all training pictures, synthetic at most
    attempts: Positive = 3.0  # tries a slot, at most: a refused edit gives its slot back
    max_calls: int = Field(0, ge=0)  # requests of one run, 0: no limit; each may cost money
    prompt: str = (
        "Change the facial expression of this person from {current} to {target}. Keep the same person, pose, hair, "
        "clothes, light, background and framing. Change nothing else."
    )
    gates_off: tuple[Literal["ssim", "clip", "classifier", "identity"], ...] = ()  # by name; all others must run
    false_accept: Share = 0.0  # of wrong validation faces that a gate may let pass; 0: thresholds as below
    ssim: tuple[float, float] = (0.35, 0.95)  # seed 000
    clip_floor: float = 0.22  # cosine; seed 000
    p_target: Share = 0.65  # of the classifier, temperature-scaled; seed 000
    identity_floor: float = 0.9  # cosine of colour layouts; of drawn edits 98 % lie above, of doubles 5 %
    clip_model: str = "openai/clip-vit-base-patch32"  # seed 000; or a folder
    gemini_model: str = "gemini-2.5-flash-image"  # seed 000
    gemini_url: str = ""  # another address of the service
    requests_per_minute: Count = 10  # of each key
    diffusion_model: str = "timbrooks/instruct-pix2pix"  # or a folder; 2 GB in half precision
    diffusion_steps: Count = 20
    diffusion_side: Count = 512  # pixels, a multiple of 8
    weakest: Share = 0.5  # intensity of the demo's weakest edits

    @model_validator(mode="after")
    def _judged(self) -> "Saga":
        if self.keep_unmatched and len(self.gates_off) < 4:
            raise ValueError("keep_unmatched: without its face no gate can judge an edit; name all four in gates_off")
        return self

    demo: ClassVar[dict[str, Any]] = {
        "manifest": "demo_faces",
        "editor": "demo",
        "img_size": 96,
        "gates_off": ("clip",),  # its weights would have to be downloaded
        "false_accept": 0.05,
        "total_cap": 0.25,
    }


class Augmented(Baseline):
    """Notebook 03: the recipe of 01 on photographs and edits, several times (seed 000)."""

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

    demo: ClassVar[dict[str, Any]] = Baseline.demo | {"seeds": (42, 43)}


class Transfer(Training, Model, Data):
    """Notebook 04: any timm backbone, first its head, then all of it (seed 001)."""

    manifest: str = "affectnet"
    eval_zoom: float = Field(1.14, ge=1, le=1.5)  # resize 1.14x, then centre crop; seed 001 section 5
    backbone: str = "resnet50"  # or convnext_base, tf_efficientnet_b3_ns, vit_base_patch16_224, any; seed 001 section 2
    head: Literal["mlp", "linear", "layernorm", "batchnorm", "cosine"] = "layernorm"  # seed 001's for resnet50
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
    compare_with: str = "01_baseline_training"  # notebook whose predictions are compared, picture by picture; "": none
    audit: tuple[str, ...] = ("skin_group", "age_group")  # columns by which fairness is looked at, where they exist
    statistics: str = "head"  # parameters described every epoch: "all", "head" or a pattern; seed 001 section 7
    student: str = "mobilenetv3_small_100"  # backbone of the small student that a variant of the ablation teaches
    student_weights: str = "hub"
    ablations: tuple[str, ...] = ()  # variants that the notebook trains; all of them: make ablation
    ablation: dict[str, Any] = {"epochs": 20}  # settings of every row of an ablation
    int8_pictures: Count = 256  # training pictures that int8 ranges come from, validation pictures that choose a recipe
    int8_tries: Count = 9  # ways of quantising, see quantise.RECIPES
    timing_rounds: Count = 40  # measurements behind a speed
    repo: str = ""  # owner/name on the Hugging Face hub; empty: the folder is made and nothing is sent; seed 001
    publish: bool = False  # send it; needs HF_TOKEN as a secret or in .env, or `hf auth login`; seed 001
    photo: str = ""  # a picture or folder of yours; "camera": take one; empty: some golden faces

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

    head: Literal["mlp", "linear", "layernorm", "batchnorm", "cosine"] = "batchnorm"  # dropouts, Xavier; seed 002
    head_dropout: float = Field(0.5, ge=0, lt=1)  # dropout_rate, the second layer has half of it; seed 002
    batch_size: Count = 16  # seed 002
    lr_backbone: Positive | None = 1e-5  # seed 002
    schedule: Literal["cosine", "onecycle", "restarts", "constant"] = "onecycle"  # over the whole run; seed 002
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
        "epochs": 40, "unfreeze": {5: 0.25, 10: 0.5, 15: 0.75, 20: "all"}, "strength": {0: 0.5, 5: 1.25},
    }  # fmt: skip
    compare_with: str = "04_transfer_learning"  # seed 002's baseline is the transfer learning of seed 001

    demo: ClassVar[dict[str, Any]] = Transfer.demo | {
        "backbone": "test_byobnet",
        "epochs": 9,
        "unfreeze": {1: 0.25, 2: 0.5, 3: 0.75, 4: "all"},
        "strength": {0: 0.5, 1: 1.25},
        "ablations": ("no MixUp, no CutMix", "cosine"),
    }


class Ranking(Training, Model):
    """Notebook 08: which of two photographs of a scene people prefer (seed 003)."""

    preset: Literal["demo", "full"]
    dataset_root: str = ""  # a folder, or a Kaggle handle, with training_files/<folder>/{good,bad}
    splits_json: str = ""  # empty: splits.json beside the folders
    output_dir: str = ""  # empty: outputs/<run>/<stem>
    drawn_scenes: int = Field(0, ge=0)  # drawn by code where no dataset_root is given; 0: none
    min_gap: Positive = 0.8  # of 5; opinions of drawn scenes that far apart make a pair
    min_side: Count = 224  # pixels of the shorter side; seed 003
    twin_similarity: Share = 0.96  # cosine of 16x16 grey thumbnails from which two pictures count as one
    img_size: int = Field(224, ge=16)  # pixels; seed 003
    eval_zoom: float = Field(256 / 224, ge=1, le=1.5)  # resized to 256, centre 224; seed 003
    backbone: str = "mobilenetv3_large_100"  # torchvision's mobilenet_v3_large; seed 003
    head: Literal["embedding"] = "embedding"  # at length 1, the score on it; seed 003
    head_width: Count = 512  # seed 003
    head_dropout: float = Field(0.0, ge=0, lt=1)  # seed 003 has none
    trainable: Depth = "all"
    loss: Literal["hinge"] = "hinge"  # seed 003
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
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    int8_tries: Count = 5  # ways of quantising, see release.RECIPES
    timing_rounds: Count = 40  # measurements behind a speed
    shortcut_epochs: Count = 5  # of the experiment that augments the good side only
    project: str = "emo-aen"  # of the trackers; seed 003
    version: str = "1.0.0"  # of the model, in its files and in the model changelog
    repo: str = ""  # owner/name on the Hugging Face hub; empty: the folder is made and nothing is sent
    publish: bool = False  # send it; needs HF_TOKEN as a secret or in .env, or `hf auth login`

    _off = off(*OF_CLASSES, why="belongs to classes; pairs have none")

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


class Explain(Data):
    """Notebook 06: maps of trained models, and the evidence that they mean something (seed 001, sections 9 and 15)."""

    manifest: str = "affectnet"
    seed: int = 42
    checkpoints: dict[str, str] = {  # notebook -> file of its run: a transformer and a CNN
        "01_baseline_training": "vit_baseline_best_model.pth",
        "05_enhanced_cnn": "artifacts/enhanced_model_v3/best_model.pth",
    }
    methods: tuple[str, ...] = ("grad_cam", "grad_cam_pp", "layer_cam", "shap", "lime", "rollout")
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


class Music(Training, Model):
    """Notebook 07: valence and arousal of songs, a conditional GAN and a vision transformer (seed 004)."""

    preset: Literal["demo", "full"]
    manifest: str = "deam"  # a name in data_manifests/songs/ or the path of a YAML
    dataset_root: str = ""  # a folder, or a Kaggle handle; empty: the data set's own
    labels_csv: str = ""  # one CSV of ratings or the folder that holds them; empty: found below dataset_root
    output_dir: str = ""  # empty: outputs/<run>/<stem>, on Kaggle /kaggle/working/vit_augmented
    max_unreadable: Share = 0.01  # of the songs may be left out (and are listed)
    folds: int = Field(5, ge=2)  # one of so many parts is the test; the seed's test was 64 % synthetic
    fold: int = Field(0, ge=0)  # which of them: for a cross-validation run 0 .. folds-1
    val_share: float = Field(0.15, gt=0, le=0.5)  # of the other songs
    split_seed: int = 42
    sample_rate: Count = 22050  # Hz; seed 004
    seconds: Positive = 30.0  # of each song; seed 004
    clip_from: Literal["start", "middle"] = "start"  # which seconds of a longer song; seed 004
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
    gan_regulariser: Literal["spectral", "penalty"] = "spectral"
    gan_penalty: Positive = 10.0  # of the squared gradient, if gan_regulariser is "penalty"
    gan_condition_weight: float = Field(1.0, ge=0)  # of the loss that reads valence and arousal back
    gan_conditions: Literal["training", "uniform"] = "training"  # whence conditions are drawn; uniform: seed 004
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
    match_variance: bool = False  # predictions are stretched by what the validation songs show
    time_shift: bool = True  # a clip begins anywhere and goes on from its start; of several sections one is shown
    gain_db: float = Field(3.0, ge=0)  # louder or softer by up to
    mel_mask: Share = 0.15  # of the bands blanked at most
    time_mask: Share = 0.15  # of the frames blanked at most
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    _off = off(*OF_CLASSES, "strength", "flip_test", why="belongs to classes or pictures; songs have none")

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

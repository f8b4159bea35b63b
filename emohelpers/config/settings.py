"""Settings that notebooks share, with unit, default and its source; `recipes` makes a config of them for each notebook.

A config is frozen and keyword-only. Unknown names, wrong types and impossible values raise `ConfigError`, all at once.
`full` is the original's recipe; `demo` is the same path at the scale of two CPU cores and differs in values only.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from emohelpers.config import paths

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
Depth = Literal["all"] | Annotated[int, Field(ge=0)] | Part  # last blocks or stages beside the head, or a share of them


class ConfigError(ValueError):
    """Every wrong setting of a call, with what was given and what is allowed."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    demo: ClassVar[dict[str, Any]] = {}  # what the preset "demo" sets otherwise: sizes alone
    writes: ClassVar[tuple[str, ...]] = ()  # files that the notebook promises; its receipt proves them

    def __str__(self) -> str:
        width = max(map(len, type(self).model_fields))
        return "\n".join(f"{name:<{width}} = {value!r}" for name, value in self)


T = TypeVar("T", bound=_Frozen)


def off(*names: str, why: str):
    """A validator of a recipe for which some shared settings mean nothing: they stay off."""

    def check(cls, value: Any) -> Any:
        if value:
            raise ValueError(f"{why}, leave it off")
        return value

    return field_validator(*names)(classmethod(check))


class Data(_Frozen):
    """Which pictures, and which of them are kept apart."""

    preset: Literal["demo", "full"]
    manifest: str  # a name in data_manifests/ or the path of a YAML
    dataset_root: str = ""  # a folder, or a Kaggle handle; empty: the manifest's own handle
    labels_csv: str = ""  # empty: the manifest's table, found below dataset_root
    combined_labels: str = ""  # original + synthetic rows, written by notebook 02; empty: the originals alone
    augmented_root: str = ""  # folder of its synthetic faces
    output_dir: str = ""  # empty: outputs/<run>/<stem>, on Kaggle /kaggle/working/<seed's name>
    testset_csv: str = ""  # an existing golden set; empty: written once per data set
    golden: str = Field("balanced:150", pattern=r"^(balanced:\d+|stratified:0?\.\d+)$")  # seed 000: 150 a class
    golden_cap: Share = 0.2  # of a class, at most, goes to a balanced golden set
    val_share: Share = 0.2  # of what the golden set leaves; seed 000
    split_seed: int = 42  # draws golden set and validation part; seed 000
    max_unreadable: Share = 0.0  # of the pictures may be skipped (and are listed); the originals trained on black ones
    twin_similarity: Share = (
        0.96  # cosine of 16x16 grey thumbnails from which two pictures count as one; 0.94 errs on real faces
    )
    img_size: Annotated[int, Field(ge=16)] = 224  # pixels, what the model sees
    eval_zoom: Annotated[float, Field(ge=1, le=1.5)] = 1.0  # shorter side is img_size * eval_zoom, then centre crop
    grayscale: bool = False  # colour taken away in training, evaluation and prediction alike; seed 001's open question


class Model(_Frozen):
    """What is trained, from which weights, and which part of it."""

    backbone: str = "vit_base_patch16_224"  # any timm name; seed 000
    weights: str = "hub"  # "hub" (timm's own), a local file or folder with its config, "demo", or "random"
    head: Literal["mlp", "linear", "layernorm", "batchnorm", "cosine"] = "mlp"  # see heads.py; mlp: seed 000
    head_width: Count = 512
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    trainable: Depth = 2  # seed 000


class Training(_Frozen):
    """How the weights move."""

    seed: int = 42
    epochs: Count = 30  # at most; seed 000
    batch_size: Count = 32  # over all processes together; seed 000
    accumulation: Count = 1  # parts that a batch is computed in; doubled when memory runs out
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1e-4  # head; per step, at batch_size; seed 000
    lr_backbone: Positive | None = None  # None: the same as lr
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4  # decoupled; not on biases and norms; seed 000
    schedule: Literal["cosine", "onecycle", "restarts", "constant"] = "cosine"  # ends when training ends
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    restarts: Count = 3  # cosine cycles of schedule="restarts"
    unfreeze: dict[int, Depth] = {}  # epoch -> trainable, e.g. {3: "all"}
    patience: Annotated[int, Field(ge=0)] = 5  # epochs without gain before stopping, 0: never; seed 000
    min_delta: Annotated[float, Field(ge=0)] = 0.0  # smallest change that counts as gain
    monitor: str = "val_macro_f1"  # a column of the history
    class_weight_power: Share = 0.0  # weights (1/freq)**power, mean 1 over the training part; 0: off
    logit_adjustment: Share = 0.0  # tau: rare classes are said oftener, ~ p / freq**tau; Menon et al., 2007.07314
    sampler_power: Share = 0.0  # drawn with replacement and probability ~ (1/freq)**power; 0: each once an epoch
    loss: Literal["cross_entropy", "focal", "ldam"] = "cross_entropy"  # ldam needs head="cosine"
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0  # Lin et al., arXiv 1708.02002
    ldam_margin: Positive = 0.5  # cosine, of the rarest class; Cao et al., arXiv 1906.07413
    soft_labels: Share = 0.0  # of each target: the raters' votes (votes_<emotion>); the rest is the label
    teacher: str = ""  # checkpoint that the training imitates; empty: none
    teacher_share: Share = 0.7  # of the loss that the teacher gives
    teacher_temperature: Positive = 2.0  # softens both sides; Hinton et al., arXiv 1503.02531
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1  # seed 000
    mixup: Annotated[float, Field(ge=0)] = 0.0  # alpha of Beta; 0: off
    cutmix: Annotated[float, Field(ge=0)] = 0.0  # alpha of Beta; with mixup: one of the two a batch
    mix_probability: Share = 1.0  # of a batch being mixed at all
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay a step, warmed up as (1+t)/(10+t); 0: off
    clip: Annotated[float, Field(ge=0)] = 1.0  # gradient norm; 0: off
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"  # auto: what the card computes natively, CPU: fp32
    channels_last: bool = True  # memory format of convolutional nets
    compile: bool = False  # torch.compile; the time it takes is told
    cache: Literal["auto", "on", "off"] = "off"  # frozen layers' activations: kept, if that pays; see frozen.py
    cache_views: Count = 4  # augmented views of each training picture that are kept
    cache_fresh: Share = 0.0  # of the batches after those views is augmented and computed anew
    cache_kind: Literal["auto", "fp32", "fp16", "int8"] = "auto"  # auto: fp16, int8 where that does not fit
    time_budget_h: Positive | None = None  # hours of this process, stops cleanly before; SESSION_HOURS when hosted
    trackers: tuple[str, ...] = ()  # "tensorboard", "wandb", ...: by accelerate
    project: str = ""  # under which trackers file the run; empty: the checkpoint's name
    crop_scale: tuple[Share, Share] = (0.8, 1.0)  # share of the area
    crop_ratio: tuple[Positive, Positive] = (0.9, 1.11)  # width / height of the crop
    flip: Share = 0.5
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0  # degrees to either side
    brightness: Share = 0.2  # factor 1 +- this
    contrast: Share = 0.2
    saturation: Share = 0.2
    erasing: Share = 0.25  # probability of one blanked rectangle
    strength: dict[int, Positive] = {}  # epoch -> factor on all of these from then on, e.g. {0: 0.5, 10: 1.25}
    flip_test: bool = False  # evaluation averages a picture and its mirror image
    save_every: Annotated[int, Field(ge=0)] = 0  # epochs between checkpoints kept beside the best; 0: none
    statistics: str = ""  # regular expression of parameters whose weights and gradients are described every epoch
    bootstrap: Annotated[int, Field(ge=100)] = 2000  # resamples behind every interval


SESSION_HOURS = 11.5  # Kaggle ends a session after 12 hours, Colab at about 12; elsewhere nothing ends by itself


def chosen(preset: str, values: Mapping[str, Any]) -> str:
    """`auto` is `full` on Kaggle and Colab or where the values name data, and `demo` on a machine with neither."""
    if preset != "auto":
        return preset
    own = values.get("dataset_root") or values.get("manifest", "demo_faces") != "demo_faces"
    return "full" if paths.host() or own else "demo"


def make(kind: type[T], preset: str = "auto", /, **values: Any) -> T:
    """The config of one notebook: preset, then the values given.

    `preset` may be "auto", see `chosen`.
    JSON types are accepted where papermill can pass nothing else (a list for a tuple, "3" as a dict key).
    """
    if "preset" in values:
        raise ConfigError(f"preset = {values['preset']!r}: a setting of its own, give it as PRESET, not in OVERRIDES")
    preset = chosen(preset, values)
    presets = {"full": {}, "demo": kind.demo}
    if preset not in presets:
        raise ConfigError(f"PRESET = {preset!r} is not one of 'auto', {', '.join(map(repr, presets))}")
    limit = {"time_budget_h": SESSION_HOURS} if paths.host() and "time_budget_h" in kind.model_fields else {}
    merged = {**presets[preset], **limit, **values, "preset": preset}
    for name, value in merged.items():
        if isinstance(value, list):
            merged[name] = tuple(value)
        elif isinstance(value, dict):
            merged[name] = {int(k) if str(k).isdecimal() else k: v for k, v in value.items()}
    try:
        return kind(**merged)
    except ValidationError as error:
        raise ConfigError(_explain(kind, merged, error)) from None


def _explain(kind: type[_Frozen], given: dict[str, Any], error: ValidationError) -> str:
    fields = kind.model_fields
    wrong: dict[str, list[str]] = {}
    for problem in error.errors():  # one a type that a setting may have: told together
        if not problem["loc"]:  # of several settings together
            wrong.setdefault(problem["msg"].removeprefix("Value error, "), [])
            continue
        name = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, fields, n=3, cutoff=0.5)
            wrong[name] = ["no such setting", *([f"did you mean {', '.join(near)}?"] if near else [])]
        else:
            wrong.setdefault(f"{name} = {given.get(name)!r}", []).append(problem["msg"])
    lines = "".join(f"\n  {': '.join(filter(None, [what, '; '.join(told)]))}" for what, told in wrong.items())
    return f"{len(wrong)} wrong in {kind.__name__} settings:{lines}\nAll settings: {', '.join(fields)}"


def digest(*parts: Any) -> str:
    """Twelve hex digits that name a content: JSON with sorted keys, SHA-256."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def value(text: str, what: str) -> Any:
    """JSON, or a bare word as text."""
    try:
        return json.loads(text)
    except ValueError as error:
        if text[:1] in ("{", "[", '"'):
            raise ConfigError(f"{what} {text!r} is not JSON: {error}") from error
        return text


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """`["SEED=1", "OVERRIDES.epochs=3"]` as a dictionary."""
    values = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--param {text!r} is not NAME=VALUE")
        values[name] = value(rest, f"--param {name} =")
    return values

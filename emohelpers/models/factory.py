"""timm models with the suite's head: built, saved with their architecture and label order, and loaded strictly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from pydantic import BaseModel, Field, ValidationError
from torch import nn
from torch.nn import Module

from emohelpers.config import files, sealed
from emohelpers.config.registry import HEADS
from emohelpers.images.preprocess import Preprocess
from emohelpers.models import heads, weights
from emohelpers.models.weights import WeightsError

SPEC = ("backbone", "img_size", "head", "head_width", "head_dropout")  # what a checkpoint needs to be built again

OPTIONS = {"in_chans", "embed_dim", "depth", "num_heads", "drop_rate"}  # of timm; others could load further files


Side = Annotated[int, Field(ge=8, le=4096)]  # pixels


class Spec(BaseModel):
    """What a file says of its model; a file from elsewhere may say anything."""

    backbone: str
    img_size: Side | tuple[Side, Side]  # of a square, or height and width of a spectrogram
    head: Annotated[str, HEADS.choice]
    head_width: Annotated[int, Field(ge=1, le=2**16)]
    head_dropout: Annotated[float, Field(ge=0, lt=1)]
    classes: Annotated[list[str], Field(min_length=1)]


def build(cfg, classes: Sequence[str]) -> Module:
    """The model of a config: (B, 3, img_size, img_size) -> (B, len(classes)) logits.

    The trunk's weights come from timm's hub, a local file or folder, or the demo's own trunk; the head is drawn from
    `cfg.seed`. `model.spec` is what `load` needs to build it again.

    Raises:
        WeightsError: unknown backbone, weights not found or of another architecture, a random trunk that is frozen, an
            img_size that the backbone does not take.
    """
    if cfg.weights == "random" and cfg.trainable != "all":
        raise WeightsError(
            f"weights='random' with trainable={cfg.trainable!r} would freeze a random trunk, which learns nothing. "
            "Set trainable='all', or give weights."
        )
    # The head is drawn after the trunk, from the same seed.
    torch.manual_seed(cfg.seed)
    trunk = weights.trunk(cfg, len(classes))
    _refuse_size(trunk, cfg)
    spec = {name: getattr(cfg, name) for name in SPEC}
    return _with_head(trunk, {**spec, "classes": list(classes)})


def _refuse_size(trunk: Module, cfg) -> None:
    """Shows the trunk one black picture: some architectures take only multiples of a patch or a window."""
    try:
        with torch.no_grad():
            trunk.eval()(torch.zeros(1, 3, cfg.img_size, cfg.img_size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{cfg.backbone} does not take img_size={cfg.img_size}: {str(error)[:200]}") from error
    trunk.train()


def rebuild(spec: dict[str, Any]) -> Module:
    """The model of a spec, its weights drawn anew; `options` in it are timm's own, such as another width."""
    size = weights.input_size(spec["backbone"], spec["img_size"])
    if strange := set(spec.get("options", {})) - OPTIONS:
        raise WeightsError(f"a checkpoint may set {', '.join(sorted(OPTIONS))} of a timm model, not {sorted(strange)}")
    options = {"num_classes": len(spec["classes"]), **spec.get("options", {}), **size}
    trunk = timm.create_model(spec["backbone"], pretrained=False, **options)
    return _with_head(trunk, spec)


def _with_head(model: Module, spec: dict[str, Any]) -> Module:
    """The model with the head of its spec in the place of timm's classifier."""
    try:
        model.group_matcher(coarse=True)
    except (AttributeError, AssertionError, NotImplementedError) as error:
        raise WeightsError(
            f"timm does not say in which order the blocks of {spec['backbone']} run (group_matcher), so that none can "
            "be frozen. Choose another backbone."
        ) from error
    name = model.pretrained_cfg["classifier"]
    classifier = model.get_submodule(name)
    if not isinstance(classifier, nn.Linear):
        raise WeightsError(f"{spec['backbone']}'s classifier is not linear and cannot be replaced. Choose another.")
    head = heads.build(
        spec["head"],
        classifier.in_features,
        len(spec["classes"]),
        spec["head_width"],
        spec["head_dropout"],
    )
    model.set_submodule(name, head)
    model.spec = spec
    return model


def preprocess(model: Module, *, side: int, zoom: float, grey: bool = False) -> Preprocess:
    """Mean, std and interpolation from the model's own config (never typed), the rest from the recipe; in `spec`."""
    facts = timm.data.resolve_model_data_config(model)
    prepared = Preprocess(
        side=side,
        img_size=model.spec["img_size"],
        zoom=zoom,
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        interpolation=facts["interpolation"],
        grey=grey,
    )
    model.spec["preprocess"] = prepared.plain()
    return prepared


def prepared(model: Module, side: int) -> Preprocess:
    """The preprocessing that a loaded model was trained with, for squares of `side` decoded pixels."""
    return Preprocess.read({**model.spec["preprocess"], "side": side})


def save(path: str | Path, model: Module, **facts: Any) -> Path:
    """Weights, architecture, label order and preprocessing in one file of plain types (`torch.load` needs no trust)."""
    with files.replace(path) as temp:
        with temp.open("wb") as file:  # by its name torch would write that name into it
            torch.save({"spec": model.spec, "weights": model.state_dict(), **facts}, file)
        sealed.close(temp, sealed.ZIP)
    return Path(path)


def load(path: str | Path, *, classes: Sequence[str] | None = None, backbone: str | None = None) -> Module:
    """A model from `save`, strictly; `model.facts` holds what was saved beside the weights.

    Raises:
        WeightsError: not such a file, or its label order or architecture is not the one asked for.
    """
    try:
        saved = weights.read(Path(path))
        spec = saved.pop("spec")
        tensors = saved.pop("weights")
        Spec.model_validate(spec)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise WeightsError(f"{path} is not a checkpoint of this suite: {'; '.join(problems)}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a checkpoint of this suite: {str(error)[:200]} is not in it") from error
    # What was saved must be what is asked for, before any weight is used.
    if classes is not None and list(classes) != spec["classes"]:
        raise WeightsError(
            f"{path} was trained with the label order {spec['classes']}, asked for {list(classes)}. "
            "Predictions would carry wrong names; use the checkpoint's own order."
        )
    if backbone is not None and weights.architecture(backbone) != weights.architecture(spec["backbone"]):
        raise WeightsError(f"{path} holds a {spec['backbone']}, asked for a {backbone}.")
    model = rebuild(spec)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not hold the weights of its {spec['backbone']}: {str(error)[:300]}") from error
    weights.refuse_numbers(tensors, path)
    model.facts = saved
    return model


def newest(root: str | Path) -> Path:
    """The checkpoint below `root` that was written last; a training's own working files do not count.

    Raises:
        FileNotFoundError: there is none.
    """
    checkpoints = []
    for path in Path(root).rglob("*.pth"):
        if "checkpoints" not in path.parts and not path.name.startswith("."):
            checkpoints.append(path)
    if not checkpoints:
        raise FileNotFoundError(f"no checkpoint (.pth) below {root}. Train one first, or name the file.")
    return max(checkpoints, key=lambda path: path.stat().st_mtime)

"""timm models with the suite's head: built, loaded strictly, frozen, saved with their architecture and label order."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

from emohelpers.config import files, paths
from emohelpers.images.preprocess import Preprocess
from emohelpers.models import heads

# small pretrained trunks, one folder an architecture: timm.create_model("local-dir:<folder>", pretrained=True)
TRUNKS = Path(__file__).parent / "trunks"

SPEC = ("backbone", "img_size", "head", "head_width", "head_dropout")  # what a checkpoint needs to be built again


class WeightsError(RuntimeError):
    """Weights that are missing, or that belong to another architecture or label order."""


def build(cfg, classes: Sequence[str]) -> nn.Module:
    """The model of a config: (B, 3, img_size, img_size) -> (B, len(classes)) logits.

    The trunk's weights come from timm's hub, a local file or folder, or the demo's own trunk; the head is drawn from
    `cfg.seed`. `model.spec` is what `load` needs to build it again.

    Raises:
        WeightsError: unknown backbone, weights not found or of another architecture, a random trunk that is frozen.
    """
    if cfg.weights == "random" and cfg.trainable != "all":
        raise WeightsError(
            f"weights='random' with trainable={cfg.trainable!r} would freeze a random trunk, which learns nothing. "
            "Set trainable='all', or give weights."
        )
    torch.manual_seed(cfg.seed)
    model = _trunk(cfg, len(classes))
    spec = {name: getattr(cfg, name) for name in SPEC}
    return _finish(model, {**spec, "classes": list(classes)})


def _trunk(cfg, n_classes: int) -> nn.Module:
    options: dict[str, Any] = {"num_classes": n_classes}
    if cfg.weights in ("hub", "random"):
        known = _known(cfg.backbone, cfg.img_size, options)
        if cfg.weights == "random":
            return timm.create_model(known, pretrained=False, **options)
        try:
            return timm.create_model(known, pretrained=True, **options)
        except Exception as error:  # each hub client fails in its own way; told with the remedy, never swallowed
            raise WeightsError(
                f"the weights of {cfg.backbone} could not be fetched ({type(error).__name__}: {str(error)[:200]}). "
                "Turn Internet on (Kaggle: Settings -> Internet), or attach the weights and name their folder: "
                'OVERRIDES = {"weights": "/kaggle/input/<slug>"}, a folder with config.json and model.safetensors as '
                "timm's save_for_hf writes it, or a .safetensors / .pth file."
            ) from error
    if cfg.weights == "demo":
        place = TRUNKS / _architecture(cfg.backbone)
        if not place.is_dir():
            there = ", ".join(sorted(folder.name for folder in TRUNKS.iterdir()))
            raise WeightsError(f"weights='demo' are there for {there}, not for the backbone {cfg.backbone!r}")
    else:
        place = paths.find_input(
            cfg.weights, remedy="weights must be 'hub', 'random', or a local file or folder of weights."
        )
    if place.is_dir():
        found = json.loads((place / "config.json").read_text()) if (place / "config.json").is_file() else {}
        if _architecture(found.get("architecture", "")) != _architecture(cfg.backbone):
            raise WeightsError(
                f"{place} holds weights of {found.get('architecture', 'nothing (no config.json)')!r}, "
                f"not of the backbone {cfg.backbone!r}. Change one of the two."
            )
        _known(cfg.backbone, cfg.img_size, options)
        name = f"local-dir:{place}"
    else:
        name = _known(cfg.backbone, cfg.img_size, options)
        options["pretrained_cfg_overlay"] = {"file": str(place)}
    try:
        model = timm.create_model(name, pretrained=True, **options)
    except (RuntimeError, KeyError, OSError) as error:
        raise WeightsError(f"{place} does not hold weights of {cfg.backbone}: {str(error)[:300]}") from error
    torch.manual_seed(cfg.seed)
    drawn = timm.create_model(cfg.backbone, pretrained=False, **{k: v for k, v in options.items() if "cfg" not in k})
    _whole(model, drawn, place)
    return model


def _whole(model: nn.Module, drawn: nn.Module, place: Path) -> None:
    """Refuses a model of which parts were not in the file: when the class count differs timm loads without checking.

    `drawn` is the same model with the same random start: what still equals it was not loaded.
    """
    own, start = dict(model.named_parameters()), dict(drawn.named_parameters())
    head = head_parameters(model)
    still = [n for n, p in own.items() if n not in head and torch.equal(p, start[n]) and p.numel() > 1 and p.std() > 0]
    if still and place.suffix == ".pth" and "spec" in torch.load(place, map_location="cpu", weights_only=True):
        raise WeightsError(
            f"{place} does not hold weights of a trunk: it is a whole model of this suite. models.load reads it; as "
            "weights give what timm's save_for_hf writes."
        )
    if still:
        raise WeightsError(
            f"{place} does not hold weights of this architecture: {len(still)} of {len(own)} tensors are not in it, "
            f"first {', '.join(still[:3])}. Name the weights of {model.pretrained_cfg.get('architecture')}."
        )


def _architecture(name: str) -> str:
    return name.rpartition("/")[2].split(".")[0]


def _known(name: str, img_size: int, options: dict[str, Any]) -> str:
    """`name` if timm knows it (old names are mapped by timm); adds `img_size` where the model must be told."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.4)
        raise WeightsError(f"timm {timm.__version__} has no model {name!r}. Near names: {', '.join(near) or 'none'}")
    found = timm.get_pretrained_cfg(name)
    if found is not None and not isinstance(found.classifier, str):
        raise WeightsError(f"{name} has not the one classifier that the suite replaces. Choose another backbone.")
    if found is not None and found.fixed_input_size:
        options["img_size"] = img_size
    return name


def _finish(model: nn.Module, spec: dict[str, Any]) -> nn.Module:
    name = model.pretrained_cfg["classifier"]
    if not isinstance(model.get_submodule(name), nn.Linear):
        raise WeightsError(f"{spec['backbone']}'s classifier is not linear and cannot be replaced. Choose another.")
    parent, _, leaf = name.rpartition(".")
    features = model.get_submodule(name).in_features
    made = heads.build(spec["head"], features, len(spec["classes"]), spec["head_width"], spec["head_dropout"])
    setattr(model.get_submodule(parent), leaf, made)
    model.spec = spec
    return model


def preprocess(model: nn.Module, *, side: int, zoom: float, grey: bool = False) -> Preprocess:
    """Mean, std and interpolation from the model's own config (never typed), the rest from the recipe; in `spec`."""
    own = timm.data.resolve_model_data_config(model)
    look = tuple(own["mean"]), tuple(own["std"]), own["interpolation"]
    prepared = Preprocess(side, model.spec["img_size"], zoom, *look, grey)
    model.spec["preprocess"] = prepared.plain()
    return prepared


def prepared(model: nn.Module, side: int) -> Preprocess:
    """The preprocessing that a loaded model was trained with, for squares of `side` decoded pixels."""
    return Preprocess.read({**model.spec["preprocess"], "side": side})


def freeze(model: nn.Module, trainable: str | int | float) -> str:
    """Makes the head and the last `trainable` blocks or stages trainable ("all": everything); returns a description.

    timm's own grouping of a model's layers decides, so that a ViT's last norm goes with its last block and a CNN's
    stem counts as a stage. A share is of the blocks between stem and head: .25 is layer4 of a ResNet, blocks 9 to 11
    of a ViT-B.
    """
    layer, trainable = _layers(model), depth(model, trainable)
    head = max(layer.values())
    first = max(head - trainable, 0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(layer[name] >= first)
    return "all" if first == 0 else f"head+{trainable}" if trainable else "head"


def depth(model: nn.Module, trainable: str | int | float) -> int:
    """How many blocks or stages beside the head `trainable` means in this model, the stem counting as one."""
    head = max(_layers(model).values())
    if trainable == "all":
        return head
    return math.ceil(trainable * (head - 1) - 1e-9) if isinstance(trainable, float) else min(trainable, head)


def stages(model: nn.Module, plan: Mapping[int, Any]) -> list[dict[str, Any]]:
    """What each stage of a plan (epoch -> trainable) trains, and how many parameters that is; leaves the first set."""
    rows = []
    for epoch in sorted(plan):
        phase = freeze(model, plan[epoch])
        sizes = count(model)
        share = sizes["trainable"] / sizes["parameters"]
        rows.append({"from epoch": epoch + 1, "trained": phase, "parameters": sizes["trainable"], "share": share})
    freeze(model, plan[min(plan)])
    return rows


def _layers(model: nn.Module) -> dict[str, int]:
    """The number of its stem (0), block or head (the last) for each parameter, by timm's own grouping."""
    return group_parameters(model, model.group_matcher(coarse=True), reverse=True)


def training_mode(model: nn.Module) -> None:
    """Train mode for what is trained, eval mode for what is frozen: no drifting BatchNorm, no drop-path there."""
    parameters = list(model.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        model.eval()
        return
    model.training = True
    for module in model.children():
        training_mode(module)


def moving(model: nn.Module) -> dict[str, torch.Tensor]:
    """The live tensors by name that training changes: trainable parameters, and the buffers beside them."""
    live: dict[str, torch.Tensor] = {}
    for prefix, module in model.named_modules():
        own = {n: p for n, p in module.named_parameters(recurse=False) if p.requires_grad}
        if own:
            own |= dict(module.named_buffers(recurse=False))
        live |= {f"{prefix}.{name}".lstrip("."): tensor for name, tensor in own.items()}
    return live


def out_of_place(model: nn.Module) -> None:
    """Activations into memory of their own, with the same values: nothing that was read before is overwritten."""
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False


@contextmanager
def depthwise_in_fp32(model: nn.Module) -> Iterator[None]:
    """Inside this context depthwise convolutions with a stride or a kernel above 3 compute in fp32 under autocast.

    In bf16 oneDNN differentiates these by its reference code: 10 to 140 times slower by their input where they have a
    stride, 3 to 5 times by a wide kernel (benchmarks/bf16.py).
    """
    slow = [
        module for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        and (max(module.stride) > 1 or max(module.kernel_size) > 3)
    ]  # fmt: skip
    for module in slow:
        module.forward = MethodType(_in_fp32, module)
    try:
        yield
    finally:
        for module in slow:
            del module.forward


def _in_fp32(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return type(module).forward(module, inputs.float()).to(inputs.dtype)


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the head's parameters."""
    name = model.pretrained_cfg["classifier"]
    return {f"{name}.{inner}" for inner, _ in model.get_submodule(name).named_parameters()}


def count(model: nn.Module) -> dict[str, int]:
    """Parameters in all, and those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {"parameters": sum(n for n, _ in sizes), "trainable": sum(n for n, free in sizes if free)}


def save(path: str | Path, model: nn.Module, **facts: Any) -> Path:
    """Weights, architecture, label order and preprocessing in one file of plain types (`torch.load` needs no trust)."""
    with files.replace(path) as temp, temp.open("wb") as file:  # by its name torch would write that name into it
        torch.save({"spec": model.spec, "weights": model.state_dict(), **facts}, file)
    return Path(path)


def newest(root: str | Path) -> Path:
    """The checkpoint below `root` that was written last; a training's own working files do not count.

    Raises:
        FileNotFoundError: there is none.
    """
    found = [p for p in Path(root).rglob("*.pth") if "checkpoints" not in p.parts and not p.name.startswith(".")]
    if not found:
        raise FileNotFoundError(f"no checkpoint (.pth) below {root}. Train one first, or name the file.")
    return max(found, key=lambda path: path.stat().st_mtime)


def load(path: str | Path, *, classes: Sequence[str] | None = None, backbone: str | None = None) -> nn.Module:
    """A model from `save`, strictly; `model.facts` holds what was saved beside the weights.

    Raises:
        WeightsError: not such a file, or its label order or architecture is not the one asked for.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        spec, weights = saved.pop("spec"), saved.pop("weights")
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises half a dozen types for a file that is not a checkpoint
        raise WeightsError(f"{path} is not a checkpoint of this suite: {str(error)[:200]}") from error
    if classes is not None and list(classes) != spec["classes"]:
        raise WeightsError(
            f"{path} was trained with the label order {spec['classes']}, asked for {list(classes)}. "
            "Predictions would carry wrong names; use the checkpoint's own order."
        )
    if backbone is not None and _architecture(backbone) != _architecture(spec["backbone"]):
        raise WeightsError(f"{path} holds a {spec['backbone']}, asked for a {backbone}.")
    model = rebuild(spec)
    model.load_state_dict(weights, strict=True)
    model.facts = saved
    return model


def rebuild(spec: dict[str, Any]) -> nn.Module:
    """The model of a spec, its weights drawn anew; `options` in it are timm's own, such as another width."""
    options: dict[str, Any] = {"num_classes": len(spec["classes"]), **spec.get("options", {})}
    model = timm.create_model(_known(spec["backbone"], spec["img_size"], options), pretrained=False, **options)
    return _finish(model, spec)

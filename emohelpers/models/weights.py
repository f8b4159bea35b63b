"""A trunk with pretrained weights: from timm's hub, a file or folder, or the demo's own; loaded whole or refused."""

import difflib
import json
from pathlib import Path
from typing import Any

import timm
import torch
from torch.nn import Module

from emohelpers.config import paths
from emohelpers.config.errors import SuiteError
from emohelpers.config.redaction import brief
from emohelpers.models.freeze import head_parameters

# Small pretrained trunks, one folder an architecture: timm.create_model("local-dir:<folder>", pretrained=True)
TRUNKS = Path(__file__).parent / "trunks"


class WeightsError(SuiteError, RuntimeError):
    """Weights that are missing, or that belong to another architecture or label order."""


def trunk(cfg, n_classes: int) -> Module:
    """timm's model of `cfg.backbone` with the weights that `cfg.weights` names, and timm's own head.

    Raises:
        WeightsError: unknown backbone, weights not found or of another architecture.
    """
    options: dict[str, Any] = {"num_classes": n_classes, **input_size(cfg.backbone, cfg.img_size)}
    if cfg.weights == "random":
        return timm.create_model(cfg.backbone, pretrained=False, **options)
    if cfg.weights == "hub":
        return _from_hub(cfg.backbone, options)
    if cfg.weights == "demo":
        source = _demo(cfg.backbone)
    else:
        remedy = "weights must be 'hub', 'random', or a local file or folder of weights."
        source = paths.find_input(cfg.weights, remedy=remedy)
    model = _from_disk(cfg.backbone, source, options)

    # The same random start without weights tells which parts the file did not hold.
    torch.manual_seed(cfg.seed)
    drawn = timm.create_model(cfg.backbone, pretrained=False, **options)
    _refuse_parts(model, drawn, source)
    return model


def architecture(name: str) -> str:
    """timm's name without a hub's prefix and without the tag of the weights."""
    return name.rpartition("/")[2].split(".")[0]


def input_size(backbone: str, img_size: int) -> dict[str, int]:
    """The option `img_size` where a model must be told its input's size, else nothing.

    Raises:
        WeightsError: timm does not know the backbone, or it has not one classifier.
    """
    if not timm.is_model(backbone):  # old names are mapped by timm
        near = difflib.get_close_matches(backbone, timm.list_models(), n=4, cutoff=0.4)
        hint = ", ".join(near) or "none"
        raise WeightsError(f"timm {timm.__version__} has no model {backbone!r}. Near names: {hint}")
    facts = timm.get_pretrained_cfg(backbone)
    if facts is None:
        return {}
    if not isinstance(facts.classifier, str):
        raise WeightsError(f"{backbone} has not the one classifier that the suite replaces. Choose another backbone.")
    return {"img_size": img_size} if facts.fixed_input_size else {}


def _from_hub(backbone: str, options: dict[str, Any]) -> Module:
    try:
        return timm.create_model(backbone, pretrained=True, **options)
    except Exception as error:  # each hub client fails in its own way; told with the remedy, never swallowed
        raise WeightsError(
            f"the weights of {backbone} could not be fetched ({type(error).__name__}: {brief(error, 200)}). "
            "Turn Internet on (Kaggle: Settings -> Internet), or attach the weights and name their folder: "
            'OVERRIDES = {"weights": "/kaggle/input/<slug>"}, a folder with config.json and model.safetensors as '
            "timm's save_for_hf writes it, or a .safetensors / .pth file."
        ) from error


def _demo(backbone: str) -> Path:
    folder = TRUNKS / architecture(backbone)
    if not folder.is_dir():
        names = ", ".join(sorted(path.name for path in TRUNKS.iterdir()))
        raise WeightsError(f"weights='demo' are there for {names}, not for the backbone {backbone!r}")
    return folder


def _from_disk(backbone: str, source: Path, options: dict[str, Any]) -> Module:
    """The model with the weights of a file, or of a folder whose config.json names its architecture."""
    if source.is_dir():
        file = source / "config.json"
        facts = json.loads(file.read_text()) if file.is_file() else {}
        if architecture(facts.get("architecture", "")) != architecture(backbone):
            raise WeightsError(
                f"{source} holds weights of {facts.get('architecture', 'nothing (no config.json)')!r}, "
                f"not of the backbone {backbone!r}. Change one of the two."
            )
        name = f"local-dir:{source}"
    else:
        name = backbone
        options = {**options, "pretrained_cfg_overlay": {"file": str(source)}}
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (RuntimeError, KeyError, OSError) as error:
        raise WeightsError(f"{source} does not hold weights of {backbone}: {brief(error, 300)}") from error


def _refuse_parts(model: Module, drawn: Module, source: Path) -> None:
    """Refuses a model of which parts were not in the file: when the class count differs timm loads without checking.

    `drawn` is the same model with the same random start: what still equals it was not loaded.
    """
    start = dict(drawn.named_parameters())
    head = head_parameters(model)
    missing = []
    for name, parameter in model.named_parameters():
        constant = parameter.numel() == 1 or parameter.std() == 0  # the same in every start
        if name not in head and not constant and torch.equal(parameter, start[name]):
            missing.append(name)
    if not missing:
        return
    if source.suffix == ".pth" and "spec" in torch.load(source, map_location="cpu", weights_only=True):
        raise WeightsError(
            f"{source} does not hold weights of a trunk: it is a whole model of this suite. models.load reads it; as "
            "weights give what timm's save_for_hf writes."
        )
    raise WeightsError(
        f"{source} does not hold weights of this architecture: {len(missing)} of {len(start)} tensors are not in it, "
        f"first {', '.join(missing[:3])}. Name the weights of {model.pretrained_cfg.get('architecture')}."
    )

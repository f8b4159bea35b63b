"""A trunk with pretrained weights: from timm's hub, a file or folder, or the demo's own; loaded whole or refused."""

import difflib
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT
from timm.models import load_state_dict
from torch import Tensor
from torch.nn import Module

from emohelpers.config import paths, sealed
from emohelpers.config.errors import SuiteError
from emohelpers.config.redaction import brief
from emohelpers.models.freeze import head_parameters

# Small pretrained trunks, one folder an architecture: timm.create_model("local-dir:<folder>", pretrained=True)
TRUNKS = Path(__file__).parent / "trunks"
FETCH = (
    "the weights of {} could not be fetched ({}). Turn Internet on (Kaggle: Settings -> Internet), or attach the "
    'weights and name their folder: OVERRIDES = {{"weights": "/kaggle/input/<slug>"}}, a folder with config.json '
    "and model.safetensors as timm's save_for_hf writes it, or a .safetensors / .pth file."
)


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
    file = _file(cfg.backbone, source)
    tensors = _tensors(file, cfg.backbone)
    model = _from_disk(cfg.backbone, source, options)

    # The same random start with other numbers in the file tells which parts the file does not hold.
    torch.manual_seed(cfg.seed)
    others = {name: -2 * tensor - 1 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    facts = {**model.pretrained_cfg, "source": "", "file": None, "state_dict": others}
    other = timm.create_model(cfg.backbone, pretrained=True, pretrained_cfg_overlay=facts, **options)
    _refuse_parts(model, other, tensors, file)
    refuse_numbers(model.state_dict(), file)
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
        raise WeightsError(FETCH.format(backbone, f"{type(error).__name__}: {brief(error, 200)}")) from error


def reach(backbone: str) -> None:
    """Raises WeightsError where the hub's weights of a backbone are neither in the cache nor to be fetched."""
    repository = getattr(timm.get_pretrained_cfg(backbone), "hf_hub_id", "")
    names = ("model.safetensors", "pytorch_model.bin") if repository else ()
    if not any(isinstance(try_to_load_from_cache(repository, name), str) for name in names) and not online():
        raise WeightsError(FETCH.format(backbone, "Internet is off"))


def online(seconds: float = 3.0) -> bool:
    """Whether the network reaches the hub."""
    place = urlsplit(ENDPOINT)
    try:
        socket.create_connection((place.hostname, place.port or 443), timeout=seconds).close()
    except OSError:
        return False
    return True


def _demo(backbone: str) -> Path:
    folder = TRUNKS / architecture(backbone)
    if not folder.is_dir():
        names = ", ".join(sorted(path.name for path in TRUNKS.iterdir()))
        raise WeightsError(f"weights='demo' are there for {names}, not for the backbone {backbone!r}")
    return folder


def _file(backbone: str, source: Path) -> Path:
    """The file of weights: `source`, or that of a folder whose config.json names the backbone's architecture."""
    if not source.is_dir():
        return source
    described = source / "config.json"
    facts = json.loads(described.read_text()) if described.is_file() else {}
    if architecture(facts.get("architecture", "")) != architecture(backbone):
        raise WeightsError(
            f"{source} holds weights of {facts.get('architecture', 'nothing (no config.json)')!r}, "
            f"not of the backbone {backbone!r}. Change one of the two."
        )
    for name in ("model.safetensors", "pytorch_model.bin"):  # as timm's save_for_hf names them
        if (source / name).is_file():
            return source / name
    raise WeightsError(f"{source} holds no model.safetensors, nor a pytorch_model.bin.")


def _tensors(file: Path, backbone: str) -> dict[str, Tensor]:
    """The tensors of a file of weights by name; no code in it is run."""
    try:
        tensors = load_state_dict(str(file), weights_only=True)
    except Exception as error:  # torch and safetensors raise half a dozen types for a file that is none of theirs
        raise WeightsError(f"{file} does not hold weights of {backbone}: {brief(error, 300)}") from error
    if "spec" in tensors:
        raise WeightsError(
            f"{file} does not hold weights of a trunk: it is a whole model of this suite. models.load reads it; as "
            "weights give what timm's save_for_hf writes."
        )
    return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def _from_disk(backbone: str, source: Path, options: dict[str, Any]) -> Module:
    """The model with the weights of a file, or of a folder as `_file` finds it."""
    name = f"local-dir:{source}" if source.is_dir() else backbone
    if not source.is_dir():
        options = {**options, "pretrained_cfg_overlay": {"file": str(source)}}
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (RuntimeError, KeyError, OSError, AttributeError) as error:
        raise WeightsError(f"{source} does not hold weights of {backbone}: {brief(error, 300)}") from error


def _refuse_parts(model: Module, other: Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Refuses a model of which parts were not in the file: when the class count differs timm loads without checking.

    `other` has the same random start and a file of other numbers: what equals it was not loaded, BatchNorm's statistics
    too. Nor may the file hold further layers of the model's own stages.
    """
    ours = model.state_dict()
    theirs = other.state_dict()
    head = head_parameters(model)
    missing = [n for n in ours if n not in head and ours[n].is_floating_point() and torch.equal(ours[n], theirs[n])]
    stages = {name for name, _ in model.named_children()} - {name.split(".")[0] for name in head}
    common = set(tensors) & set(ours)
    further = []
    if 2 * len(common) > len(tensors):  # else the file has names of its own, which timm translates
        further = [name for name in tensors if name not in ours and name.split(".")[0] in stages]
    if missing or further:
        raise WeightsError(
            f"{file} does not hold weights of this architecture: {len(missing)} of {len(ours)} tensors are not in it, "
            f"and {len(further)} of its own have no place, first {', '.join((missing + further)[:3])}. "
            f"Name the weights of {model.pretrained_cfg.get('architecture')}."
        )


def refuse_numbers(tensors: Mapping[str, Tensor], file: str | Path) -> None:
    """Refuses weights that no training leaves: NaN, infinity, a matrix of zeros alone."""
    wrong = []
    for name, tensor in tensors.items():
        matrix = name.endswith(".weight") and tensor.ndim > 1
        if tensor.is_floating_point() and not (tensor.isfinite().all() and (not matrix or tensor.any())):
            wrong.append(name)
    if wrong:
        raise WeightsError(
            f"{file} holds NaN, infinity or nothing but zeros in {len(wrong)} of {len(tensors)} tensors, first "
            f"{', '.join(wrong[:3])}. It is damaged: restore it, or download it again."
        )


def read(path: Path) -> Any:
    """What `torch.save` wrote to a checkpoint of this suite, after a look at its checksum; no code in it is run.

    Raises:
        WeightsError: it is damaged, or not a checkpoint.
    """
    try:
        sealed.check(path, sealed.ZIP)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises half a dozen types for a file that is not a checkpoint
        raise WeightsError(
            f"{path} is not a checkpoint of this suite, or damaged: {brief(error, 200)}. Restore it, or train again."
        ) from error

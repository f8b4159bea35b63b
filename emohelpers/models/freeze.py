"""Which parts of a model are trained: its head and its last blocks or stages, counted from the top."""

import math
from collections.abc import Mapping
from typing import Any

from timm.models import group_parameters
from torch import Tensor
from torch.nn import Module


def freeze(model: Module, trainable: str | int | float) -> str:
    """Makes the head and the last `trainable` blocks or stages trainable ("all": everything); returns a description.

    timm's own grouping of a model's layers decides, so that a ViT's last norm goes with its last block and a CNN's
    stem counts as a stage. A share is of the blocks between stem and head: .25 is layer4 of a ResNet, blocks 9 to 11
    of a ViT-B.
    """
    layers = _layers(model)
    blocks = depth(model, trainable)
    first = max(max(layers.values()) - blocks, 0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(layers[name] >= first)
    if first == 0:
        return "all"
    return f"head+{blocks}" if blocks else "head"


def depth(model: Module, trainable: str | int | float) -> int:
    """How many blocks or stages beside the head `trainable` means in this model, the stem counting as one."""
    head = max(_layers(model).values())
    if trainable == "all":
        return head
    if isinstance(trainable, float):
        # A product such as 0.55 * 100 lies a hair above 55: without the slack it would count as 56.
        return math.ceil(trainable * (head - 1) - 1e-9)
    return min(trainable, head)


def stages(model: Module, plan: Mapping[int, Any]) -> list[dict[str, Any]]:
    """What each stage of a plan (epoch -> trainable) trains, and how many parameters that is; leaves the first set."""
    rows = []
    for epoch in sorted(plan):
        phase = freeze(model, plan[epoch])
        sizes = count(model)
        share = sizes["trainable"] / sizes["parameters"]
        rows.append({"from epoch": epoch + 1, "trained": phase, "parameters": sizes["trainable"], "share": share})
    freeze(model, plan[min(plan)])
    return rows


def count(model: Module) -> dict[str, int]:
    """Parameters in all, and those that are trained."""
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    return {"parameters": sum(p.numel() for p in parameters), "trainable": sum(p.numel() for p in trained)}


def training_mode(model: Module) -> None:
    """Train mode for what is trained, eval mode for what is frozen: no drifting BatchNorm, no drop-path there."""
    parameters = list(model.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        model.eval()
        return
    # Not model.train(), which would switch the frozen children as well.
    model.training = True
    for module in model.children():
        training_mode(module)


def moving(model: Module) -> dict[str, Tensor]:
    """The live tensors by name that training changes: trainable parameters, and the buffers beside them."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        trained = {name: p for name, p in module.named_parameters(prefix, recurse=False) if p.requires_grad}
        if trained:
            tensors.update(trained)
            tensors.update(module.named_buffers(prefix, recurse=False))
    return tensors


def head_parameters(model: Module) -> set[str]:
    """Names of the head's parameters."""
    name = model.pretrained_cfg["classifier"]
    return {inner for inner, _ in model.get_submodule(name).named_parameters(name)}


def _layers(model: Module) -> dict[str, int]:
    """The number of its stem (0), block or head (the last) for each parameter, by timm's grouping of the blocks.

    What timm does not name it counts to the head, in some releases a ViT's register tokens. Parameters of the model
    itself, and modules that stand before its blocks, are computed before them: they are the stem's.
    """
    layers = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    head = max(layers.values())
    children = [name for name, _ in model.named_children()]
    last = {name.split(".")[0] for name, layer in layers.items() if layer == head - 1}
    body = max((children.index(part) for part in last if part in children), default=0)
    early = {*children[:body]} - {part.split(".")[0] for part in head_parameters(model)}
    for name, layer in layers.items():
        if layer == head and ("." not in name or name.split(".")[0] in early):
            layers[name] = 0
    return layers

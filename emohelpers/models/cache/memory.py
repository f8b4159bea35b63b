"""A model cut behind its frozen layers: what comes out of the trunk may go into the model in a picture's place.

Which layers a model has, in which order they run and where it can be entered is not known but tried: a cut counts only
if the tail, fed with the trunk's activations, gives the whole model's outputs. Models that resist stay whole.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

EXACT = 1e-5  # relative distance of outputs that are the same but for rounding


@dataclass(eq=False)
class Cut:
    """Where a model is cut."""

    links: tuple[str, ...]  # modules of the trunk, in the order in which they run
    shape: tuple[int, ...]  # of one picture's activations
    tail: nn.Module | None = None  # the model without its trunk; made at first use, see `_tail`

    @property
    def form(self) -> tuple[int, int, int]:
        """How the activations of one picture are handed over: in a picture's three dimensions, MixUp wants them."""
        return (1,) * (3 - len(self.shape)) + self.shape


def cut(model: nn.Module, example: torch.Tensor) -> Cut | None:
    """The deepest place behind frozen layers at which `model` can be entered, or None where there is none.

    `example` are some pictures (n, 3, h, w). Run `models.freeze` first: it decides what is frozen.
    """
    names, modules = [], dict(_links(model))
    hooks = [module.register_forward_hook(lambda *_, name=name: names.append(name)) for name, module in modules.items()]
    with examined(model):
        whole = type(model).forward(model, example)
    for hook in hooks:
        hook.remove()
    frozen = 0
    while frozen < len(names) and not any(p.requires_grad for p in modules[names[frozen]].parameters()):
        frozen += 1
    for end in range(frozen, 0, -1):
        links = tuple(names[:end])
        if len({*links}) < end or not any(True for name in links for _ in modules[name].parameters()):
            continue  # a layer that runs twice, or nothing but a pooling without weights
        try:
            with examined(model):
                inner = activations(model, Cut(links, ()), example)
                if near(_tail(model, links)(inner), whole):
                    return Cut(links, tuple(inner.shape[1:]))
        except Exception:  # each model says in its own way that it cannot be entered there
            continue
    return None


def enter(model: nn.Module, where: Cut) -> None:
    """From now on `model` takes activations (n, *where.form) as well as pictures (n, 3, h, w)."""
    model.cut = where
    model.forward = MethodType(_entered, model)


def leave(model: nn.Module) -> None:
    """Takes back `enter`."""
    vars(model).pop("forward", None)
    vars(model).pop("cut", None)


def activations(model: nn.Module, where: Cut, pictures: torch.Tensor) -> torch.Tensor:
    """What comes out of the trunk: (n, 3, h, w) -> (n, *where.shape); layers behind it are not computed."""
    trunk = [model.get_submodule(name) for name in where.links]
    for module in trunk:
        module.eval()
    hook = trunk[-1].register_forward_hook(_stop)
    try:
        type(model).forward(model, pictures)
    except _Reached as reached:
        return reached.activations
    finally:
        hook.remove()
    raise RuntimeError(f"{where.links[-1]} was never computed: the model changed after it was cut")


def restore(model: nn.Module) -> None:
    """Takes back `enter` and `class_token.read_alone`: the model is timm's own again."""
    leave(model)
    for module in model.modules():
        vars(module).pop("forward", None)


def operations(model: nn.Module, inputs: torch.Tensor) -> float:
    """Floating-point operations of one forward pass of one sample of `inputs` (n, ...), by torch's own count."""
    with examined(model), FlopCounterMode(display=False) as counter:
        model(inputs[:1])
    return counter.get_total_flops()


class examined:
    """Inside this block the model is in eval mode and no graph is built."""

    def __init__(self, model: nn.Module):
        self.model, self.modes, self.quiet = model, [(m, m.training) for m in model.modules()], torch.no_grad()

    def __enter__(self) -> None:
        self.model.eval()
        self.quiet.__enter__()

    def __exit__(self, *problem) -> None:
        self.quiet.__exit__(*problem)
        for module, training in self.modes:
            module.training = training


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same but for rounding."""
    return one.shape == other.shape and bool((one - other).norm() <= EXACT * other.norm())


class _Reached(Exception):
    """Ends a forward pass where the trunk ends."""

    def __init__(self, activations: torch.Tensor):
        self.activations = activations


def _stop(_module, _inputs, output: torch.Tensor) -> None:
    raise _Reached(output)


def _links(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The model's own modules, sequences of them opened."""
    for name, child in model.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from ((f"{name}.{inner}", link) for inner, link in child.named_children())
        else:
            yield name, child


def _tail(model: nn.Module, links: tuple[str, ...]) -> nn.Module:
    """The same model, parameters and all, that passes its input through where the trunk was."""
    tail = copy.copy(model)
    vars(tail).pop("forward", None)
    tail._modules = dict(model._modules)
    for name in links:
        outer, _, inner = name.partition(".")
        if inner:
            if tail._modules[outer] is model._modules[outer]:
                tail._modules[outer] = copy.copy(model._modules[outer])
                tail._modules[outer]._modules = dict(model._modules[outer]._modules)
            tail._modules[outer]._modules[inner] = nn.Identity()
        else:
            tail._modules[outer] = nn.Identity()
    if hasattr(tail, "_pos_embed"):  # of timm's transformers: class token and positions are added to patches
        tail._pos_embed = _same
    return tail


def _same(tokens: torch.Tensor) -> torch.Tensor:
    return tokens


def _entered(model: nn.Module, inputs: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
    """The forward of a model that was cut."""
    where = model.cut
    if tuple(inputs.shape[1:]) != where.form:
        return type(model).forward(model, inputs, *others, **options)
    if where.tail is None:
        where.tail = torch.compiler.disable(_tail)(model, where.links)
    if where.tail.training != model.training:  # a copy has its own switch, and functional dropout asks it
        where.tail.training = model.training
    return where.tail(inputs.reshape(-1, *where.shape))

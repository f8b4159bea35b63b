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
from torch import Tensor, nn
from torch.nn import Module

from emohelpers.models.trial import examined, near


@dataclass(eq=False)
class Cut:
    """Where a model is cut."""

    links: tuple[str, ...]  # modules of the trunk, in the order in which they run
    shape: tuple[int, ...]  # of one picture's activations
    tail: Module | None = None  # the model without its trunk; built at first use, see `_tail`

    @property
    def form(self) -> tuple[int, int, int]:
        """How the activations of one picture are handed over: in a picture's three dimensions, MixUp wants them."""
        return (1,) * (3 - len(self.shape)) + self.shape


def deepest(model: Module, example: Tensor) -> Cut | None:
    """The deepest place behind frozen layers at which `model` can be entered, or None where there is none.

    `example` are some pictures (n, 3, h, w). Run `models.freeze` first: it decides what is frozen.
    """
    modules = dict(_links(model))
    order, outputs = _order_of_run(model, modules, example)

    # From the deepest frozen module upwards: the first place where the tail gives the same outputs.
    frozen = 0
    while frozen < len(order) and not any(p.requires_grad for p in modules[order[frozen]].parameters()):
        frozen += 1
    for end in range(frozen, 0, -1):
        links = tuple(order[:end])
        runs_twice = len(set(links)) < end
        weightless = all(not list(modules[name].parameters()) for name in links)  # nothing but a pooling
        if runs_twice or weightless:
            continue
        try:
            with examined(model):
                inner = activations(model, Cut(links, ()), example)
                if near(_tail(model, links)(inner), outputs):
                    return Cut(links, tuple(inner.shape[1:]))
        except Exception:  # each model says in its own way that it cannot be entered there
            continue
    return None


def enter(model: Module, cut: Cut) -> None:
    """From now on `model` takes activations (n, *cut.form) as well as pictures (n, 3, h, w)."""
    model.cut = cut
    model.forward = MethodType(_entered, model)


def leave(model: Module) -> None:
    """Takes back `enter`."""
    vars(model).pop("forward", None)
    vars(model).pop("cut", None)


def activations(model: Module, cut: Cut, pictures: Tensor) -> Tensor:
    """What comes out of the trunk: (n, 3, h, w) -> (n, *cut.shape); layers behind it are not computed."""
    trunk = [model.get_submodule(name) for name in cut.links]
    for module in trunk:
        module.eval()
    hook = trunk[-1].register_forward_hook(_stop)
    try:
        type(model).forward(model, pictures)
    except _Reached as reached:
        return reached.activations
    finally:
        hook.remove()
    raise RuntimeError(f"{cut.links[-1]} was never computed: the model changed after it was cut")


class _Reached(Exception):
    """Ends a forward pass where the trunk ends."""

    def __init__(self, activations: Tensor):
        self.activations = activations


def _stop(_module, _inputs, output: Tensor) -> None:
    raise _Reached(output)


def _links(model: Module) -> Iterator[tuple[str, Module]]:
    """The model's own modules, sequences of them opened."""
    for name, child in model.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from ((f"{name}.{inner}", link) for inner, link in child.named_children())
        else:
            yield name, child


def _order_of_run(model: Module, modules: dict[str, Module], example: Tensor):
    """Names of the modules as they run, and the model's outputs."""
    order: list[str] = []
    hooks = []
    for name, module in modules.items():
        hooks.append(module.register_forward_hook(lambda *_, name=name: order.append(name)))
    with examined(model):
        outputs = type(model).forward(model, example)
    for hook in hooks:
        hook.remove()
    return order, outputs


def _tail(model: Module, links: tuple[str, ...]) -> Module:
    """The same model, parameters and all, that passes its input through where the trunk was."""
    tail = _copied(model)
    # Identities in the trunk's place; a sequence is copied before one of its links is replaced.
    for name in links:
        sequence, _, link = name.partition(".")
        if not link:
            tail._modules[sequence] = nn.Identity()
            continue
        if tail._modules[sequence] is model._modules[sequence]:
            tail._modules[sequence] = _copied(model._modules[sequence])
        tail._modules[sequence]._modules[link] = nn.Identity()
    if hasattr(tail, "_pos_embed"):  # of timm's transformers: class token and positions are added to patches
        tail._pos_embed = _same
    return tail


def _copied(module: Module) -> Module:
    """A module of its own with the same parts."""
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    # A forward that was set on the instance is bound to the original and would run its modules.
    vars(copied).pop("forward", None)
    return copied


def _same(tokens: Tensor) -> Tensor:
    return tokens


def _entered(model: Module, inputs: Tensor, *arguments: Any, **options: Any) -> Tensor:
    """The forward of a model that was cut."""
    cut = model.cut
    # Pictures take the class's own forward, since that of the instance is this function.
    if tuple(inputs.shape[1:]) != cut.form:
        return type(model).forward(model, inputs, *arguments, **options)
    if cut.tail is None:
        cut.tail = torch.compiler.disable(_tail)(model, cut.links)
    if cut.tail.training != model.training:  # a copy has its own switch, and functional dropout asks it
        cut.tail.training = model.training
    return cut.tail(inputs.reshape(-1, *cut.shape))

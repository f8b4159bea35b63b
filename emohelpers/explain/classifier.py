"""The classifier that is explained: a private copy, frozen and looked into; nothing is left behind in the original."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import Module

from emohelpers import models
from emohelpers.config.errors import SuiteError
from emohelpers.images.preprocess import Preprocess
from emohelpers.models import devices

FINEST = 4  # pixels a cell: stages before it see edges and no class


class ExplanationError(SuiteError, RuntimeError):
    """A map that cannot be computed or means nothing, with the layer, the faces and the remedy."""


@dataclass(frozen=True)
class Classifier:
    """A frozen copy of a model in eval mode, and the layer that its CAMs are read from."""

    model: Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    layer: str = ""  # name of the target layer among the model's modules
    batch_size: int = 32  # pictures that go through the model at once

    @classmethod
    def of(cls, model: Module, *, layer: str = "", batch_size: int = 32) -> "Classifier":
        """The classifier of a model of `models.load`; the layer is the last candidate unless named.

        Raises:
            ExplanationError: the model does not know its classes or preprocessing, or has no such layer.
        """
        spec = getattr(model, "spec", {})
        missing = [name for name in ("classes", "preprocess") if name not in spec]
        if missing:
            raise ExplanationError(
                f"the model does not say its {' and '.join(missing)}: load it with models.load from a checkpoint of "
                "this suite, or call models.preprocess first."
            )
        frozen = frozen_copy(model)
        preprocess = Preprocess.read(spec["preprocess"])
        return cls(frozen, tuple(spec["classes"]), preprocess, batch_size=batch_size).at(
            layer or candidates(frozen)[-1]
        )

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def at(self, layer: str) -> "Classifier":
        """The same classifier with another target layer; empty: as it is."""
        if not layer:
            return self
        if layer not in dict(self.model.named_modules()):
            stages = ", ".join(candidates(self.model))
            raise ExplanationError(f"the model has no module {layer!r}. Its stages: {stages}; any other may be named.")
        return replace(self, layer=layer)

    def inputs(self, squares: ndarray) -> Tensor:
        """(n, s, s, 3) uint8 -> (n, 3, img_size, img_size) on the model's device, as evaluation prepares them."""
        pixels = np.ascontiguousarray(self.preprocess.evaluate(squares))
        return self.normalise(torch.from_numpy(pixels))

    def normalise(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) of 0..255 -> (n, 3, h, w) on the model's device."""
        return self.preprocess.normalise(pixels.to(self.device))

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, K)."""
        with devices.autocast(self.device):
            return torch.cat([self.model(part).float() for part in inputs.split(self.batch_size)])

    def probabilities(self, inputs: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, K), rows sum to 1."""
        return self.logits(inputs).softmax(1)

    def batches(self, n: int) -> list[slice]:
        """Slices of at most `batch_size` that cover `n` pictures."""
        return [slice(start, start + self.batch_size) for start in range(0, n, self.batch_size)]

    def grid(self, output: Tensor) -> Tensor:
        """The output of the target layer, as channels over a grid (n, C, h, w).

        Tokens (n, N, C) lose their prefix (class token, registers) and are laid out as the patches lie; channels-last
        maps (n, h, w, C), as of Swin, are turned.

        Raises:
            ExplanationError: the output is no map.
        """
        if output.ndim == 4:
            channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            return output.permute(0, 3, 1, 2) if channels_last else output
        size = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        prefix = getattr(self.model, "num_prefix_tokens", 0)
        if output.ndim != 3 or size is None or size[0] * size[1] != output.shape[1] - prefix:
            raise ExplanationError(
                f"{self.layer} gives {tuple(output.shape)}, which is no map: name a layer that gives (n, C, h, w), or "
                f"tokens of the patches ({size} and {prefix} before them). Stages: {', '.join(candidates(self.model))}"
            )
        return output[:, prefix:].transpose(1, 2).unflatten(2, size)

    @torch.no_grad()
    def cells(self, inputs: Tensor) -> tuple[int, int]:
        """Height and width of the target layer's map."""
        outputs = []
        layer = self.model.get_submodule(self.layer)
        handle = layer.register_forward_hook(lambda module, args, output: outputs.append(output))
        try:
            self.model(inputs)
        finally:
            handle.remove()
        return tuple(self.grid(outputs[0]).shape[2:])

    @contextmanager
    def gradients_from_layer(self) -> Iterator[Module]:
        """The target layer, where gradients begin: nothing before it is computed backwards.

        So a frozen trunk is no obstacle, and a Grad-CAM costs little more than a forward pass.
        """
        layer = self.model.get_submodule(self.layer)
        handle = layer.register_forward_hook(lambda module, args, output: output.detach().requires_grad_())
        try:
            yield layer
        finally:
            handle.remove()


def frozen_copy(model: Module) -> Module:
    """A deep copy in eval mode, frozen, computing nothing in place, on the card if there is one."""
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    models.out_of_place(frozen)  # else a later layer would overwrite what was read from an earlier one
    return frozen.to(devices.device(), memory_format=torch.channels_last)  # convolutions are up to twice as fast in it


def candidates(model: Module) -> list[str]:
    """Layers that CAMs can be read from, finest first: the stages of a CNN, `norm1` of a transformer's last block.

    The norm before a block's attention, not the block: behind the last block only the class token goes on, and a map
    of the other tokens is zero.
    """
    names = dict(model.named_modules())
    if hasattr(model, "num_prefix_tokens") and "blocks.0.norm1" in names:
        return [f"blocks.{len(model.blocks) - 1}.norm1"]
    stages = []
    for entry in getattr(model, "feature_info", None) or []:
        if entry["module"] in names and entry.get("reduction", FINEST) >= FINEST:
            stages.append(entry["module"])
    if not stages:
        children = ", ".join(name for name, _ in model.named_children())
        raise ExplanationError(
            f"{type(model).__name__} does not tell its stages: name a layer that gives (n, C, h, w), one of "
            f"{children} or inside of these."
        )
    return stages


def is_transformer(model: Module) -> bool:
    """Whether attention runs over all patches, so that it can be rolled out."""
    first = getattr(model, "blocks", [None])[0]
    return hasattr(model, "num_prefix_tokens") and hasattr(first, "attn")

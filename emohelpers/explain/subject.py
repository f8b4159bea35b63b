"""The model that is explained: a private copy, frozen and looked into; nothing is left behind in the original."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from emohelpers import models
from emohelpers.images.preprocess import Preprocess
from emohelpers.models import devices

FINEST = 4  # pixels a cell: stages before it see edges and no class


class ExplanationError(RuntimeError):
    """A map that cannot be made or means nothing, with the layer, the faces and the remedy."""


@dataclass(frozen=True)
class Subject:
    """A frozen copy of a classifier in eval mode, and where its maps are taken from."""

    model: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    layer: str = ""  # name of the target layer among the model's modules
    batch_size: int = 32  # pictures that go through the model at once

    @classmethod
    def of(cls, model: nn.Module, *, layer: str = "", batch_size: int = 32) -> "Subject":
        """The subject of a model of `models.load`; the layer is the last candidate unless named.

        Raises:
            ExplanationError: the model does not know its classes or preprocessing, or has no such layer.
        """
        spec = getattr(model, "spec", {})
        if missing := [name for name in ("classes", "preprocess") if name not in spec]:
            raise ExplanationError(
                f"the model does not say its {' and '.join(missing)}: load it with models.load from a checkpoint of "
                "this suite, or call models.preprocess first."
            )
        prepared = Preprocess.read(spec["preprocess"])
        own = private(model)
        return cls(own, tuple(spec["classes"]), prepared, layer or candidates(own)[-1], batch_size).at(layer)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def at(self, layer: str) -> "Subject":
        """The same subject with another target layer; empty: as it is."""
        names = dict(self.model.named_modules())
        if layer and layer not in names:
            near = ", ".join(candidates(self.model))
            raise ExplanationError(f"the model has no module {layer!r}. Its stages: {near}; any other may be named.")
        return replace(self, layer=layer or self.layer)

    def inputs(self, squares: np.ndarray) -> torch.Tensor:
        """(n, s, s, 3) uint8 -> (n, 3, img_size, img_size) on the model's device, as evaluation prepares them."""
        return self.normalise(torch.from_numpy(np.ascontiguousarray(self.preprocess.evaluate(squares))))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, h, w, 3) of 0..255 -> (n, 3, h, w) on the model's device."""
        return self.preprocess.normalise(pixels.to(self.device))

    @torch.no_grad()
    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> (n, K)."""
        return torch.cat([self.model(part) for part in inputs.split(self.batch_size)])

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> (n, K), rows sum to 1."""
        return self.logits(inputs).softmax(1)

    def grid(self, output: torch.Tensor) -> torch.Tensor:
        """What the target layer gives, as channels over places (n, C, h, w).

        Tokens (n, N, C) lose their prefix (class token, registers) and are laid out as the patches lie; channels-last
        maps (n, h, w, C), as of Swin, are turned.
        """
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2) if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else output
        size = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        prefix = getattr(self.model, "num_prefix_tokens", 0)
        if output.ndim != 3 or size is None or size[0] * size[1] != output.shape[1] - prefix:
            raise ExplanationError(
                f"{self.layer} gives {tuple(output.shape)}, which is no map: name a layer that gives (n, C, h, w), or "
                f"tokens of the patches ({size} and {prefix} before them). Stages: {', '.join(candidates(self.model))}"
            )
        return output[:, prefix:].transpose(1, 2).unflatten(2, size)


def private(model: nn.Module) -> nn.Module:
    """A deep copy in eval mode, frozen, computing nothing in place, on the card if there is one."""
    own = copy.deepcopy(model).eval().requires_grad_(False)
    models.out_of_place(own)  # else a later layer would overwrite what was read from an earlier one
    device = devices.device()
    return own.to(device, memory_format=torch.channels_last)  # convolutions are up to twice as fast in it


def candidates(model: nn.Module) -> list[str]:
    """Layers that maps can be taken from, finest first: the stages of a CNN, `norm1` of a transformer's last block.

    The norm before a block's attention, not the block: behind the last block only the class token goes on, and a map
    of the other tokens is zero.
    """
    names = dict(model.named_modules())
    if hasattr(model, "num_prefix_tokens") and "blocks.0.norm1" in names:
        return [f"blocks.{len(model.blocks) - 1}.norm1"]
    known = [entry for entry in getattr(model, "feature_info", None) or [] if entry["module"] in names]
    stages = [entry["module"] for entry in known if entry.get("reduction", FINEST) >= FINEST]
    if not stages:
        raise ExplanationError(
            f"{type(model).__name__} does not tell its stages: name a layer that gives (n, C, h, w), one of "
            f"{', '.join(name for name, _ in model.named_children())} or inside of these."
        )
    return stages


def is_transformer(model: nn.Module) -> bool:
    """Whether attention runs over all patches, so that it can be rolled out."""
    return hasattr(model, "num_prefix_tokens") and hasattr(getattr(model, "blocks", [None])[0], "attn")


@contextmanager
def begin_at(subject: Subject) -> Iterator[nn.Module]:
    """The target layer, as the place where gradients begin: nothing before it is computed backwards.

    So a frozen trunk is no obstacle, and a Grad-CAM costs little more than a forward pass.
    """
    layer = subject.model.get_submodule(subject.layer)
    handle = layer.register_forward_hook(lambda module, given, output: output.detach().requires_grad_())
    try:
        yield layer
    finally:
        handle.remove()


def batches(subject: Subject, n: int) -> list[slice]:
    """Slices of at most `batch_size` that cover `n` pictures."""
    return [slice(start, start + subject.batch_size) for start in range(0, n, subject.batch_size)]


def empty(maps: np.ndarray) -> np.ndarray:
    """Which of the maps (n, h, w) say nothing: not finite, or the same everywhere."""
    finite = np.isfinite(maps).all(axis=(1, 2))
    return ~finite | (np.ptp(np.where(finite[:, None, None], maps, 0), axis=(1, 2)) == 0)

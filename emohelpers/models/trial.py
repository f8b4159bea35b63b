"""Trying what a change does to a model, without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module

EXACT = 1e-5  # relative distance of outputs that are the same but for rounding


@contextmanager
def examined(model: Module) -> Iterator[None]:
    """Inside this block the model is in eval mode and no graph is built."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def near(outputs: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are the same but for rounding."""
    return outputs.shape == expected.shape and bool((outputs - expected).norm() <= EXACT * expected.norm())

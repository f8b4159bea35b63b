"""How a model's layers compute: the same values, where a processor would be slow or memory be overwritten."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import Module


def out_of_place(model: Module) -> None:
    """Activations into memory of their own, with the same values: nothing that was read before is overwritten."""
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False


@contextmanager
def depthwise_in_fp32(model: Module) -> Iterator[None]:
    """Inside this context depthwise convolutions with a stride or a kernel above 3 compute in fp32 under autocast.

    In bf16 oneDNN differentiates these by its reference code: 10 to 140 times slower by their input where they have a
    stride, 3 to 5 times by a wide kernel (benchmarks/bf16.py).
    """
    slow = [module for module in model.modules() if isinstance(module, nn.Conv2d) and _slow_in_bf16(module)]
    for module in slow:
        module.forward = MethodType(_in_fp32, module)
    try:
        yield
    finally:
        for module in slow:
            del module.forward


def _slow_in_bf16(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups == convolution.in_channels > 1
    return depthwise and (max(convolution.stride) > 1 or max(convolution.kernel_size) > 3)


def _in_fp32(module: Module, inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return type(module).forward(module, inputs.float()).to(inputs.dtype)

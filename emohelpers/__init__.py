"""Leak-free data, honest comparison and speed for the emotion notebooks."""

import os

__version__ = "0.1.0"

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages for tensors; PyTorch reads it once, at its first tensor

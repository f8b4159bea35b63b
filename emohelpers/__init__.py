"""Leak-free data, honest comparison and speed for the emotion notebooks."""

import atexit
import os
import shutil
import tempfile

__version__ = "0.1.0"

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages for tensors; PyTorch reads it once, at its first tensor

if os.path.expanduser("~") == "~":  # a container without HOME and without an entry of its user, which libraries ask for
    os.environ |= {"HOME": tempfile.mkdtemp(prefix="emohelpers-nobody-"), "USER": os.environ.get("USER") or "nobody"}
    atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)

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

if not os.path.isdir(__path__[0]):  # in a wheel, which Python imports from, but whose data nobody could open
    __path__ = [os.path.join(tempfile.mkdtemp(prefix="emohelpers-wheel-"), "emohelpers")]
    shutil.unpack_archive(__file__.rpartition("emohelpers")[0].rstrip("/"), os.path.dirname(__path__[0]), "zip")
    atexit.register(shutil.rmtree, os.path.dirname(__path__[0]), ignore_errors=True)

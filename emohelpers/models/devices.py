"""The processor a run gets: which it is, whether it works, how exactly it computes, how much memory it took."""

import atexit
import ctypes
import functools
import gc
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from emohelpers.config.errors import SuiteError

# of glibc's mallopt
M_MMAP_MAX = -4
M_TRIM_THRESHOLD = -1
HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}  # what a model computes in, by accelerate's names
# what accelerate does not know as a lack of memory: CUDA's own error, and those of cuBLAS and cuDNN
NO_MEMORY = re.compile("^CUDA (error: )?out of memory|_ALLOC(ATION)?_FAILED")


class UnusableDevice(SuiteError, RuntimeError):
    """A card or precision that would fail or crawl, with the remedy."""


def device() -> torch.device:
    """The card if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(setting: str = "auto") -> str:
    """accelerate's name of what the machine computes natively: T4 "fp16", Ampere and later "bf16", CPU "no" (fp32).

    A CPU that has bf16 (AVX512-BF16, better still AMX) trains with it only where it is asked for, so that by default
    a recipe gives the same figures on every CPU.

    Raises:
        UnusableDevice: a card that this PyTorch has no kernels for (Kaggle's P100), or a precision it only emulates.
    """
    if device().type == "cpu":
        return _cpu_precision(setting)
    _try(torch.cuda.get_device_name())
    # Turing (T4) and earlier emulate bf16.
    native_bf16 = torch.cuda.get_device_capability() >= (8, 0)
    if setting == "bf16" and not native_bf16:
        raise UnusableDevice(f"{torch.cuda.get_device_name()} only emulates bf16, slowly. Use precision='auto' (fp16).")
    if setting == "auto":
        return "bf16" if native_bf16 else "fp16"
    return "no" if setting == "fp32" else setting


@functools.cache  # once for a card: the processor waits for it
def _try(card: str) -> None:
    try:
        torch.ones(8, device="cuda").sum().item()  # is_available() is true on a P100 too; only an operation tells
    except RuntimeError as error:
        raise UnusableDevice(
            f"{card} cannot run this PyTorch ({str(error).splitlines()[0]}). "
            "On Kaggle choose Settings -> Accelerator -> GPU T4 x2: the P100 is no longer supported there."
        ) from error


def autocast(place: torch.device, setting: str = "auto") -> torch.autocast:
    """Around the forward passes of a finished model on a device: half precision on a card, fp32 on a CPU.

    This alone decides it, for evaluation, teacher, explanations, gates and predictions, whatever ran before in the
    process. What computes in fp32 on a card too says why.
    """
    half = HALF.get(precision(setting)) if place.type == "cuda" else None
    return torch.autocast(place.type, half, enabled=half is not None)


def _cpu_precision(setting: str) -> str:
    if setting in ("auto", "fp32"):
        return "no"
    if setting == "bf16" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():  # no public name yet
        return "bf16"
    needs = "a GPU"
    if setting == "bf16":
        needs = "a GPU or a processor with AVX512-BF16; elsewhere it is emulated, slowly"
    raise UnusableDevice(f"precision={setting!r} needs {needs}. This machine has none. Use precision='auto'.")


def keep_memory() -> None:
    """Makes the C library keep the memory that a training step frees, for the next step.

    glibc hands large blocks back to the kernel and faults them in again, page by page, in every step: a third of the
    time of a MobileNetV2 training on a CPU. Elsewhere (macOS, Windows, musl) nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)  # no block of its own mapping
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # keep the top of the heap


def accelerator(
    setting: str = "auto", *, trackers: Sequence[str] = (), folder: str | Path | None = None
) -> Accelerator:
    """The processes, device and precision of a run; torchrun's environment is read, so a script needs nothing more."""
    on_cpu = device().type == "cpu"
    if on_cpu:
        keep_memory()
    else:  # what a training that failed has left, and its peak, are not this one's
        clear_device_cache(garbage_collection=True)
        torch.cuda.reset_peak_memory_stats()
    AcceleratorState._reset_state()  # a notebook may train twice, in another precision
    joined = processes(
        mixed_precision=precision(setting),
        log_with=list(trackers) or None,
        cpu=on_cpu,
        project_dir=None if folder is None else str(folder),
    )
    if joined.num_processes > 1:
        atexit.register(_leave)
    return joined


def processes(**options) -> Accelerator:
    """accelerate's `Accelerator`.

    Raises:
        UnusableDevice: variables of torchrun are left over.
    """
    try:
        return Accelerator(**options)
    except ValueError as error:
        if "rendezvous" not in str(error):
            raise
        raise UnusableDevice(
            f"{error}. RANK, LOCAL_RANK and WORLD_SIZE are set, as torchrun does: unset them, or start by torchrun"
        ) from error


def _leave() -> None:
    """Ends the process group and its threads while Python still stands.

    A gloo thread that lets go of a tensor while Python shuts down aborts the process (PyTorch issue 190489). The
    threads end with the group's last holder, which is a DistributedDataParallel of an ended training: a cycle.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()


def keep_local(trackers: Sequence[str], folder: str | Path) -> None:
    """Makes MLflow write into `folder`, mlflow.db and its artefacts, unless it was told another place already."""
    if "mlflow" not in trackers:
        return
    import mlflow  # an optional package, asked for by name

    if not mlflow.is_tracking_uri_set():
        Path(folder).mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{Path(folder).resolve() / 'mlflow.db'}")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether the card or the CPU had no memory left, in the words of PyTorch, CUDA, cuBLAS or cuDNN."""
    return should_reduce_batch_size(error) or bool(NO_MEMORY.search(str(error)))


def peak_memory_gb() -> float:
    """Most memory taken so far: on the card by the last training if there is one, else by the process."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e9
    import resource  # Unix alone has it

    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

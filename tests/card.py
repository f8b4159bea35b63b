"""A make-believe CUDA card: python tests/card.py program.py [arguments], or python tests/card.py -m pytest tests/...

card.c stands in for the CUDA runtime, so PyTorch itself believes in a Tesla T4: tensors lie in memory of its caching
allocator; autocast, the gradient scaler, the backward engine's thread and "CUDA out of memory" are PyTorch's own.
Kernels alone are missing: `Card` computes every operation on the processor, in the card's memory. On the way it raises
where tensors or a generator are on the wrong device, sums products of halves in fp32 and rounds them once (what is too
large becomes inf), and counts by source line of the package how often the processor waits for the card.

CARD_GB is the card's memory. With CARD_META=1 only shapes and memory are computed: full-size nets in seconds.
Not seen: time, cuDNN's and cuBLAS's errors, rounding of real kernels, races, torch.compile, several cards.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parent
META = os.environ.get("CARD_META") == "1"
WATCHED = "/emohelpers/"  # the package whose lines are named
CPU_DEVICE = 1  # of DLPack
PAGEABLE = 64 * 1024  # bytes from which also a non-blocking copy waits, unless the processor's side is page-locked

waits: Counter[tuple[str, str]] = Counter()  # (reason, source line) -> times

address = ctypes.pythonapi.PyCapsule_GetPointer
address.restype = ctypes.c_void_p
address.argtypes = [ctypes.py_object, ctypes.c_char_p]

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
MIXING = {*COPIES, *INDEXING, aten._foreach_copy_.default}  # take tensors of both devices
MEMORY = {  # PyTorch's own do, since no number is computed
    aten.empty.memory_format, aten.empty_strided.default, aten.new_empty.default, aten.new_empty_strided.default,
    aten.empty_like.default, aten._unsafe_view.default, aten.set_.source_Tensor, aten.set_.source_Storage,
    aten.set_.source_Storage_storage_offset, aten.resize_.default, aten.record_stream.default,
    aten._fused_sdp_choice.default, aten.is_pinned.default, aten._has_compatible_shallow_copy_type.default,
}  # fmt: skip
READING = {  # the processor needs the numbers, or how many there are
    aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default, aten.masked_select.default,
    aten._unique2.default, aten.repeat_interleave.Tensor,
}  # fmt: skip
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution, aten.convolution_backward}
HALVES = {torch.float16, torch.bfloat16}


class Card(TorchDispatchMode):
    """Computes what CUDA kernels would."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the first operation imports the compiler, for seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if by_pytorch(func) or any(issubclass(kind, torch._subclasses.FakeTensor) for kind in types):
            return func(*args, **kwargs)
        tensors: list[Tensor] = []
        each_tensor(tensors.append, (args, kwargs))
        device = kwargs.get("device")
        to_card = device is not None and torch.device(device).type == "cuda"
        if not to_card and not any(tensor.is_cuda for tensor in tensors):
            return func(*args, **kwargs)
        if composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        # A number of no dimension may lie anywhere.
        if func not in MIXING and any(tensor.dim() and not tensor.is_cuda for tensor in tensors):
            raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({func})")
        if func in COPIES:
            count_copy(func, args, kwargs)
        if func in READING:
            wait(func.overloadpacket.__name__)
        for index in filter(lambda index: index is not None, args[1] if func in INDEXING else ()):
            if not index.is_cuda or index.dtype in (torch.bool, torch.uint8):
                wait("index")
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return computed(func, args, kwargs)
        with drawn(kwargs.pop("generator", None)):
            return computed(func, args, kwargs)


@functools.cache
def by_pytorch(func) -> bool:
    """Whether PyTorch does it without a kernel: memory is taken, or seen in another shape."""
    return func in MEMORY or (func.is_view or torch.Tag.inplace_view in func.tags) and not composite(func)


@functools.cache
def composite(func) -> bool:
    """Whether it is made of other operations; in inference mode these come here as they are."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def each_tensor(call: Callable, value: Any) -> Any:
    """The same lists, tuples and dicts, with what `call` makes of every tensor in them."""
    if isinstance(value, Tensor):
        return call(value)
    if isinstance(value, (list, tuple)):
        return type(value)([each_tensor(call, part) for part in value])
    if isinstance(value, dict):
        return {name: each_tensor(call, part) for name, part in value.items()}
    return value


@contextmanager
def drawn(generator: torch.Generator | None) -> Iterator[None]:
    """Inside, the processor draws by seed and offset of the card's generator, which PyTorch itself keeps."""
    generator = generator or torch.cuda.default_generators[0]
    if generator.device.type != "cuda":
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found '{generator.device.type}'")
    offset = generator.get_offset()
    generator.set_offset(offset + 4)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed((generator.initial_seed() * 1_000_003 + offset) % 2**63)
        yield


def computed(func, args, kwargs):
    """What the operation returns, computed on the processor and laid on the card."""
    returns = func._schema.returns
    in_place = bool(func._schema.is_mutable) and all(value.alias_info for value in returns)
    device = kwargs.get("device")
    plain = kwargs if device is None else {**kwargs, "device": "meta" if META else "cpu"}
    if META and func is aten._local_scalar_dense.default:
        return True if args[0].dtype is torch.bool else 1
    outputs = None
    if not META or not in_place:
        outputs = rounded(func, *each_tensor(alias, (args, plain)))
    if in_place:
        outputs = tuple(argument_of(value, func, args, kwargs) for value in returns)
        return outputs[0] if len(outputs) == 1 else outputs or None
    if device is not None and torch.device(device).type == "cpu":
        return torch.zeros_like(outputs, device="cpu") if META else outputs
    return each_tensor(laid, outputs)


def rounded(func, args, kwargs):
    """`func` on the processor; in fp32 where tensor cores sum in it, or where the processor knows no halves."""
    halves: set[torch.dtype] = set()
    if not META:
        each_tensor(lambda tensor: halves.add(tensor.dtype), (args, kwargs))
        halves &= HALVES
    if not halves or func.overloadpacket not in PRODUCTS:
        try:
            return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            if not halves or "not implemented for" not in str(error) or func._schema.is_mutable:
                raise
    half = halves.pop()
    args, kwargs = each_tensor(lambda tensor: tensor.float() if tensor.dtype == half else tensor, (args, kwargs))
    outputs = func(*args, **kwargs)
    return each_tensor(lambda tensor: tensor.to(half) if tensor.dtype == torch.float32 else tensor, outputs)


def argument_of(value, func, args, kwargs) -> Any:
    """The argument that an operation in place returns."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info and argument.alias_info.before_set == value.alias_info.before_set:
            return kwargs[argument.name] if argument.name in kwargs else args[place]
    raise AssertionError(func)


def alias(tensor: Tensor) -> Tensor:
    """The same numbers as a tensor of the processor: a tensor of the card lies in its memory."""
    if META:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    if not tensor.is_cuda:
        return tensor
    capsule = torch.utils.dlpack.to_dlpack(tensor.detach())
    # In the capsule, the kind of device comes after the pointer to the numbers.
    ctypes.c_int32.from_address(address(capsule, b"dltensor") + 8).value = CPU_DEVICE
    return torch.from_dlpack(capsule)


def laid(tensor: Tensor) -> Tensor:
    """The same numbers on the card."""
    if not tensor.is_meta and torch._debug_has_internal_overlap(tensor):
        tensor = tensor.contiguous()
    placed = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    if not META:
        alias(placed).copy_(tensor)
    return placed


def count_copy(func, args, kwargs) -> None:
    """One across makes the processor wait, unless it says otherwise and its memory is page-locked, or is little."""
    if func is aten.copy_.default:
        to_card, source, *rest = args[0].is_cuda, *args[1:]
        non_blocking = rest[0] if rest else kwargs.get("non_blocking")
    else:
        source, device, non_blocking = args[0], kwargs.get("device"), kwargs.get("non_blocking")
        to_card = source.is_cuda if device is None else torch.device(device).type == "cuda"
    if source.is_cuda and not to_card and not non_blocking:
        wait("copy to the processor")
    elif to_card and not source.is_cuda and not (non_blocking and (source.nbytes < PAGEABLE or source.is_pinned())):
        wait("copy to the card")


def wait(reason: str) -> None:
    """Counts, by the innermost line of the package."""
    frame = sys._getframe(1)
    while frame and WATCHED not in frame.f_code.co_filename:
        frame = frame.f_back
    where = f"{frame.f_code.co_filename.rpartition(WATCHED)[2]}:{frame.f_lineno}" if frame else "elsewhere"
    waits[reason, where] += 1


def capacity(size: float) -> None:
    """Sets the card's memory, in bytes."""
    ctypes.CDLL(None).card_capacity(ctypes.c_size_t(int(size)))


def install() -> None:
    """From now on this process, with all its threads, has the card."""
    run, text = threading.Thread.run, torch.Tensor.__repr__

    def run_with_card(thread: threading.Thread) -> None:
        with Card():
            run(thread)

    threading.Thread.run = run_with_card

    def shown(tensor: Tensor, **options) -> str:
        return f"{text(tensor.cpu(), **options)} on {tensor.device}" if tensor.is_cuda else text(tensor, **options)

    torch.Tensor.__repr__ = shown  # PyTorch's switches modes off
    runtime = ctypes.CDLL(None)
    install.kept = ctypes.CFUNCTYPE(None)(lambda: wait("synchronisation"))  # C does not hold on to it
    runtime.card_on_wait(install.kept)
    torch.backends.cudnn.enabled = False  # PyTorch would choose operations of cuDNN, which no processor has
    if not META:
        for kind in ("flash", "mem_efficient", "cudnn"):  # a T4's attention is memory-efficient, which no processor has
            getattr(torch.backends.cuda, f"enable_{kind}_sdp")(False)
    if size := os.environ.get("CARD_GB"):
        capacity(float(size) * 1e9)
    Card().__enter__()


def missing() -> str:
    """Why there can be no make-believe card on this machine; empty: there can."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        return "a make-believe card needs Linux and gcc"
    if not torch.version.cuda or not find_spec("triton"):
        return "a make-believe card needs a CUDA build of PyTorch, and CUDA's headers, which come with its triton"
    return ""


def library() -> Path:
    """card.c, compiled once."""
    source = HERE / "card.c"
    target = HERE.parent / "build" / f"card-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.so"
    if not target.is_file():
        target.parent.mkdir(exist_ok=True)
        headers = Path(find_spec("triton").origin).parent / "backends" / "nvidia" / "include"
        unfinished = target.with_suffix(f".{os.getpid()}")
        # Its name makes the loader believe that the driver is there already.
        options = ["-shared", "-fPIC", "-O1", "-w", "-Wl,-soname,libcuda.so.1", f"-I{headers}"]
        subprocess.run(["gcc", *options, str(source), "-o", str(unfinished)], check=True)
        unfinished.replace(target)
    return target


def environment(**more: str) -> dict[str, str]:
    """Variables with which a Python process, and those that it starts, have the card."""
    site = library().parent / "card-site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(f"import sys\nsys.path.append({str(HERE)!r})\nimport card\ncard.install()\n")
    folders = filter(None, [str(site), os.environ.get("PYTHONPATH")])
    return {**os.environ, "LD_PRELOAD": str(library()), "PYTHONPATH": os.pathsep.join(folders), **more}


if __name__ == "__main__":
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], environment())

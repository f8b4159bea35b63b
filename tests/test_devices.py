"""The processor's rules. Cards that this machine lacks are described: name, capability, and whether they run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from emohelpers.models import devices
from emohelpers.models.devices import UnusableDevice, precision

HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def fresh():
    yield
    AcceleratorState._reset_state()


@pytest.fixture
def no_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def card(monkeypatch, name: str, capability: tuple[int, int], *, runs: bool = True) -> None:
    real = torch.ones

    def ones(*size, device="cpu", **options):
        if device == "cuda" and not runs:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel ...")
        return real(*size, **options)

    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)


def test_a_cpu_computes_in_fp32(no_card):
    assert precision("auto") == precision("fp32") == "no"


@pytest.mark.parametrize("wanted, needs", [("fp16", "a GPU"), ("bf16", "a GPU or a processor with AVX512-BF16")])
def test_half_precision_that_the_machine_lacks_is_an_error_with_the_remedy(no_card, monkeypatch, wanted, needs):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    with pytest.raises(UnusableDevice, match=rf"precision='{wanted}' needs {needs}.*Use precision='auto'"):
        precision(wanted)


def test_a_cpu_that_has_bf16_takes_it_only_where_asked(no_card, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert precision("bf16") == "bf16" and precision("auto") == precision("fp32") == "no"
    with pytest.raises(UnusableDevice, match="precision='fp16' needs a GPU"):
        precision("fp16")


@pytest.mark.parametrize(
    "name, capability, auto",
    [("Tesla T4", (7, 5), "fp16"), ("NVIDIA A100", (8, 0), "bf16"), ("NVIDIA H200", (9, 0), "bf16")],
)
def test_auto_is_what_the_card_computes_natively(monkeypatch, name, capability, auto):
    card(monkeypatch, name, capability)
    assert precision("auto") == auto and precision("fp32") == "no" and precision("fp16") == "fp16"


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB.",
        "CUDA error: out of memory\nCUDA kernel errors might be reported later",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
    ],
)
def test_a_lack_of_memory_is_known_in_the_words_of_every_library(words):
    assert devices.out_of_memory(RuntimeError(words))
    assert not devices.out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_bf16_that_is_only_emulated_is_refused(monkeypatch):
    card(monkeypatch, "Tesla T4", (7, 5))
    with pytest.raises(UnusableDevice, match=r"Tesla T4 only emulates bf16.*precision='auto'"):
        precision("bf16")


@pytest.mark.parametrize("wanted", ["auto", "fp32", "fp16"])
def test_a_card_without_kernels_says_which_card_to_choose(monkeypatch, wanted):
    card(monkeypatch, "Tesla P100-PCIE-16GB", (6, 0), runs=False)
    with pytest.raises(UnusableDevice) as caught:
        precision(wanted)
    text = str(caught.value)
    assert "P100-PCIE-16GB cannot run this PyTorch (CUDA error: no kernel image" in text
    assert "GPU T4 x2" in text and "\n" not in text


def test_one_accelerator_after_another_and_peak_memory(no_card, tmp_path):
    for _ in range(2):
        made = devices.accelerator("auto", folder=tmp_path)
        assert made.device.type == "cpu" and made.mixed_precision == "no" and made.num_processes == 1
    assert 0.05 < devices.peak_memory_gb() < 200


@pytest.mark.skipif(not HUGE.is_file() or "[madvise]" not in HUGE.read_text(), reason="no huge pages on request")
@pytest.mark.parametrize(("asked", "some"), [({}, True), ({"THP_MEM_ALLOC_ENABLE": "0"}, False)])
def test_tensors_lie_in_huge_pages_unless_told_otherwise(asked, some):
    """Whatever the package imports first, PyTorch has read the wish; a user's own stands."""
    look = (
        "import emohelpers.train, torch; x = torch.ones(1 << 26);"
        "print(*(line.split()[1] for line in open('/proc/self/smaps_rollup') if line.startswith('AnonHugePages')))"
    )
    bare = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    told = subprocess.run([sys.executable, "-c", look], env=bare | asked, capture_output=True, text=True, check=True)
    assert (int(told.stdout) > 100_000) == some


@needs_card
def test_the_card_that_is_there():
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert precision() == ("bf16" if native else "fp16")
    made = devices.accelerator()
    assert made.device.type == "cuda" and made.mixed_precision == precision()
    torch.ones(1 << 26, device="cuda")
    assert devices.peak_memory_gb() > 0.25
    assert devices.accelerator("fp32").mixed_precision == "no"

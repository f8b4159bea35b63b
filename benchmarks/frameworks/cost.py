"""What the job costs at least: counted operations over what this machine multiplies, and minutes on other machines."""

import time

import torch
from job import Job, net
from torch.utils.flop_counter import FlopCounterMode

CARDS = {  # sustained TFLOP/s of this net in half precision, and where the figure comes from
    # 12 to 15 by the longer of each operation's products and its bytes, at the clocks and the bandwidth that a T4 holds
    "T4": (13.5, "PyTorch under autocast: 12 to 15, modelled; NVIDIA's own fused kernels reach 19.6"),
    "2 x T4": (27.0, "twice one"),
    "H200": (395.0, "half of the 790 that a bf16 product of 8192 x 8192 matrices reaches"),
}
EPOCHS, VIEWS = 25, 4


def peak_gflops(size: int = 2048) -> float:
    """GFLOP/s of a product of fp32 matrices on this machine, the best of five."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9


def counted(job: Job) -> dict[str, float]:
    """GFLOP of one training picture: the whole model, and for a ViT what its shortcuts leave, by torch's own count."""
    model, pictures = net(job), torch.randn(2, 3, job.size, job.size)
    if job.trainable == "all":
        return {"live": _step(model, pictures)}
    from emohelpers.models import class_token, cut

    told = {"recompute": _step(model, pictures)}
    where = cut.deepest(model, pictures)
    with torch.no_grad():
        inner = cut.activations(model, where, pictures)
        told["filling a view"] = _forward(lambda: cut.activations(model, where, pictures))
    cut.enter(model, where)
    told["cached"] = _step(model, inner.view(-1, *where.form))
    assert class_token.read_alone(model, pictures)
    where.tail = None
    told["shortcut"] = _step(model, pictures)
    told["cached + shortcut"] = _step(model, inner.view(-1, *where.form))
    return told


def _forward(run) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2 / 1e9  # of two pictures


def _step(model: torch.nn.Module, inputs: torch.Tensor) -> float:
    return _forward(lambda: model(inputs).square().mean().backward())


def minutes(gflop: dict[str, float], pictures: int, tflops: float) -> dict[str, float]:
    """Minutes of 25 epochs over `pictures`: recomputed, and cached with four views and the shortcut."""
    cached = EPOCHS * gflop["cached + shortcut"] + VIEWS * gflop["filling a view"]
    return {
        name: pictures * per / tflops / 1e3 / 60
        for name, per in (("recompute", EPOCHS * gflop["recompute"]), ("cached + shortcut, filling included", cached))
    }

"""Rounds the weights of a demo's trunk to a few steps of a power of two, so that the files that carry it stay small.

A rounded trunk stays an ordinary file of fp16 weights. It learns, on drawn faces and without labels, to give the
features that the trunk gave before. In place, minutes on one core, after pretrain_demo_trunk.py:

    python scripts/round_demo_trunk.py emohelpers/models/trunks/test_vit
    python scripts/round_demo_trunk.py emohelpers/models/trunks/test_byobnet --share .5 --fine .1 --epochs 0 --faces 500
"""

import argparse
import json
import lzma
import time
from pathlib import Path

import timm
import torch
from pretrain_demo_trunk import draw, pixels, write
from torch import Tensor, nn
from torch.nn.utils import parametrize

VECTORS = 2**-6  # the step of biases and norms; running statistics are not rounded
SMALL = 4_000  # weights; smaller tensors cost little and are early ones


class Rounded(nn.Module):
    """A parameter as the nearest multiple of `step`; its gradient passes as if it were not rounded."""

    def __init__(self, step: float):
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x + (torch.round(x / self.step) * self.step - x).detach()


def nearest_power(value: float) -> float:
    return float(2.0 ** torch.tensor(value).log2().round())


def round_parameters(model: nn.Module, share: float, fine: float) -> None:
    """Every parameter becomes a multiple of a step: of a matrix about `share` of its standard deviation, or `fine`."""
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            own = fine if parameter.numel() < SMALL else share
            step = VECTORS if parameter.squeeze().ndim < 2 else nearest_power(own * parameter.std().item())
            parametrize.register_parametrization(module, name, Rounded(step))


def features(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The maps of every stage and the last, normalised one."""
    whole, stages = model.forward_intermediates(x, norm=False)
    return [*stages, whole]


def distance(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """Mean over the maps of the squared error, as a share of the map's variance."""
    return torch.stack([((a - b) ** 2).mean() / b.var() for a, b in zip(ours, theirs, strict=True)]).mean()


@torch.inference_mode()
def error(model: nn.Module, teacher: nn.Module, x: Tensor) -> float:
    parts = [pixels(part) for part in x.split(250)]
    return float(torch.stack([distance(features(model, p), features(teacher, p)) for p in parts]).mean())


def learn(model: nn.Module, teacher: nn.Module, x: Tensor, *, epochs: int, lr: float, batch: int) -> None:
    rng = torch.Generator().manual_seed(0)
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        total, start = 0.0, time.perf_counter()
        for rows in torch.randperm(len(x), generator=rng).split(batch)[: len(x) // batch]:
            pictures = pixels(x[rows])
            pictures = pictures * (1 + 0.3 * (torch.rand(batch, 3, 1, 1, generator=rng) - 0.5))
            with torch.no_grad():
                wanted = features(teacher, pictures)
            loss = distance(features(model, pictures), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        mean = total / (len(x) // batch)
        print(f"epoch {epoch + 1}/{epochs} distance {mean:.4f} {time.perf_counter() - start:.1f} s", flush=True)


@torch.no_grad()
def measure_statistics(model: nn.Module, x: Tensor) -> None:
    """Running means and variances of the rounded model's own activations."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for part in x.split(250):
        model.forward_features(pixels(part))
    for norm in norms:
        norm.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a trunk as pretrain_demo_trunk.py writes it")
    parser.add_argument("--out", type=Path, help="default: the same folder")
    parser.add_argument("--share", type=float, default=1.0, help="step of a matrix, in its standard deviations")
    parser.add_argument("--fine", type=float, help=f"that of a matrix of fewer than {SMALL} weights; default: the same")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--held-out", type=int, default=9, help="seed of the faces that the distance is measured on")
    parser.add_argument("--faces", type=int, default=2_000, help="over all seeds")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    x = torch.cat([draw(seed, args.faces // len(args.seeds), args.workers)[0] for seed in args.seeds])
    test = draw(args.held_out, 500, args.workers)[0]
    teacher, model = (timm.create_model(f"local-dir:{args.folder}", pretrained=True).eval() for _ in range(2))
    round_parameters(model, args.share, args.fine or args.share)
    before = error(model, teacher, test)
    print(f"{len(x)} faces in {time.perf_counter() - start:.0f} s; rounded at once: distance {before:.4f}", flush=True)
    if args.epochs:
        learn(model, teacher, x, epochs=args.epochs, lr=args.lr, batch=args.batch)
    measure_statistics(model, x)
    after = error(model, teacher, test)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
    receipt = json.loads((args.folder / "receipt.json").read_text(encoding="utf-8"))
    receipt["rounded"] = {
        "step_of_a_matrix": f"the power of two nearest to {args.share} of its standard deviation",
        "fine_step_of_a_small_one": args.fine or args.share,
        "step_of_a_vector": VECTORS,
        "seeds": args.seeds,
        "faces": len(x),
        "epochs": args.epochs,
        "batch": args.batch,
        "lr": args.lr,
        "distance_at_once": round(before, 4),
        "distance": round(after, 4),
        "seconds": round(time.perf_counter() - start),
    }
    folder = args.out or args.folder
    write(folder, model, receipt)
    packed = lzma.compress((folder / "model.safetensors").read_bytes())
    print(json.dumps(receipt["rounded"], indent=1), f"{len(packed):,} bytes as xz")


if __name__ == "__main__":
    main()

"""Pretrains a trunk of the demo: a small timm net learns to read action units and traits of drawn faces.

No emotion label is seen: the faces show random mixtures of action units on people of other seeds than the demo's,
so that the trunk knows faces in general, as ImageNet weights know pictures in general.

    python scripts/pretrain_demo_trunk.py                               # emohelpers/models/trunks/test_vit, 20 minutes
    python scripts/pretrain_demo_trunk.py --architecture test_byobnet   # a small ResNet, 30 minutes on one core
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from emohelpers.datasets.drawn import action_units, anatomy, paint, people  # noqa: E402
from emohelpers.datasets.drawn.faces import DRAWING_VERSION  # noqa: E402
from emohelpers.models.weights import TRUNKS  # noqa: E402

DEMO_SEEDS = range(2000, 2100)  # kept for data sets that are trained and tested on
SIDES = [f"au{u}_{side}" for u in action_units.UNITS for side in ("left", "right")]
SHOT = ["yaw", "pitch", "roll", "scale", "dx", "dy", "gaze_x", "gaze_y", "blur", "exposure"]
PERSON = ["age", "skin_type", "lid", "brow_y", "brow_thick", "brow_tilt", "mouth_w", "mouth_curve", "nose_w", "eye_h",
          "jaw", "fringe"]  # fmt: skip
FLAGS = ["glasses", "beard", *(f"occluder_{name}" for name in people.OCCLUDERS[1:])]
MARKS = [(f"{part}_{side}", k) for part, ks in (("lid", (0, 5, 10)), ("under", (5,)), ("brow", (0, 9, 18, 28)),
         ("iris", (None,)), ("ala", (3,))) for k in ks for side in ("left", "right")]  # fmt: skip
MARKS += [("lips", k) for k in (0, 12, 6, 19, 3, 9)]
MARKS += [("opening", 6), ("opening", 19), ("nose_tip", None), ("jaw", 20)]
POINTS = [f"{part}.{k}.{axis}" for part, k in MARKS for axis in "xy"]
TARGETS = [*SIDES, *SHOT, *PERSON, *FLAGS, *POINTS]
PARTS = (("brow_left", "brow_right"), ("eye_left", "eye_right"), ("iris_left", "iris_right"), ("lips",), ("opening",),
         ("nose",), ("face",), ("hair",))  # fmt: skip
CELLS, GRID = 24, 6  # the map of parts has CELLS x CELLS cells, 4 x 4 for each place of the trunk's GRID x GRID map


def _mirror(name: str) -> str:
    swapped = {"lips.0.": "lips.12.", "lips.12.": "lips.0.", "lips.3.": "lips.9.", "lips.9.": "lips.3."}
    for old, new in swapped.items():
        if name.startswith(old):
            return name.replace(old, new)
    return name.replace("left", "#").replace("right", "left").replace("#", "right")


MIRRORED = [TARGETS.index(_mirror(n)) for n in TARGETS]
SIGNS = [-1.0 if n in ("yaw", "roll", "dx", "gaze_x") or n.endswith(".x") else 1.0 for n in TARGETS]


def one(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A face of a seed after its trip through JPEG, (96, 96, 3) uint8; its targets; its parts (8, 24, 24) uint8."""
    seed, k = job
    who, how = people.person(seed * 1_000_000 + k // 2), people.shot(seed * 1_000_000 + k)  # two faces an identity
    rng = np.random.default_rng([seed, k, 6])
    if k % 3 == 0:
        units = action_units.random_units(rng)
    else:  # two emotions' units at random strengths; which ones is not told
        first, second = rng.choice(list(action_units.PROTOTYPES), 2)
        units = action_units.expression(first, rng.uniform(0.2, 1), rng, second=second, share=rng.uniform(0, 1))
    done, data = cv2.imencode(".jpg", paint.face(who, how, units), [cv2.IMWRITE_JPEG_QUALITY, how.quality])
    assert done
    left, right = action_units.both_sides(units)
    values = [side[u] for u in action_units.UNITS for side in (left, right)]
    values += [getattr(how, n) for n in SHOT] + [getattr(who, n) for n in PERSON]
    values += [who.glasses != "none", who.beard != "none", *(how.occluder == n for n in people.OCCLUDERS[1:])]
    f = anatomy.shapes(who, how, units)
    for part, k in MARKS:
        values += list((f[part].mean(0) if k is None else f[part][k]) - 48)
    maps = np.zeros((len(PARTS), 96, 96), np.uint8)
    for plane, names in zip(maps, PARTS, strict=True):
        for name in names:
            cv2.fillPoly(plane, [(f[name] * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    cells = maps.reshape(len(PARTS), CELLS, 4, CELLS, 4).mean((2, 4)).astype(np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], np.array(values, np.float32), cells


def draw(seed: int, n: int, workers: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, 3, 96, 96) uint8, (n, targets) float32 and (n, parts, 24, 24) uint8."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        drawn = list(pool.map(one, [(seed, k) for k in range(n)], chunksize=200))
    pictures, targets, maps = (torch.from_numpy(np.stack(column)) for column in zip(*drawn, strict=True))
    return pictures.permute(0, 3, 1, 2).contiguous(), targets, maps


class Reader(nn.Module):
    """The trunk with two heads: targets from what a classifier would read, the parts from the trunk's map of 6 x 6."""

    def __init__(self, architecture: str):
        super().__init__()
        fixed = {"img_size": 96} if "vit" in architecture else {}
        self.trunk = timm.create_model(architecture, num_classes=0, **fixed)
        maps = self.trunk.forward_intermediates(torch.zeros(2, 3, 96, 96), norm="vit" in architecture)[1]
        self.level = max(k for k, found in enumerate(maps) if found.shape[-1] == GRID)  # a ViT's last, a CNN's stage 3
        self.options = {"indices": [self.level], "norm": "vit" in architecture}
        self.targets = nn.Linear(self.trunk.num_features, len(TARGETS))
        self.parts = nn.Conv2d(maps[self.level].shape[1], len(PARTS) * 16, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        whole, (found,) = self.trunk.forward_intermediates(x, **self.options)
        cells = self.parts(found).unflatten(1, (len(PARTS), 4, 4))  # (B, parts, 4, 4, 6, 6)
        drawn = cells.permute(0, 1, 4, 2, 5, 3).reshape(len(x), len(PARTS), CELLS, CELLS)
        return self.targets(self.trunk.forward_head(whole, pre_logits=True)), drawn


def pixels(batch: torch.Tensor) -> torch.Tensor:
    """uint8 to what mean .5 and std .5 make of it, (B, 3, 96, 96)."""
    return batch.float().div_(127.5).sub_(1)


def train(model: nn.Module, x, y, maps, *, epochs: int, lr: float, batch: int, seed: int) -> float:
    """Regresses standardised targets; the last epoch's mean squared error."""
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.03, betas=(0.9, 0.98))
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    weight = torch.tensor([1.5 if n in SIDES else 0.6 if n in POINTS else 0.25 for n in TARGETS])
    presence = maps.float().mean((0, 2, 3)).div(255).clamp_min(1e-3).view(-1, 1, 1)
    rarity = (0.1 / presence).sqrt()  # an iris counts as much as a cheek
    mirrored, signs = torch.tensor(MIRRORED), torch.tensor(SIGNS)
    for epoch in range(epochs):
        model.train()
        total, start = 0.0, time.perf_counter()
        order = torch.randperm(len(x), generator=rng)
        for i in range(len(x) // batch):
            rows = order[i * batch : (i + 1) * batch]
            a, b, cells = pixels(x[rows]), y[rows], maps[rows].float() / 255
            if torch.rand((), generator=rng) < 0.5:
                a, b, cells = a.flip(3), b[:, mirrored] * signs, cells.flip(3)
            gain = 1 + 0.3 * (torch.rand(batch, 3, 1, 1, generator=rng) - 0.5)
            found, drawn = model(a * gain)
            dense = nn.functional.binary_cross_entropy_with_logits(drawn, cells, reduction="none")
            loss = ((found - b) ** 2 * weight).mean() + 2 * (dense * rarity).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs} loss {total / (i + 1):.4f} {time.perf_counter() - start:.1f} s", flush=True)
    return total / (i + 1)


@torch.inference_mode()
def score(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """R2 of every target."""
    model.eval()
    found = torch.cat([model(pixels(part))[0] for part in x.split(500)])
    r2 = 1 - ((found - y) ** 2).mean(0) / ((y - y.mean(0)) ** 2).mean(0).clamp_min(1e-9)
    return {name: round(float(v), 3) for name, v in zip(TARGETS, r2, strict=True)}


def write(folder: Path, model: nn.Module, receipt: dict) -> None:
    """timm's local-dir form: config.json, model.safetensors in fp16, receipt.json; each file atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed = "vit" in folder.name
    own = model.pretrained_cfg
    config = {
        "architecture": folder.name,
        "num_classes": 0,
        "num_features": model.num_features,
        **({"model_args": {"img_size": 96}} if fixed else {}),
        "pretrained_cfg": {
            "tag": "drawn_faces",
            "custom_load": False,
            "input_size": [3, 96, 96],
            "fixed_input_size": fixed,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 0,
            "pool_size": None if fixed else [3, 3],
            "first_conv": own["first_conv"],
            "classifier": own["classifier"],
            "license": "mit",
        },
    }
    weights = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        save_file(weights, f"{temporary}/model.safetensors", metadata={"format": "pt"})
        Path(temporary, "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        Path(temporary, "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
        for name in ("model.safetensors", "config.json", "receipt.json"):
            os.chmod(f"{temporary}/{name}", 0o644)
            os.replace(f"{temporary}/{name}", folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="test_vit", help="timm's name of a small net; also test_byobnet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--held-out", type=int, default=9, help="seed of the faces that R2 is measured on")
    parser.add_argument("--faces", type=int, default=40_000, help="over all seeds")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--out", type=Path, help="default: its folder in emohelpers/models/trunks")
    args = parser.parse_args()
    if set(DEMO_SEEDS) & {*args.seeds, args.held_out} or args.held_out in args.seeds:
        parser.error("seeds 2000-2099 belong to the demo's own data sets, and the held-out seed is not trained on")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    start = time.perf_counter()
    parts = [draw(seed, args.faces // len(args.seeds), args.workers) for seed in args.seeds]
    x, y, maps = (torch.cat(column) for column in zip(*parts, strict=True))
    del parts
    test_x, test_y, _ = draw(args.held_out, 2000, args.workers)
    drawn = time.perf_counter() - start
    print(f"{len(x)} faces drawn in {drawn:.0f} s, {len(TARGETS)} targets", flush=True)
    twin = y[:, MIRRORED] * torch.tensor(SIGNS)  # as a mirror sees it: makes mean and scale the same on both sides
    mean, std = (y + twin).mean(0) / 2, torch.cat([y, twin]).std(0).clamp_min(1e-6)
    model = Reader(args.architecture)
    loss = train(model, x, (y - mean) / std, maps, epochs=args.epochs, lr=args.lr, batch=args.batch, seed=0)
    r2 = score(model, test_x, (test_y - mean) / std)
    receipt = {
        "what": f"{args.architecture} trained to regress action units and traits of drawn faces; no emotion labels",
        "drawing": DRAWING_VERSION,
        "seeds": args.seeds,
        "held_out_seed": args.held_out,
        "faces": len(x),
        "epochs": args.epochs,
        "batch": args.batch,
        "lr": args.lr,
        "loss": round(loss, 4),
        "r2_mean_action_units": round(float(np.mean([r2[n] for n in SIDES])), 3),
        "r2_mean_other": round(float(np.mean([r2[n] for n in (*SHOT, *PERSON, *FLAGS)])), 3),
        "r2_mean_landmarks": round(float(np.mean([r2[n] for n in POINTS])), 3),
        "r2": {n: v for n, v in r2.items() if n not in POINTS},
        "seconds": {"drawing": round(drawn), "all": round(time.perf_counter() - start)},
        "threads": args.threads,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__,
                     "numpy": np.__version__, "opencv": cv2.__version__},
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    write(args.out or TRUNKS / args.architecture, model.trunk, receipt)
    print(json.dumps({k: v for k, v in receipt.items() if k != "r2"}, indent=1))
    print({k: v for k, v in receipt["r2"].items() if not k.endswith("_right")})


if __name__ == "__main__":
    main()

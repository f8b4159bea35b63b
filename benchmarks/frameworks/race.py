"""Ours against Hugging Face's Trainer, PyTorch Lightning, fastai and a timm-style loop, on the same job.

python benchmarks/frameworks/race.py [--jobs quality vit resnet] [--rounds 5] [--only ours timm_style]

Each measurement is a process of its own on the whole machine; in every round each contender runs once, in changing
order. For quality all train a small net on drawn faces and are judged alike, so that nobody wins by doing less. Each
job's part of the results is replaced by its own run alone; table and plot are of all that is there (`--jobs` without a
name: of what is there already).
The peers are extras: pip install -r benchmarks/frameworks/requirements.txt
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import cost  # noqa: E402
import job as the_job  # noqa: E402
import table  # noqa: E402
from rounds import ratio  # noqa: E402

from emohelpers.config import files  # noqa: E402
from emohelpers.models import devices  # noqa: E402

RESULTS = HERE.parent / "results" / "frameworks.json"
CONTENDERS = ("ours", "timm_style", "hf_trainer", "lightning_module", "fastai_learner")
VARIANTS = {"ours": {"vit": ("recompute", "shortcut", "cached", "cached + shortcut"), "resnet": ("live",)}}
PEERS = ("as documented", "tuned")


def one(contender: str, variant: str, job: the_job.Job) -> dict[str, float]:
    """Trains once in this process: images/s after the first steps, peak memory, and the accuracy on other pictures."""
    clock, model = the_job.Clock(), the_job.net(job)
    free = sum(p.numel() for p in model.parameters() if p.requires_grad)
    trained = import_module(contender).train(job, variant, model, clock)
    assert len(clock.at) == job.steps, f"{len(clock.at)} steps of {job.steps}"
    made = {"images_per_s": clock.images_per_s(job.batch), "peak_gb": devices.peak_memory_gb(), "trained": free}
    return made | ({"accuracy": the_job.accuracy(trained, job)} if job.weights != "random" else {})


def fresh(contender: str, variant: str, name: str) -> dict[str, float]:
    """`one` in a process of its own, whose temporary folder goes with it: trainers leave checkpoints there."""
    command = [sys.executable, __file__, "--one", contender, variant, name]
    with tempfile.TemporaryDirectory() as scratch:
        env = os.environ | {"TOKENIZERS_PARALLELISM": "false", "TMPDIR": scratch}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"{contender}, {variant}, {name}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def race(name: str, contenders: list[str], peers: list[str], rounds: int) -> dict[str, dict]:
    """Every contender's measurements, interleaved."""
    lanes = [(c, v) for c in contenders for v in VARIANTS.get(c, {}).get(name, peers)]
    made: dict[str, list] = {f"{c}, {v}": [] for c, v in lanes}
    dice = random.Random(0)
    for n in range(rounds):
        for c, v in dice.sample(lanes, len(lanes)):
            made[f"{c}, {v}"].append(fresh(c, v, name))
            print(f"{name} round {n + 1}: {c}, {v}: {made[f'{c}, {v}'][-1]['images_per_s']:.2f} images/s", flush=True)
    return made


def main(options: argparse.Namespace) -> None:
    told: dict = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    told |= {"machine": platform.processor() or platform.machine(), "threads": os.cpu_count()}
    if "quality" in options.jobs:
        judged = told["quality"] = {}
        for contender in options.only:
            for variant in VARIANTS.get(contender, {}).get("vit", PEERS):
                judged[f"{contender}, {variant}"] = fresh(contender, variant, "quality")["accuracy"]
                print(f"quality: {contender}, {variant}: accuracy {judged[f'{contender}, {variant}']:.3f}", flush=True)
        files.write_json(RESULTS, told)
    for name in (name for name in options.jobs if name != "quality"):
        told["peak_gflops"] = cost.peak_gflops()
        made = race(name, options.only, options.peers, options.rounds)
        seconds = {lane: [1 / r["images_per_s"] for r in runs] for lane, runs in made.items()}
        ours = [lane for lane in seconds if lane.startswith("ours")]
        told[name] = {
            "rounds": options.rounds,
            "images_per_s": {lane: [r["images_per_s"] for r in runs] for lane, runs in made.items()},
            "peak_gb": {lane: statistics.median(r["peak_gb"] for r in runs) for lane, runs in made.items()},
            "gflop_per_image": cost.counted(the_job.JOBS[name]),
            "ratios": {f"{us} over {lane}": ratio(seconds, us, lane) for us in ours for lane in seconds if lane != us},
        }
        files.write_json(RESULTS, told)
    if the_job.JOBS.keys() <= told.keys():
        table.plot(told, HERE.parent / "frameworks.png")
        print(table.table(told))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", nargs="*", choices=list(the_job.JOBS), default=list(the_job.JOBS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="how the others are set up")
    parser.add_argument("--one", nargs=3, metavar=("CONTENDER", "VARIANT", "JOB"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        contender, variant, name = options.one
        print(json.dumps(one(contender, variant, the_job.JOBS[name])))
    else:
        main(options)

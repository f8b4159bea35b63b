"""Notebook 01 against a plain PyTorch script on real faces: the same pictures, splits, weights and test set.

python benchmarks/trials/real_faces.py FACES WEIGHTS [--seeds 1 2 3] [--home FOLDER]

FACES is a data set in AffectNet's layout, WEIGHTS a timm folder for mobilenetv2_100. For every split seed the notebook
runs by papermill; as soon as it has written its split, the script trains on the same training part, at the same time,
each on a core of its own. The figures of the golden sets are compared paired: over pictures within a split (bootstrap
of groups) and over splits.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from emohelpers import files
from emohelpers.metrics import comparison

HERE = Path(__file__).parent
BOOK = HERE.parents[1] / "notebooks" / "01_baseline_training.ipynb"
SETTINGS = {  # what differs from the notebook's defaults: another net, at the size of the pictures
    "backbone": "mobilenetv2_100", "head": "linear", "trainable": "all", "img_size": 96, "golden": "stratified:0.15",
    "epochs": 10, "batch_size": 64, "schedule": "onecycle", "lr": 1e-3, "weight_decay": 0.01, "ema": 0.998,
    "patience": 0, "crop_scale": [0.7, 1.0], "saturation": 0.0, "erasing": 0.0, "label_smoothing": 0.05,
    "class_weight_power": 0.5,
}  # fmt: skip


def start(command: list, core: int, log: Path) -> subprocess.Popen:
    """A process on one core alone."""
    bind = ["taskset", "-c", str(core)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("w") as sink:
        return subprocess.Popen([*bind, *map(str, command)], env=env, stdout=sink, stderr=subprocess.STDOUT)


def pair(args, seed: int, out: Path) -> dict[str, float]:
    """Seconds of training of both; their results lie in `out` and beside it."""
    given = {"DATASET_ROOT": args.faces, "OUTPUT_DIR": str(out), "SEED": seed}
    given["OVERRIDES"] = {**SETTINGS, **json.loads(args.settings), "weights": args.weights, "split_seed": seed}
    code = "import json, sys, papermill; papermill.execute_notebook(**json.loads(sys.argv[1]), progress_bar=False)"
    job = {"input_path": str(BOOK), "output_path": str(out.with_suffix(".ipynb")), "parameters": given}
    ours = start([sys.executable, "-c", code, json.dumps(job | {"kernel_name": "python3"})], 0, out / "ours.log")
    while not (out / "splits.csv").is_file():
        assert ours.poll() is None, (out / "ours.log").read_text()[-3000:]
        time.sleep(0.5)
    made = out.parent / f"plain_{seed}.csv"
    command = [sys.executable, HERE / "plain_pytorch.py", args.faces, out / "splits.csv", args.weights, made]
    plain = start([*command, "--seed", seed], 1, out / "plain.log")
    assert not (ours.wait() or plain.wait()), (out / "ours.log").read_text()[-2000:]
    seconds = float((out / "plain.log").read_text().split("seconds ")[1].split()[0])
    return {"ours": float(pd.read_csv(out / "history.csv")["seconds"].sum()), "plain": seconds}


def main(args) -> None:
    home, rows = Path(args.home or tempfile.mkdtemp()), []
    for seed in args.seeds:
        out = home / f"ours_{seed}"
        out.mkdir(parents=True)
        seconds = pair(args, seed, out)
        ours, plain = pd.read_csv(out / "predictions.csv"), pd.read_csv(home / f"plain_{seed}.csv")
        classes = sorted(ours["label"].unique())
        told = comparison.compare(plain.merge(ours[["path", "group"]]), ours, classes).query("`class` == 'all'")
        row = {"seed": seed, "n": len(ours), "seconds": seconds}
        for figure, entry in told.set_index("figure").iterrows():
            row[figure] = {name: round(float(entry[name]), 4) for name in ("a", "b", "difference", "low", "high")}
        rows.append(row)
        print(json.dumps(row), flush=True)
        files.write_json(args.out, {"settings": SETTINGS | json.loads(args.settings), "splits": rows})
    for figure in ("accuracy", "macro_f1"):
        plain, ours = (np.array([row[figure][who] for row in rows]) for who in "ab")
        half = 4.303 * (ours - plain).std(ddof=1) / 3**0.5 if len(rows) == 3 else np.nan  # t, 2 degrees of freedom
        apart = f"{(ours - plain).mean():+.4f} +- {half:.4f}"
        print(f"{figure}: ours {ours.mean():.4f}, plain {plain.mean():.4f}, difference {apart}")
    ours, plain = (sum(row["seconds"][who] for row in rows) for who in ("ours", "plain"))
    print(f"training time on one core: ours {ours:.0f} s, plain {plain:.0f} s: {plain / ours:.2f} x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("faces")
    parser.add_argument("weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", default=str(HERE.parent / "results" / "real_faces.json"))
    parser.add_argument("--home", default="", help="a new folder for the runs; a temporary one if none is named")
    parser.add_argument("--settings", default="{}", help="JSON that replaces some of SETTINGS")
    main(parser.parse_args())

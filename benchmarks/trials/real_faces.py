"""Notebook 01 against a plain PyTorch script on real faces: the same pictures, splits, weights and test set.

python benchmarks/trials/real_faces.py FACES WEIGHTS [--seeds 1 2 3] [--out benchmarks/results/real_faces.json]

FACES is a data set in AffectNet's layout, WEIGHTS a timm folder for mobilenetv2_100. For every split seed the notebook
is run by papermill and writes its split; the script then trains on the same training part. Figures of the three splits
are compared paired: over pictures within a split (bootstrap of groups), and over splits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import papermill

from emohelpers import comparison, files

HERE = Path(__file__).parent
SETTINGS = {  # what differs from the notebook's defaults: another net, at the size of the pictures
    "backbone": "mobilenetv2_100", "head": "linear", "trainable": "all", "img_size": 96, "golden": "stratified:0.15",
    "epochs": 12, "batch_size": 64, "schedule": "onecycle", "lr": 1e-3, "weight_decay": 0.01, "ema": 0.998,
    "patience": 0, "crop_scale": [0.7, 1.0], "saturation": 0.0, "erasing": 0.0, "mixup": 0.2,
}  # fmt: skip


def notebook(args, seed: int, out: Path) -> float:
    """Seconds of training; the results lie in `out`."""
    given = {"DATASET_ROOT": args.faces, "OUTPUT_DIR": str(out), "SEED": seed}
    settings = {**SETTINGS, **json.loads(args.settings), "weights": args.weights, "split_seed": seed}
    book = HERE.parents[1] / "notebooks" / "01_baseline_training.ipynb"
    papermill.execute_notebook(
        book, out.with_suffix(".ipynb"), given | {"OVERRIDES": settings}, kernel_name="python3", progress_bar=False
    )
    return pd.read_csv(out / "history.csv")["seconds"].sum()


def script(args, seed: int, out: Path) -> float:
    """Seconds of training of the plain script on the notebook's split; not run again where its result lies."""
    made = out.parent / f"plain_{seed}.csv"
    if made.with_suffix(".txt").is_file():
        return float(made.with_suffix(".txt").read_text())
    command = [sys.executable, HERE / "plain_pytorch.py", args.faces, out / "splits.csv", args.weights, made]
    done = subprocess.run([*map(str, command), "--seed", str(seed)], capture_output=True, text=True, check=True)
    seconds = done.stdout.split("seconds ")[1].split()[0]
    made.with_suffix(".txt").write_text(seconds)
    return float(seconds)


def main(args) -> None:
    home, rows = Path(args.home or tempfile.mkdtemp()), []
    for seed in args.seeds:
        out = home / f"ours_{seed}"
        out.mkdir(parents=True, exist_ok=True)
        seconds = {"ours": notebook(args, seed, out), "plain": script(args, seed, out)}
        ours, plain = pd.read_csv(out / "predictions.csv"), pd.read_csv(home / f"plain_{seed}.csv")
        classes = sorted(ours["label"].unique())
        pair = comparison.compare(plain.merge(ours[["path", "group"]]), ours, classes).query("`class` == 'all'")
        row = {"seed": seed, "n": len(ours), "seconds": seconds}
        for figure in ("accuracy", "macro_f1"):
            told = pair[pair["figure"] == figure].iloc[0]
            row[figure] = {name: round(float(told[name]), 4) for name in ("a", "b", "difference", "low", "high")}
        rows.append(row)
        print(json.dumps(row), flush=True)
        files.write_json(args.out, {"settings": SETTINGS | json.loads(args.settings), "splits": rows})
    for figure in ("accuracy", "macro_f1"):
        apart = np.array([row[figure]["difference"] for row in rows])
        half = 4.303 * apart.std(ddof=1) / 3**0.5 if len(apart) == 3 else np.nan  # t, 2 degrees of freedom
        print(
            f"{figure}: ours {np.mean([row[figure]['b'] for row in rows]):.4f}, plain "
            f"{np.mean([row[figure]['a'] for row in rows]):.4f}, difference {apart.mean():+.4f} +- {half:.4f}"
        )
    total = {who: sum(row["seconds"][who] for row in rows) for who in ("ours", "plain")}
    ratio = total["plain"] / total["ours"]
    print(f"training time: ours {total['ours']:.0f} s, plain {total['plain']:.0f} s: {ratio:.2f} x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("faces")
    parser.add_argument("weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", default=str(HERE.parent / "results" / "real_faces.json"))
    parser.add_argument("--home", default="", help="folder of the runs; what lies there is not made again")
    parser.add_argument("--settings", default="{}", help="JSON that replaces some of SETTINGS")
    main(parser.parse_args())

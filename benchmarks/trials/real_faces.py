"""Notebooks 04 and 05 (or 01) against a plain PyTorch script on real faces: the same pictures, weights and test sets.

python benchmarks/trials/real_faces.py FACES WEIGHTS [--seeds 6 7 8 9 10] [--only 04] [--cores 0 1] [--home FOLDER]

FACES is a data set in AffectNet's layout with the raters' votes.csv beside its table, WEIGHTS a timm folder for
mobilenetv2_100. For every split seed each notebook runs by papermill, and the script trains on all that the golden set
leaves, which is more than the notebooks do: they keep a validation part. One at a time on cores 0 and 1, or on those
that --cores names, side by side where it names several lots: `--cores 0 1` is two at a time, each on a core of its own.
01 and 04 train in bf16, which needs a processor that has it. What is in FOLDER already is not run again. Compared
paired: over pictures within a split (bootstrap of groups), over splits (Student's t).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pandas as pd
from scipy import stats

from emohelpers.config import files
from emohelpers.metrics import compare

HERE = Path(__file__).parent
BOOKS = {"01": "01_baseline_training", "04": "04_transfer_learning", "05": "05_enhanced_cnn"}
ORDER = ("01", "04", "plain", "05")  # the script waits for a notebook's split, 05 for 04
EVERY = {  # what differs from the notebooks' defaults; chosen on split 99 (1 to 5 judged an earlier recipe)
    "backbone": "mobilenetv2_100", "golden": "stratified:0.15", "val_share": 0.04, "img_size": 96, "eval_zoom": 1.06,
    "batch_size": 64, "soft_labels": 0.8, "mixup": 0.2, "mix_probability": 0.5, "label_smoothing": 0.0,
    "class_weight_power": 0.35, "logit_adjustment": 0.2, "saturation": 0.0, "erasing": 0.1, "flip_test": True,
    "ema": 0.998, "patience": 0, "monitor": "val_loss", "schedule": "onecycle", "lr": 1e-3, "lr_backbone": 1e-3,
    "weight_decay": 0.01, "head_dropout": 0.2, "precision": "bf16",
}  # fmt: skip
WHOLE = {"head": "linear", "trainable": "all", "epochs": 14}
STAGES = {  # in less time, since a frozen layer costs less
    "unfreeze": {1: 0.25, 2: 0.5, 3: 0.75, 4: "all"}, "strength": {0: 0.5, 1: 1.0}, "cutmix": 0.0, "epochs": 14,
}  # fmt: skip
SMALL = {"int8_pictures": 64, "int8_tries": 1}  # int8 is not what is compared
SETTINGS = {
    "01": EVERY | WHOLE,
    "04": EVERY | WHOLE | SMALL | {"unfreeze": {}, "compare_with": ""},
    "05": EVERY | STAGES | SMALL | {"precision": "auto"},  # its results are older than bf16
}
RUN = "import json, sys, papermill; papermill.execute_notebook(**json.loads(sys.argv[1]), progress_bar=False)"


def voted(faces: Path, home: Path) -> Path:
    """The data set's table with the raters' votes as columns `votes_<emotion>`."""
    labels, votes = (pd.read_csv(faces / name) for name in ("labels.csv", "votes.csv"))
    columns = {name: f"votes_{name}" for name in sorted(set(labels["label"]))}
    table = labels[["pth", "label"]].merge(votes[["pth", *columns]].rename(columns=columns), on="pth", validate="1:1")
    return files.write_csv(table, home / "labels.csv")


def train(command: list, cores: str, log: Path, **names: str) -> None:
    """A process on some cores alone, to its end; it keeps its memory between steps, as ours does by itself."""
    keep = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
    threads = str(cores.count(",") + 1)
    env = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads} | keep | names
    with log.open("w") as sink:
        done = subprocess.run(["taskset", "-c", cores, *map(str, command)], env=env, stdout=sink, stderr=sink)
    if done.returncode:
        raise RuntimeError(f"{log}:\n{log.read_text()[-2000:]}")


def run(args, home: Path, cores: SimpleQueue, seed: int, name: str) -> None:
    """One training, where its results are not there yet; it waits for what it needs of others."""
    part = home / f"split_{seed}" / "full"
    needs, made = {"plain": "0*/splits.csv", "05": f"{BOOKS['04']}/metrics.json"}.get(name, ""), part / f"{name}.csv"
    target = made if name == "plain" else part / BOOKS[name] / "metrics.json"
    lot = cores.get()
    try:
        part.mkdir(parents=True, exist_ok=True)
        while needs and not any(part.glob(needs)):
            time.sleep(1)
        if target.is_file():
            return
        if name == "plain":
            split = next(part.glob(needs))
            command = [HERE / "plain_pytorch.py", args.faces, split, args.weights, made, "--parts", "train", "val"]
            train([sys.executable, *command, "--seed", seed], lot, made.with_suffix(".log"))
        else:
            given = SETTINGS[name] | json.loads(args.settings) | {"weights": args.weights, "split_seed": seed}
            job = {"input_path": str(HERE.parents[1] / "notebooks" / f"{BOOKS[name]}.ipynb"), "kernel_name": "python3"}
            job |= {"output_path": str(part / f"{BOOKS[name]}.ipynb")}
            job["parameters"] = {"DATASET_ROOT": args.faces, "LABELS_CSV": str(home / "labels.csv"), "SEED": seed}
            job["parameters"] |= {"PRESET": "full", "OVERRIDES": given}
            command = [sys.executable, "-c", RUN, json.dumps(job)]
            train(command, lot, part / f"{name}.log", EMOHELPERS_OUTPUTS=str(part.parent), EMOHELPERS_RUN="full")
        print(f"split {seed}: {name} done", flush=True)
    finally:
        cores.put(lot)


def row(home: Path, seed: int, name: str) -> dict:
    """Ours and the script's figures on one golden set, with the paired difference and what the temperature does."""
    part = home / f"split_{seed}" / "full"
    place = part / BOOKS[name]
    told = json.loads((place / "metrics.json").read_text())
    ours, plain = pd.read_csv(place / "predictions.csv"), pd.read_csv(part / "plain.csv")
    classes = sorted(ours["label"].unique())
    both = compare.compare(plain.merge(ours[["path", "group"]]), ours, classes).query("`class` == 'all'")
    log = (part / "plain.log").read_text()
    seconds = {"ours": float(pd.read_csv(place / "history.csv")["seconds"].sum())}
    seconds["plain"] = float(log.split("seconds ")[1].split()[0])
    made = {"seed": seed, "n": len(ours), "seconds": seconds}
    made["ece"] = {"before": told["figures"]["ece"]["value"], "after": told.get("ece_after")}
    for figure, entry in both.set_index("figure").iterrows():
        made[figure] = {key: round(float(entry[key]), 4) for key in ("a", "b", "difference", "low", "high")}
    return made


def over_splits(rows: list[dict], figure: str) -> dict[str, float]:
    """Means over the splits, and the mean difference with its 95 % interval."""
    plain, ours = (np.array([row[figure][who] for row in rows]) for who in "ab")
    apart = ours - plain
    half = stats.t.ppf(0.975, len(rows) - 1) * apart.std(ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else np.nan
    made = {"plain": plain.mean(), "ours": ours.mean(), "difference": apart.mean()}
    return {key: round(float(value), 4) for key, value in (made | {"half": half}).items()}


def main(args) -> None:
    home = Path(args.home or tempfile.mkdtemp())
    home.mkdir(parents=True, exist_ok=True)
    voted(Path(args.faces), home)
    cores: SimpleQueue = SimpleQueue()
    for lot in args.cores:
        cores.put(lot)
    names = [name for name in ORDER if name in args.only]
    with ThreadPoolExecutor(len(args.cores)) as pool:
        waiting = [pool.submit(run, args, home, cores, seed, name) for seed in args.seeds for name in names]
        for task in waiting:
            task.result()
    for name in [name for name in names if name != "plain" and "plain" in names]:
        rows = [row(home, seed, name) for seed in args.seeds]
        found = {figure: over_splits(rows, figure) for figure in ("accuracy", "macro_f1")}
        eces = [made["ece"] for made in rows if made["ece"]["after"] is not None]
        found["ece lower after its temperature"] = (
            f"{sum(e['after'] < e['before'] for e in eces)} of {len(eces)} splits"
        )
        print(name, json.dumps(found), flush=True)
        made = {"settings": SETTINGS[name] | json.loads(args.settings), "cores": args.cores, "splits": rows}
        files.write_json(Path(args.out) / f"real_faces_{name}.json", made | found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("faces")
    parser.add_argument("weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[6, 7, 8, 9, 10])
    parser.add_argument("--only", nargs="+", choices=ORDER, default=["04", "05", "plain"])
    parser.add_argument("--cores", nargs="+", default=["0,1"], help="lots of cores: one training at a time on each")
    parser.add_argument("--out", default=str(HERE.parent / "results"), help="folder of the JSON files")
    parser.add_argument("--home", default="", help="a folder for the runs; a temporary one if none is named")
    parser.add_argument("--settings", default="{}", help="JSON that replaces some of SETTINGS")
    main(parser.parse_args())

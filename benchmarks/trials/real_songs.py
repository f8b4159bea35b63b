"""Notebook 07 on real songs, cross-validated: every song is a test song once, and the figures are of all of them.

python benchmarks/trials/real_songs.py SONGS WEIGHTS [--folds 0 1 2 3 4] [--home FOLDER] [--settings JSON]

SONGS is a data set in DEAM's layout, WEIGHTS a folder of ImageNet weights of mobilenetv2_100 in timm's local-dir form:
a small convolutional net in the place of the ViT, which two cores cannot train. The notebook runs by papermill once a
fold, at a size for two CPU cores (SETTINGS); the predictions of all folds are pooled, compared paired, and kept in
benchmarks/results/real_songs.json. Folds that are there already in FOLDER are not run again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd
import papermill

from emohelpers.config import files
from emohelpers.datasets import songs
from emohelpers.metrics import regression

HERE = Path(__file__).parent
BOOK = HERE.parents[1] / "notebooks" / "07_deam_gan_vit.ipynb"
SETTINGS = {  # what differs from the notebook's demo: the seed's whole spectrogram, a trunk that has seen photographs
    "seconds": 30.0, "mels": 128, "backbone": "mobilenetv2_100", "img_size": 96, "sections": 6, "head": "linear",
    "head_dropout": 0.2, "lr": 1e-3, "lr_backbone": 5e-4, "trainable": 0, "unfreeze": {1: "all"}, "epochs": 10,
    "patience": 0, "ast_epochs": 20, "ast_shape": [64, 192], "gan_shape": [64, 128], "gan_epochs": 30,
    "gan_gradient_penalty": 10.0,
}  # fmt: skip


def pooled(homes: list[Path]) -> dict[str, pd.DataFrame]:
    """Each contender's predictions of the test songs of all folds."""
    whole = pd.concat([pd.read_csv(home / "predictions.csv", dtype={"song": str, "group": str}) for home in homes])
    return {who: part.drop(columns="contender") for who, part in whole.groupby("contender", sort=False)}


def main(args) -> None:
    home, homes = Path(args.home or tempfile.mkdtemp()), []
    settings = SETTINGS | json.loads(args.settings)
    for fold in args.folds:
        out = home / f"fold_{fold}"
        homes.append(out)
        if not (out / "metrics.json").is_file():
            out.mkdir(parents=True, exist_ok=True)
            given = {"DATASET_ROOT": args.songs, "OUTPUT_DIR": str(out), "PRESET": "demo"}
            given["OVERRIDES"] = {**settings, "manifest": "deam", "fold": fold, "weights": args.weights}
            target = str(out.with_suffix(".ipynb"))
            papermill.execute_notebook(str(BOOK), target, given, kernel_name="python3", progress_bar=False)
        print(f"fold {fold}: done", flush=True)
    tables = pooled(homes)
    print(regression.table(tables).to_string())
    vits = [name for name in tables if name.startswith("ViT")]
    paired = regression.compare(tables[vits[0]], tables[vits[1]])
    print(paired.round(3).to_string())
    checks = [json.loads((place / "metrics.json").read_text())["checks"] for place in homes]
    read = {name: [fold[name] for fold in checks] for name in checks[0]}
    found = {"songs": len(tables[vits[0]]), "targets": songs.TARGETS, "folds": args.folds, "settings": settings}
    found["figures"] = {who: regression.scores(part) for who, part in tables.items()}
    files.write_json(args.out, found | {"paired": paired.to_dict("records"), "checks": read})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("songs")
    parser.add_argument("weights")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", default=str(HERE.parent / "results" / "real_songs.json"))
    parser.add_argument("--home", default="", help="a folder for the runs; a temporary one if none is named")
    parser.add_argument("--settings", default="{}", help="JSON that replaces some of SETTINGS")
    main(parser.parse_args())

"""Kept activations against computing the trunk anew in every epoch: macro F1 on real faces, paired over splits.

python benchmarks/trials/cache_parity.py FACES [--seeds 1 2 3 4 5] [--settings JSON] [--out JSON]

FACES is a data set in AffectNet's layout. The net is the demo's small ViT (pretrained on drawn faces), its last two
blocks trained. For every split seed both modes train on the same part and are judged on the same golden set; the
difference is told with its t interval over splits.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from emohelpers import config, metrics, models, train
from emohelpers.config import files
from emohelpers.config.faces import Baseline
from emohelpers.datasets import faces, splits
from emohelpers.datasets import pixels as store
from emohelpers.images import batches
from emohelpers.models import cache
from emohelpers.train import objectives

HERE = Path(__file__).parent
SETTINGS = {
    "backbone": "test_vit", "weights": "demo", "img_size": 96, "head_width": 64, "batch_size": 64, "lr": 1e-3,
    "golden": "stratified:0.15", "epochs": 16, "patience": 0,
}  # fmt: skip
MODES = {"recompute": {"cache": "off"}, "cached": {"cache": "on"}}


def one(dataset, pixels, table, cfg, folder: Path) -> dict[str, float]:
    """Figures of the golden set of one training."""
    model = models.build(cfg, dataset.classes)
    prepared = models.preprocess(model, side=pixels.side, zoom=cfg.eval_zoom)
    models.freeze(model, cfg.trainable)
    parts = batches.by_split(table, pixels, prepared, dataset.classes, cfg)
    parts, plan = cache.prepare(model, parts, cfg, folder / "cache")
    print(plan, flush=True)
    labels = table.loc[table["split"] == "train", "label"]
    started = time.process_time()
    objective = objectives.Classification.of(cfg, dataset.classes, labels)
    done = train.fit(model, parts["train"], parts["val"], objective, cfg, folder, quiet=True)
    took = time.process_time() - started
    outputs, targets = train.evaluate(done.model, parts["golden"])
    found = metrics.quick(targets, outputs.argmax(1), len(dataset.classes))
    return {**{k: float(found[k]) for k in ("accuracy", "macro_f1")}, "cpu_s": took, "epoch": done.best["epoch"]}


def interval(differences: list[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % t interval."""
    n = len(differences)
    if not n:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / n**0.5 if n > 1 else float("nan")
    return float(np.mean(differences)), float(half)


def paired(rows: dict[int, dict], modes: dict[str, dict]) -> dict[str, dict[str, float]]:
    """How each mode differs from "recompute" on the same golden sets."""
    told = {}
    for mode in [mode for mode in modes if mode != "recompute"]:
        both = [row for row in rows.values() if mode in row and "recompute" in row]
        for figure in ("macro_f1", "accuracy"):
            mean, half = interval([row[mode][figure] - row["recompute"][figure] for row in both])
            told[f"{mode}: {figure} less recompute's"] = {"difference": mean, "half_width": half, "splits": len(both)}
    return told


def main(args) -> None:
    torch.set_num_threads(1)
    home, modes, out = Path(args.home or tempfile.mkdtemp()), MODES | json.loads(args.modes), Path(args.out)
    settings = SETTINGS | json.loads(args.settings)
    made = json.loads(out.read_text()) if out.is_file() else {"settings": settings}
    if made["settings"] != settings:
        raise SystemExit(f"{out} holds trainings with other settings: name another file (--out)")
    rows = {row["seed"]: row for row in made.get("splits", [])}  # what an earlier call trained is not trained again
    for seed in args.seeds:
        row = rows.setdefault(seed, {"seed": seed})
        for mode in [mode for mode in modes if mode not in row]:
            given = {**settings, **modes[mode], "split_seed": seed, "seed": seed}
            cfg = config.make(Baseline, "full", dataset_root=args.faces, **given)
            dataset = faces.load(cfg.manifest, cfg.dataset_root, cfg.labels_csv)
            pixels = store.build(dataset, store.side_for(dataset, cfg), home / "pixels")
            dataset = faces.check(dataset, pixels, cfg.max_unreadable)
            table, golden, _ = splits.parts(dataset.table, pixels, cfg, home / "golden", dataset.name)
            row |= {"train": int((table["split"] == "train").sum()), "n": int((table["split"] == "golden").sum())}
            row[mode] = one(dataset, pixels, table, cfg, home / f"{mode}_{seed}")
            print(json.dumps({"seed": seed, mode: row[mode]}), flush=True)
            files.write_json(
                out,
                {"settings": settings, "modes": modes, "splits": list(rows.values()), "paired": paired(rows, modes)},
            )
    print(json.dumps(paired(rows, modes), indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("faces")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--settings", default="{}", help="JSON that replaces some of SETTINGS")
    parser.add_argument("--modes", default="{}", help="JSON of more modes: name -> settings")
    parser.add_argument("--out", default=str(HERE.parent / "results" / "cache_parity.json"))
    parser.add_argument("--home", default="", help="a folder for the runs; a temporary one if none is named")
    main(parser.parse_args())

"""int8 on real faces: the sweep chooses a recipe on validation faces, and the golden set tells what it costs.

python benchmarks/trials/int8_real_faces.py RUN FACES [--home FOLDER] [--prepare]

RUN is the folder of a finished run of notebook 01 or 04 with a convolutional net (`trials/real_faces.py --home` leaves
such folders), FACES the data set that it saw. With `--prepare` the files are made and the recipe is chosen; without it
what lies in FOLDER is timed and judged, so that the timing can have the machine for itself. Ranges are measured on
training faces. The golden faces choose nothing.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from emohelpers import config, models
from emohelpers.config import files, paths
from emohelpers.config.faces import Baseline
from emohelpers.datasets import faces
from emohelpers.datasets import pixels as store
from emohelpers.export import int8, onnx
from emohelpers.report import facts

RESULTS = Path(__file__).parents[1] / "results"
CALIBRATION = 256  # training faces, as notebook 04 takes


def part(run: Path, cfg, name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Squares and rows of a part, as the run split them."""
    rows = pd.read_csv(run / "splits.csv").query("split == @name")
    data = faces.load(cfg.manifest, cfg.dataset_root, cfg.labels_csv)
    pixels = store.build(data, store.side_for(data, cfg), paths.cache_folder() / "pixels")
    return pixels.take(pixels.rows(rows["path"])), rows


def main(args) -> None:
    run, home = Path(args.run), Path(args.home or tempfile.mkdtemp())
    known = json.loads((run / "config.json").read_text()) | {"dataset_root": args.faces}
    cfg = config.make(Baseline, known.pop("preset"), **known)
    model = models.load(next(run.glob("**/*best_model.pth")))
    answers = pd.Index(model.spec["classes"])
    fp32, small = home / "model.onnx", home / "model_int8.onnx"
    if not fp32.is_file():
        seen, rows = part(run, cfg, "val")
        truth = answers.get_indexer(rows["label"])
        print(onnx.write(model, fp32, seen, labels=truth))
        learned, _ = part(run, cfg, "train")
        at = np.random.default_rng(0).permutation(len(learned))[:CALIBRATION]
        tried = int8.sweep(fp32, small, learned[at], seen, truth)
        print(tried[["recipe", "flips", "accuracy", "reason", "place"]].to_string())
    if args.prepare:
        return
    made = small if small.is_file() else home / "rejected" / small.name
    chosen = json.loads(made.with_suffix(".json").read_text())
    seen, rows = part(run, cfg, "golden")
    truth = answers.get_indexer(rows["label"])
    found = int8.judge(fp32, made, seen, truth, groups=rows["group"], resamples=2000, rounds=200)
    kept = {"backbone": cfg.backbone, "img_size": cfg.img_size, "chosen": chosen["chosen"], "reason": chosen["reason"],
            "calibration": CALIBRATION, "validation": chosen["pictures"], "golden": found,
            "tried": [{key: row[key] for key in ("recipe", "flips", "reason")} for row in chosen["tried"]],
            "device": facts.device_name(), "versions": facts.versions()}  # fmt: skip
    print(json.dumps(kept, indent=1))
    files.write_json(args.out, kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("faces")
    parser.add_argument("--home", default="", help="a folder for the ONNX files; a temporary one if none is named")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--out", default=str(RESULTS / "int8_real_faces.json"))
    main(parser.parse_args())

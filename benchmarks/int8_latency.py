"""int8 beside fp32 in onnxruntime: one picture at a time, interleaved, on one thread and on two.

python benchmarks/int8_latency.py [FOLDER]

Weights are random, since speed does not depend on them. FOLDER keeps the ONNX files from one run to the next; with
`--prepare` they are made and nothing is timed. Wall time, because threads that wait would count as work.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from rounds import HERE

from emohelpers import config, models
from emohelpers.config.faces import Baseline
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.export import onnx, quantiser
from emohelpers.export.quantiser import Recipe
from emohelpers.export.race import race
from emohelpers.report import facts

NETS = {  # backbone -> what is quantised
    "resnet50": Recipe(),
    "vit_base_patch16_224": Recipe(weighted=True),
    "mobilenetv2_100": Recipe(stem=3, classifier=False),
    "mobilenetv3_large_100": Recipe(stem=3, classifier=False, gates=False),
}


def prepare(folder: Path) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), dtype=np.uint8)
    for name, recipe in NETS.items():
        fp32, int8 = folder / f"{name}.onnx", folder / f"{name}_int8.onnx"
        own = {"backbone": name, "img_size": 224, "head": "linear", "weights": "random", "trainable": "all"}
        if not fp32.is_file():
            model = models.build(config.make(Baseline, "demo", **own), EMOTIONS)
            models.preprocess(model, side=224, zoom=1.0)
            print(onnx.write(model, fp32, squares))
        if not int8.is_file():
            quantiser.static(fp32, int8, squares, recipe)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--prepare", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        folder = options.folder or Path(own)
        prepare(folder)
        found = {}
        for name, recipe in ({} if options.prepare else NETS).items():
            files = folder / f"{name}.onnx", folder / f"{name}_int8.onnx"
            found[name] = {"recipe": str(recipe), "megabytes": [round(f.stat().st_size / 1e6, 1) for f in files]}
            for threads in (1, 2):
                r = race(*files, threads=threads, rounds=30)
                found[name][f"{threads} threads"] = r
                told = f"{r['ratio']:.2f} x [{r['low']:.2f}, {r['high']:.2f}], {r['milliseconds']:.1f} ms"
                print(f"{name:<24} {threads} threads  {told}", flush=True)
    if found:
        kept = {"device": facts.device_name(), "versions": facts.versions(), "nets": found}
        (HERE / "results" / "int8_latency.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()

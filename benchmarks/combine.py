"""The original project's scale, 31,002 photographs and 8,110 edits: CPU seconds to trace, guard and combine them.

Pictures are stood in for by random thumbnails; what is timed never opens one. Reading and decoding them is the store's
work (benchmarks/input_path.py).
"""

import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from emohelpers import config
from emohelpers.config.saga import Saga
from emohelpers.datasets import edits, faces, lineage, resemblance
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.datasets.pixels import Pixels

PHOTOGRAPHS, EDITS, GOLDEN, VAL = 31_002, 8_110, 1_200, 5_960


def world(home: Path, rng: np.random.Generator):
    """Empty files in AffectNet's and SAGA's layouts, a data set, and its split."""
    labels = rng.choice(EMOTIONS, PHOTOGRAPHS)
    names = [f"{rng.choice(EMOTIONS)}/image{i:07d}.jpg" for i in range(PHOTOGRAPHS)]
    for folder in EMOTIONS:
        (home / "data" / folder).mkdir(parents=True)
        (home / "edits" / "augmented" / folder).mkdir(parents=True)
    for name in names:
        (home / "data" / name).touch()
    pd.DataFrame({"pth": names, "label": labels, "relFCs": 0.5}).to_csv(home / "data" / "labels.csv")
    for i in rng.permutation(PHOTOGRAPHS)[:EDITS]:
        target = EMOTIONS[(EMOTIONS.index(labels[i]) + 1 + i % 7) % 8]
        (home / "edits" / "augmented" / target / f"aug_{Path(names[i]).stem}_{labels[i]}_to_{target}.jpg").touch()
    dataset = faces.load("affectnet", home / "data")
    order = rng.permutation(PHOTOGRAPHS)
    part = np.full(PHOTOGRAPHS, "train", object)
    part[order[:GOLDEN]], part[order[GOLDEN : GOLDEN + VAL]] = "golden", "val"
    return dataset, dataset.table.assign(split=part)


def thumbs(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 256) random thumbnails of unit length."""
    drawn = rng.standard_normal((n, 256), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        dataset, table = world(Path(folder), rng)
        cfg = config.make(Saga, "full")
        start = time.process_time()
        found = lineage.attached(Path(folder) / "edits", dataset)
        traced = time.process_time() - start
        both = edits.add(dataset, found.table, found.root)
        paths = list(both.table["path"])
        hashes = [f"{i:x}" for i in range(len(paths))]
        pixels = Pixels(paths, np.empty((len(paths), 1, 1, 3)), hashes, thumbs(len(paths), rng))
        start = time.process_time()
        done = edits.combine(both, pixels, table, cfg)
        done.save(folder, dataset.classes)
        combined = time.process_time() - start
        start = time.process_time()
        resemblance.resembled(pixels.thumbs[-EDITS:], pixels.thumbs[:PHOTOGRAPHS], np.arange(PHOTOGRAPHS))
        looked = time.process_time() - start
    result = {
        "photographs": PHOTOGRAPHS,
        "edits": len(found.table),
        "traced_by_name": int((found.table["parent"] != "").sum()),
        "removed": len(done.removed),
        "seconds_trace": traced,
        "seconds_guard_and_combine": combined,
        "seconds_every_edit_against_every_photograph": looked,
        "million_pairs_a_second": PHOTOGRAPHS * EDITS / looked / 1e6,
    }
    machine = platform.processor() or platform.machine()
    for name, value in result.items():
        print(f"  {name:<46} {value:>12,.1f}")
    place = Path(__file__).parent / "results" / "combine.json"
    place.write_text(json.dumps({**result, "machine": machine}, indent=1) + "\n")

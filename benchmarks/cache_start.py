"""Seconds that a run takes to see that its pictures are unchanged, with this code or that of another checkout.

python benchmarks/cache_start.py [CHECKOUT] [--pictures 30000]: makes pictures and store, starts five times.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("checkout", nargs="?", default=str(Path(__file__).parents[1]))
parser.add_argument("--pictures", type=int, default=30_000)
parser.add_argument("--place", default=tempfile.gettempdir())
options = parser.parse_args()
sys.path[:0] = [options.checkout, str(Path(options.checkout) / "tests")]

import numpy as np  # noqa: E402
import pictures  # noqa: E402
from PIL import Image  # noqa: E402

import emohelpers  # noqa: E402
from emohelpers.datasets import pixels  # noqa: E402

assert Path(emohelpers.__file__).is_relative_to(options.checkout)
root = Path(options.place) / f"cache_start_{options.pictures}"
data = pictures.known(root, each=options.pictures // 8)
if not root.exists():
    noise = np.random.default_rng(0).integers(0, 256, (1 << 20,), np.uint8)
    for number, path in enumerate(data.table["path"]):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise[number : number + 48 * 48 * 3].reshape(48, 48, 3)).save(root / path)
with tempfile.TemporaryDirectory(dir=options.place) as cache:
    pixels.build(data, 48, cache)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        built = pixels.build(data, 48, cache)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    for first in range(0, len(data.table), 64):
        built.take(np.arange(first, min(first + 64, len(data.table))))
    print(
        f"{options.checkout}: {len(data.table):,} unchanged pictures, a start takes {min(seconds):.2f} s (median "
        f"{np.median(seconds):.2f}), the first reading of all pixels {time.perf_counter() - start:.2f} s, "
        f"on {os.cpu_count()} cores"
    )

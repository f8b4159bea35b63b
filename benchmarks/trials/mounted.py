"""Bundles on real data as Kaggle mounts them: its versions, inputs read-only, no network, our package nowhere.

python benchmarks/trials/mounted.py NOTEBOOK DATA LAYOUT [--settings JSON] [--home FOLDER] [NAME=VALUE ...]

DATA is copied below the inputs as LAYOUT (`affectnet`, `datasets/someone/name`); NAME=VALUE are parameters, for example
DATASET_ROOT=someone/name. The full preset runs, with the settings of tests/mounts.py that let it end in minutes.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[2]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

import mounts  # noqa: E402  the tests' own

from emohelpers import bundle, notebooks  # noqa: E402


def main(args) -> None:
    book = next(book for stem, book in notebooks.find(HERE / "notebooks").items() if stem.startswith(args.notebook))
    home = Path(args.home or tempfile.mkdtemp())
    place = home / "input" / args.layout
    if not place.exists():
        shutil.copytree(args.data, place)
    path = bundle.write(book, home / "bundle", "me") / f"{book.stem}.ipynb"
    settings = mounts.SMALL.get(book.stem, {}) | json.loads(args.settings)
    given, began = dict(pair.split("=", 1) for pair in args.parameters), time.time()
    error = mounts.run(mounts.environment(), home, path, OVERRIDES=settings, **given)
    if error:
        sys.exit(f"{book.stem}: {error}")
    found = json.loads(next((home / "kept").rglob("metrics.json")).read_text())
    print(f"{book.stem}: {found['data']}, demo {found['demo']}, {time.time() - began:.0f} s; {home / 'kept'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("notebook")
    parser.add_argument("data")
    parser.add_argument("layout")
    parser.add_argument("parameters", nargs="*")
    parser.add_argument("--settings", default="{}", help="JSON that joins or replaces the test's")
    parser.add_argument("--home", default="", help="a folder for the run; a temporary one if none is named")
    main(parser.parse_args())

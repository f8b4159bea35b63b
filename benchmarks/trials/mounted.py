"""The bundles of all notebooks on real data as Kaggle mounts them: its versions, inputs read-only, no network.

python benchmarks/trials/mounted.py --faces FACES --songs SONGS --pairs PAIRS --home HOME [--only 01 02]

FACES is in AffectNet's layout, SONGS in DEAM's, PAIRS has training_files/. Each bundle runs alone, in full, in an
environment without our package, with its data and its predecessors' outputs attached, at the sizes of tests/mounts.py
that let it end in minutes. Edited faces for 02 are made here: a face blended with another of the wished class.
What is in HOME already is not run again.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import cv2
import pandas as pd

HERE = Path(__file__).parents[2]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

import mounts  # noqa: E402  the tests' own

from emohelpers.suite.bundle import build  # noqa: E402

DEAM = "datasets/imsparsh/deam-mediaeval-dataset-emotional-analysis-in-music"
EDITS, PAIRS = "my-edits", "my-pairs"
GIVEN = {"02": {"AUGMENTED_ROOT": f"me/{EDITS}"}, "07": {"N_SYNTHETIC": 200}, "08": {"DATASET_ROOT": f"me/{PAIRS}"}}


def blended(faces: Path, folder: Path, n: int = 400) -> None:
    """`n` faces blended with one of a rare class, under the names that seed 000 gives edits."""
    table = pd.read_csv(faces / "labels.csv")
    rare = table["label"].value_counts().index[-4:]
    wished = table[table["label"].isin(rare)].sample(n, random_state=0)
    start = table[~table["label"].isin(rare)].sample(n, random_state=1)
    for (_, to), (_, of) in zip(wished.iterrows(), start.iterrows(), strict=True):
        name = f"aug_{Path(of['pth']).stem}_{of['label']}_to_{to['label']}.png"
        path = folder / f"aug_{to['label']}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        own, other = (cv2.imread(str(faces / row["pth"])) for row in (of, to))
        cv2.imwrite(str(path), cv2.addWeighted(own, 0.6, cv2.resize(other, own.shape[1::-1]), 0.4, 0))


def place(stem: str, home: Path, args) -> None:
    """Attaches a notebook's data."""
    if stem[:2] == "07":
        shutil.copytree(args.songs, home / "input" / DEAM)
    elif stem[:2] == "08":
        shutil.copytree(args.pairs, home / "input" / PAIRS)
    else:
        shutil.copytree(args.faces, home / "input" / "affectnet")
    if stem[:2] == "02":
        blended(Path(args.faces), home / "input" / "datasets" / "me" / EDITS)


def main(args) -> None:
    base, failed = Path(args.home), []
    for stem, book in mounts.BOOKS.items():
        home, began = base / stem, time.time()
        if (args.only and stem[:2] not in args.only) or (home / "kept" / "done.ipynb").exists():
            continue
        shutil.rmtree(home, ignore_errors=True)
        mounts.attach(stem, home, {need: base / need / "kept" for need in book.needs}, base / "wheels")
        place(stem, home, args)
        path = build.write(book, home / "bundle", "me") / f"{stem}.ipynb"
        settings = mounts.SMALL.get(stem, {}) | json.loads(args.settings)
        error = mounts.run(mounts.environment(), home, path, OVERRIDES=settings, **GIVEN.get(stem[:2], {}))
        if error:
            (home / "kept").rename(home / "failed")
            failed.append(stem)
            print(f"{stem}: FAILED\n{error}", flush=True)
            continue
        found = mounts.metrics(home)
        told = {"data": found["data"], "demo": found["demo"], "seconds": round(time.time() - began)}
        print(f"{stem}: {json.dumps(told)}", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("faces", "songs", "pairs", "home"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--only", nargs="+", default=[], help="numbers of notebooks; what they need is in HOME")
    parser.add_argument("--settings", default="{}", help="JSON that joins or replaces those of tests/mounts.py")
    main(parser.parse_args())

"""Near-duplicates: how often a changed copy of a picture is found among all others, and how often others are joined.

python benchmarks/trials/near_duplicates.py FOLDER --out JSON [--copies N] [--hashes] [--many N]

Every picture below FOLDER is in the gallery; of N of them a changed copy of each kind is looked for. Ours: `twins` at
the default likeness. Beside it the rule before it, the cosine of 16x16 thumbnails, and, with --hashes, ImageHash's
pHash at its usual distance of 10 (`pip install ImageHash`). Pairs among the pictures themselves are counted, too:
whoever reads the figure looks at them, because real collections hold real twins. --many N: seconds for N pictures,
blends of two of the folder's, one of them mirrored.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from emohelpers.datasets import locate, thumbnails, twins
from emohelpers.datasets.decoding import decode, fit_square
from emohelpers.datasets.pixels import Pixels
from emohelpers.images.augment import Augmentation
from emohelpers.images.preprocess import Preprocess
from emohelpers.images.render import on_cpu

SIDE = 96
LIKENESS = 0.96
DISTANCE = 10  # bits of 64


def cut(picture, share, rng):
    height, width = (round(share * side) for side in picture.shape[:2])
    top, left = rng.integers(0, (picture.shape[0] - height + 1, picture.shape[1] - width + 1))
    return picture[top : top + height, left : left + width]


def moved(picture, rng, degrees=0.0, share=0.0):
    height, width = picture.shape[:2]
    warp = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.choice([-degrees, degrees]), 1)
    warp[:, 2] += rng.choice([-1, 1], 2) * share * np.array([width, height])
    border = cv2.BORDER_REPLICATE if share else cv2.BORDER_CONSTANT
    return cv2.warpAffine(picture, warp, (width, height), borderMode=border)


def framed(picture, share, rng):
    width = max(round(share * min(picture.shape[:2])), 1)
    grey = int(rng.choice([0, 255]))
    return cv2.copyMakeBorder(picture, *[width] * 4, cv2.BORDER_CONSTANT, value=(grey, grey, grey))


def saved(picture, rng):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)


def augmented(picture, rng):
    draws = Augmentation().draw(1, rng)
    return on_cpu(
        fit_square(picture, SIDE)[None], draws, Preprocess(SIDE, SIDE, 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    )[0]


KINDS = {
    "saved again (JPEG 50)": saved,
    "scaled to 60 %": lambda p, rng: cv2.resize(p, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "mirrored": lambda p, rng: p[:, ::-1],
    "cut to 95 %": lambda p, rng: cut(p, 0.95, rng),
    "cut to 90 %": lambda p, rng: cut(p, 0.9, rng),
    "shifted by 5 %": lambda p, rng: moved(p, rng, share=0.05),
    "border of 5 %": lambda p, rng: framed(p, 0.05, rng),
    "border of 10 %": lambda p, rng: framed(p, 0.1, rng),
    "turned by 5 degrees": lambda p, rng: moved(p, rng, degrees=5),
    "our augmentation": augmented,
}


def store(squares: np.ndarray, name: str) -> Pixels:
    names = [f"{name}{i:06d}" for i in range(len(squares))]
    return Pixels(names, squares, names, np.stack([thumbnails.thumbnail(square) for square in squares]))


def pairs_of(pixels: Pixels) -> set[tuple[int, int]]:
    row = {name: i for i, name in enumerate(pixels.paths)}
    pairs = twins.twins(LIKENESS, (pixels, pixels.paths))
    return {tuple(sorted((row[a], row[b]))) for a, b in zip(pairs["first"], pairs["second"], strict=True)}


def hashes(squares: np.ndarray) -> np.ndarray:
    import imagehash  # only where it is asked for

    return np.stack([imagehash.phash(Image.fromarray(square)).hash.ravel() for square in squares])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--hashes", action="store_true")
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    twins.MANY = np.inf  # nothing is kept between rounds
    files = sorted(path for path in options.folder.rglob("*") if locate.is_picture(path.name))
    pictures = [decode(path.read_bytes()) for path in files]
    gallery = np.stack([fit_square(picture, SIDE) for picture in pictures])
    n = len(gallery)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(n)[: options.copies]
    thumbs = np.stack([thumbnails.thumbnail(square) for square in gallery])
    result = {"pictures": n, "copies": len(chosen), "joined among themselves": len(pairs_of(store(gallery, "all")))}
    old = thumbnails.twins(thumbs, thumbs, LIKENESS)
    result["joined by the cosine"] = int((old[:, 0] < old[:, 1]).sum())
    codes = hashes(gallery) if options.hashes else None
    if codes is not None:
        distances = (codes.astype(np.float32) * 2 - 1) @ (codes.astype(np.float32) * 2 - 1).T
        result["joined by pHash"] = int((np.triu((64 - distances) / 2 <= DISTANCE, 1)).sum())
    for kind, change in KINDS.items():
        copies = np.stack([fit_square(np.ascontiguousarray(change(pictures[i], rng)), SIDE) for i in chosen])
        joined = pairs_of(store(np.concatenate([gallery, copies]), kind))
        line = {"twins": float(np.mean([(i, n + k) in joined for k, i in enumerate(chosen)]))}
        changed = np.stack([thumbnails.thumbnail(copy) for copy in copies])
        cosines = np.maximum((changed * thumbs[chosen]).sum(1), (thumbnails.mirrored(changed) * thumbs[chosen]).sum(1))
        line["cosine"] = float((cosines >= LIKENESS).mean())
        if codes is not None:
            line["pHash"] = float(((hashes(copies) != codes[chosen]).sum(1) <= DISTANCE).mean())
        result[kind] = line
        print(kind, line, flush=True)
    if options.many:
        first, second = rng.integers(0, n, (2, options.many))
        blends = np.stack([gallery[a] // 2 + gallery[b][:, ::-1] // 2 for a, b in zip(first, second, strict=True)])
        many = store(blends, "many")
        start, busy = time.perf_counter(), time.process_time()
        twins.twins(LIKENESS, (many, many.paths))
        result["seconds"] = {str(options.many): time.perf_counter() - start, "CPU": time.process_time() - busy}
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

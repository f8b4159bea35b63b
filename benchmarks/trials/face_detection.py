"""Faces pasted into photographs at four rolls: how many are found, false boxes a picture, and time on one thread.

    python benchmarks/trials/face_detection.py PHOTOGRAPHS FACES [--scenes 200] [--without 21,23,...]

Beside `detector`: scikit-image's LBP cascade, and MTCNN where facenet-pytorch is installed (`pip install --no-deps
facenet-pytorch`, since its pins ask for an old PyTorch). A face is found when a box's middle lies within a third of its
side from the face's, and the box is .4 to 1.8 times as large. Photographs must show no people, or false boxes are none;
`--without` leaves some out by their place in the sorted folder.
"""

import argparse
import importlib.util
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

from emohelpers.datasets import decoding, locate
from emohelpers.datasets.detection import detector

ROLLS = (0, 15, 30, 45)
SIZES = (24, 200)  # pixels of a pasted face
SIZE = (640, 480)

Box = tuple[float, float, float]  # x and y of the middle, side


def ours(picture: np.ndarray) -> list[Box]:
    return [(face.x, face.y, face.side) for face in detector.faces(picture)]


def lbp() -> Callable:
    cascade = Cascade(lbp_frontal_face_cascade_filename())
    options = {"scale_factor": 1.2, "step_ratio": 1, "min_size": (24, 24), "max_size": SIZE[::-1]}

    def find(picture: np.ndarray) -> list[Box]:
        faces = cascade.detect_multi_scale(img=picture, **options)
        return [(f["c"] + f["width"] / 2, f["r"] + f["width"] / 2, f["width"]) for f in faces]

    return find


def mtcnn() -> Callable:
    from facenet_pytorch import MTCNN

    net = MTCNN(keep_all=True, post_process=False)

    def find(picture: np.ndarray) -> list[Box]:
        boxes, _ = net.detect(picture)
        boxes = [] if boxes is None else boxes
        return [((a + c) / 2, (b + d) / 2, max(c - a, d - b)) for a, b, c, d in boxes]

    return find


def scenes(photographs: list[Path], faces: list[Path], count: int) -> Iterator[tuple[np.ndarray, int, Box]]:
    """(640x480 or 480x640 picture, roll, the face's place): each with one face, turned to either side."""
    rng = np.random.default_rng(0)
    for number in range(count):
        photograph = decoding.picture(rng.choice(photographs))
        width, height = SIZE if photograph.shape[1] > photograph.shape[0] else SIZE[::-1]
        picture = cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA)
        side = round(math.exp(rng.uniform(*np.log(SIZES))))
        face = decoding.fit_square(decoding.picture(rng.choice(faces)), side)
        roll = ROLLS[number % len(ROLLS)]
        left, top = rng.integers(0, width - side), rng.integers(0, height - side)
        turn = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), roll * rng.choice([-1, 1]), 1.0)
        turn[:, 2] += left, top
        cover = cv2.warpAffine(np.ones((side, side), np.float32), turn, (width, height))[..., None]
        pasted = picture * (1 - cover) + cv2.warpAffine(face, turn, (width, height)) * cover
        yield pasted.astype(np.uint8), roll, (left + side / 2, top + side / 2, side)


def hit(box: Box, face: Box) -> bool:
    near = math.hypot(box[0] - face[0], box[1] - face[1]) < face[2] / 3
    return near and 0.4 < box[2] / face[2] < 1.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--without", default="", help="places of photographs with people, from 0")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    people = {int(place) for place in args.without.split(",") if place}
    photographs = [p for n, p in enumerate(locate.pictures(args.photographs).files) if n not in people]
    contenders = {"ours (YuNet)": ours, "LBP cascade": lbp()}
    if importlib.util.find_spec("facenet_pytorch"):
        contenders["MTCNN"] = mtcnn()
    results: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in contenders}
    for picture, roll, face in scenes(photographs, locate.pictures(args.faces).files, args.scenes):
        for name, find in contenders.items():
            started = time.process_time()
            boxes = find(picture)
            seconds = time.process_time() - started
            hits = [hit(box, face) for box in boxes]
            result = results[name]
            result[f"recall at {roll}"].append(any(hits))
            result["below 48 px" if face[2] < 48 else "from 48 px"].append(any(hits))
            result["false boxes"].append(len(hits) - sum(hits))
            result["ms"].append(seconds * 1000)
    table = {name: {key: float(np.mean(values)) for key, values in kinds.items()} for name, kinds in results.items()}
    for name, row in table.items():
        print(name.ljust(16), " ".join(f"{key} {value:.3f}" for key, value in sorted(row.items())))
    results_file = Path(__file__).parents[1] / "results" / "face_detection.json"
    results_file.write_text(json.dumps({"scenes": args.scenes, **table}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The embedded faces: a data set drawn by code, in AffectNet's Kaggle layout with its quirks."""

import csv
import functools
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator

from emohelpers.config import files
from emohelpers.datasets.drawn import action_units, paint
from emohelpers.datasets.drawn.people import person, shot
from emohelpers.datasets.labels import EMOTIONS

DRAWING_VERSION = 1  # raise it whenever a picture or a label would change: golden sets depend on both

# Relative class sizes as in AffectNet on Kaggle, the tail a little longer.
CLASS_SIZES = {
    "neutral": 50,
    "happy": 49,
    "surprise": 39,
    "anger": 32,
    "fear": 31,
    "sad": 31,
    "contempt": 25,
    "disgust": 20,
}
FOLDER_AGREEMENT = 0.63  # of all rows lie in the folder of their label; AffectNet on Kaggle
NEUTRAL_AGREEMENT = 0.35  # of the neutral rows do
RECURRING_STEMS = 0.05  # of the rows carry a stem that another folder has already
FEW = 600  # pictures: below, starting processes costs more than it saves
BLENDS = 0.12  # of the expressions have a second emotion in them
BLEND_SHARES = (0.2, 0.4)  # of the intensity that the second one gets
WEAKEST = 0.4  # intensity; neutral aside
INTENSITY = (2.5, 0.8)  # Beta, stretched over WEAKEST..1
KNOWN = (
    "pth",
    "emotion",
    "label",
    "intensity",
    "second",
    "share",
    "identity",
    "person_seed",
    "shot_seed",
    "skin_type",
    "skin_group",
    "age",
    "age_group",
    "glasses",
    "occluded",
    "quality",
    *action_units.COLUMNS,
)


def draw_face(row: Mapping) -> ndarray:
    """The (96, 96, 3) uint8 RGB picture of a row of faces.csv, before JPEG."""
    return paint.face(person(int(row["person_seed"])), shot(int(row["shot_seed"])), _units(row))


def regions(row: Mapping) -> dict[str, ndarray]:
    """Boolean (96, 96) masks of a row: brows, eyes, nose, mouth, cheeks, face; `hidden` is what an occluder covers."""
    return paint.regions(person(int(row["person_seed"])), shot(int(row["shot_seed"])), _units(row))


def redraw(row: Mapping, emotion: str, *, intensity: float = 1.0) -> ndarray:
    """The same person, pose, light and background with another expression: (96, 96, 3) uint8 RGB, before JPEG."""
    return draw_face(reexpressed(row, emotion, intensity=intensity))


def reexpressed(row: Mapping, emotion: str, *, intensity: float = 1.0) -> dict:
    """The row of faces.csv that `redraw` draws; its masks are `regions` of it."""
    if emotion not in EMOTIONS:
        raise ValueError(f"unknown emotion {emotion!r}; known: {', '.join(EMOTIONS)}")
    rng = np.random.default_rng([int(row["shot_seed"]), 5, EMOTIONS.index(emotion)])
    units = action_units.expression(emotion, intensity, rng, play=0.5)
    return {**dict(row), "emotion": emotion, "intensity": intensity, "second": "", "share": 0.0, **units}


def jpeg(picture: ndarray, quality: int) -> bytes:
    """JPEG file content of an RGB picture."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise RuntimeError(f"OpenCV {cv2.__version__} could not encode a JPEG of shape {picture.shape}")
    return data.tobytes()


def write_faces(
    folder: str | Path, *, n: int = 3200, seed: int = 2024, wrong_labels: float = 0.06, workers: int = 2
) -> Path:
    """Draws the data set into `folder` (labels.csv, faces.csv, a folder an emotion) unless it is there already.

    The same arguments give the same bytes. It appears whole or not at all; a folder that holds anything else is
    left alone and named in the `FileExistsError`. `wrong_labels` is the share of rows with a label that is not the
    emotion drawn.
    """
    stamp = {"drawing": DRAWING_VERSION, "n": n, "seed": seed, "wrong_labels": wrong_labels}
    if n < 80 or not 0 <= wrong_labels < 1 or seed < 0:
        given = f"n={n}, seed={seed}, wrong_labels={wrong_labels}"
        raise ValueError(f"cannot draw {given}: n is at least 80, seed at least 0, wrong_labels in 0..1")
    folder = Path(folder).expanduser().resolve()
    with files.new_folder(folder, "faces.json", stamp) as new:
        if new:
            _write(new, _plan(n, seed, wrong_labels), workers if n >= FEW else 1)
    return folder


def _write(folder: Path, rows: list[dict], workers: int) -> None:
    """Draws the pictures of all rows and writes both tables."""
    for emotion in EMOTIONS:
        (folder / emotion).mkdir()
    shares = _draw_all(folder, rows, workers)
    _write_csv(folder / "faces.csv", KNOWN, [[row[k] for k in KNOWN] for row in rows])
    table = [[i, row["pth"], row["label"], f"{shares[i]:.6f}"] for i, row in enumerate(rows)]
    _write_csv(folder / "labels.csv", ("", "pth", "label", "relFCs"), table)


def _units(row: Mapping) -> dict[str, float]:
    return {k: float(row[k]) for k in action_units.COLUMNS}


def _plan(n: int, seed: int, wrong_labels: float) -> list[dict]:
    """A row of faces.csv for every picture, nothing drawn yet."""
    rng = np.random.default_rng([seed, 0])
    exact = np.array(list(CLASS_SIZES.values())) * n / sum(CLASS_SIZES.values())
    counts = np.floor(exact).astype(int)
    # The largest remainders are rounded up, so that the counts add up to n.
    counts[np.argsort(counts - exact)[: n - counts.sum()]] += 1
    emotions = rng.permutation(np.repeat(list(CLASS_SIZES), counts))
    rows = []
    identity = -1
    left = 0
    for index, emotion in enumerate(emotions):
        # Each identity has three to five pictures in a row, the last perhaps fewer.
        if left == 0:
            identity = identity + 1
            left = int(rng.integers(3, 6))
        left -= 1
        rows.append(_row(index, str(emotion), identity, seed))
    _mislabel(rows, rng, wrong_labels)
    _shelve(rows, rng)
    return rows


def _row(index: int, emotion: str, identity: int, seed: int) -> dict:
    person_seed = seed * 1_000_000 + identity
    shot_seed = seed * 1_000_000 + index
    rng = np.random.default_rng([shot_seed, 4])
    intensity = round(float(WEAKEST + (1 - WEAKEST) * rng.beta(*INTENSITY)), 3)
    second = ""
    share = 0.0
    if rng.random() < BLENDS:
        second = str(rng.choice(action_units.NEIGHBOURS[emotion]))
        share = round(float(rng.uniform(*BLEND_SHARES)), 3)
    who = person(person_seed)
    how = shot(shot_seed)
    return {
        "emotion": emotion,
        "label": emotion,
        "intensity": intensity if emotion != "neutral" else 0.0,
        "second": second,
        "share": share,
        "identity": f"id{identity:05d}",
        "person_seed": person_seed,
        "shot_seed": shot_seed,
        "skin_type": who.skin_type,
        "skin_group": who.skin_group,
        "age": round(who.age, 3),
        "age_group": who.age_group,
        "glasses": who.glasses,
        "occluded": how.occluder,
        "quality": how.quality,
        **action_units.expression(emotion, intensity, rng, second=second, share=share),
    }


def _mislabel(rows: list[dict], rng: Generator, share: float) -> None:
    for k in rng.permutation(len(rows))[: round(share * len(rows))]:
        emotion = rows[k]["emotion"]
        likely = rng.random() < 0.7  # raters err towards what looks alike
        others = action_units.NEIGHBOURS[emotion] if likely else [e for e in EMOTIONS if e != emotion]
        rows[k]["label"] = str(rng.choice(others))


def _shelve(rows: list[dict], rng: Generator) -> None:
    """Chooses folder and file name: folders often disagree with the label, stems recur across folders."""
    neutral = [r for r in rows if r["label"] == "neutral"]
    others = [r for r in rows if r["label"] != "neutral"]
    right = round(FOLDER_AGREEMENT * len(rows))
    quota = min(round(NEUTRAL_AGREEMENT * len(neutral)), right)
    for part, agreeing in ((neutral, quota), (others, min(right - quota, len(others)))):
        for place, k in enumerate(rng.permutation(len(part))):
            row = part[k]
            wrong = [e for e in EMOTIONS if e != row["label"]]
            row["folder"] = row["label"] if place < agreeing else str(rng.choice(wrong))
    stems: dict[str, list[tuple[str, str]]] = {}  # identity -> (stem, folder) already there
    wanted = round(RECURRING_STEMS * len(rows))
    numbers = rng.permutation(len(rows) * 3)[: len(rows)]
    ready = set()
    for k in rng.permutation(len(rows)):
        row = rows[k]
        known = stems.setdefault(row["identity"], [])
        again = [stem for stem, folder in known if (stem, row["folder"]) not in known]
        if wanted > 0 and again and row["identity"] not in ready:
            stem = again[0]
            wanted = wanted - 1
            ready.add(row["identity"])
        else:
            stem = f"face_{numbers[k]:05d}"
        known.append((stem, row["folder"]))
        row["pth"] = f"{row.pop('folder')}/{stem}.jpg"


def _draw_all(folder: Path, rows: list[dict], workers: int) -> list[float]:
    draw = functools.partial(_draw_one, str(folder))
    if workers < 2:
        return [draw(row) for row in rows]
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's and OpenCV's threads
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            return list(pool.map(draw, rows, chunksize=50))
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a drawing process died. In a script, call write_faces below `if __name__ == '__main__':`, "
            "or pass workers=1; on a machine short of memory, free some."
        ) from error


def _draw_one(folder: str, row: dict) -> float:
    picture = draw_face(row)
    Path(folder, row["pth"]).write_bytes(jpeg(picture, row["quality"]))
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA).astype(float)
    power = np.linalg.svd(grey - grey.mean(0), compute_uv=False) ** 2
    return float(power[0] / power.sum())  # relFCs: the first principal component's share, no confidence


def _write_csv(path: Path, head: tuple[str, ...], rows: list[list]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)

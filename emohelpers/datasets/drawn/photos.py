"""The embedded photographs: landscapes drawn by code, each taken several times, well and badly, with known appeal.

A scene is drawn once, wider than the frame; a shot looks at it with its own framing, so that a tilted horizon or a cut
subject comes from the camera, like in a photograph, and leaves no trace of resampling that the good shot lacks.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator

from emohelpers.config import files
from emohelpers.datasets.drawn import defects
from emohelpers.datasets.drawn.canvas import curve, mix

DRAWING_VERSION = 1  # raise it whenever a picture or a score would change
FRAME = (128, 112)  # pixels of a photograph, width and height
WORLD = (400, 300)  # of the drawn scene, of which a frame shows the middle, 2 world pixels a frame pixel
LENS = ("exposure", "blur", "noise", "compression")  # done to the finished shot; tilt and crop are done by the camera
SEVERITY = (0.0, 0.5, 0.95)  # of the shots of a scene, before chance
RATERS = 0.08  # standard deviation of a mean opinion score, of 1..5

SKIES = {
    "noon": ((74, 132, 205), (186, 214, 236)),
    "dusk": ((62, 58, 118), (244, 152, 92)),
    "dawn": ((120, 150, 196), (250, 214, 176)),
    "grey": ((128, 138, 148), (204, 208, 210)),
}
GROUNDS = {"meadow": (96, 138, 66), "sand": (206, 180, 132), "water": (58, 104, 132), "field": (176, 152, 70)}
SUBJECTS = ("house", "tree", "lighthouse", "boat")


@dataclass(frozen=True)
class Shot:
    """One photograph of a scene: what is wrong with it, and how much people like it."""

    scene: str
    number: int
    wrong: dict[str, float]  # defect -> strength 0..1
    score: float  # mean opinion, 1..5


def draw_scene(seed: int) -> tuple[ndarray, ndarray]:
    """The (300, 400, 3) uint8 RGB world of a scene, and (2,) where its subject stands."""
    rng = np.random.default_rng([seed, 21])
    width, height = WORLD
    high, low = (np.array(c, float) for c in SKIES[rng.choice(list(SKIES))])
    horizon = height * rng.choice([0.42, 0.58]) + rng.uniform(-8, 8)
    rows = np.clip(np.arange(height) / horizon, 0, 1)[:, None, None]
    world = np.repeat(high * (1 - rows) + low * rows, width, 1)
    ground = np.array(GROUNDS[rng.choice(list(GROUNDS))], float) * rng.uniform(0.85, 1.1, 3)
    world = np.clip(world, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        sun = (int(rng.uniform(0.25, 0.75) * width), int(horizon * rng.uniform(0.35, 0.8)))
        cv2.circle(world, sun, int(rng.uniform(9, 16)), tuple(mix(low, (255, 246, 214), 0.8)), -1, cv2.LINE_AA)
    for depth in range(int(rng.integers(1, 4))):
        _hills(world, horizon, mix(ground * 0.55, low, 0.65 - 0.2 * depth), rng)
    _ground(world, int(horizon), ground, rng)
    subject = np.array((width * rng.choice([0.4, 0.6]) + rng.uniform(-6, 6), horizon + rng.uniform(16, 40)))
    for _ in range(int(rng.integers(2, 7))):  # bushes and stones, all smaller than the subject
        spot = np.array((rng.uniform(0, width), horizon + rng.uniform(4, 110)))
        cv2.ellipse(world, _at(spot), _at(rng.uniform(3, 9, 2)), 0, 0, 360, _ink(ground * rng.uniform(0.5, 0.8)), -1)
    _subject(world, subject, str(rng.choice(SUBJECTS)), rng)
    return world, subject - (0, 20)


def take(world: ndarray, subject: ndarray, wrong: dict[str, float], rng: Generator) -> ndarray:
    """A (112, 128, 3) uint8 RGB photograph of a scene; level and with the subject whole, unless `wrong` says else."""
    angle = rng.normal(0, 0.6) + rng.choice([-1, 1]) * defects.TILT * wrong.get("tilt", 0)
    out = wrong.get("crop", 0)
    zoom = rng.uniform(0.52, 0.56) * (1 + 0.35 * out)  # frame pixels a world pixel
    middle = np.array(WORLD) / 2 + rng.uniform(-5, 5, 2)
    side = np.sign(subject[0] - middle[0])  # the frame leaves the subject behind, until it is cut in two
    middle = middle * (1 - out) + (subject - side * np.array((0.5 * FRAME[0] / zoom, 0))) * out
    look = cv2.getRotationMatrix2D(tuple(middle), angle, zoom)
    # The matrix turns about `middle`; the shift brings that point to the frame's centre.
    look[:, 2] += np.array(FRAME) / 2 - middle
    soft = cv2.GaussianBlur(world, (0, 0), 0.7)  # the lens; keeps the halving free of aliases
    photo = cv2.warpAffine(soft, look, FRAME, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    photo = defects.spoil(photo, "noise", 0.05, rng)  # no sensor is silent
    for kind in LENS:
        photo = defects.spoil(photo, kind, wrong.get(kind, 0), rng)
    return photo


def shots(scene: int, seed: int) -> list[Shot]:
    """What is wrong with each shot of a scene: nothing, then the same two defects at rising severity."""
    rng = np.random.default_rng([seed, scene, 22])
    made = []
    kinds = rng.permutation(list(defects.KINDS))[:2]
    for number, severity in enumerate(SEVERITY):
        severity = float(np.clip(severity + rng.uniform(-0.05, 0.05), 0, 1)) if severity else 0.0
        wrong = {str(kind): round(severity, 3) for kind in kinds} if severity else {}
        score = float(np.clip(5 - 4 * severity + rng.normal(0, RATERS), 1, 5))
        made.append(Shot(f"scene{scene:04d}", number, wrong, round(score, 3)))
    return made


def write_photos(folder: str | Path, *, scenes: int = 180, seed: int = 2024) -> Path:
    """Draws `<scene>_<number>.png` and photos.csv (path, scene, score, wrong) unless they are there already.

    The same arguments give the same pictures. It appears whole or not at all.
    """
    stamp = {"drawing": DRAWING_VERSION, "scenes": scenes, "seed": seed}
    folder = Path(folder).expanduser().resolve()
    with files.new_folder(folder, "photos.json", stamp) as new:
        if new:
            _write(new, scenes, seed)
    return folder


def _write(folder: Path, scenes: int, seed: int) -> None:
    """Takes every shot of the scenes and writes their table."""
    lines = ["path,scene,score,wrong"]
    for scene in range(scenes):
        world, subject = draw_scene(seed * 10_000 + scene)
        for shot in shots(scene, seed):
            rng = np.random.default_rng([seed, scene, shot.number, 23])
            name = f"{shot.scene}_{shot.number}.png"
            cv2.imwrite(str(folder / name), take(world, subject, shot.wrong, rng)[..., ::-1])
            defects_of_shot = " + ".join(f"{kind} {strength:.2f}" for kind, strength in shot.wrong.items())
            lines.append(f"{name},{shot.scene},{shot.score},{defects_of_shot}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _at(point) -> tuple[int, int]:
    return int(round(float(point[0]))), int(round(float(point[1])))


def _ink(colour) -> tuple[int, ...]:
    return tuple(int(v) for v in np.clip(colour, 0, 255))


def _fill(world: ndarray, outline, colour) -> None:
    cv2.fillPoly(world, [np.rint(np.asarray(outline) * 16).astype(np.int32)], _ink(colour), cv2.LINE_AA, 4)


def _hills(world: ndarray, horizon: float, colour, rng: Generator) -> None:
    across = np.linspace(-20, WORLD[0] + 20, 9)
    ridge = curve(np.stack([across, horizon - rng.uniform(4, 46) * rng.uniform(0.3, 1, 9)], 1), 8, False)
    _fill(world, np.concatenate([ridge, [(WORLD[0] + 20, horizon + 2), (-20, horizon + 2)]]), colour)


def _ground(world: ndarray, horizon: int, colour: ndarray, rng: Generator) -> None:
    """Lighter far away, with ripples or furrows that lie level."""
    rows = WORLD[1] - horizon
    near = np.linspace(0, 1, rows)[:, None, None]
    far = mix(colour, (225, 225, 225), 0.3)
    bands = 7 * np.sin(np.cumsum(rng.uniform(0.15, 0.7, rows)))[:, None, None]
    grain = rng.normal(0, 5, (rows, WORLD[0], 1))
    world[horizon:] = np.clip(far * (1 - near) + colour * near + bands + grain, 0, 255).astype(np.uint8)


def _subject(world: ndarray, foot: ndarray, kind: str, rng: Generator) -> None:
    size = rng.uniform(34, 46)
    bright = rng.uniform(0.85, 1.1)
    wall = np.array([(214, 204, 188), (196, 92, 74), (232, 228, 220)][rng.integers(3)]) * bright

    def at(*corners: tuple[float, float]) -> ndarray:
        return foot + np.array(corners) * size * (1, -1)

    if kind == "house":
        _fill(world, at((-0.6, 0), (0.6, 0), (0.6, 0.65), (-0.6, 0.65)), wall)
        _fill(world, at((-0.72, 0.62), (0.72, 0.62), (0, 1.15)), wall * 0.5)
        _fill(world, at((-0.12, 0), (0.14, 0), (0.14, 0.4), (-0.12, 0.4)), (70, 52, 40))
        for left in (-0.46, 0.28):
            _fill(world, at((left, 0.25), (left + 0.18, 0.25), (left + 0.18, 0.46), (left, 0.46)), (250, 226, 150))
    elif kind == "tree":
        _fill(world, at((-0.09, 0), (0.09, 0), (0.05, 0.8), (-0.05, 0.8)), (84, 62, 44))
        for _ in range(9):
            spot = foot + (rng.normal(0, 0.24) * size, -(0.95 + rng.normal(0, 0.17)) * size)
            green = np.array((70, 112, 52)) * rng.uniform(0.7, 1.3)
            cv2.circle(world, _at(spot), int(size * rng.uniform(0.18, 0.3)), _ink(green), -1, cv2.LINE_AA)
    elif kind == "lighthouse":
        for k in range(5):
            a = 0.2 - 0.02 * k
            b = 0.2 - 0.02 * (k + 1)
            band = (216, 68, 58) if k % 2 else (240, 238, 232)
            _fill(world, at((-a, 0.3 * k), (a, 0.3 * k), (b, 0.3 * k + 0.3), (-b, 0.3 * k + 0.3)), np.array(band))
        _fill(world, at((-0.15, 1.5), (0.15, 1.5), (0.1, 1.75), (-0.1, 1.75)), (250, 232, 160))
    else:
        _fill(world, at((-0.7, 0.2), (0.7, 0.2), (0.48, -0.06), (-0.48, -0.06)), wall * 0.6)
        _fill(world, at((0, 0.26), (0, 1.3), (0.55, 0.32)), (246, 244, 236))
        _fill(world, at((-0.06, 0.26), (-0.06, 1.15), (-0.5, 0.32)), (228, 226, 220))

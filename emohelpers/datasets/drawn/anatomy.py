"""Where the parts of a face lie, once action units have moved them and the head has turned.

The face plane has x to the picture's right and y down; half a face's width is 1, the chin is near (0, 1.24). Outlines
that follow from a few measures stand in outlines.yaml, how far units move a measure in moves.yaml; eyes, brows and
mouth, whose shapes are no sums, are computed here.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from emohelpers.datasets.drawn.action_units import UNITS, both_sides
from emohelpers.datasets.drawn.canvas import curve
from emohelpers.datasets.drawn.outlines import Moves, Outlines
from emohelpers.datasets.drawn.people import Person, Shot

WHOLE = Outlines("whole")
SIDED = Outlines("sided")
MOVES = Moves(tuple(UNITS))
SIDES = {"left": -1, "right": 1}  # of the picture
LIFTS = WHOLE.lifts | {f"{name}_{side}": lift for name, lift in SIDED.lifts.items() for side in SIDES}
LENGTHS = {"long": 1.9, "bob": 0.95, "scarf": 1.7}  # of the hair below the middle of the face
ACROSS = np.linspace(-1, 1, 13)  # the mouth, from corner to corner
CORNERS_BEND = np.abs(ACROSS) ** 1.7  # how much of a corner's lift each point of the mouth gets
ALONG_LID = np.linspace(-1, 1, 11)  # inner corner -> outer corner
ALONG_BROW = np.linspace(0, 1, 7)  # inner end -> outer end

Points = dict[str, ndarray]
Units = dict[int, float]


@dataclass
class Mouth:
    """What the units of both halves make of the mouth, before it is drawn."""

    mean: Units
    moved: dict[str, float]
    tight: float  # of lips pressed together, 0..1
    gap: float  # between the lips at their middle
    y: float
    corners_x: tuple[float, float]  # of the picture's left and right; both > 0
    corners_y: tuple[float, float]  # below `y`


def shapes(p: Person, s: Shot, units: dict[str, float]) -> Points:
    """Pixel coordinates, (N, 2) each in a 96-pixel frame, of every outline that is drawn or masked."""
    halves = both_sides(units)
    moves = [MOVES.of(half) for half in halves]
    mean = {unit: (halves[0][unit] + halves[1][unit]) / 2 for unit in UNITS}
    mouth = _open_mouth(p, halves, moves, mean)
    whole = _measures(p, moves, mouth)
    flat = WHOLE.points(whole)
    for k, (name, side) in enumerate(SIDES.items()):
        parts = SIDED.points(_sided(p, s, whole, moves[k], mouth, side, k))
        parts |= _eye(p, halves[k], moves[k]) | {"brow": _brow(p, halves[k])}
        parts["glass"] = parts["square_glass" if p.glasses == "square" else "round_glass"]
        flat |= {f"{part}_{name}": points * (side, 1) for part, points in parts.items()}
    flat |= _mouth(p, mouth)
    return _posed(flat, s)


def _posed(flat: Points, s: Shot) -> Points:
    points = np.concatenate(list(flat.values()))
    counts = [len(outline) for outline in flat.values()]
    lift = np.repeat([LIFTS.get(name, 0.0) for name in flat], counts)
    x, y = points.T
    # the head is half an ellipsoid; what lies far below its surface, like ears and neck, has a depth of its own
    z = 0.62 * np.sqrt(np.clip(1 - (x / 1.12) ** 2 - (y / 1.45) ** 2, 0, None))
    z = np.where(lift < -0.5, lift + 0.5, z + lift)
    # Yaw turns x and z, pitch then y and z, roll at last the picture plane.
    x, z = x * np.cos(s.yaw) + z * np.sin(s.yaw), z * np.cos(s.yaw) - x * np.sin(s.yaw)
    y = y * np.cos(s.pitch) + z * np.sin(s.pitch)
    x = x + s.shear * y
    cos = np.cos(s.roll)
    sin = np.sin(s.roll)
    x, y = 48 + s.dx + s.scale * (cos * x - sin * y), 49 + s.dy + s.scale * (sin * x + cos * y)
    return dict(zip(flat, np.split(np.stack([x, y], 1), np.cumsum(counts)[:-1]), strict=True))


def _measures(p: Person, moves: list[dict[str, float]], mouth: Mouth) -> dict[str, float]:
    """The measures by which outlines.yaml describes the whole face."""
    hairline = -0.98 + 0.06 * p.age
    curls = 0.12 if p.style == "curly" else 0.0
    return vars(p) | {
        "rest": 1.0,
        "drop": mouth.moved["drop"],
        "temple": p.width * p.cheekbone,
        "puff_left": moves[0]["puff"],
        "puff_right": moves[1]["puff"],
        "top": -1.28 - p.volume,
        "hairline": hairline,
        "fringe_y": hairline + 0.12 + 0.28 * p.fringe,
        "part": 0.5 if p.style == "side" else 0.0,
        "mane_x": p.width * (1.12 + p.volume) + curls,
        "mane_y": LENGTHS.get(p.style, 0.1),
        "mouth_rest": p.mouth_y,
        "nostrils": p.nose_w * (1 + mouth.moved["nostrils"]),
        "tip": p.eye_y + p.nose_l + 0.14 + mouth.moved["tip"],
        "tongue_y": mouth.y + 0.88 * mouth.gap - 0.02,
        "tongue_r": max(0.02, mouth.gap * 0.3),
    }


def _sided(
    p: Person, s: Shot, whole: dict[str, float], moved: dict[str, float], mouth: Mouth, side: int, k: int
) -> dict[str, float]:
    """The measures by which outlines.yaml describes one half of the face, as if it were the right one."""
    return whole | {
        "side": side,
        "gaze_x": side * s.gaze_x,
        "gaze_y": s.gaze_y,
        "cheek_rise": moved["cheek_rise"],
        "wing": moved["wing"],
        "corner_x": mouth.corners_x[k],
        "corner_y": mouth.y + mouth.corners_y[k],
        "fold_x": moved["fold_x"],
        "fold_y": p.eye_y + p.nose_l + 0.1 + moved["fold_y"],
    }


def _eye(p: Person, a: Units, moved: dict[str, float]) -> Points:
    """The right eye's lids, the crease above and the bag below them."""
    t = ALONG_LID
    up = p.eye_h * (1.06 - p.lid + moved["lid_up"])
    down = p.eye_h * (0.68 + moved["lid_down"])
    up = max(up, 0.22 * p.eye_h + max(0.0, -down))  # lids that meet do not cross
    skew = 0.42 * a[1] * (1 - 0.6 * a[2]) - 0.5 * a[4] * (1 - a[1])  # > 0: the lid's inner part stands higher
    base = p.eye_tilt * t + 0.035 * skew * t
    upper = base - up * (1 - np.abs(t) ** 2.2) * (1 - skew * t)
    lower = base + down * (1 - np.abs(t) ** 2.0) * (1 + 0.15 * t)
    fold = 0.055 + moved["crease"]
    x = p.eye_x + p.eye_w * t
    y = p.eye_y
    lid = np.stack([x, y + upper], 1)
    under = np.stack([x, y + lower], 1)
    return {
        "lid": lid,
        "under": under,
        "eye": np.concatenate([lid, under[::-1]]),
        "crease": np.stack([x, y + upper - fold * (1 - 0.4 * t**2)], 1),
        "bag": np.stack([x, y + np.maximum(lower, 0.02) + 0.09 * (1 - 0.5 * t**2)], 1),
    }


def _brow(p: Person, a: Units) -> ndarray:
    t = ALONG_BROW
    inner = p.eye_x - p.eye_w * 0.98
    outer = p.eye_x + p.eye_w * 1.2
    x = inner + (outer - inner) * t - 0.075 * a[4] * (1 - t)
    y = p.brow_y - p.brow_arch * np.sin(np.pi * t**1.2) + p.brow_tilt * (2 * t - 1) + 0.02 * t**2
    # raised at its inner end (1), raised as an arch (2), lowered and drawn together (4), followed by nose and cheek
    y = y - 0.23 * a[1] * (1 - t) ** 1.4 - a[2] * (0.05 + 0.16 * np.sin(np.pi * (0.1 + 0.65 * t)))
    y = y + a[4] * (1 - 0.55 * a[1]) * (0.24 * (1 - t) ** 1.3 + 0.05)
    y = y + 0.07 * a[9] * (1 - t) + 0.03 * a[6] * t
    y = np.minimum(y, p.eye_y - p.eye_h * 0.75)
    thick = p.brow_thick * (0.78 + 0.3 * np.sin(np.pi * np.clip(t + 0.1, 0, 1)) - 0.62 * t**3)
    above = curve(np.stack([x, y - thick / 2], 1), 3, False)
    below = curve(np.stack([x, y + thick / 2], 1), 3, False)
    return np.concatenate([above, below[::-1]])


def _open_mouth(p: Person, halves: tuple[Units, Units], moves: list[dict[str, float]], mean: Units) -> Mouth:
    moved = MOVES.of(mean)
    tight = max(mean[23], 0.9 * mean[24])
    narrow = 1 - 0.24 * tight
    rise = 0.03 * mean[17] - p.mouth_curve
    dropped = 0.26 * mean[26]
    corners_x = [
        p.mouth_w * (narrow + m["corner_x"] - dropped * (1 - a[12])) for a, m in zip(halves, moves, strict=True)
    ]
    return Mouth(
        mean=mean,
        moved=moved,
        tight=tight,
        gap=moved["gap"] + moved["parted"] * mean[25],
        y=p.mouth_y + moved["mouth_y"],
        corners_x=tuple(corners_x),
        corners_y=tuple(m["corner_y"] + rise for m in moves),
    )


def _mouth(p: Person, mouth: Mouth) -> Points:
    t = ACROSS
    mean = mouth.mean
    moved = mouth.moved
    left = t < 0
    x = t * np.where(left, *mouth.corners_x)
    flatness = 1 - 0.5 * mean[12]  # a smile opens less around its middle
    middle = mouth.y + np.where(left, *mouth.corners_y) * CORNERS_BEND + 0.42 * mouth.gap * flatness
    roundness = 0.85 - 0.3 * mean[26] * (1 - mean[12])
    gap = mouth.gap * np.clip(1 - np.abs(t) ** (2 + moved["box"]), 0, 1) ** roundness
    over = 0.42 * flatness  # how much of the gap lies above the line between the corners
    inner_up = middle - over * gap
    inner_low = middle + (1 - over) * gap
    # lips: thinner where pressed, smiling or stretched, with Cupid's bow in the upper one
    thick = p.lip_thick * (1 - 0.72 * mouth.tight) * (1 - 0.2 * mean[12]) * (1 - 0.15 * mean[20])
    bow = 0.018 * np.cos(np.clip(t * 2.6, -1, 1) * np.pi) * (1 - mouth.tight) - 0.05 * mean[10]
    upper = thick * (0.85 + moved["upper_lip"]) - bow
    outer_up = inner_up - upper * np.clip(1 - np.abs(t) ** 2.3, 0, 1)
    outer_low = inner_low + thick * (1.15 + moved["lower_lip"]) * np.clip(1 - np.abs(t) ** 2.6, 0, 1)
    exposed = 0.3 + 0.7 * max(mean[12], mean[20], mean[10], mean[16])  # a dropped jaw alone hides the teeth
    teeth = np.minimum(gap * 0.62, 0.09 * exposed)
    teeth_low = np.minimum(gap * 0.3, 0.05) * (mean[16] + mean[20])

    def line(y: ndarray) -> ndarray:
        return np.stack([x, y], 1)

    def between(above: ndarray, below: ndarray) -> ndarray:
        return np.concatenate([line(above), line(below)[::-1]])

    return {
        "lips": between(outer_up, outer_low),
        "lip_upper": between(outer_up, inner_up),
        "lip_line": line(inner_up),
        "opening": between(inner_up, inner_low),
        "teeth": between(inner_up, inner_up + teeth),
        "teeth_low": between(inner_low - teeth_low, inner_low),
        "lip_shine": line(inner_low + thick * 0.5)[4:9],
        "lip_shadow": line(outer_low + 0.03)[2:11],
        "around_mouth": between(outer_up - 0.07, outer_low + 0.08) * (1.12, 1),
    }

"""Where the parts of a face lie, once action units have moved them and the head has turned.

The face plane has x to the picture's right and y down; half a face's width is 1, the chin is near (0, 1.24).
"""

import numpy as np
from numpy import ndarray

from emohelpers.datasets.drawn.action_units import both_sides
from emohelpers.datasets.drawn.canvas import curve, ellipse
from emohelpers.datasets.drawn.people import Person, Shot

SIDES = ((-1, "left"), (1, "right"))  # of the picture


def _mirror(right, side: int) -> ndarray:
    return np.asarray(right, float) * (side, 1)


def shapes(p: Person, s: Shot, units: dict[str, float]) -> dict[str, ndarray]:
    """Pixel coordinates, (N, 2) each in a 96-pixel frame, of every outline that is drawn or masked."""
    halves = both_sides(units)
    flat: dict[str, ndarray] = {}
    lift: dict[str, float] = {}  # depth beyond the head's surface; below -0.5: the point lies at that depth itself
    # where occluders are placed and the light is centred, whatever the expression: centre, mouth, brows, cheeks
    brows = [(-p.eye_x, p.brow_y), (p.eye_x, p.brow_y)]
    flat["anchors"] = np.array([(0, 0), (0, p.mouth_y), *brows, (-0.6, 0.3), (0.6, 0.3)])
    _skull(flat, lift, p, halves)
    for (side, name), a in zip(SIDES, halves, strict=True):
        _eye(flat, p, s, a, side, name)
        _brow(flat, p, a, side, name)
        _cheek(flat, p, a, side, name)
    _nose(flat, lift, p, halves)
    _mouth(flat, p, halves)
    return _posed(flat, lift, s)


def _posed(flat: dict[str, ndarray], lift: dict[str, float], s: Shot) -> dict[str, ndarray]:
    points = np.concatenate(list(flat.values()))
    counts = [len(v) for v in flat.values()]
    extra = np.repeat([lift.get(name, 0.0) for name in flat], counts)
    x, y = points.T
    z = 0.62 * np.sqrt(np.clip(1 - (x / 1.12) ** 2 - (y / 1.45) ** 2, 0, None))
    z = np.where(extra < -0.5, extra + 0.5, z + extra)
    x, z = x * np.cos(s.yaw) + z * np.sin(s.yaw), z * np.cos(s.yaw) - x * np.sin(s.yaw)
    y = y * np.cos(s.pitch) + z * np.sin(s.pitch)
    x = x + s.shear * y
    c = np.cos(s.roll)
    r = np.sin(s.roll)
    posed = np.stack([48 + s.dx + s.scale * (c * x - r * y), 49 + s.dy + s.scale * (r * x + c * y)], 1)
    return dict(zip(flat, np.split(posed, np.cumsum(counts)[:-1]), strict=True))


def _skull(flat, lift, p: Person, halves) -> None:
    drop = 0.17 * (halves[0][26] + halves[1][26]) / 2
    w = p.width
    jaw = p.jaw
    chin = p.chin + drop
    outline = {}
    for side, a in zip((-1, 1), halves, strict=True):
        puff = 0.025 * a[12] + 0.02 * a[6]
        outline[side] = [
            (side * 0.62 * w, -1.1),
            (side * 0.93 * w, -0.68),
            (side * 1.0 * w * p.cheekbone, -0.1),
            (side * (0.97 * w + puff), 0.32),
            (side * (jaw + puff), 0.72 + drop * 0.4),
            (side * jaw * 0.68, chin - 0.2),
            (side * 0.24, chin - 0.015),
        ]
    flat["face"] = curve([(0, -1.24), *outline[1], *reversed(outline[-1])])
    flat["jaw"] = curve([outline[-1][3], *outline[-1][4:], *reversed(outline[1][4:]), outline[1][3]], closed=False)
    flat["neck"] = np.array([(-0.55, 0.6), (0.55, 0.6), (0.6, 2.2), (-0.6, 2.2)])
    flat["shoulders"] = curve([(-2.2, 2.4), (-1.5, 1.62), (-0.6, 1.42), (0.6, 1.42), (1.5, 1.62), (2.2, 2.4)])
    lift["neck"] = lift["shoulders"] = -0.75
    top = -1.28 - p.volume
    for side, name in SIDES:
        flat[f"ear_{name}"] = ellipse(side * 1.0 * w, -0.02, 0.12, 0.24)
        lift[f"ear_{name}"] = -0.62
    hairline = -0.98 + 0.06 * p.age
    crown = [(-1.06 * w, -0.3), (-1.05 * w, -0.8), (-0.68 * w, top + 0.1), (0, top), (0.68 * w, top + 0.1)]
    crown += [(1.05 * w, -0.8), (1.06 * w, -0.3)]
    inner = [(0.95 * w, -0.42), (0.8 * w, -0.78), (0.42, hairline), (0, hairline - 0.03), (-0.42, hairline)]
    flat["hair"] = curve([*crown, *inner, (-0.8 * w, -0.78), (-0.95 * w, -0.42)], 4)
    low = hairline + 0.12 + 0.28 * p.fringe
    part = 0.5 if p.style == "side" else 0.0
    flat["fringe"] = curve(
        [
            (-0.92 * w, -0.72),
            (-0.4, hairline - 0.12),
            (0.4, hairline - 0.12),
            (0.92 * w, -0.72),
            (0.5 + part * 0.3, low - 0.1 * part),
            (0.1, low - 0.05),
            (-0.45, low + 0.06 * part),
        ],
        4,
    )
    length = {"long": 1.9, "bob": 0.95, "scarf": 1.7}.get(p.style, 0.1)
    wide = w * (1.12 + p.volume) + (0.12 if p.style == "curly" else 0)
    flat["mane"] = curve(
        [
            (0, top - 0.02),
            (0.8 * wide, top + 0.22),
            (1.05 * wide, -0.5),
            (1.08 * wide, length * 0.6),
            (0.85 * wide, length),
            (-0.85 * wide, length),
            (-1.08 * wide, length * 0.6),
            (-1.05 * wide, -0.5),
            (-0.8 * wide, top + 0.22),
        ],
        4,
    )
    lift["mane"] = -0.7
    flat["bun"] = ellipse(0, top - 0.1, 0.36, 0.3)
    lift["bun"] = -0.6
    flat["beard"] = np.concatenate(
        [
            flat["jaw"],
            curve(
                [(0.8 * jaw, 0.42), (0.5, 0.62), (0.16, 0.52), (-0.16, 0.52), (-0.5, 0.62), (-0.8 * jaw, 0.42)],
                3,
                closed=False,
            ),
        ]
    )
    flat["forehead_lines"] = np.concatenate(
        [
            curve([(-0.5, y + 0.03), (-0.25, y), (0, y + 0.015), (0.25, y), (0.5, y + 0.03)], 3, closed=False)
            for y in (p.brow_y - 0.17, p.brow_y - 0.27, p.brow_y - 0.37)
        ]
    )
    flat["chin_boss"] = ellipse(0, p.chin - 0.16, 0.17, 0.1)


def _eye(flat, p: Person, s: Shot, a: dict[int, float], side: int, name: str) -> None:
    up = p.eye_h * (1.06 - p.lid + 0.78 * a[5] - 0.42 * a[7] - 0.22 * a[6] - 0.3 * a[9] - 0.12 * a[4] - 0.1 * a[12])
    down = p.eye_h * (0.68 + 0.16 * a[5] - 0.42 * a[7] - 0.8 * a[6] - 0.4 * a[9])
    up = max(up, 0.22 * p.eye_h + max(0.0, -down))
    t = np.linspace(-1, 1, 11)  # inner corner -> outer corner
    skew = 0.42 * a[1] * (1 - 0.6 * a[2]) - 0.5 * a[4] * (1 - a[1])  # > 0: the lid's inner part stands higher
    base = p.eye_tilt * t - 0.035 * skew * -t
    upper = base - up * (1 - np.abs(t) ** 2.2) * (1 - skew * t)
    lower = base + down * (1 - np.abs(t) ** 2.0) * (1 + 0.15 * t)
    x = p.eye_x + p.eye_w * t
    y = p.eye_y
    flat[f"lid_{name}"] = _mirror(np.stack([x, y + upper], 1), side)
    flat[f"under_{name}"] = _mirror(np.stack([x, y + lower], 1), side)
    flat[f"eye_{name}"] = np.concatenate([flat[f"lid_{name}"], flat[f"under_{name}"][::-1]])
    fold = 0.055 + 0.03 * a[1] + 0.02 * a[2] - 0.035 * a[4] - 0.02 * a[5]
    flat[f"crease_{name}"] = _mirror(np.stack([x, y + upper - fold * (1 - 0.4 * t**2)], 1), side)
    flat[f"bag_{name}"] = _mirror(np.stack([x, y + np.maximum(lower, 0.02) + 0.09 * (1 - 0.5 * t**2)], 1), side)
    iris_x = side * p.eye_x + s.gaze_x * 0.1
    iris_y = y + s.gaze_y * 0.06 - 0.02
    flat[f"iris_{name}"] = ellipse(iris_x, iris_y, 0.125, 0.125)
    flat[f"pupil_{name}"] = ellipse(iris_x, iris_y, 0.06, 0.06, 12)
    flat[f"glint_{name}"] = ellipse(iris_x - 0.045, iris_y - 0.05, 0.032, 0.032, 10)
    feet = np.array([(0.05, 0), (0.19, -0.1), (0.05, 0.02), (0.21, 0.02), (0.04, 0.04), (0.17, 0.13)])  # three pairs
    flat[f"crow_{name}"] = _mirror(feet + (p.eye_x + p.eye_w, y), side)
    flat[f"glass_{name}"] = ellipse(side * p.eye_x, y + 0.05, 0.34, 0.3, 24)
    if p.glasses == "square":
        square = [(0.1, -0.2), (0.42, -0.24), (0.78, -0.2), (0.76, 0.2), (0.44, 0.28), (0.14, 0.2)]
        flat[f"glass_{name}"] = _mirror(curve(square, 4) + (0, y + 0.02), side)
    flat[f"temple_{name}"] = np.array([(side * 0.76, y), (side * 1.02, y - 0.04)])
    flat[f"socket_{name}"] = ellipse(side * p.eye_x, y - 0.05, 0.34, 0.24)


def _brow(flat, p: Person, a: dict[int, float], side: int, name: str) -> None:
    t = np.linspace(0, 1, 7)  # inner end -> outer end
    inner = p.eye_x - p.eye_w * 0.98
    outer = p.eye_x + p.eye_w * 1.2
    together = a[4] * (1 - 0.55 * a[1])
    x = inner + (outer - inner) * t - 0.075 * a[4] * (1 - t)
    y = p.brow_y - p.brow_arch * np.sin(np.pi * t**1.2) + p.brow_tilt * (2 * t - 1) + 0.02 * t**2
    y = y - 0.23 * a[1] * (1 - t) ** 1.4 - a[2] * (0.05 + 0.16 * np.sin(np.pi * (0.1 + 0.65 * t)))
    y = y + together * (0.24 * (1 - t) ** 1.3 + 0.05) + 0.07 * a[9] * (1 - t) + 0.03 * a[6] * t
    y = np.minimum(y, p.eye_y - p.eye_h * 0.75)
    thick = p.brow_thick * (0.78 + 0.3 * np.sin(np.pi * np.clip(t + 0.1, 0, 1)) - 0.62 * t**3)
    line = np.stack([x, y], 1)
    half = np.stack([np.zeros(7), thick / 2], 1)
    over = curve(line - half, 3, False)
    below = curve(line + half, 3, False)
    flat[f"brow_{name}"] = _mirror(np.concatenate([over, below[::-1]]), side)
    frown = [(0.07, p.brow_y - 0.08), (0.055, p.brow_y + 0.04), (0.085, p.brow_y + 0.15)]
    flat[f"frown_{name}"] = _mirror(curve(frown, 3, False), side)


def _nose(flat, lift, p: Person, halves) -> None:
    wrinkle = (halves[0][9] + halves[1][9]) / 2
    tip = p.eye_y + p.nose_l + 0.14 - 0.05 * wrinkle
    w = p.nose_w * (1 + 0.22 * wrinkle)
    flat["nose_tip"] = ellipse(0, tip - 0.05, w * 0.55, 0.1)
    lift["nose_tip"] = 0.22
    top = p.eye_y - 0.1
    flat["nose_bridge"] = np.array([(-0.05, top), (0.05, top), (0.07, tip - 0.1), (-0.07, tip - 0.1)])
    lift["nose_bridge"] = 0.14
    flat["nose_base"] = curve(
        [(-w, tip), (-w * 0.62, tip + 0.06), (-0.03, tip + 0.1), (0.03, tip + 0.1), (w * 0.62, tip + 0.06), (w, tip)],
        3,
        False,
    )
    lift["nose_base"] = 0.1
    for (side, name), a in zip(SIDES, halves, strict=True):
        up = 0.06 * a[9] + 0.03 * a[10]
        flat[f"nostril_{name}"] = ellipse(side * w * 0.5, tip + 0.055 - up * 0.4, 0.06, 0.032, 12)
        lift[f"nostril_{name}"] = 0.15
        flat[f"ala_{name}"] = _mirror(
            curve([(w * 0.8, tip - 0.12 - up), (w * 1.12, tip - 0.02 - up), (w * 0.95, tip + 0.07 - up)], 3, False),
            side,
        )
        lift[f"ala_{name}"] = 0.08
        slope = [(0.09, p.eye_y - 0.05), (0.12, tip - 0.2), (w, tip - 0.08), (w * 0.5, tip)]
        flat[f"nose_side_{name}"] = _mirror(slope, side)
        lift[f"nose_side_{name}"] = 0.1
    y = p.eye_y - 0.02
    flat["nose_wrinkles"] = np.concatenate(
        [
            curve([(-0.12, y + d + 0.035), (0, y + d - 0.02), (0.12, y + d + 0.035)], 3, False)
            for d in (0.0, 0.085, 0.17)
        ]
    )
    lift["nose_wrinkles"] = 0.1
    flat["nose"] = np.array(
        [
            (-0.09, p.eye_y - 0.08),
            (0.09, p.eye_y - 0.08),
            (0.14, tip - 0.2),
            (w * 1.2, tip - 0.06),
            (w * 1.05, tip + 0.1),
            (0, tip + 0.16),
            (-w * 1.05, tip + 0.1),
            (-w * 1.2, tip - 0.06),
            (-0.14, tip - 0.2),
        ]
    )
    lift["nose"] = 0.12


def _mouth(flat, p: Person, halves) -> None:
    mean = {u: (halves[0][u] + halves[1][u]) / 2 for u in halves[0]}
    open_ = 0.08 * mean[25] + 0.38 * mean[26] + 0.05 * mean[16] * mean[25]
    open_ += 0.1 * mean[12] * mean[25] + 0.05 * mean[20] * mean[25] + 0.05 * mean[10] * mean[25]
    tight = max(mean[23], 0.9 * mean[24])
    y0 = p.mouth_y - 0.03 * mean[10] - 0.03 * mean[9] - 0.045 * mean[17] + 0.02 * mean[12] - 0.02 * mean[26]
    t = np.linspace(-1, 1, 13)
    corner_x = []
    corner_y = []
    for side, a in zip((-1, 1), halves, strict=True):
        wide = 1 + 0.4 * a[12] + 0.4 * a[20] - 0.24 * tight - 0.26 * mean[26] * (1 - a[12])
        wide = wide + 0.08 * a[14] + 0.04 * a[15]
        corner_x.append(side * p.mouth_w * wide)
        rise = -0.24 * a[12] - 0.06 * a[14] + 0.19 * a[15] + 0.05 * a[20] + 0.03 * mean[17] - p.mouth_curve
        corner_y.append(rise)
    left = t < 0
    x = np.where(left, -t * corner_x[0], t * corner_x[1])
    bend = np.abs(t) ** 1.7
    middle = y0 + np.where(left, corner_y[0], corner_y[1]) * bend
    box = 2.0 + 1.6 * mean[20] + 0.8 * mean[16]  # a stretched mouth is a box, a dropped jaw an oval
    gap = open_ * np.clip(1 - np.abs(t) ** box, 0, 1) ** (0.85 - 0.3 * mean[26] * (1 - mean[12]))
    middle = middle + 0.42 * open_ * (1 - 0.5 * mean[12])
    bow = 0.018 * np.cos(np.clip(t * 2.6, -1, 1) * np.pi) * (1 - tight)
    over = 0.42 * (1 - 0.5 * mean[12])  # how much of the gap lies above the line between the corners
    inner_up = middle - over * gap
    inner_low = middle + (1 - over) * gap
    thick = p.lip_thick * (1 - 0.72 * tight) * (1 - 0.2 * mean[12]) * (1 - 0.15 * mean[20])
    shape = np.clip(1 - np.abs(t) ** 2.3, 0, 1)
    outer_up = inner_up - thick * (0.85 - 0.25 * mean[17] + 0.2 * mean[10]) * shape
    outer_up = outer_up - 0.05 * mean[10] * shape + bow * shape
    outer_low = inner_low + thick * (1.15 + 0.25 * mean[17] + 0.35 * mean[16]) * np.clip(1 - np.abs(t) ** 2.6, 0, 1)

    def line(y: ndarray) -> ndarray:
        return np.stack([x, y], 1)

    flat["lips"] = np.concatenate([line(outer_up), line(outer_low)[::-1]])
    flat["lip_upper"] = np.concatenate([line(outer_up), line(inner_up)[::-1]])
    flat["lip_line"] = line(inner_up)
    flat["opening"] = np.concatenate([line(inner_up), line(inner_low)[::-1]])
    show = 0.3 + 0.7 * max(mean[12], mean[20], mean[10], mean[16])  # a dropped jaw alone hides the teeth
    teeth = np.minimum(gap * 0.62, 0.09 * show)
    flat["teeth"] = np.concatenate([line(inner_up), line(inner_up + teeth)[::-1]])
    low = np.minimum(gap * 0.3, 0.05) * (mean[16] + mean[20])
    flat["teeth_low"] = np.concatenate([line(inner_low - low), line(inner_low)[::-1]])
    floor = y0 + 0.88 * open_
    flat["tongue"] = ellipse(0, floor - 0.02, p.mouth_w * 0.5, max(0.02, open_ * 0.3))
    flat["lip_shine"] = line(inner_low + thick * 0.5)[4:9]
    flat["lip_shadow"] = line(outer_low + 0.03)[2:11]
    flat["around_mouth"] = np.concatenate([line(outer_up - 0.07), line(outer_low + 0.08)[::-1]]) * (1.12, 1)
    for (side, name), a in zip(SIDES, halves, strict=True):
        k = 0 if side < 0 else 1
        cx = abs(corner_x[k])
        cy = y0 + corner_y[k]
        dimple = [(cx + 0.03, cy - 0.09), (cx + 0.075, cy), (cx + 0.04, cy + 0.08)]
        flat[f"dimple_{name}"] = _mirror(curve(dimple, 3, False), side)
        droop = [(cx + 0.01, cy + 0.01), (cx + 0.05, cy + 0.09), (cx + 0.05, cy + 0.18)]
        flat[f"droop_{name}"] = _mirror(curve(droop, 3, False), side)
        nose = p.eye_y + p.nose_l + 0.1 - 0.06 * a[9]
        bulge = 0.06 * a[12] + 0.03 * a[9]
        flat[f"fold_{name}"] = _mirror(
            curve(
                [
                    (p.nose_w * 1.25, nose),
                    (p.nose_w * 1.6 + bulge + 0.06, nose + 0.12),
                    (cx + 0.1, cy - 0.06),
                    (cx + 0.11, cy + 0.06),
                ],
                3,
                False,
            ),
            side,
        )


def _cheek(flat, p: Person, a: dict[int, float], side: int, name: str) -> None:
    rise = 0.07 * a[6] + 0.05 * a[12]
    flat[f"cheek_{name}"] = ellipse(side * 0.6, 0.3 - rise, 0.26, 0.22)
    flat[f"apple_{name}"] = ellipse(side * 0.55, 0.24 - rise, 0.2, 0.13)

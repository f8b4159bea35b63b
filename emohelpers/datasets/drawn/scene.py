"""What is around the face: background, what hides a part of it, light, lens and sensor."""

import cv2
import numpy as np
from numpy import ndarray

from emohelpers.datasets.drawn.canvas import BIG, SIDE, ZOOM, Canvas, curve, mix
from emohelpers.datasets.drawn.people import Person, Shot

_YY, _XX = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
_GRAIN = np.random.default_rng(96).standard_normal((2 * SIDE, 2 * SIDE, 3), np.float32)  # a sensor's noise, cut anew


def backdrop(c: Canvas, s: Shot) -> None:
    """Fills the canvas with what stands behind the head."""
    rng = np.random.default_rng([s.seed, 3])
    a, b, d, e = (np.array(v) for v in s.colours)
    if s.backdrop in (0, 1):  # a gradient
        t = np.linspace(0, 1, BIG)[:, None, None]
        c.pixels[:] = (a * (1 - t) + b * t).astype(np.uint8)
        if s.backdrop == 1:
            c.pixels[:] = c.pixels.transpose(1, 0, 2).copy()
    elif s.backdrop == 2:  # lights out of focus
        for _ in range(9):
            centre = rng.integers(0, BIG, 2)
            tint = tuple(int(v) for v in mix(a, (b, d, e)[rng.integers(3)], rng.uniform(0.3, 0.9)))
            cv2.circle(c.pixels, tuple(int(v) for v in centre), int(rng.integers(12, 45)), tint, -1, cv2.LINE_AA)
        c.pixels[:] = cv2.blur(c.pixels, (15, 15))
    elif s.backdrop == 3:  # a room: wall, floor line, a frame or a door
        y = int(rng.integers(BIG // 2, BIG))
        c.pixels[y:] = b
        x = int(rng.integers(-40, BIG))
        top = int(rng.integers(0, 80))
        wide = int(rng.integers(40, 120))
        cv2.rectangle(c.pixels, (x, top), (x + wide, y), tuple(map(int, d)), -1)
        c.pixels[:] = cv2.blur(c.pixels, (7, 7))
    elif s.backdrop == 4:  # stripes
        step = int(rng.integers(14, 50))
        slant = float(rng.uniform(-0.6, 0.6))
        for x in range(-BIG, 2 * BIG, 2 * step):
            stripe = np.array([(x, 0), (x + step, 0), (x + step + slant * BIG, BIG), (x + slant * BIG, BIG)]) / ZOOM
            c.fill(stripe, mix(a, b, 0.5))
    else:  # leaves
        for _ in range(40):
            centre = tuple(int(v) for v in rng.integers(0, BIG, 2))
            axes = (int(rng.integers(8, 26)), int(rng.integers(4, 14)))
            tint = tuple(int(v) for v in mix((b, d)[rng.integers(2)], a, rng.uniform(0, 0.8)))
            cv2.ellipse(c.pixels, centre, axes, int(rng.integers(180)), 0, 360, tint, -1)
        c.pixels[:] = cv2.blur(c.pixels, (5, 5))


def occlusion(c: Canvas, p: Person, s: Shot, f) -> ndarray | None:
    """Draws what hides a part of the face; its (288, 288) mask, or None."""
    if s.occluder == "none":
        return None
    hidden = np.zeros((BIG, BIG), np.uint8)
    rng = np.random.default_rng([s.seed, 7])
    unit = s.scale
    if s.occluder == "sunglasses":
        for name in ("left", "right"):
            c.fill(f[f"glass_{name}"], 255, hidden)
        return hidden
    if s.occluder == "hand":
        side = rng.choice([-1, 1])
        middle = f["anchors"][1] + (side * unit * rng.uniform(0.2, 0.6), unit * rng.uniform(-0.1, 0.3))
        colour = np.array(p.skin) * 0.95
        for k in range(4):
            base = middle + (side * unit * 0.9, unit * (0.75 + 0.1 * k))
            tip = middle + (-side * unit * (0.12 * (1.5 - abs(k - 1.5))), unit * (-0.2 + 0.23 * k))
            finger = np.stack([base, tip])
            c.line(finger, colour * (0.75, 0.66, 0.64), 0.26)
            c.line(finger, colour, 0.21)
            c.line(finger, 255, 0.26, hidden)
        return hidden
    if s.occluder == "lock":
        k = int(rng.integers(2))
        side = (-1, 1)[k]
        top = 0.6 * f["hair"][12] + 0.4 * f["anchors"][2 + k]
        end = f["anchors"][4 + k] + (side * unit * 0.15, 0)
        for strand_no in range(6):
            shift = np.array((unit * 0.07 * strand_no * -side, 0))
            mid = f["anchors"][2 + k] + shift * 0.8
            strand = curve(np.stack([top, mid, end + shift * 0.5]), 5, False)
            c.line(strand, np.array(p.hair if p.style != "bald" else p.cloth) * (0.85 + 0.08 * strand_no), 0.1)
            c.line(strand, 255, 0.1, hidden)
        return hidden
    if s.occluder == "mask":
        jaw = f["jaw"]
        outline = np.concatenate([jaw, (f["nose_tip"].mean(0) - (0, unit * 0.05))[None]])
        tint = np.array([(168, 204, 222), (230, 232, 234), (50, 54, 62)][rng.integers(3)])
        c.fill(outline, tint)
        c.fill(outline, 255, hidden)
        for k in (0.3, 0.55, 0.8):
            across = jaw[2] * (1 - k) + jaw[len(jaw) // 2] * k, jaw[-3] * (1 - k) + jaw[len(jaw) // 2] * k
            c.line(np.stack(across), tint * 0.85, 0.02)
        return hidden
    x, y = f["anchors"][0] + (0, 0.25 * unit) + rng.uniform(-0.4, 0.4, 2) * unit  # a bar: strap, cable or branch
    tilt = rng.uniform(-0.5, 0.5)
    along = np.array((np.cos(tilt), np.sin(tilt))) * 90
    across = np.array((-np.sin(tilt), np.cos(tilt))) * unit * 0.17
    centre = np.array((x, y + unit * rng.choice([-0.35, 0.4])))
    outline = centre + np.stack([-along - across, along - across, along + across, across - along])
    c.fill(outline, s.colours[3])
    c.fill(outline, 255, hidden)
    return hidden


def photograph(c: Canvas, s: Shot, f, head: ndarray) -> ndarray:
    """Light on the head, averaging down, lens and sensor."""
    small = cv2.resize(c.pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    inside = cv2.blur(cv2.resize(head, (SIDE, SIDE), interpolation=cv2.INTER_AREA), (3, 3)).astype(np.float32) / 255
    x, y = f["anchors"][0]
    u = (_XX - x) / (s.scale * 1.05)
    v = (_YY - y) / (s.scale * 1.4)
    depth = np.sqrt(np.clip(1 - u * u - v * v, 0.02, None))
    lx, ly = s.light
    lit = 0.74 + 0.3 * depth + 0.26 * (u * lx + v * ly)  # a Lambertian ellipsoid
    room = 1 + 0.12 * (u * lx + v * ly)
    light = room + inside * (lit - room)
    small *= light[..., None] * (np.array(s.tint, np.float32) * s.exposure)
    small = (small - 118) * s.contrast + 118
    if s.blur:
        small = cv2.GaussianBlur(small, (0, 0), s.blur)
    top, side = np.random.default_rng([s.seed, 8]).integers(0, SIDE, 2)
    small += _GRAIN[top : top + SIDE, side : side + SIDE] * np.float32(s.noise)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)

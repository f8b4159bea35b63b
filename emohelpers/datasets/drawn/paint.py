"""Draws a face in OpenCV, three times as large as the picture, and the masks of its regions."""

import cv2
import numpy as np
from numpy import ndarray

from emohelpers.datasets.drawn import anatomy, scene
from emohelpers.datasets.drawn.canvas import BIG, SIDE, ZOOM, Canvas, box_of, ellipse, mix
from emohelpers.datasets.drawn.people import Person, Shot


def face(p: Person, s: Shot, units: dict[str, float]) -> ndarray:
    """The (96, 96, 3) uint8 RGB picture, before JPEG."""
    f = anatomy.shapes(p, s, units)
    c = Canvas(s.colours[0], s.scale)
    scene.backdrop(c, s)
    _behind(c, p, f)
    _skin(c, p, f, units)
    for name in ("left", "right"):
        _eye(c, p, f, name)
    _mouth(c, p, f)
    _hair_front(c, p, f)
    _brows(c, p, f)
    head = np.zeros((BIG, BIG), np.uint8)
    c.fill(f["face"], 255, head)
    _glasses(c, p, s, f)
    scene.occlusion(c, p, s, f)
    return scene.photograph(c, s, f, head)


def _behind(c: Canvas, p: Person, f) -> None:
    shade = np.array(p.skin) * (0.78, 0.7, 0.68)
    hair = np.array(p.hair)
    if p.style in ("long", "bob", "curly", "scarf"):
        c.fill(f["mane"], hair * 0.75 if p.style != "scarf" else np.array(p.cloth) * 0.8)
    if p.style == "bun":
        c.fill(f["bun"], hair * 0.85)
    c.fill(f["neck"], shade)
    c.fill(f["face"] + (0, 0.1 * c.unit / ZOOM), np.array(p.skin) * (0.62, 0.53, 0.5))  # the chin's shadow
    c.fill(f["shoulders"], p.cloth)
    if p.style not in ("long", "bob", "scarf"):
        for name in ("left", "right"):
            c.fill(f[f"ear_{name}"], np.array(p.skin) * (0.93, 0.86, 0.84))
            c.line(f[f"ear_{name}"][3:10], shade, 0.03)


def _skin(c: Canvas, p: Person, f, units) -> None:
    skin = np.array(p.skin)
    c.fill(f["face"], skin)
    relief = np.full((BIG, BIG), 128, np.uint8)  # 128: unchanged, darker below, lighter above
    au = {int(k[2:]): v for k, v in units.items() if k.startswith("au")}
    old = p.age**1.5

    def dark(outline, strength: float, width: float) -> None:
        if strength > 0.04:
            c.line(outline, 128 - 62 * min(strength, 1), width, relief)

    for name in ("left", "right"):
        c.fill(f[f"socket_{name}"], 121, relief)
        c.fill(f[f"nose_side_{name}"], 112, relief)
        if (lift := max(au[6], 0.8 * au[12])) > 0.1:
            c.fill(f[f"apple_{name}"], 128 + 16 * lift, relief)
    c.fill(f["nose_bridge"], 137, relief)
    c.fill(f["nose_tip"], 142, relief)
    c.fill(f["chin_boss"], 134 + 8 * au[17], relief)
    relief = cv2.blur(cv2.blur(relief, (11, 11)), (11, 11))
    # Wrinkles come after the blur, so that they stay sharper than the forms.
    lines = f["forehead_lines"].reshape(3, -1, 2)
    for k, width in enumerate((0.035, 0.035, 0.03)):
        dark(lines[k], 0.75 * max(au[1] * 0.55, au[2], 0) * (0.55 + 0.45 * p.age) + 0.28 * old, width)
    wrinkles = f["nose_wrinkles"].reshape(3, -1, 2)
    for k in range(3):
        dark(wrinkles[k], 0.9 * au[9], 0.035)
    dark(f["lip_shadow"], 0.3 + 0.3 * au[17], 0.06)
    dark(f["chin_boss"][10:18], 0.6 * au[17], 0.04)
    reach = {"left": min(1.0, 1 - units["lean"]), "right": min(1.0, 1 + units["lean"])}
    for name in ("left", "right"):
        near = max(0.0, reach[name])
        dark(f[f"frown_{name}"], 0.85 * au[4] + 0.4 * au[9] + 0.15 * old, 0.04)
        dark(f[f"fold_{name}"], (0.7 * au[12] + 0.5 * au[10]) * near + 0.6 * au[9] + 0.4 * old, 0.045)
        dark(f[f"dimple_{name}"], (0.95 * au[14] + 0.25 * au[12]) * near, 0.05)
        dark(f[f"droop_{name}"], 0.6 * au[15] + 0.2 * old, 0.045)
        dark(f[f"bag_{name}"], 0.55 * au[6] + 0.3 * au[7] + 0.2 * au[9] + 0.35 * old + 0.1, 0.035)
        for k in range(0, 6, 2):
            dark(f[f"crow_{name}"][k : k + 2], 0.6 * au[6] + 0.35 * max(0.0, old - 0.3), 0.03)
    relief = cv2.blur(relief, (5, 5))
    # Colour goes onto a copy that is softened as a whole and shown through the face's outline.
    tinted = c.pixels.copy()
    warm = mix(skin, (206, 84, 84), 0.12 + 0.1 * max(au[6], au[12]))
    for name in ("left", "right"):
        c.fill(f[f"apple_{name}"], warm, tinted)
    if p.freckles:
        rng = np.random.default_rng(p.freckles)
        spots = np.concatenate([f["cheek_left"], f["cheek_right"], f["nose_tip"]])
        for spot in spots[rng.integers(0, len(spots), p.freckles)] + rng.normal(0, 2.2, (p.freckles, 2)):
            x, y = (int(v) for v in spot * ZOOM)
            cv2.circle(tinted, (x, y), 1, tuple(int(v) for v in skin * (0.75, 0.62, 0.55)), -1)
    if p.beard in ("stubble", "full"):
        c.fill(f["beard"], mix(skin, p.hair, 0.28 if p.beard == "stubble" else 0.85), tinted)
    x0, y0, x1, y1 = box_of(f["face"], 6)
    tinted = cv2.blur(cv2.blur(tinted[y0:y1, x0:x1], (15, 15)), (15, 15))
    mask = np.zeros((BIG, BIG), np.uint8)
    c.fill(f["face"], 255, mask)
    c.through(mask[y0:y1, x0:x1], tinted, (x0, y0, x1, y1))
    part = c.pixels[y0:y1, x0:x1]
    r = relief[y0:y1, x0:x1]
    inside = mask[y0:y1, x0:x1] > 127
    r = np.where(inside, r, 128).astype(np.uint8)
    # a wrinkle is redder than a shadow: blue and green darken more
    part[:] = cv2.multiply(part, cv2.merge([cv2.LUT(r, _SOFTER), r, r]), scale=1 / 128)
    for name in ("left", "right"):
        c.fill(f[f"nostril_{name}"], skin * (0.45, 0.36, 0.34))
        c.line(f[f"ala_{name}"], skin * (0.72, 0.6, 0.57), 0.035)
    c.line(f["nose_base"], skin * (0.74, 0.63, 0.6), 0.035)


_SOFTER = np.array([128 + (v - 128) * 0.8 for v in range(256)]).astype(np.uint8)


def _eye(c: Canvas, p: Person, f, name: str) -> None:
    skin = np.array(p.skin)
    c.fill(np.concatenate([f[f"crease_{name}"], f[f"lid_{name}"][::-1]]), skin * (0.9, 0.82, 0.8))
    c.line(f[f"crease_{name}"], skin * (0.66, 0.55, 0.53), 0.028)
    outline = f[f"eye_{name}"]
    x0, y0, x1, y1 = box = box_of(outline)
    mask = np.zeros((BIG, BIG), np.uint8)
    c.fill(outline, 255, mask)
    eye = np.empty_like(c.pixels)
    eye[y0:y1, x0:x1] = (244, 242, 238)
    c.line(f[f"lid_{name}"], (188, 184, 186), 0.07, eye)
    c.fill(f[f"iris_{name}"], np.array(p.iris) * 0.6, eye)
    middle = f[f"iris_{name}"].mean(0)
    c.fill((f[f"iris_{name}"] - middle) * 0.8 + middle, np.array(p.iris) * 1.15, eye)
    c.fill(f[f"pupil_{name}"], (12, 10, 12), eye)
    c.fill(f[f"glint_{name}"], (255, 255, 255), eye)
    c.through(mask[y0:y1, x0:x1], eye[y0:y1, x0:x1], box)
    c.line(f[f"under_{name}"], skin * (0.62, 0.48, 0.46), 0.025)
    c.line(f[f"lid_{name}"], mix(skin * 0.35, (24, 16, 16), p.lashes), 0.04 + 0.02 * p.lashes)


def _mouth(c: Canvas, p: Person, f) -> None:
    lips = np.array(p.lips)
    if p.beard in ("full", "moustache"):
        above = f["lips"][:13]
        tache = np.concatenate([above[1:-1] + (0, 0.3), (above - (0, 0.13 * c.unit / ZOOM))[::-1][1:-1]])
        c.fill(tache, mix(p.skin, p.hair, 0.85))
    c.fill(f["lips"], lips)
    c.fill(f["lip_upper"], lips * 0.86)
    opening = f["opening"]
    tall = float(np.linalg.norm(opening[6] - opening[19])) * ZOOM  # pixels
    if tall > 2.5:
        x0, y0, x1, y1 = box = box_of(opening)
        mask = np.zeros((BIG, BIG), np.uint8)
        c.fill(opening, 255, mask)
        inside = np.empty_like(c.pixels)
        inside[y0:y1, x0:x1] = (66, 18, 22)
        c.fill(f["tongue"], (188, 84, 88), inside)
        c.fill(f["teeth"], (244, 240, 232), inside)
        c.fill(f["teeth_low"], (226, 220, 210), inside)
        c.through(mask[y0:y1, x0:x1], inside[y0:y1, x0:x1], box)
        c.line(opening, lips * 0.55, 0.02, closed=True)
    else:
        c.line(f["lip_line"], lips * 0.45, 0.04)
    c.line(f["lip_shine"], np.minimum(lips * 1.18 + 12, 255), 0.03)


def _brows(c: Canvas, p: Person, f) -> None:
    colour = mix(p.hair, (30, 22, 20), 0.45 if sum(p.hair) < 420 else 0.25)
    for name in ("left", "right"):
        c.fill(f[f"brow_{name}"], colour)


def _hair_front(c: Canvas, p: Person, f) -> None:
    if p.style == "bald":
        return
    hair = np.array(p.hair)
    if p.style == "scarf":
        cloth = np.array(p.cloth)
        c.fill(f["hair"], cloth)
        for k in (0.25, 0.5, 0.75):  # folds
            c.line(f["hair"][:25] * (1 - k * 0.35) + f["face"].mean(0) * k * 0.35, cloth * (0.72 + 0.2 * k), 0.035)
        return
    c.fill(f["hair"], hair)
    if p.style != "crop" and p.fringe > 0.12:
        c.fill(f["fringe"], hair)
    crown = f["hair"][:28]
    inner = f["hair"][28:]
    for k, tint in enumerate((0.8, 1.22, 0.88, 1.3, 0.84, 1.18, 0.9)):  # strands from the crown to the hairline
        a = crown[3 + 3 * k]
        b = inner[min(len(inner) - 1, len(inner) - 3 - 3 * k)]
        c.line(np.stack([a * 0.9 + b * 0.1, a * 0.45 + b * 0.55]), hair * tint + 6 * (tint > 1), 0.05)
    c.line(inner, hair * 0.78, 0.03)
    if p.style == "curly":
        for point in f["hair"][:28:2]:
            c.fill(ellipse(point[0], point[1], 0.17 * c.unit / ZOOM, 0.17 * c.unit / ZOOM, 12), hair * 0.95)


def _glasses(c: Canvas, p: Person, s: Shot, f) -> None:
    if s.occluder == "sunglasses":
        for name in ("left", "right"):
            c.fill(f[f"glass_{name}"], (26, 26, 32))
            c.line(f[f"glass_{name}"], (8, 8, 10), 0.05, closed=True)
            c.line(f[f"temple_{name}"], (8, 8, 10), 0.06)
    elif p.glasses != "none":
        for name in ("left", "right"):
            c.line(f[f"glass_{name}"], p.frame, 0.045, closed=True)
            c.line(f[f"temple_{name}"], p.frame, 0.05)
    else:
        return
    left = f["glass_left"]
    right = f["glass_right"]
    bridge = np.stack([left[np.argmax(left[:, 0])], right[np.argmin(right[:, 0])]])
    c.line(bridge, (10, 10, 12) if s.occluder == "sunglasses" else p.frame, 0.05)


def regions(p: Person, s: Shot, units: dict[str, float]) -> dict[str, ndarray]:
    """Boolean (96, 96) masks: brows, eyes, nose, mouth, cheeks, face, and hidden (by what occludes)."""
    f = anatomy.shapes(p, s, units)
    c = Canvas((0, 0, 0), s.scale)
    parts = {
        "brows": ("brow_left", "brow_right"),
        "eyes": ("eye_left", "eye_right"),
        "nose": ("nose",),
        "mouth": ("lips", "around_mouth"),
        "cheeks": ("cheek_left", "cheek_right"),
        "face": ("face",),
    }
    swell = {"brows": 0.1, "eyes": 0.12}  # face units around the outline that belong to the region
    masks = {}
    for region, outlines in parts.items():
        plane = np.zeros((BIG, BIG), np.uint8)
        for outline in outlines:
            c.fill(f[outline], 255, plane)
            if region in swell:
                c.line(f[outline], 255, 2 * swell[region], plane, closed=True)
        masks[region] = cv2.resize(plane, (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 127
    hidden = scene.occlusion(c, p, s, f)
    masks["hidden"] = np.zeros((SIDE, SIDE), bool)
    if hidden is not None:
        masks["hidden"] = cv2.resize(hidden, (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 127
    return masks

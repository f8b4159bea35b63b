"""Who is drawn and how the picture is taken: traits that stay with a person, and those of one shot."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy import ndarray

SKIN_TONES = np.array(  # RGB of Fitzpatrick types I to VI
    [(246, 214, 196), (238, 196, 166), (219, 168, 128), (186, 130, 92), (138, 91, 62), (92, 60, 45)], float
)
SKIN_GROUPS = ("I-II", "I-II", "III-IV", "III-IV", "V-VI", "V-VI")
AGE_GROUPS = ("young", "middle", "old")
HAIR = np.array([(28, 22, 22), (58, 38, 28), (104, 68, 40), (150, 100, 52), (206, 164, 98), (150, 62, 34)], float)
GREY_HAIR = np.array((190, 188, 186), float)
IRIS = np.array([(62, 38, 22), (84, 54, 30), (104, 82, 44), (70, 104, 70), (66, 104, 144), (104, 120, 130)], float)
STYLES = ("short", "crop", "side", "long", "bob", "curly", "bun", "bald", "scarf")
OCCLUDERS = ("none", "sunglasses", "hand", "lock", "mask", "bar")


@dataclass(frozen=True)
class Person:
    """Traits of one identity; lengths in half face widths, colours RGB 0..255."""

    skin_type: int  # Fitzpatrick 1..6
    skin: tuple[float, ...]
    age: float  # 0 young .. 1 old
    hair: tuple[float, ...]
    style: str
    fringe: float  # 0 bare forehead .. 1 down to the brows
    volume: float
    beard: str  # "none", "stubble", "moustache", "full"
    glasses: str  # "none", "round", "square"
    frame: tuple[float, ...]
    iris: tuple[float, ...]
    lips: tuple[float, ...]
    lashes: float
    cloth: tuple[float, ...]
    width: float
    jaw: float
    chin: float
    cheekbone: float
    eye_x: float
    eye_y: float
    eye_w: float
    eye_h: float
    eye_tilt: float
    lid: float
    brow_y: float
    brow_thick: float
    brow_arch: float
    brow_tilt: float
    nose_w: float
    nose_l: float
    mouth_y: float
    mouth_w: float
    lip_thick: float
    mouth_curve: float
    freckles: int

    @property
    def skin_group(self) -> str:
        return SKIN_GROUPS[self.skin_type - 1]

    @property
    def age_group(self) -> str:
        return AGE_GROUPS[min(2, int(self.age * 3))]


@dataclass(frozen=True)
class Shot:
    """Pose (radians), light, background and camera of one picture."""

    seed: int
    yaw: float
    pitch: float
    roll: float
    shear: float
    scale: float  # pixels of a 96-pixel picture per half face width
    dx: float
    dy: float
    gaze_x: float
    gaze_y: float
    light: tuple[float, float]  # where it comes from, -1..1 each
    contrast: float
    exposure: float
    tint: tuple[float, ...]
    backdrop: int
    colours: tuple[tuple[float, ...], ...]
    occluder: str
    blur: float
    noise: float
    quality: int  # JPEG


def _rgb(values: ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in np.clip(values, 0, 255))


@lru_cache(maxsize=4096)
def person(seed: int) -> Person:
    """The identity that `seed` stands for."""
    rng = np.random.default_rng([seed, 1])
    # The order of the draws is part of the drawing: changed, it makes another person of every seed.
    tone = rng.uniform(0, 5)
    low = min(int(tone), 4)
    skin = SKIN_TONES[low] + (tone - low) * (SKIN_TONES[low + 1] - SKIN_TONES[low])
    skin = skin + rng.normal(0, 6) + rng.normal(0, 2.5, 3)
    skin_type = int(round(tone)) + 1
    age = rng.uniform(0, 1)
    dark = skin_type >= 4
    hair = HAIR[rng.choice(6, p=[0.7, 0.25, 0.05, 0, 0, 0] if dark else [0.2, 0.25, 0.2, 0.13, 0.14, 0.08])]
    grey = np.clip((age - 0.55) * 2.4, 0, 1) * (rng.random() < 0.8) * rng.uniform(0.5, 1)
    hair = hair * (1 - grey) + GREY_HAIR * grey + rng.normal(0, 6, 3)
    masculine = rng.random()
    style = rng.choice(STYLES, p=[0.2, 0.12, 0.15, 0.15, 0.12, 0.1, 0.06, 0.05, 0.05])
    beard = "none"
    if masculine > 0.55 and style not in ("long", "bob", "bun", "scarf"):
        beard = rng.choice(["none", "stubble", "moustache", "full"], p=[0.45, 0.3, 0.08, 0.17])
    made_up = masculine < 0.4 and rng.random() < 0.5
    rosy = np.array((176, 72, 84), float) if not made_up else np.array((186, 40, 66), float)
    lip_mix = 0.42 if not made_up else 0.7
    return Person(
        skin_type=skin_type,
        skin=_rgb(skin),
        age=float(age),
        hair=_rgb(hair),
        style=str(style),
        fringe=float(rng.beta(1, 2.2)),
        volume=float(rng.uniform(0.06, 0.22)),
        beard=str(beard),
        glasses=str(rng.choice(["none", "round", "square"], p=[0.8, 0.1, 0.1])),
        frame=_rgb(np.array([(30, 28, 30), (120, 70, 40), (150, 30, 40), (60, 80, 120)], float)[rng.integers(4)]),
        iris=_rgb(IRIS[rng.choice(6, p=[0.7, 0.25, 0.05, 0, 0, 0] if dark else [0.2, 0.2, 0.15, 0.15, 0.2, 0.1])]),
        lips=_rgb(skin * (1 - lip_mix) * 0.92 + rosy * min(1, 0.55 + skin.mean() / 400) * lip_mix),
        lashes=float(0.5 + 0.5 * made_up + 0.2 * rng.random()),
        cloth=_rgb(rng.uniform(50, 200) + rng.uniform(-45, 45, 3)),
        width=float(rng.normal(0.95, 0.045)),
        jaw=float(rng.uniform(0.72, 0.9) + 0.05 * masculine),
        chin=float(rng.normal(1.24, 0.05)),
        cheekbone=float(rng.uniform(0.96, 1.04)),
        eye_x=float(rng.normal(0.43, 0.025)),
        eye_y=float(rng.normal(-0.12, 0.03)),
        eye_w=float(rng.normal(0.245, 0.018)),
        eye_h=float(rng.normal(0.135, 0.014)),
        eye_tilt=float(rng.normal(-0.02, 0.03)),
        lid=float(rng.uniform(0, 0.22) + 0.12 * max(0, age - 0.5)),
        brow_y=float(rng.normal(-0.47, 0.03)),
        brow_thick=float(rng.uniform(0.075, 0.105) + 0.03 * masculine),
        brow_arch=float(rng.uniform(0.03, 0.1)),
        brow_tilt=float(rng.normal(0, 0.02)),
        nose_w=float(rng.normal(0.2, 0.022) + 0.03 * dark),
        nose_l=float(rng.normal(0.36, 0.035)),
        mouth_y=float(rng.normal(0.72, 0.03)),
        mouth_w=float(rng.normal(0.36, 0.03)),
        lip_thick=float(rng.uniform(0.055, 0.1) + 0.02 * dark),
        mouth_curve=float(rng.normal(0.015, 0.02)),
        freckles=int(rng.integers(15, 40)) if skin_type <= 2 and rng.random() < 0.25 else 0,
    )


@lru_cache(maxsize=4096)
def shot(seed: int) -> Shot:
    """The picture-taking that `seed` stands for."""
    rng = np.random.default_rng([seed, 2])
    angle = rng.uniform(0, 2 * np.pi)
    strength = rng.uniform(0.2, 1.0)
    return Shot(
        seed=seed,
        yaw=float(np.clip(rng.normal(0, 0.19), -0.5, 0.5)),
        pitch=float(np.clip(rng.normal(0, 0.11), -0.25, 0.25)),
        roll=float(np.clip(rng.normal(0, 0.09), -0.25, 0.25)),
        shear=float(rng.normal(0, 0.03)),
        scale=float(rng.uniform(33, 38)),
        dx=float(rng.normal(0, 1.6)),
        dy=float(rng.normal(0, 1.6)),
        gaze_x=float(np.clip(rng.normal(0, 0.3), -0.7, 0.7)),
        gaze_y=float(np.clip(rng.normal(0, 0.15), -0.3, 0.3)),
        light=(float(np.cos(angle) * strength), float(-abs(np.sin(angle)) * strength)),
        contrast=float(rng.uniform(0.8, 1.1)),
        exposure=float(rng.uniform(0.85, 1.18)),
        tint=tuple(float(v) for v in 1 + rng.normal(0, 0.03, 3)),
        backdrop=int(rng.integers(6)),
        colours=tuple(_rgb(c) for c in rng.uniform(60, 210, (4, 1)) + rng.uniform(-45, 45, (4, 3))),
        occluder=str(rng.choice(OCCLUDERS, p=[0.86, 0.04, 0.04, 0.03, 0.015, 0.015])),
        blur=float(rng.choice([0.0, rng.uniform(0.3, 1.1)], p=[0.6, 0.4])),
        noise=float(rng.uniform(0, 6)),
        quality=int(rng.integers(55, 96)),
    )

"""Which facial action units make which emotion, and how strongly a drawn face shows them."""

from collections.abc import Mapping

from numpy.random import Generator

# Units of the facial action coding system (Ekman & Friesen) that the drawing knows.
UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
}

# EMFACS prototypes: unit -> strength at full intensity (0..1).
PROTOTYPES: dict[str, dict[int, float]] = {
    "anger": {4: 1.0, 5: 0.5, 7: 0.7, 23: 1.0},
    "contempt": {12: 1.0, 14: 1.0},  # on one side of the face only
    "disgust": {9: 1.0, 15: 0.6, 16: 0.6},
    "fear": {1: 0.9, 2: 0.55, 4: 0.6, 5: 1.0, 20: 1.0, 25: 0.7},
    "happy": {6: 0.9, 12: 1.0},
    "neutral": {},
    "sad": {1: 1.0, 4: 0.5, 15: 1.0},
    "surprise": {1: 0.9, 2: 1.0, 5: 0.8, 26: 0.9},
}

# Units that come with an emotion now and then: unit -> (probability, strength).
COMPANIONS: dict[str, dict[int, tuple[float, float]]] = {
    "anger": {9: (0.2, 0.4), 10: (0.25, 0.6), 17: (0.35, 0.6), 24: (0.4, 0.8), 25: (0.25, 0.8)},
    "contempt": {4: (0.1, 0.3), 7: (0.2, 0.4), 24: (0.2, 0.5)},
    "disgust": {4: (0.4, 0.5), 6: (0.2, 0.4), 7: (0.4, 0.5), 10: (0.6, 0.9), 17: (0.3, 0.6), 25: (0.45, 0.7)},
    "fear": {7: (0.2, 0.3), 15: (0.15, 0.4), 26: (0.4, 0.5)},
    "happy": {25: (0.65, 1.0), 26: (0.25, 0.5), 1: (0.1, 0.3), 2: (0.1, 0.4)},
    "neutral": {},
    "sad": {6: (0.15, 0.3), 7: (0.2, 0.4), 17: (0.5, 0.8), 24: (0.15, 0.4)},
    "surprise": {25: (0.7, 0.6)},
}

# Emotions that share units, so that people and machines take one for the other.
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "anger": ("disgust", "sad", "contempt", "neutral"),
    "contempt": ("neutral", "happy", "disgust", "anger"),
    "disgust": ("anger", "sad", "contempt", "fear"),
    "fear": ("surprise", "sad", "disgust"),
    "happy": ("contempt", "surprise", "neutral"),
    "neutral": ("sad", "contempt", "anger", "happy"),
    "sad": ("neutral", "fear", "disgust", "anger"),
    "surprise": ("fear", "happy", "neutral"),
}

COLUMNS = (*(f"au{unit}" for unit in UNITS), "lean")


def expression(
    emotion: str,
    intensity: float,
    rng: Generator,
    *,
    second: str = "",
    share: float = 0.0,
    play: float = 1.0,
) -> dict[str, float]:
    """Action units `au1` ... `au26` in 0..1 and `lean` in -1..1 (-1: the picture's left side only) of one expression.

    `second` is blended in with `share` of the intensity. `play` scales how far a unit strays from its prototype;
    at 0 the result is the prototype itself.
    """
    units = dict.fromkeys(UNITS, 0.0)
    for name, strength in ((emotion, intensity), (second, intensity * share)):
        # A unit that both emotions move takes the stronger of the two, not their sum.
        for unit, apex in PROTOTYPES.get(name, {}).items():
            stray = 1 + play * rng.uniform(-0.3, 0.2)
            units[unit] = max(units[unit], apex * strength * stray)
        for unit, (probability, apex) in COMPANIONS.get(name, {}).items():
            if rng.random() < probability * play:
                units[unit] = max(units[unit], apex * strength * rng.uniform(0.5, 1.0))
    for unit in units:  # what a face at rest does, and slips that belong to no emotion
        if rng.random() < 0.25 * play:
            units[unit] += rng.uniform(0, 0.18)
    lean = rng.uniform(-0.25, 0.25) * play
    if emotion == "contempt":
        lean = rng.choice([-1.0, 1.0]) * rng.uniform(1 - 0.2 * play, 1.0)
    values = {f"au{unit}": round(float(min(max(value, 0.0), 1.0)), 3) for unit, value in units.items()}
    return values | {"lean": round(float(lean), 3)}


def random_units(rng: Generator) -> dict[str, float]:
    """A mixture of units that follows no emotion: what the trunk is pretrained on, shape as of `expression`."""
    values = {f"au{unit}": round(float(rng.beta(1.2, 1.4)), 3) if rng.random() < 0.2 else 0.0 for unit in UNITS}
    lean = rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.0) if rng.random() < 0.3 else rng.uniform(-0.25, 0.25)
    return values | {"lean": round(float(lean), 3)}


def both_sides(row: Mapping[str, float]) -> tuple[dict[int, float], dict[int, float]]:
    """Units of the picture's left and right half; 10, 12 and 14 follow `lean` wholly, the others slightly."""
    halves = []
    for side in (-1, 1):
        reach = min(1.0, max(0.0, 1 + side * float(row["lean"])))
        slight = 1 - 0.25 * (1 - reach)
        halves.append({u: float(row[f"au{u}"]) * (reach if u in (10, 12, 14) else slight) for u in UNITS})
    return halves[0], halves[1]

"""Emotions: the eight names, every spelling seen in the wild, the orders that data sets declare, and the two axes."""

from emohelpers.config.errors import SuiteError

EMOTIONS = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")  # alphabetical = our index

TARGETS = ("valence", "arousal")  # axes on which songs are rated: the order of ratings and of a model's outputs

ALIASES = {
    "angry": "anger",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "joy": "happy",
    "neutrality": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}

# An integer label means nothing without its order: a manifest names one of these or writes its own.
ORDERS = {
    "alphabetical": EMOTIONS,
    "affectnet": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"),
    "fer2013": ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    "ckplus": ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"),
    "rafdb": (None, "surprise", "fear", "disgust", "happy", "sad", "anger", "neutral"),  # counts from 1
    "ann_visual_emotion": ("anger", "fear", "happy", "neutral", "sad", "surprise"),
}


class UnknownLabel(SuiteError, ValueError):
    """A label that no alias and no declared order explains."""


def canonical(name: str) -> str:
    """One of `EMOTIONS` for any known spelling; raises `UnknownLabel` with the known ones otherwise."""
    key = str(name).strip().casefold()
    key = ALIASES.get(key, key)
    if key not in EMOTIONS:
        known = ", ".join([*EMOTIONS, *sorted(ALIASES)])
        raise UnknownLabel(f"unknown emotion {name!r}; known names: {known}")
    return key


def from_index(index: int | str, order: tuple[str | None, ...]) -> str:
    """The emotion that integer `index` means in a declared `order`, e.g. `ORDERS["affectnet"]`."""
    text = str(index).strip()
    position = int(text) if text.isdecimal() and len(text) < 9 else -1
    if not 0 <= position < len(order) or order[position] is None:
        declared = ", ".join(f"{i}={name}" for i, name in enumerate(order) if name)
        raise UnknownLabel(f"label {index!r} is not in the declared order: {declared}")
    return order[position]

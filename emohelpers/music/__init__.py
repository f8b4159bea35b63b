"""Valence and arousal of songs, and a GAN that composes spectrograms (notebook 07)."""

from emohelpers.music.contenders import (
    allowed,
    clips,
    from_scratch,
    judged,
    mean_predictor,
    parts,
    predictions,
    ratings,
    ridge,
    trained,
    transformer,
    vision,
)

__all__ = [
    "allowed",
    "clips",
    "from_scratch",
    "judged",
    "mean_predictor",
    "parts",
    "predictions",
    "ratings",
    "ridge",
    "trained",
    "transformer",
    "vision",
]

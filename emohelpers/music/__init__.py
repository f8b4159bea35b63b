"""Valence and arousal of songs, and a GAN that composes spectrograms (notebook 07)."""

from emohelpers.music.collection import TARGETS, Collection, songs
from emohelpers.music.composer import Composed, compose, listen
from emohelpers.music.contenders import Contender, audio_transformer, mean_predictor, ridge, vision_transformer
from emohelpers.music.realism import check, read_back

__all__ = [
    "TARGETS",
    "Collection",
    "Composed",
    "Contender",
    "audio_transformer",
    "check",
    "compose",
    "listen",
    "mean_predictor",
    "read_back",
    "ridge",
    "songs",
    "vision_transformer",
]

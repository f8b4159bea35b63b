"""Settings by notebook family, and where things are read and written."""

from emohelpers.config.recipes import Augmented, Baseline, Enhanced, Explain, Music, Ranking, Saga, Transfer
from emohelpers.config.settings import ConfigError, Data, assignments, chosen, digest, make, value

__all__ = [
    "assignments",
    "value",
    "Augmented",
    "Baseline",
    "ConfigError",
    "Data",
    "Enhanced",
    "Explain",
    "Music",
    "Ranking",
    "Saga",
    "Transfer",
    "chosen",
    "digest",
    "make",
]

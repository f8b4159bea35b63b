"""Settings by notebook family, and where things are read and written."""

from emohelpers.config.explain import Explain
from emohelpers.config.faces import Augmented, Baseline, Enhanced, Transfer
from emohelpers.config.music import Music
from emohelpers.config.ranking import Ranking
from emohelpers.config.saga import Saga
from emohelpers.config.settings import (
    Aside,
    ConfigError,
    assignments,
    chosen,
    decisive,
    digest,
    make,
    marked,
    restored,
    value,
    with_settings,
)
from emohelpers.config.shared import Data

__all__ = [
    "Aside",
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
    "assignments",
    "chosen",
    "decisive",
    "digest",
    "make",
    "marked",
    "restored",
    "value",
    "with_settings",
]

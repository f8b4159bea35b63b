"""Settings by notebook family, and where things are read and written."""

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
    "ConfigError",
    "Data",
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

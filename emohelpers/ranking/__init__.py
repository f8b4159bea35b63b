"""Which of two photographs people prefer (notebook 08)."""

from emohelpers.ranking.conclusion import conclude
from emohelpers.ranking.figures import changes, extremes, gap_bars, pair_gallery, shortcut_bars, strips
from emohelpers.ranking.judge import judge
from emohelpers.ranking.model import build, stopping
from emohelpers.ranking.photographs import pairs
from emohelpers.ranking.release import export, share
from emohelpers.ranking.shortcut import shortcut

__all__ = [
    "build",
    "changes",
    "conclude",
    "export",
    "extremes",
    "gap_bars",
    "judge",
    "pair_gallery",
    "pairs",
    "share",
    "shortcut",
    "shortcut_bars",
    "stopping",
    "strips",
]

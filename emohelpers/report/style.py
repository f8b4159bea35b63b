"""The house style of every figure: one colour an emotion, quiet axes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from emohelpers.config import files

COLOURS = {
    "anger": "#c4413b",
    "contempt": "#8a5a9e",
    "disgust": "#6f8f3a",
    "fear": "#3d4f8f",
    "happy": "#e3a72f",
    "neutral": "#8b8f94",
    "sad": "#4a90c2",
    "surprise": "#e07b39",
}
INK = "#2b2f36"
QUIET = "#6b7280"
FIRST = "#2f6f8f"
SECOND = "#d1603d"
LETTERING = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#c9cdd3",
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e8eaee",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.dpi": 100,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
}


@contextmanager
def house() -> Iterator[None]:
    """The house style for one figure; pyplot's own settings are as before afterwards."""
    with plt.rc_context({**sns.axes_style("whitegrid"), **sns.plotting_context("notebook"), **LETTERING}):
        yield


def colours(names: Sequence[str]) -> list[Any]:
    """One colour a name: the emotion's own, or the next of a qualitative palette."""
    spare = iter(sns.color_palette("husl", len(names)))
    return [COLOURS.get(name) or next(spare) for name in names]


def plain(text: str) -> str:
    """A file's or a person's name as a figure can show it: no formula between `$`, no half characters."""
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def finish(figure: Figure, title: str) -> Figure:
    """Gives `figure` its title and closes it for pyplot; whoever shows it says where it shows demo data."""
    if title:
        figure.suptitle(plain(title), x=0.01, ha="left", color=INK)
    plt.close(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure whole or not at all, at 150 dots an inch on white."""
    with files.replace(path) as temp:
        figure.savefig(temp, dpi=150, facecolor="white", bbox_inches="tight")


def paler(colour: Any, white: float) -> tuple[float, ...]:
    """`colour` mixed with this share of white."""
    return tuple(channel + (1 - channel) * white for channel in to_rgb(colour))

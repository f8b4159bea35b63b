"""One page of results: what ran, on which data, how well and beside what; everything it shows lies inside of it."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emohelpers.config import files
from emohelpers.report import templates
from emohelpers.suite.batch import duration
from emohelpers.suite.page import findings, thumbnails
from emohelpers.suite.page.findings import Comparison, Result
from emohelpers.suite.records import Figure

TEMPLATE = Path(__file__).with_name("index.html.jinja")
MAIN = 3  # figures a notebook that are drawn; all are in its table


@dataclass(frozen=True)
class Line:
    """A figure on the axis of a plot; positions in shares of its width."""

    label: str
    figure: Figure
    left: float
    width: float
    dot: float
    mean: bool  # over seeds


@dataclass(frozen=True)
class Section:
    """A notebook in a pass of the suite: its results, and the one whose pictures are drawn."""

    results: list[Result]
    first: Result
    plots: list[tuple[str, list[Line]]]  # of the main figures by name
    pictures: list[tuple[str, list[tuple[Path, str, int, int]]]]  # heading -> path, data URI, width, height

    @property
    def names(self) -> list[str]:
        """All figures of its table."""
        return list(dict.fromkeys(name for result in self.results for name in result.figures))


def write(root: Path) -> Path:
    """Writes `root`/index.html from what lies below `root`; returns its path."""
    results = findings.read(root)
    comparisons = findings.compared(results)
    text = templates.page(
        TEMPLATE,
        results=results,
        states=Counter(sorted(result.state for result in results)),
        data=", ".join(sorted({result.metrics.data for result in results if result.metrics.demo is False})),
        demo=any(result.metrics.demo for result in results),
        now=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        sections=_sections(results),
        comparisons=comparisons,
        beside=_beside(comparisons),
        environment=_environment(results),
        link=lambda path: quote(os.fsencode(path.relative_to(root))),
        words=lambda name: name.replace("_", " "),
        short=short,
        interval=interval,
        significance=significance,
        duration=duration,
    )
    # Names of files need not be text; what is none is written as a browser can read it.
    return files.write_bytes(root / "index.html", text.encode("utf-8", "backslashreplace"))


def _sections(results: Sequence[Result]) -> list[Section]:
    """A section a notebook and pass; all their pictures share the room of the page."""
    # Of a grid's points the first with figures stands for all; its pictures are drawn.
    groups = [list(group) for _, group in groupby(results, key=lambda result: (result.stem, result.family))]
    firsts = [next((result for result in group if result.figures), group[0]) for group in groups]
    inlined = thumbnails.inlined([path for result in firsts for path in result.pictures])
    sections = []
    for group, first in zip(groups, firsts, strict=True):
        kinds = thumbnails.by_kind([path for path in first.pictures if path in inlined])
        pictures = [(kind, [(path, *inlined[path]) for path in members]) for kind, members in kinds.items()]
        plots = [(name, _plot(group, name)) for name in list(first.figures)[:MAIN]]
        sections.append(Section(group, first, plots, pictures))
    return sections


def _plot(group: Sequence[Result], name: str) -> list[Line]:
    """One figure of a notebook: a line a run, and the mean over the seeds of each setting."""
    rows = {result.point or result.family: result.figures[name] for result in group if name in result.figures}
    means = {}
    for setting in dict.fromkeys(result.setting for result in group):
        mean = findings.across([result for result in group if result.setting == setting], name)
        if mean:
            means[", ".join(filter(None, [f"mean of {mean.n} seeds", setting]))] = mean
    return lines(rows, means if len(rows) > 1 else {})


def lines(rows: Mapping[str, Figure], means: Mapping[str, Figure]) -> list[Line]:
    """Figures and means with their intervals on one axis, which leaves a tenth of room on both sides."""
    bounds = [bound for figure in [*rows.values(), *means.values()] for bound in _bounds(figure)]
    span = max(bounds) - min(bounds)
    room = span * 0.1 or abs(max(bounds)) * 0.1 or 1.0
    start = min(bounds) - room
    width = span + 2 * room

    def line(label: str, figure: Figure, mean: bool) -> Line:
        low, high = _bounds(figure)
        return Line(label, figure, (low - start) / width, (high - low) / width, (figure.value - start) / width, mean)

    return [line(*row, False) for row in rows.items()] + [line(*row, True) for row in means.items()]


def _bounds(figure: Figure) -> tuple[float, float]:
    low, high = (figure.value if side is None else side for side in (figure.low, figure.high))
    return low, high


def _beside(comparisons: Sequence[Comparison]) -> list[tuple[str, list[Line]]]:
    """For each pass the two main figures of all results that were compared in it."""
    plots = []
    pairs = [pair for pair in comparisons if pair.rows]
    for family in dict.fromkeys(pair.result.family for pair in pairs):
        sides = [side for pair in pairs if pair.result.family == family for side in (pair.baseline, pair.result)]
        for name in findings.FIRST[:2]:
            rows = {f"{side.stem[:2]} {side.name}": side.figures[name] for side in sides if name in side.figures}
            if rows:
                plots.append((name, lines(dict(sorted(rows.items())), {})))
    return plots


def _environment(results: Sequence[Result]) -> dict[str, list[str]]:
    """Device, commit, hashes and versions: the different values of each."""
    values: dict[str, list[str]] = {}
    for result in results:
        metrics = result.metrics
        content = result.status.made_of
        facts = {"device": metrics.device, "commit": metrics.commit, "split": metrics.split, "package": content.code}
        for name, text in (facts | metrics.versions | content.versions).items():
            if text and text not in values.setdefault(name, []):
                values[name].append(text)
    return {name: texts for name, texts in values.items() if texts}


def short(value: float) -> str:
    """A figure with three decimals, a large one with none."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def interval(figure: Figure) -> str:
    """`[0.61, 0.70]`, or nothing where there is none."""
    return "" if None in (figure.low, figure.high) else f"[{short(figure.low)}, {short(figure.high)}]"


def significance(row: Mapping[str, Any]) -> str:
    """The p of a comparison where it was tested."""
    p = row.get("p", math.nan)
    return "" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"

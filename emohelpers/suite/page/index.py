"""One page of results: what ran, on which data, how well and beside what; everything it shows lies inside of it."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emohelpers.config import files
from emohelpers.suite.page import findings, thumbnails
from emohelpers.suite.page.findings import Result
from emohelpers.suite.page.markup import Markup, element, joined

TITLE = "Emotion notebooks"
MAIN = 3  # figures a notebook that are drawn; all are in its table
FILES = {"run.log": "log", "metrics.json": "figures", "config.json": "settings"}
DEMO = {True: "demo data", False: "real data", None: None}


def write(root: Path) -> Path:
    """Writes `root`/index.html from what lies below `root`; returns its path."""
    found = findings.read(root)
    style = Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
    head = [element("meta", charset="utf-8"), element("link", rel="icon", href="data:,"), element("title", TITLE)]
    head += [element("meta", name="viewport", content="width=device-width, initial-scale=1"), element("style", style)]
    parts = [_head(found), _ran(found, root), _compared(found), *_notebooks(found, root), _machine(found)]
    page = element("html", element("head", *head), element("body", *parts), lang="en")
    return files.write_text(root / "index.html", f"<!DOCTYPE html>\n{page}\n")


def _section(title: str, *inside: str | None, note: str = "") -> Markup:
    heading = element("h2", title, " ", element("small", note) if note else None)
    return element("section", heading, *inside)


def _head(found: Sequence[Result]) -> Markup:
    data = ", ".join(sorted({str(r.metrics.get("data")) for r in found if r.demo is False}))
    demo = any(r.demo for r in found)
    if demo and data:
        said = (
            f"Some of these runs are on demo data, drawn and played by code, some on real data ({data}): each says so."
        )
    elif demo:
        said = "Demo data, drawn and played by code: this shows that the machinery works and says nothing of people."
    else:
        said = f"Real data: {data}" if data else "No run has told yet on which data it is."
    states = [state(result) for result in found]
    counted = ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(sorted(states)))
    when = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    plural = "run" if len(found) == 1 else "runs"
    about = element("p", f"{len(found)} {plural}: {counted or 'none'} · written {when}", class_="quiet")
    return element("header", element("h1", TITLE), about, element("p", said, class_="data demo" if demo else "data"))


def state(result: Result) -> str:
    """A run's status in a word; `lost` where its runner was killed and it goes on when it is run again."""
    told = result.status.get("status", "by hand")
    return "lost" if told == "running" and time.time() - result.status.get("heartbeat", 0) > 120 else told


def _ran(found: Sequence[Result], root: Path) -> Markup:
    return _section("What ran", element("div", *[_card(result, root) for result in found], class_="runs"))


def _card(result: Result, root: Path) -> Markup:
    names = {f"{result.stem}.ipynb": "notebook", f"{result.stem}.part.ipynb": "unfinished notebook", **FILES}
    links = [
        element("a", text, href=_href(result.folder / name, root))
        for name, text in names.items()
        if (result.folder / name).is_file()
    ]
    where = " · ".join(filter(None, [result.family, result.point.replace(",", ", ")]))
    told = element("span", state(result), class_="state")
    badge = element("span", DEMO[result.demo], class_="badge") if DEMO[result.demo] else None
    figure = None
    for name, row in list(result.figures.items())[:1]:
        old = "; of an earlier run" if result.outdated else ""
        said = f" {_words(name)} {_interval(row)}{old}"
        figure = element("p", element("b", _number(row["value"])), said, class_="figure")
    started = result.status.get("started", "").replace("T", " ").replace("+00:00", " UTC")
    about = [started, _duration(result.status.get("seconds")), str(result.status.get("host", ""))]
    error = result.status.get("error")
    return element(
        "article",
        element("h3", result.stem),
        element("p", where, class_="point"),
        element("p", told, badge),
        figure,
        element("p", " · ".join(filter(None, about)), class_="quiet"),
        element("details", element("summary", "what went wrong"), element("pre", error)) if error else None,
        element("p", *[part for link in links for part in (link, " ")], class_="links"),
        class_=f"run {state(result).replace(' ', '-')}",
    )


def _notebooks(found: Sequence[Result], root: Path) -> Iterator[Markup]:
    """A section a notebook and pass: figures with intervals and across seeds, and the pictures of its first run."""
    groups = [list(group) for _, group in groupby(found, key=lambda result: (result.stem, result.family))]
    first = [next((result for result in group if result.metrics), group[0]) for group in groups]
    inside = thumbnails.inlined([path for result in first for path in result.pictures])
    for group, shown in zip(groups, first, strict=True):
        drawn = [_drawn(group, name) for name in list(shown.figures)[:MAIN]]
        parts = [*drawn, _table(group), *_pictures(shown, inside, root)]
        note = " · ".join(filter(None, [shown.family, DEMO[shown.demo]]))
        if any(parts):
            yield _section(shown.stem, *parts, note=note)


def _drawn(group: Sequence[Result], name: str) -> Markup:
    """One figure of a notebook: as text for one run; for several, dots and the mean over the seeds of each setting."""
    rows = {result.point or result.family: result.figures[name] for result in group if name in result.figures}
    if len(rows) == 1:
        (row,) = rows.values()
        return element("p", element("b", _number(row["value"])), f" {_words(name)} {_interval(row)}", class_="figure")
    means = {}
    for setting in dict.fromkeys(result.setting for result in group):
        mean = findings.across([result for result in group if result.setting == setting], name)
        if mean:
            means[", ".join(filter(None, [f"mean of {mean['n']} seeds", setting]))] = mean
    return _plot(name, rows, means)


def _plot(name: str, rows: Mapping[str, Any], means: Mapping[str, Any] | None = None) -> Markup:
    """Dots with their intervals on one axis, a row a run; below them the means over seeds."""
    whole = {**rows, **(means or {})}
    bounds = [_bounds(row) for row in whole.values()]
    low = min(low for low, _ in bounds)
    high = max(high for _, high in bounds)
    room = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    low, wide = low - room, high - low + 2 * room
    lines = []
    for label, row in whole.items():
        left, right = _bounds(row)
        bar = element("i", style=f"left:{(left - low) / wide:.2%};width:{(right - left) / wide:.2%}")
        dot = element("b", style=f"left:{(row['value'] - low) / wide:.2%}")
        value = element(
            "span", _number(row["value"]), " ", element("span", _interval(row), class_="quiet"), class_="value"
        )
        track = element("span", bar, dot, class_="track")
        kind = "row mean" if label in (means or {}) else "row"
        lines.append(element("div", element("span", label, class_="label"), track, value, class_=kind))
    n = next(iter(rows.values())).get("n")
    note = element("small", f" n = {n}" if n else "", "; the mean's interval is over seeds" if means else "")
    return element("div", element("h4", _words(name), note), *lines, class_="plot")


def _table(group: Sequence[Result]) -> Markup | None:
    names = list(dict.fromkeys(name for result in group for name in result.figures))
    if not names:
        return None
    head = element("tr", element("th"), *[element("th", _words(name)) for name in names])
    lines = []
    for result in group:
        cells = []
        for name in names:
            row = result.figures.get(name)
            interval = element("span", _interval(row), class_="quiet") if row else None
            cells.append(element("td", _number(row["value"]) if row else None, " ", interval))
        lines.append(element("tr", element("th", result.point or result.family), *cells))
    table = element("table", element("thead", head), element("tbody", *lines))
    return element("details", element("summary", f"all {len(names)} figures"), element("div", table, class_="wide"))


def _pictures(result: Result, inside: Mapping[Path, tuple[str, int, int]], root: Path) -> Iterator[Markup]:
    ordered = sorted((path for path in result.pictures if path in inside), key=thumbnails.rank)
    if ordered and result.point:
        yield element("p", f"Pictures of {result.point}; those of other points are in their folders.", class_="quiet")
    for kind, group in groupby(ordered, key=thumbnails.kind):
        shown = []
        for path in group:
            uri, width, height = inside[path]
            small = element("img", src=uri, width=width, height=height, alt=_words(path.stem))
            link = element("a", small, href=_href(path, root))
            shown.append(element("figure", link, element("figcaption", _words(path.stem))))
        yield joined(element("h4", kind), element("div", *shown, class_="pictures"))


def _compared(found: Sequence[Result]) -> Markup | None:
    lines = []
    names = ("notebook", "figure", "baseline", "here", "difference", "verdict")
    for line in findings.compared(found):
        title = element("th", line["result"].stem, element("br"), element("small", line["result"].name))
        if "refused" in line:
            lines.append(element("tr", title, element("td", f"not compared: {line['refused']}", colspan=5)))
        for row in line.get("rows", ()):
            interval = element("span", f"[{row['low']:+.3f}, {row['high']:+.3f}]", class_="quiet")
            p = row.get("p")
            told = None if p is None or math.isnan(p) else " p < 0.001" if p < 0.001 else f" p = {p:.3f}"
            tested = element("span", told, class_="quiet") if told else None
            verdict = element("span", row["verdict"], class_=f"verdict {row['verdict']}")
            cells = [_words(row["figure"]), f"{row['a']:.3f}", f"{row['b']:.3f}"]
            cells += [joined(element("b", f"{row['difference']:+.3f}"), " ", interval), joined(verdict, tested)]
            lines.append(element("tr", title, *[element("td", cell) for cell in cells]))
            title = element("th")
    if not lines:
        return None
    said = (
        "Notebooks 03, 04 and 05 against 01, paired on the same golden test set: differences with 95 % "
        "bootstrap intervals over groups, p by McNemar's exact test. Undecided: the interval holds zero."
    )
    plots = []
    for family in dict.fromkeys(line["result"].family for line in lines if "rows" in line):
        pairs = [line for line in lines if "rows" in line and line["result"].family == family]
        beside = {one.folder: one for line in pairs for one in (line["baseline"], line["result"])}.values()
        for name in findings.FIRST[:2]:
            rows = {f"{one.stem[:2]} {one.name}": one.figures[name] for one in beside if name in one.figures}
            plots += [_plot(name, dict(sorted(rows.items())))] if rows else []
    head = element("thead", element("tr", *[element("th", name) for name in names]))
    table = element("div", element("table", head, element("tbody", *lines)), class_="wide")
    return _section("Beside the baseline", element("p", said, class_="quiet"), *plots, table)


def _machine(found: Sequence[Result]) -> Markup:
    rows: dict[str, list[str]] = {}
    for result in found:
        made = result.status.get("made_of", {})
        about = {name: result.metrics.get(name) for name in ("device", "commit", "split")} | {
            "package": made.get("code")
        }
        for name, text in {**about, **(result.metrics.get("versions") or {}), **made.get("versions", {})}.items():
            if text and str(text) not in rows.setdefault(name, []):
                rows[name].append(str(text))
    lines = [
        element("tr", element("th", name), element("td", ", ".join(texts))) for name, texts in rows.items() if texts
    ]
    return _section("Environment", element("table", element("tbody", *lines), class_="plain"))


def _href(path: Path, root: Path) -> str:
    return quote(path.relative_to(root).as_posix())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _bounds(row: Mapping[str, Any]) -> tuple[float, float]:
    sides = (row.get("low"), row.get("high"))
    return tuple(row["value"] if side is None else side for side in sides)


def _interval(row: Mapping[str, Any]) -> str:
    return f"[{_number(row['low'])}, {_number(row['high'])}]" if None not in (row.get("low"), row.get("high")) else ""


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"

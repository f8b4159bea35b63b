"""What runs left behind, read back: figures, pictures and predictions of every notebook in every pass of the suite."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit  # quantile of t; scipy.stats takes a second to load

from emohelpers import metrics
from emohelpers.suite import runs

FIRST = ("accuracy", "macro_f1", "pairwise_accuracy", "ece")  # figures that a page shows before all others
COMPARED = ("01", "03", "04", "05")  # notebooks that are judged on one golden set


@dataclass(frozen=True)
class Result:
    """One notebook's folder."""

    folder: Path
    stem: str
    name: str  # the pass of the suite, with the point of the grid: demo@SEED=1
    status: dict[str, Any]  # empty for a notebook that was run by hand
    metrics: dict[str, Any]  # empty until metrics.json is there

    @property
    def family(self) -> str:
        """The pass without its point."""
        return self.name.partition("@")[0]

    @property
    def point(self) -> str:
        """`SEED=1`, or nothing where there was no grid."""
        return self.name.partition("@")[2]

    @property
    def setting(self) -> str:
        """The point without its seed: runs of one setting differ by chance alone."""
        return ",".join(part for part in self.point.split(",") if not part.startswith("SEED="))

    @property
    def demo(self) -> bool | None:
        """Whether the data were drawn or played by code; None where the run has not said it yet."""
        return self.metrics.get("demo")

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Figure -> value, low, high, n; the main ones first."""
        found = self.metrics.get("figures", {})
        whole = {k: v for k, v in found.items() if isinstance(v, dict) and isinstance(v.get("value"), int | float)}
        return {k: whole[k] for k in sorted(whole, key=lambda k: FIRST.index(k) if k in FIRST else len(FIRST))}

    @property
    def outdated(self) -> bool:
        """Whether the figures are older than the run that the status speaks of, which did not reach them."""
        file = self.folder / "metrics.json"
        return file.is_file() and file.stat().st_mtime < self.status.get("began", 0)

    @property
    def pictures(self) -> list[Path]:
        """Every figure that the notebook wrote."""
        return sorted(p for kind in ("*.png", "*.jpg") for p in self.folder.glob(kind) if p.stat().st_size)


def read(root: Path) -> list[Result]:
    """Every result below `root`, by notebook and pass; links to another point's folder are that point's."""
    marks = [f"{deep}/{mark}" for mark in ("status.json", "metrics.json") for deep in ("*", "*/*")]
    found = []
    for folder in sorted({path.parent for mark in marks for path in root.glob(mark)}):
        status = runs.status(folder)
        stem = status.get("stem", folder.name)
        name = status.get("run", folder.parent.name)
        if not folder.is_symlink():
            found.append(Result(folder, stem, name, status, _json(folder / "metrics.json")))
    return sorted(found, key=lambda result: (result.stem, result.name))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not written yet
        return {}
    return found if isinstance(found, dict) else {}


def across(results: Iterable[Result], figure: str) -> dict[str, float] | None:
    """Mean of one figure over runs of one setting, with its 95 % t interval; None for fewer than two."""
    values = [result.figures[figure]["value"] for result in results if figure in result.figures]
    if len(values) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = float(np.mean(values))
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def compared(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Notebooks 03, 04 and 05 against 01, paired on the same golden set, for each pass and point that has both.

    Each line: `result`, `baseline`, and either `rows` (of `comparison.compare`, all classes together) or `refused`.
    """
    ready = [r for r in results if r.stem[:2] in COMPARED and r.metrics and (r.folder / "predictions.csv").is_file()]
    lines = []
    for result in ready:
        baselines = [r for r in ready if r.stem[:2] == COMPARED[0] and _beside(r, result)]
        if result.stem[:2] == COMPARED[0] or not baselines:
            continue
        nearest = max(baselines, key=lambda one: one.point.count("="))  # that of the same seed before that of none
        line: dict[str, Any] = {"result": result, "baseline": nearest}
        try:
            lines.append(line | {"rows": _paired(nearest, result)})
        except (metrics.PredictionError, KeyError) as error:
            lines.append(line | {"refused": str(error)})
    return lines


def _beside(baseline: Result, result: Result) -> bool:
    """Whether two results belong together: the baseline may lack an axis of the grid that the result has."""
    points = [set(filter(None, one.point.split(","))) for one in (baseline, result)]
    return baseline.family == result.family and points[0] <= points[1]


def _paired(baseline: Result, result: Result) -> list[dict[str, Any]]:
    from emohelpers.metrics import compare

    tables = [metrics.read_predictions(one.folder / "predictions.csv") for one in (baseline, result)]
    classes = [column.removeprefix("p_") for column in tables[0].columns if column.startswith("p_")]
    table = compare.compare(*tables, classes, resamples=1000)
    return table[table["class"] == "all"].to_dict("records")

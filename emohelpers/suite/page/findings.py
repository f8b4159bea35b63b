"""What runs left behind, read back: figures, pictures and predictions of every notebook in every pass of the suite."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit  # quantile of t; scipy.stats takes a second to load

from emohelpers import metrics
from emohelpers.suite import records
from emohelpers.suite.records import Figure, Metrics, Status

FIRST = ("accuracy", "macro_f1", "pairwise_accuracy", "ece")  # figures that a page shows before all others
COMPARED = ("01", "03", "04", "05")  # notebooks that are judged on one golden set
FILES = {"run.log": "log", "metrics.json": "figures", "config.json": "settings"}  # file -> what a link to it says


@dataclass(frozen=True)
class Result:
    """One notebook's folder."""

    folder: Path
    stem: str
    name: str  # the pass of the suite, with the point of the grid: demo@SEED=1
    status: Status  # empty for a notebook that was run by hand
    metrics: Metrics  # empty until metrics.json is there

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
    def state(self) -> str:
        """The status in a word; `lost` where the runner was killed and the run goes on when it is run again."""
        if self.status.damaged:
            return "damaged"
        if self.status.status == "running" and time.time() - self.status.heartbeat > records.SILENT:
            return "lost"
        return self.status.status or "by hand"

    @property
    def damaged(self) -> list[str]:
        """Which files of the run cannot be read, and why."""
        notebook = records.read(self.folder / f"{self.stem}.ipynb", records.Record)
        return [record.damaged for record in (self.status, self.metrics, notebook) if record.damaged]

    @property
    def figures(self) -> dict[str, Figure]:
        """Figure by name, the main ones first."""
        rows = self.metrics.figures
        return {name: rows[name] for name in dict.fromkeys([*FIRST, *rows]) if name in rows}

    @property
    def outdated(self) -> bool:
        """Whether the figures are older than the run that the status speaks of, which did not reach them."""
        file = self.folder / "metrics.json"
        return file.is_file() and file.stat().st_mtime < self.status.began

    @property
    def pictures(self) -> list[Path]:
        """Every figure that the notebook wrote."""
        paths = [path for kind in ("*.png", "*.jpg") for path in self.folder.glob(kind)]
        return sorted(path for path in paths if path.is_file())

    @property
    def links(self) -> list[tuple[Path, str]]:
        """The files that a reader may open, and what they are."""
        names = {f"{self.stem}.ipynb": "notebook", f"{self.stem}.part.ipynb": "unfinished notebook", **FILES}
        return [(self.folder / name, text) for name, text in names.items() if (self.folder / name).is_file()]


@dataclass(frozen=True)
class Comparison:
    """A result beside its baseline: rows of `compare.compare`, all classes together, or why there are none."""

    result: Result
    baseline: Result
    rows: Sequence[dict[str, Any]] = ()
    refused: str = ""


def read(root: Path) -> list[Result]:
    """Every result below `root`, by notebook and pass; links to another point's folder are that point's."""
    marks = [f"{depth}/{name}" for name in ("status.json", "metrics.json") for depth in ("*", "*/*")]
    results = []
    for folder in {path.parent for mark in marks for path in root.glob(mark)}:
        if not folder.is_symlink():
            status = records.status(folder)
            figures = records.read(folder / "metrics.json", Metrics)
            stem = status.stem or folder.name
            results.append(Result(folder, stem, status.run or folder.parent.name, status, figures))
    return sorted(results, key=lambda result: (result.stem, result.name, result.folder))


def across(results: Iterable[Result], name: str) -> Figure | None:
    """Mean of one figure over runs of one setting, with its 95 % t interval; None for fewer than two."""
    values = [result.figures[name].value for result in results if name in result.figures]
    if len(values) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = float(np.mean(values))
    return Figure(value=mean, low=mean - half, high=mean + half, n=len(values))


def compared(results: Sequence[Result]) -> list[Comparison]:
    """Notebooks 03, 04 and 05 against 01, paired on the same golden set, for each pass and point that has both."""
    judged = [r for r in results if r.stem[:2] in COMPARED and r.figures and (r.folder / "predictions.csv").is_file()]
    baselines = [result for result in judged if result.stem.startswith(COMPARED[0])]
    comparisons = []
    for result in judged:
        beside = [baseline for baseline in baselines if _beside(baseline, result)]
        if result in baselines or not beside:
            continue
        # that of the same seed before that of none
        nearest = max(beside, key=lambda baseline: baseline.point.count("="))
        try:
            comparisons.append(Comparison(result, nearest, rows=_paired(nearest, result)))
        except (metrics.PredictionError, OSError, ValueError) as error:  # pandas' own errors are ValueErrors
            comparisons.append(Comparison(result, nearest, refused=str(error)))
    return comparisons


def _beside(baseline: Result, result: Result) -> bool:
    """Whether two results belong together: the baseline may lack an axis of the grid that the result has."""
    points = [set(filter(None, side.point.split(","))) for side in (baseline, result)]
    return baseline.family == result.family and points[0] <= points[1]


def _paired(baseline: Result, result: Result) -> list[dict[str, Any]]:
    from emohelpers.metrics import compare

    tables = [metrics.read_predictions(side.folder / "predictions.csv") for side in (baseline, result)]
    classes = [column.removeprefix("p_") for column in tables[0].columns if column.startswith("p_")]
    table = compare.compare(*tables, classes, resamples=1000)
    return table[table["class"] == "all"].to_dict("records")

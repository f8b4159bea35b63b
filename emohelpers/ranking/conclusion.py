"""What a ranking showed: metrics.json, the model changelog, and sentences that follow from the figures.

The texts are the templates changelog.md and learned.txt.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from emohelpers.config import files
from emohelpers.ranking import release
from emohelpers.ranking.judge import Judged
from emohelpers.ranking.photographs import Photographs
from emohelpers.ranking.release import Release
from emohelpers.report import Run
from emohelpers.train import Fit

HEADER = "# Model changelog\n\nNewest first; written by notebook 08 and `python -m emohelpers appeal export`.\n"
TEXTS = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True)
TEXTS.filters["percent"] = "{:.1%}".format


def conclude(
    run: Run, fit: Fit, photographs: Photographs, judged: Judged, preferred: Mapping[str, Any], exported: Release
) -> None:
    """Writes metrics.json, the bundle and the changelog of a run, and prints what it showed.

    Args:
        preferred: of `shortcut`; `exported` of `export`.
    """
    figures = judged.figures
    verdict = exported.verdict
    data = photographs.data
    sha256 = photographs.fingerprint
    run.save(
        figures,
        split=sha256,
        seconds=fit.seconds,
        by_gap=judged.gaps,
        shortcut=preferred,
        int8=verdict,
        latency_ms=exported.latency,
        status=fit.status,
        best_epoch=fit.best["epoch"],
        counts=photographs.counts,
    )
    release.bundle(run.folder, photographs, run.cfg, figures, trained=today())
    path = run / "model_changelog.md"
    changelog(path, run.cfg, figures, verdict, data=data.name, sha256=sha256, demo=bool(data.demo))
    print(learned(figures, preferred, verdict, demo=run.demo))


def changelog(
    path: Path,
    cfg: Any,
    figures: Mapping[str, Any],
    verdict: Mapping[str, Any],
    *,
    data: str,
    sha256: str,
    demo: bool,
) -> Path:
    """Puts this model's entry on top of the changelog; the same version on the same data replaces its earlier entry."""
    key = f"<!-- {cfg.version} {sha256[:12]} -->"
    of_run = {"cfg": cfg, "verdict": verdict, "data": data, "sha256": sha256, "demo": demo, "key": key}
    accuracy = figures["pairwise_accuracy"]
    tau = figures["tau"]
    entry = TEXTS.get_template("changelog.md").render(of_run, accuracy=accuracy, tau=tau, date=today())
    text = path.read_text(encoding="utf-8") if path.is_file() else HEADER
    earlier = [f"## {part.strip()}" for part in text.split("\n## ")[1:] if key not in part]
    return files.write_text(path, "\n\n".join([HEADER.rstrip(), entry, *earlier]) + "\n")


def today() -> str:
    """The date that goes into a bundle, UTC."""
    return datetime.now(UTC).date().isoformat()


def learned(
    figures: Mapping[str, Any], preferred: Mapping[str, Mapping[str, Any]], verdict: Mapping[str, Any], *, demo: str
) -> str:
    """What a run showed, in sentences that follow from its figures alone."""
    accuracy = figures["pairwise_accuracy"]
    tau = figures["tau"]
    template = TEXTS.get_template("learned.txt")
    return template.render(accuracy=accuracy, tau=tau, preferred=preferred, verdict=verdict, demo=demo).strip()

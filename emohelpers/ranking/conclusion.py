"""What a ranking showed: metrics.json, the model changelog, and sentences that follow from the figures."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emohelpers.config import files
from emohelpers.ranking import release
from emohelpers.ranking.judge import Judged
from emohelpers.ranking.photographs import Photographs
from emohelpers.ranking.release import Release
from emohelpers.report import Run
from emohelpers.train import Fit

HEADER = "# Model changelog\n\nNewest first; written by notebook 08 and `python -m emohelpers appeal export`.\n"


def conclude(
    run: Run, fit: Fit, photographs: Photographs, judged: Judged, preferred: Mapping[str, Any], exported: Release
) -> None:
    """Writes metrics.json, the bundle and the changelog of a run, and prints what it showed.

    Args:
        preferred: of `shortcut`; `exported` of `export`.
    """
    sha256 = photographs.fingerprint
    run.save(
        judged.figures,
        split=sha256,
        seconds=fit.seconds,
        by_gap=judged.gaps,
        shortcut=preferred,
        int8=exported.verdict,
        latency_ms=exported.latency,
        status=fit.status,
        best_epoch=fit.best["epoch"],
        counts=photographs.counts,
    )
    release.bundle(run.folder, photographs, run.cfg, judged.figures, trained=today())
    changelog(
        run / "model_changelog.md",
        run.cfg,
        judged.figures,
        exported.verdict,
        data=photographs.data.name,
        sha256=sha256,
        demo=photographs.data.demo,
    )
    print(learned(judged.figures, preferred, exported.verdict, demo=run.demo))


def changelog(
    path: str | Path,
    cfg: Any,
    figures: Mapping[str, Any],
    verdict: Mapping[str, Any],
    *,
    data: str,
    sha256: str,
    demo: bool | str,
) -> Path:
    """Puts this model's entry on top of the changelog; the same version on the same data replaces its earlier entry."""
    key = f"<!-- {cfg.version} {sha256[:12]} -->"
    accuracy, tau = figures["pairwise_accuracy"], figures["tau"]
    scenes = f"{tau['value']:.3f} ({tau['n']} scenes)" if tau["n"] else "not measured (no scene with 3 opinions)"
    lines = [
        f"## {cfg.version}, {today()}",
        key,
        "",
        f"- data: {data}{' (drawn, demo)' if demo else ''}, {sha256[:12]}; settings: `train.yaml`, `preprocess.yaml`",
        f"- {cfg.backbone}, augmentation of {cfg.augmented}",
        f"- pairwise accuracy {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}] on "
        f"{accuracy['n']} test pairs; tau-b inside scenes {scenes}",
        f"- int8: {'promoted' if verdict['promoted'] else 'not promoted: ' + verdict['reason']}",
    ]
    earlier = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else HEADER
    entries = [entry for entry in earlier.removeprefix(HEADER).split("\n## ") if entry.strip() and key not in entry]
    entries = ["## " + entry.strip().removeprefix("## ") for entry in entries]
    return files.write_text(path, "\n\n".join([HEADER.rstrip(), "\n".join(lines), *entries]) + "\n")


def today() -> str:
    """The date that goes into a bundle, UTC."""
    return datetime.now(UTC).date().isoformat()


def learned(
    figures: Mapping[str, Any], preferred: Mapping[str, Mapping[str, Any]], verdict: Mapping[str, Any], *, demo: str
) -> str:
    """What a run showed, in sentences that follow from its figures alone."""
    accuracy, tau, test = figures["pairwise_accuracy"], figures["tau"], verdict["test"]
    low = min(accuracy["low"], accuracy["scene_low"])
    high = max(accuracy["high"], accuracy["scene_high"])
    lines = [
        f"Of {accuracy['n']} pairs {accuracy['value']:.1%} are put in the right order (95 %: {low:.1%} to {high:.1%}, "
        "the wider of exact and by scene); guessing gives 50 %."
    ]
    if tau["n"]:
        lines.append(f"Inside {tau['n']} scenes tau-b is {tau['value']:.2f} ({tau['low']:.2f} to {tau['high']:.2f}).")
    for name, share in preferred.items():
        sees = "sees the augmentation" if share["low"] > 0.5 or share["high"] < 0.5 else "shows no preference"
        lines.append(f"{name}: prefers the augmented copy of a picture in {share['value']:.0%} of cases: {sees}.")
    worth = "is promoted" if verdict["promoted"] else f"is not promoted: {verdict['reason']}"
    lines.append(f"int8 {worth}; on the test pairs {test['flips']:.1%} flip, tau to fp32 {test['tau']:.3f}.")
    if demo:
        lines.append(f"All of this is about {demo}: it shows that the machinery works, and nothing of people's taste.")
    return "\n".join(lines)

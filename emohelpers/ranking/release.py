"""What leaves the workshop of a ranking: ONNX files, parity, latency, the bundle with its manifest, the changelog."""

import hashlib
import shutil
import statistics
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from emohelpers.config import files
from emohelpers.datasets.pairs import Pairs
from emohelpers.datasets.pixels import Pixels
from emohelpers.export import int8 as quantise
from emohelpers.export import onnx as export
from emohelpers.export.int8 import Budget
from emohelpers.export.runner import Runner
from emohelpers.metrics import pairs
from emohelpers.ranking import model as ranking

FP32, INT8 = "models/emo_aen.onnx", "models/emo_aen_int8.onnx"
PRECISION = {FP32: "fp32", INT8: "int8"}
CALIBRATION = 256  # training pictures that ranges are measured on
BUDGET = Budget(speed=1.0, flips=0.05)  # flips here are of any two pictures; of real pairs see WORTH
WORTH = {"flips": 0.01, "tau": 0.98}  # of the validation pairs: at most, at least
HEADER = "# Model changelog\n\nNewest first; written by notebook 08 and `python -m emohelpers appeal export`.\n"


def fingerprint(data: Pairs, pixels: Pixels) -> str:
    """SHA-256 of the data: every pair by its parts, contents and opinions."""
    sha = dict(zip(pixels.paths, pixels.sha256, strict=True))
    rows = data.pairs.assign(good=data.pairs["good"].map(sha), bad=data.pairs["bad"].map(sha))
    return hashlib.sha256(rows.sort_values(["folder", "good", "bad"]).to_csv(index=False).encode()).hexdigest()


def onnx(
    model: nn.Module, folder: str | Path, data: Pairs, pixels: Pixels, cfg, *, trained: str = ""
) -> export.Exported:
    """Writes `FP32` below `folder` with a dynamic batch; it appears only if it agrees with the model on validation."""
    squares = _squares(data, pixels, "val")
    return export.write(
        ranking.scorer(model), Path(folder) / FP32, squares, output="score", data_sha256=fingerprint(data, pixels),
        trained=trained, facts={"model_version": cfg.version},
    )  # fmt: skip


def int8(folder: str | Path, data: Pairs, pixels: Pixels, cfg) -> dict[str, Any]:
    """Writes `INT8` if it is not slower and keeps the order, else `models/rejected/`; calibrated on training pictures.

    Returns the verdict: promoted, reason, recipe, speed, flips and tau on the validation pairs.
    """
    home = Path(folder)
    target = home / INT8
    squares = _squares(data, pixels, "train", CALIBRATION)
    table = quantise.sweep(
        home / FP32, target, squares, _squares(data, pixels, "val", CALIBRATION),
        recipes=cfg.int8_recipes or quantise.OF_SCORES, most=cfg.int8_tries, budget=BUDGET, rounds=cfg.timing_rounds,
    )  # fmt: skip
    row = table[table["place"] != ""].iloc[0]
    reasons = [row["reason"]] if row["reason"] else []
    same = parity(home / FP32, row["place"], data, pixels, "val")
    if same["flips"] > WORTH["flips"]:
        reasons.append(f"{same['flips']:.1%} of the validation pairs flip, {WORTH['flips']:.0%} allowed")
    if not same["tau"] >= WORTH["tau"]:
        reasons.append(f"tau {same['tau']:.3f} between int8 and fp32, {WORTH['tau']} asked")
    place = Path(row["place"])
    if reasons and place == target:
        aside = target.parent / "rejected" / target.name
        aside.parent.mkdir(exist_ok=True)
        for old, new in ((target, aside), (target.with_suffix(".json"), aside.with_suffix(".json"))):
            shutil.move(old, new)
        place = aside
    verdict = {
        "promoted": not reasons, "reason": "; ".join(reasons), "recipe": row["recipe"],
        "file": place.relative_to(home).as_posix(), "speed": row["speed_1"], "megabytes": row["megabytes"],
        "megabytes_fp32": row["megabytes_fp32"], "val": same, "tried": len(table),
    }  # fmt: skip
    files.write_json(home / "models" / "int8_verdict.json", verdict)
    return verdict


def parity(one: str | Path, other: str | Path, data: Pairs, pixels: Pixels, part: str) -> dict[str, float]:
    """Two ONNX files on the pairs of a part: flips, tau and correlation of the scores, see `concordance.agreement`."""
    return pairs.agreement(*(scored(Runner(path), data, pixels, part) for path in (one, other)))


def scored(runner: Runner, data: Pairs, pixels: Pixels, part: str) -> pd.DataFrame:
    """The pairs of a part with an ONNX file's scores, as `ranking.scored` has PyTorch's."""
    rows = data.part(part)
    both = [runner.logits(pixels.take(pixels.rows(rows[side]))) for side in ("good", "bad")]
    return rows.assign(score_good=both[0].astype(float), score_bad=both[1].astype(float))


def latency(model: nn.Module, folder: str | Path, *, rounds: int = 30) -> dict[str, float]:
    """Median milliseconds of one picture on one thread, in turn: PyTorch, onnxruntime fp32, and int8 where promoted."""
    plain = ranking.scorer(model).cpu().eval()
    side = plain.spec["img_size"]
    picture = np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)
    runs: dict[str, Callable[[], Any]] = {"pytorch": lambda: plain(torch.from_numpy(picture))}
    for name, file in (("onnxruntime fp32", FP32), ("onnxruntime int8", INT8)):
        if (Path(folder) / file).is_file():
            runs[name] = _run(Runner(Path(folder) / file, threads=1), picture)
    threads, taken = torch.get_num_threads(), {name: [] for name in runs}
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(rounds + 3):
                for name, run in runs.items():
                    started = time.perf_counter()
                    run()
                    taken[name].append(1e3 * (time.perf_counter() - started))
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(times[3:]) for name, times in taken.items()}  # the first three are warm-up


def _run(runner: Runner, picture: np.ndarray) -> Callable[[], Any]:
    return lambda: runner.raw(picture)


def bundle(folder: str | Path, data: Pairs, pixels: Pixels, cfg, figures: Mapping[str, Any], *, trained: str) -> Path:
    """`manifest.json` for a web client, and `emo_aen_bundle.zip` with it, the promoted models and both YAML files."""
    home = Path(folder)
    runner = Runner(home / FP32)
    parts = [name for name in (FP32, INT8) if (home / name).is_file()]
    manifest = {
        "name": "emo_aen", "version": cfg.version, "trained": trained, "data": data.name, "demo": bool(data.demo),
        "data_sha256": fingerprint(data, pixels), "preferred": parts[-1],
        "models": [{"file": name, "precision": PRECISION[name], **_stamp(home / name)} for name in parts],
        "input": {"name": "input", "layout": "NCHW float32 RGB", "batch": "dynamic", **asdict(runner.preprocess)},
        "output": {"name": "score", "meaning": "appeal; only differences inside a scene mean something"},
        "figures": figures,
    }  # fmt: skip
    files.write_json(home / "manifest.json", manifest)
    with files.replace(home / "emo_aen_bundle.zip") as temp, zipfile.ZipFile(temp, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in (*parts, "manifest.json", "preprocess.yaml", "train.yaml"):
            packed.write(home / name, name)
    return home / "emo_aen_bundle.zip"


def _stamp(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def changelog(path: str | Path, cfg, figures: Mapping[str, Any], verdict: Mapping[str, Any], *, data: str, sha256: str,
              demo: bool | str) -> Path:  # fmt: skip
    """Puts this model's entry on top of the changelog; the same version on the same data replaces its earlier entry."""
    accuracy, key = figures["pairwise_accuracy"], f"<!-- {cfg.version} {sha256[:12]} -->"
    lines = [
        f"## {cfg.version}, {today()}", key, "",
        f"- data: {data}{' (drawn, demo)' if demo else ''}, {sha256[:12]}; settings: `train.yaml`, `preprocess.yaml`",
        f"- {cfg.backbone}, augmentation of {cfg.augmented}",
        f"- pairwise accuracy {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}] on "
        f"{accuracy['n']} test pairs; tau-b inside scenes {_number(figures['tau'])}",
        f"- int8: {'promoted' if verdict['promoted'] else 'not promoted: ' + verdict['reason']}",
    ]  # fmt: skip
    known = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else HEADER
    entries = [entry for entry in known.removeprefix(HEADER).split("\n## ") if entry.strip()]
    kept = ["## " + entry.strip().removeprefix("## ") for entry in entries if key not in entry]
    return files.write_text(path, "\n\n".join([HEADER.rstrip(), "\n".join(lines), *kept]) + "\n")


def _number(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['n']} scenes)" if figure["n"] else "not measured (no scene with 3 opinions)"


def _squares(data: Pairs, pixels: Pixels, part: str, most: int = 0) -> np.ndarray:
    """Pictures of a part, each content once, at most `most` of them, evenly spread."""
    names = data.table.loc[data.table["split"] == part, "path"]
    rows = list({pixels.sha256[row]: row for row in pixels.rows(names)}.values())
    if most and len(rows) > most:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, most).astype(int)]
    return pixels.take(np.array(rows))


def today() -> str:
    """The date that goes into a bundle, UTC."""
    return datetime.now(UTC).date().isoformat()


def learned(
    figures: Mapping[str, Any], preferred: Mapping[str, Mapping[str, Any]], verdict: Mapping[str, Any], *, demo: str
) -> None:
    """Prints what a run showed, in sentences that follow from its figures alone."""
    accuracy, tau = figures["pairwise_accuracy"], figures["tau"]
    low, high = min(accuracy["low"], accuracy["scene_low"]), max(accuracy["high"], accuracy["scene_high"])
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
    same = verdict["test"]
    lines.append(f"int8 {worth}; on the test pairs {same['flips']:.1%} flip, tau to fp32 {same['tau']:.3f}.")
    if demo:
        lines.append(f"All of this is about {demo}: it shows that the machinery works, and nothing of people's taste.")
    print("\n".join(lines))

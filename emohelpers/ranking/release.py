"""What leaves the workshop of a ranking: ONNX files, parity, latency, bundle with manifest, and the hub's folder."""

import hashlib
import json
import statistics
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import Module

from emohelpers.config import files
from emohelpers.export import hub, onnx
from emohelpers.export import int8 as int8_files
from emohelpers.export.int8 import Budget
from emohelpers.export.runner import Runner
from emohelpers.metrics import pairs as pair_metrics
from emohelpers.ranking.judge import scored_by_file
from emohelpers.ranking.model import scorer
from emohelpers.ranking.photographs import Photographs

FP32 = "models/emo_aen.onnx"
INT8 = "models/emo_aen_int8.onnx"
PRECISION = {FP32: "fp32", INT8: "int8"}
CALIBRATION = 256  # training pictures that ranges are measured on
BUDGET = Budget(speed=1.0, flips=0.05)  # flips here are of any two pictures; of real pairs see WORTH
WORTH = {"flips": 0.01, "tau": 0.98}  # of the validation pairs: at most, at least
WARM_UP = 3  # rounds that do not count


@dataclass(frozen=True)
class Release:
    """The files of one model, compared with it and with one another."""

    onnx: onnx.Exported
    verdict: dict[str, Any]  # of `int8`, and as `test` how far both files agree on the test pairs
    latency: dict[str, float]  # milliseconds of one picture on one thread

    @property
    def int8(self) -> str:
        """The promoted file, below the run's folder; "" if there is none."""
        return INT8 if self.verdict["promoted"] else ""

    def __str__(self) -> str:
        milliseconds = ", ".join(f"{name} {value:.2f}" for name, value in self.latency.items())
        reason = "promoted" if self.int8 else f"not promoted: {self.verdict['reason']}"
        test = self.verdict["test"]
        return (
            f"{self.onnx}\nint8 ({self.verdict['recipe']}) {reason}; on the test pairs {test['flips']:.1%} flip, tau "
            f"{test['tau']:.3f}\nmilliseconds a picture, one thread: {milliseconds}"
        )


def export(model: Module, folder: Path, photographs: Photographs, cfg: Any) -> Release:
    """Writes both ONNX files below `folder` and compares them with the model, on the test pairs and by the clock."""
    exported = write(model, folder, photographs, cfg)
    verdict = int8(folder, photographs, cfg)
    verdict["test"] = parity(folder / FP32, folder / verdict["file"], photographs, "test")
    return Release(exported, verdict, latency(model, folder, rounds=cfg.timing_rounds))


def write(model: Module, folder: Path, photographs: Photographs, cfg: Any, *, trained: str = "") -> onnx.Exported:
    """Writes `FP32` below `folder` with a dynamic batch; it appears only if it agrees with the model on validation."""
    return onnx.write(
        scorer(model),
        folder / FP32,
        photographs.sample("val"),
        output="score",
        data_sha256=photographs.fingerprint,
        trained=trained,
        facts={"model_version": cfg.version},
    )


def int8(folder: Path, photographs: Photographs, cfg: Any) -> dict[str, Any]:
    """Writes `INT8` if it is not slower and keeps the order, else `models/rejected/`; calibrated on training pictures.

    Returns the verdict: promoted, reason, recipe, speed, flips and tau on the validation pairs.
    """
    trials = int8_files.sweep(
        folder / FP32,
        folder / INT8,
        photographs.sample("train", CALIBRATION),
        photographs.sample("val", CALIBRATION),
        recipes=cfg.int8_recipes or int8_files.OF_SCORES,
        most=cfg.int8_tries,
        budget=BUDGET,
        rounds=cfg.timing_rounds,
    )
    best = trials[trials["place"] != ""].iloc[0]
    path = Path(best["place"])
    agreement = parity(folder / FP32, path, photographs, "val")
    # The sweep counted any two pictures; a release is judged on the pairs of the data too.
    reasons = [best["reason"]] if best["reason"] else []
    if agreement["flips"] > WORTH["flips"]:
        reasons.append(f"{agreement['flips']:.1%} of the validation pairs flip, {WORTH['flips']:.0%} allowed")
    if not agreement["tau"] >= WORTH["tau"]:  # never true of a NaN
        reasons.append(f"tau {agreement['tau']:.3f} between int8 and fp32, {WORTH['tau']} asked")
    reason = "; ".join(reasons)
    trial = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    # Settled once more, since the pairs may reject what the sweep promoted.
    path = int8_files.settle(folder / INT8, path.read_bytes(), trial | {"reason": reason})
    verdict = {
        "promoted": not reason,
        "reason": reason,
        "recipe": best["recipe"],
        "file": path.relative_to(folder).as_posix(),
        "speed": best["speed_1"],
        "megabytes": best["megabytes"],
        "megabytes_fp32": best["megabytes_fp32"],
        "val": agreement,
        "tried": len(trials),
    }
    files.write_json(folder / "models" / "int8_verdict.json", verdict)
    return verdict


def parity(a: Path, b: Path, photographs: Photographs, part: str) -> dict[str, float]:
    """Two ONNX files on the pairs of a part: flips, tau and correlation of the scores."""
    by_a, by_b = (scored_by_file(Runner(path), photographs, part) for path in (a, b))
    return pair_metrics.agreement(by_a, by_b)


def latency(model: Module, folder: Path, *, rounds: int = 30) -> dict[str, float]:
    """Median milliseconds of one picture on one thread, in turn: PyTorch, onnxruntime fp32, and int8 where promoted."""
    plain = scorer(model).cpu()
    side = plain.spec["img_size"]
    picture = np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)
    tensor = torch.from_numpy(picture)
    entrants = {"pytorch": lambda: plain(tensor)}
    for path, precision in PRECISION.items():
        if (folder / path).is_file():
            runner = Runner(folder / path, threads=1)
            entrants[f"onnxruntime {precision}"] = lambda runner=runner: runner.raw(picture)
    threads = torch.get_num_threads()
    milliseconds = {name: [] for name in entrants}
    # torch's threads are those of the process; onnxruntime's are set for each session above.
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(WARM_UP + rounds):
                # In turn within a round, so that a busy moment of the machine slows all alike.
                for name, answer in entrants.items():
                    started = time.perf_counter()
                    answer()
                    milliseconds[name].append(1e3 * (time.perf_counter() - started))
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(values[WARM_UP:]) for name, values in milliseconds.items()}


def bundle(folder: Path, photographs: Photographs, cfg: Any, figures: Mapping[str, Any], *, trained: str) -> Path:
    """`manifest.json` for a web client, and `emo_aen_bundle.zip` with it, the promoted models and both YAML files."""
    preprocess = Runner(folder / FP32).preprocess
    models = [_described(folder, path) for path in PRECISION if (folder / path).is_file()]
    manifest = {
        "name": "emo_aen",
        "version": cfg.version,
        "trained": trained,
        "data": photographs.data.name,
        "demo": bool(photographs.data.demo),
        "data_sha256": photographs.fingerprint,
        "preferred": models[-1]["file"],
        "models": models,
        "input": {"name": "input", "layout": "NCHW float32 RGB", "batch": "dynamic", **asdict(preprocess)},
        "output": {"name": "score", "meaning": "appeal; only differences inside a scene mean something"},
        "figures": figures,
    }
    files.write_json(folder / "manifest.json", manifest)
    names = [*(model["file"] for model in models), "manifest.json", "preprocess.yaml", "train.yaml"]
    target = folder / "emo_aen_bundle.zip"
    with files.replace(target) as temp, zipfile.ZipFile(temp, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
    return target


def _described(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return {"file": name, "precision": PRECISION[name], "sha256": sha256, "bytes": len(content)}


def share(folder: Path, checkpoint: Path, release: Release, photographs: Photographs, cfg: Any) -> None:
    """Makes the folder of the hub, sends it where `cfg.publish` says so, and prints what was sent or why not.

    Raises:
        PublishError: a file of the run is missing.
    """
    small = folder / release.int8 if release.int8 else None
    data = {"title": photographs.data.name}
    files_of_model = {"checkpoint": checkpoint, "onnx": release.onnx.path, "int8": small}
    home = hub.bundle(folder, folder / "hub", repo=cfg.repo, data=data, **files_of_model)
    hub.publish(home, cfg.repo, wanted=cfg.publish)

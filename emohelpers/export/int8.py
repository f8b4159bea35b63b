"""int8 files from ONNX files: static, per channel, calibrated on training pictures, and kept only if they are worth it.

Weights are int8 and activations uint8. What is worth it is a `Budget`; a file that is slower or changes more answers
goes to `rejected/` beside its place, with the reason.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from pandas import DataFrame
from scipy.special import softmax

from emohelpers import metrics
from emohelpers.config import files
from emohelpers.config.registry import INT8_RECIPES
from emohelpers.export import onnx
from emohelpers.export.quantiser import Recipe, fitting, static
from emohelpers.export.race import race
from emohelpers.export.runner import Runner
from emohelpers.metrics import compare
from emohelpers.report import facts

INT8_RECIPES.register("all", Recipe())
INT8_RECIPES.register("head in float", Recipe(classifier=False))
INT8_RECIPES.register("stem of 3 in float", Recipe(stem=3, classifier=False))
INT8_RECIPES.register("stem of 9 in float", Recipe(stem=9, classifier=False))
INT8_RECIPES.register("half in float", Recipe(stem=0.5, classifier=False))
INT8_RECIPES.register("weighted layers", Recipe(weighted=True))
INT8_RECIPES.register("stem of 3 and gates in float", Recipe(stem=3, classifier=False, gates=False))
INT8_RECIPES.register("percentile, stem of 3 in float", Recipe("percentile", stem=3, classifier=False))
INT8_RECIPES.register("entropy, half in float", Recipe("entropy", stem=0.5, classifier=False))
INT8_RECIPES.register("half and gates in float", Recipe(stem=0.5, classifier=False, gates=False))
INT8_RECIPES.register("entropy, half and gates in float", Recipe("entropy", stem=0.5, classifier=False, gates=False))

# In the order in which they are tried, unless the setting int8_recipes names others.
OF_CLASSES = (
    "all",
    "head in float",
    "stem of 3 in float",
    "stem of 9 in float",
    "half in float",
    "weighted layers",
    "stem of 3 and gates in float",
    "percentile, stem of 3 in float",
    "entropy, half in float",
)
# In MobileNetV3 gates (squeeze-and-excitation, h-swish) cost more in int8 than they save: left in float first.
# A score is finer than a class: half of the convolutions in float keep the order where a stem of three does not.
OF_SCORES = (
    "stem of 3 and gates in float",
    "half and gates in float",
    "head in float",
    "weighted layers",
    "entropy, half and gates in float",
)


@dataclass(frozen=True)
class Budget:
    """What an int8 file must keep to be promoted."""

    speed: float = 1.3  # times the fp32 file's, one picture, one thread
    flips: float = 0.015  # share of answers that may change

    def refusal(self, trial: dict[str, Any]) -> str:
        """What a `judge`d file lacks, "" if nothing."""
        reasons = []
        speed = trial["speed_1"]["ratio"]
        flips = trial["flips"]
        if speed < self.speed:
            reasons.append(f"{speed:.2f} times fp32's speed, {self.speed:g} asked")
        if flips > self.flips:
            reasons.append(f"{flips:.2%} of the answers change, {self.flips:.2%} allowed")
        return "; ".join(reasons)


def sweep(
    source: str | Path,
    path: str | Path,
    calibration: ndarray,
    squares: ndarray,
    labels: ndarray | None = None,
    *,
    recipes: Sequence[str] = OF_CLASSES,
    most: int | None = None,
    budget: Budget = Budget(),
    rounds: int = 40,
) -> DataFrame:
    """Tries the first `most` recipes that fit and promotes what changes fewest answers and is fast enough; a row each.

    What is promoted lies at `path`, else the nearest lies in `rejected/` with the reason in a JSON file of its name.

    Args:
        source: the fp32 file.
        calibration: training pictures (n, side, side, 3) uint8 that ranges are measured on.
        squares: validation pictures that choose, with their `labels`; `judge` then tells of the golden set.
        recipes: names of `INT8_RECIPES`.
        rounds: measurements behind a speed.
    """
    path = Path(path)
    fp32 = Runner(source).logits(squares)
    trials = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in fitting(source, [INT8_RECIPES[name] for name in recipes])[:most]:
            candidate = static(source, Path(folder) / f"{len(trials)}.onnx", calibration, recipe)
            trial = judge(source, candidate, squares, labels, fp32=fp32, rounds=rounds, resamples=200)
            trials.append({"recipe": str(recipe), **trial, "reason": budget.refusal(trial)})
        table = DataFrame(trials)
        # First those within the budget, then by changed answers; of equals the recipe that was tried earlier.
        best = table.assign(refused=table["reason"] != "").sort_values(["refused", "flips"], kind="stable").index[0]
        content = (Path(folder) / f"{best}.onnx").read_bytes()
    verdict = {"chosen": trials[best]["recipe"], "reason": trials[best]["reason"]}
    evidence = {"budget": asdict(budget), "pictures": len(squares), "device": facts.device_name(), "tried": trials}
    place = settle(path, content, verdict | evidence)
    table["place"] = np.where(table.index == best, str(place), "")
    return table


def settle(path: Path, content: bytes, verdict: dict[str, Any]) -> Path:
    """Puts a file and its verdict to `path`, or into `rejected/` beside it where there is a reason; the only two."""
    rejected = path.parent / "rejected" / path.name
    target, earlier = (rejected, path) if verdict["reason"] else (path, rejected)
    files.write_bytes(target, content)
    files.write_json(target.with_suffix(".json"), verdict)
    for old in (earlier, earlier.with_suffix(".json")):  # of an earlier run, when the verdict was another
        old.unlink(missing_ok=True)
    return target


def judge(
    source: str | Path,
    candidate: str | Path,
    squares: ndarray,
    labels: ndarray | None = None,
    *,
    fp32: ndarray | None = None,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    rounds: int = 40,
) -> dict[str, Any]:
    """An int8 file beside its fp32 file on the same pictures: size, speed, changed answers, accuracy, calibration.

    `flips` is the share of pictures that get another class; of pairs in another order where the output is a score.
    `difference` is the accuracy of int8 minus that of fp32, with its paired interval. `fp32` are the logits of the
    first file, where they are known.
    """
    runner = Runner(source)
    fp32 = runner.logits(squares) if fp32 is None else fp32
    int8 = Runner(candidate).logits(squares)
    trial = {
        "megabytes": Path(candidate).stat().st_size / 1e6,
        "megabytes_fp32": Path(source).stat().st_size / 1e6,
        "n": len(squares),
        "speed_1": race(source, candidate, threads=1, rounds=rounds),
        "speed_2": race(source, candidate, threads=2, rounds=rounds),
        "flips": 1 - onnx.agreement(fp32, int8),
        "max_difference": float(abs(fp32 - int8).max()),
    }
    if labels is None or fp32.ndim == 1:
        return trial
    # Two tables of predictions are paired by path; arrays have none, so numbers stand in.
    names = [f"{number:06d}" for number in range(len(squares))]
    columns = {} if groups is None else {"group": groups}

    def predictions(logits: ndarray) -> DataFrame:
        shares = softmax(logits / runner.temperature, axis=1)
        return metrics.predictions(names, labels, shares, runner.classes, **columns)

    before = predictions(fp32)
    after = predictions(int8)
    compared = compare.compare(before, after, runner.classes, resamples=resamples)
    accuracy = compared.query('`class` == "all" and figure == "accuracy"').iloc[0]
    return trial | {
        "accuracy_fp32": accuracy["a"],
        "accuracy": accuracy["b"],
        "difference": {"value": accuracy["difference"], "low": accuracy["low"], "high": accuracy["high"]},
        "ece_fp32": metrics.values(before, runner.classes)["ece"],
        "ece": metrics.values(after, runner.classes)["ece"],
    }

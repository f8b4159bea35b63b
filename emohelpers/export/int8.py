"""int8 files from ONNX files: static, per channel, calibrated on training pictures, and kept only if they are worth it.

Weights are int8 and activations uint8. What is worth it is a `Budget`; a file that is slower or changes more answers
goes to `rejected/` beside its place, with the reason.
"""

import contextlib
import logging
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from onnx import ModelProto, load_model, save_model
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from scipy.special import softmax

from emohelpers import metrics
from emohelpers.config import files
from emohelpers.export import onnx
from emohelpers.metrics import compare
from emohelpers.report import facts as report

PAUSE = 0.02  # seconds before each answer of a race: the other net's threads spin for a while before they rest
METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
WEIGHTED = ("Conv", "Gemm", "MatMul")
HISTOGRAM = 32  # pictures at most for "percentile" and "entropy", which keep every activation: 5 GB for a ViT-B
GATES = ("Sigmoid", "HardSigmoid", "HardSwish", "Softmax", "LayerNormalization", "Gelu", "Erf", "Mul")


@dataclass(frozen=True)
class Recipe:
    """What is quantised, and how the ranges of activations are found."""

    method: Literal["minmax", "percentile", "entropy"] = "minmax"
    stem: float = 0  # so many convolutions at the start, below 1 a share of all, stay in float: errors grow behind them
    classifier: bool = True  # whether the last layer is quantised; in float it costs nearly nothing
    weighted: bool = False  # only layers with weights: leaves additions, gates and attention products in float
    gates: bool = True  # whether products and activations (squeeze-and-excitation, h-swish) are quantised

    def __str__(self) -> str:
        share = f"{self.stem:.0%} of the convolutions" if self.stem < 1 else f"{self.stem:.0f} first convolutions"
        left = [share] if self.stem else []
        left += [] if self.classifier else ["classifier"]
        left += ["all without weights"] if self.weighted else [] if self.gates else ["gates"]
        return f"{self.method}; in float: {', '.join(left) or 'nothing'}"


RECIPES = (
    Recipe(),
    Recipe(classifier=False),
    Recipe(stem=3, classifier=False),
    Recipe(stem=9, classifier=False),
    Recipe(stem=0.5, classifier=False),
    Recipe(weighted=True),
    Recipe(stem=3, classifier=False, gates=False),
    Recipe("percentile", stem=3, classifier=False),
    Recipe("entropy", stem=0.5, classifier=False),
)


@dataclass(frozen=True)
class Budget:
    """What an int8 file must keep to be promoted."""

    speed: float = 1.3  # times the fp32 file's, one picture, one thread
    flips: float = 0.015  # share of answers that may change


class _Pictures(CalibrationDataReader):
    """Calibration pictures in batches, as onnxruntime asks for them."""

    def __init__(self, pictures: np.ndarray, batch: int = 32):
        self.parts = iter([pictures[i : i + batch] for i in range(0, len(pictures), batch)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        part = next(self.parts, None)
        return None if part is None else {"input": part}


def saturates() -> bool:
    """Whether this processor adds int8 products in 16 bits, so that weights must keep to 7 bits: x86 without VNNI."""
    info = Path("/proc/cpuinfo")
    known = info.read_text(errors="replace") if info.is_file() else ""
    return platform.machine() in ("x86_64", "AMD64") and not ("avx512_vnni" in known or "avx_vnni" in known)


def static(
    source: str | Path, path: str | Path, squares: np.ndarray, recipe: Recipe = Recipe(), *, reduce: bool | None = None
) -> Path:  # fmt: skip
    """Writes the int8 form of an ONNX file of this suite, with the same metadata and the recipe.

    Args:
        squares: training pictures (n, side, side, 3) uint8 that ranges are measured on; never golden ones.
        reduce: weights of 7 bits; by default where this processor saturates, see `saturates`.
    """
    reduce = saturates() if reduce is None else reduce
    runner = onnx.Runner(source)
    squares = squares if recipe.method == "minmax" else squares[:HISTOGRAM]
    quiet = contextlib.redirect_stdout(None)  # it prints each step of a calibration
    with tempfile.TemporaryDirectory() as folder, files.replace(path) as temp, quiet:
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(str(source), str(ready))  # the dynamo exporter's shapes are refused without it
        proto = named(load_model(ready))
        told = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it logs one line a node
        try:
            quantize_static(
                proto, str(temp), _Pictures(onnx.inputs(squares, runner.preprocess)), quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(WEIGHTED) if recipe.weighted else None, per_channel=True,
                reduce_range=reduce, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                nodes_to_exclude=left_out(proto, recipe), calibrate_method=CalibrationMethod[METHODS[recipe.method]],
                extra_options={"MatMulConstBOnly": recipe.weighted, "QDQKeepRemovableActivations": not recipe.gates},
            )  # fmt: skip
        finally:
            logging.getLogger().setLevel(told)
        made = load_model(temp)
        onnx.annotate(made, runner.facts | {"int8": asdict(recipe) | {"pictures": len(squares), "reduced": reduce}})
        save_model(made, temp)
    return Path(path)


def named(proto: ModelProto) -> ModelProto:
    """The same graph with a name for each node: onnxruntime takes HardSwish apart and leaves the parts without one."""
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_unnamed_{number}"
    return proto


def left_out(proto: ModelProto, recipe: Recipe) -> list[str]:
    """Names of the nodes that a recipe leaves in float.

    The stem is left out whole, from the input on: a node in float behind a quantised convolution would be fed without
    the ReLU between them, which the quantiser takes away (onnxruntime 1.31; hence also `QDQKeepRemovableActivations`).
    """
    nodes = list(proto.graph.node)
    out = [] if recipe.gates else [node.name for node in nodes if node.op_type in GATES]
    convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv"]
    if stem := round(recipe.stem if recipe.stem >= 1 else recipe.stem * len(convolutions)):
        end = convolutions[stem] if stem < len(convolutions) else len(nodes)
        out += [node.name for node in nodes[:end]]
    if not recipe.classifier:
        last = max((i for i, node in enumerate(nodes) if node.op_type in WEIGHTED), default=len(nodes))
        out += [node.name for node in nodes[last:]]
    return list(dict.fromkeys(out))


def fitting(source: str | Path, recipes: Sequence[Recipe]) -> list[Recipe]:
    """The recipes that quantise something in this net, each choice once: a transformer has but one convolution."""
    proto, found = named(load_model(source)), {}
    layers = {node.name for node in proto.graph.node if node.op_type in WEIGHTED}
    for recipe in recipes:
        out = frozenset(left_out(proto, recipe))
        if layers - out:
            found.setdefault((recipe.method, recipe.weighted, out), recipe)
    return list(found.values())


def race(
    source: str | Path, candidate: str | Path, *, threads: int, batch: int = 1, rounds: int = 40
) -> dict[str, float]:
    """How many times faster `candidate` answers: both in turn, in changing order; median over rounds, 95 % interval."""
    runners = [onnx.Runner(path, threads=threads) for path in (source, candidate)]
    side = runners[0].preprocess.img_size
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((batch, 3, side, side), dtype=np.float32)
    taken = np.zeros((rounds + 3, 2))
    for row in taken:
        for which in rng.permutation(2):
            time.sleep(PAUSE)
            started = time.perf_counter()
            runners[which].raw(pictures)
            row[which] = time.perf_counter() - started
    each = taken[3:, 0] / taken[3:, 1]  # the first three are warm-up
    drawn = np.median(rng.choice(each, (1000, rounds)), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    milliseconds = 1e3 * statistics.median(taken[3:, 1])
    return {"ratio": float(np.median(each)), "low": float(low), "high": float(high), "milliseconds": milliseconds}


def judge(
    source: str | Path, candidate: str | Path, squares: np.ndarray, labels: np.ndarray | None = None, *,
    fp32: np.ndarray | None = None, groups: Sequence[str] | None = None, resamples: int = 1000, rounds: int = 40,
) -> dict[str, Any]:  # fmt: skip
    """An int8 file beside its fp32 file on the same pictures: size, speed, changed answers, accuracy, calibration.

    `flips` is the share of pictures that get another class; of pairs in another order where the output is a score.
    `difference` is the accuracy of int8 minus that of fp32, with its paired interval. `fp32` are the logits of the
    first file, where they are known.
    """
    before, after = onnx.Runner(source), onnx.Runner(candidate)
    one, two = before.logits(squares) if fp32 is None else fp32, after.logits(squares)
    size = [Path(p).stat().st_size / 1e6 for p in (source, candidate)]
    found: dict[str, Any] = {"megabytes": size[1], "megabytes_fp32": size[0], "n": len(squares)}
    found |= {f"speed_{t}": race(source, candidate, threads=t, rounds=rounds) for t in (1, 2)}
    found |= {"flips": 1 - onnx.agreement(one, two), "max_difference": float(abs(one - two).max())}
    if labels is None or one.ndim == 1:
        return found
    names = [f"{i:06d}" for i in range(len(squares))]
    more = {} if groups is None else {"group": groups}
    tables = [
        metrics.predictions(names, labels, softmax(z / before.temperature, axis=1), before.classes, **more)
        for z in (one, two)
    ]
    told = compare.compare(*tables, before.classes, resamples=resamples)
    row = told[(told["class"] == "all") & (told["figure"] == "accuracy")].iloc[0]
    found |= {"accuracy_fp32": row["a"], "accuracy": row["b"]}
    found["difference"] = {name: row[column] for name, column in
                           (("value", "difference"), ("low", "low"), ("high", "high"))}  # fmt: skip
    for name, table in zip(("ece_fp32", "ece"), tables, strict=True):
        found[name] = metrics.classification(table, before.classes, resamples=100)["ece"]["value"]
    return found


def sweep(
    source: str | Path, path: str | Path, calibration: np.ndarray, squares: np.ndarray,
    labels: np.ndarray | None = None, *, recipes: Sequence[Recipe] = RECIPES, most: int | None = None,
    budget: Budget = Budget(), reduce: bool | None = None, rounds: int = 40,
) -> pd.DataFrame:  # fmt: skip
    """Tries the first `most` recipes that fit and promotes what changes fewest answers and is fast enough; a row each.

    The choice needs pictures of its own: `squares` are of the validation part. `judge` then tells of the golden set.
    What is promoted lies at `path`, else the nearest lies in `rejected/` with the reason in a JSON file of its name.
    """
    rows, path, known = [], Path(path), onnx.Runner(source).logits(squares)
    with tempfile.TemporaryDirectory() as folder:
        for number, recipe in enumerate(fitting(source, recipes)[:most]):
            made = static(source, Path(folder) / f"{number}.onnx", calibration, recipe, reduce=reduce)
            found = judge(source, made, squares, labels, fp32=known, rounds=rounds, resamples=200)
            reasons = []
            if found["speed_1"]["ratio"] < budget.speed:
                reasons.append(f"{found['speed_1']['ratio']:.2f} times fp32's speed, {budget.speed:g} asked")
            if found["flips"] > budget.flips:
                reasons.append(f"{found['flips']:.2%} of the answers change, {budget.flips:.2%} allowed")
            rows.append({"recipe": str(recipe), **found, "reason": "; ".join(reasons)})
        order = sorted(range(len(rows)), key=lambda i: (bool(rows[i]["reason"]), rows[i]["flips"]))
        best = order[0]
        aside = path.parent / "rejected" / path.name
        place, other = (aside, path) if rows[best]["reason"] else (path, aside)
        files.write_bytes(place, (Path(folder) / f"{best}.onnx").read_bytes())
    for old in (other, other.with_suffix(".json")):  # of an earlier run, when the verdict was another
        old.unlink(missing_ok=True)
    table = pd.DataFrame(rows)
    table["place"] = ""
    table.loc[best, "place"] = str(place)
    facts = {"budget": asdict(budget), "pictures": len(squares), "device": report.device_name(), "tried": rows}
    files.write_json(
        place.with_suffix(".json"), {"chosen": rows[best]["recipe"], "reason": rows[best]["reason"], **facts}
    )
    return table

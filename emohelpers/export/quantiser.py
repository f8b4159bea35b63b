"""The quantiser of onnxruntime, told what to leave in float: a `Recipe`; `int8` chooses among them."""

import contextlib
import logging
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from numpy import ndarray
from onnx import ModelProto, load_model
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from emohelpers.config import files
from emohelpers.export import onnx
from emohelpers.export.runner import BATCH, Runner, inputs

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
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
        parts = []
        if self.stem:
            parts.append(
                f"{self.stem:.0%} of the convolutions" if self.stem < 1 else f"{self.stem:.0f} first convolutions"
            )
        if not self.classifier:
            parts.append("classifier")
        if self.weighted:
            parts.append("all without weights")
        elif not self.gates:
            parts.append("gates")
        return f"{self.method}; in float: {', '.join(parts) or 'nothing'}"


class _Pictures(CalibrationDataReader):
    """Calibration pictures in batches, as onnxruntime asks for them."""

    def __init__(self, pictures: ndarray):
        self.parts = iter([pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)])

    def get_next(self) -> dict[str, ndarray] | None:
        part = next(self.parts, None)
        return None if part is None else {"input": part}


def saturates() -> bool:
    """Whether this processor adds int8 products in 16 bits, so that weights must keep to 7 bits: x86 without VNNI."""
    info = Path("/proc/cpuinfo")
    known = info.read_text(errors="replace") if info.is_file() else ""
    exact = "avx512_vnni" in known or "avx_vnni" in known
    return platform.machine() in ("x86_64", "AMD64") and not exact


def static(source: str | Path, path: str | Path, squares: ndarray, recipe: Recipe = Recipe()) -> Path:
    """Writes the int8 form of an ONNX file of this suite, with the same metadata and the recipe.

    Weights have 7 bits where this processor saturates, see `saturates`.

    Args:
        squares: training pictures (n, side, side, 3) uint8 that ranges are measured on; never golden ones.
    """
    reduced = saturates()
    runner = Runner(source)
    if recipe.method != "minmax":
        squares = squares[:HISTOGRAM]
    with tempfile.TemporaryDirectory() as folder, files.replace(path) as temp, _quiet():
        shaped = Path(folder) / "shaped.onnx"
        quant_pre_process(str(source), str(shaped))  # the dynamo exporter's shapes are refused without it
        proto = named(load_model(shaped))
        quantize_static(
            proto,
            str(temp),
            _Pictures(inputs(squares, runner.preprocess)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(WEIGHTED) if recipe.weighted else None,
            per_channel=True,
            reduce_range=reduced,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=left_out(proto, recipe),
            calibrate_method=METHODS[recipe.method],
            # MatMulConstBOnly leaves products of two activations, as in attention, in float.
            extra_options={"MatMulConstBOnly": recipe.weighted, "QDQKeepRemovableActivations": not recipe.gates},
        )
        receipt = asdict(recipe) | {"pictures": len(squares), "reduced": reduced}
        onnx.annotate(temp, runner.facts | {"int8": receipt})
    return Path(path)


@contextlib.contextmanager
def _quiet():
    """onnxruntime prints each step of a calibration and logs one line a node."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        logging.getLogger().setLevel(level)


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
    convolutions = [position for position, node in enumerate(nodes) if node.op_type == "Conv"]
    weighted = [position for position, node in enumerate(nodes) if node.op_type in WEIGHTED]
    in_float = [] if recipe.gates else [node for node in nodes if node.op_type in GATES]
    if stem := round(recipe.stem if recipe.stem >= 1 else recipe.stem * len(convolutions)):
        end = convolutions[stem] if stem < len(convolutions) else len(nodes)
        in_float += nodes[:end]
    if not recipe.classifier and weighted:
        in_float += nodes[weighted[-1] :]
    return list(dict.fromkeys(node.name for node in in_float))


def fitting(source: str | Path, recipes: Sequence[Recipe]) -> list[Recipe]:
    """The recipes that quantise something in this net, each choice once: a transformer has but one convolution."""
    proto = named(load_model(source))
    layers = {node.name for node in proto.graph.node if node.op_type in WEIGHTED}
    choices = {}
    for recipe in recipes:
        in_float = frozenset(left_out(proto, recipe))
        if layers - in_float:
            choices.setdefault((recipe.method, recipe.weighted, in_float), recipe)
    return list(choices.values())

"""ONNX files that stand alone: exported, compared with PyTorch on real pictures, and refused where they differ.

A client needs the file and nothing else: its metadata hold class names, preprocessing, temperature, version, date and
data hash, see `Runner`. A model whose output is one number a picture (a ranking's score) takes the same way.
"""

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto, load_model, save_model
from scipy.special import softmax
from torch import nn

import emohelpers
from emohelpers import models
from emohelpers.config import files
from emohelpers.images.preprocess import Preprocess

OPSET = 18  # the exporter's floor: it ignores a smaller wish, and PyTorch's own default moves with its version
BATCHES = (1, 2, 7)  # sizes that every file is run with before it counts as exported


class ExportError(RuntimeError):
    """No exporter gave a file that agrees with the model: what each one failed at."""


@dataclass(frozen=True)
class Parity:
    """How far an ONNX file and its model are apart on the same pictures."""

    n: int
    max_difference: float  # of logits or scores
    agreement: float  # share of pictures with the same class; of pairs in the same order, where the output is a score
    accuracy_torch: float | None = None
    accuracy_onnx: float | None = None


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was compared with its model."""

    path: Path
    opset: int  # as read back from the file
    way: str  # the exporter that succeeded
    failed: dict[str, str]  # exporters tried before, with the reason
    megabytes: float
    parity: Parity

    def __str__(self) -> str:
        p = self.parity
        told = f"{self.path.name}: {self.megabytes:.1f} MB, opset {self.opset} ({self.way}); on {p.n} pictures at most "
        told += f"{p.max_difference:.1e} apart, {p.agreement:.1%} agree"
        if p.accuracy_onnx is not None:
            told += f"; accuracy {p.accuracy_torch:.4f} in PyTorch, {p.accuracy_onnx:.4f} in onnxruntime"
        return "\n".join([told, *(f"  {way} failed: {reason}" for way, reason in self.failed.items())])


def onnx(
    model: nn.Module,
    path: str | Path,
    squares: np.ndarray,
    *,
    preprocess: Preprocess | None = None,
    output: Literal["classes", "score"] = "classes",
    classes: Sequence[str] = (),
    labels: np.ndarray | None = None,
    temperature: float | None = None,
    data_sha256: str = "",
    trained: str = "",
    tolerance: float = 1e-4,
    opset: int = OPSET,
    fold: bool = True,
    clone: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Exported:
    """Writes `model` as one self-contained ONNX file with a dynamic batch; it appears only if it agrees with the model.

    The exporters are tried in turn: dynamo, dynamo without folding, dynamo at PyTorch's own opset, the older tracer.

    Args:
        squares: hold-out pictures of the store, (n, side, side, 3) uint8, on which model and file are compared.
        preprocess: of the model; by default what `model.spec` carries. Likewise `classes`.
        output: "classes": (B, K) logits; "score": one number a picture, (B,) or (B, 1).
        labels: (n,) indices, for the accuracy of both.
        temperature: the calibration's, if there is one; clients divide the logits by it.
        data_sha256: names the training data; `trained` is a date, by default today's.
        tolerance: largest difference of logits or scores that is accepted.
        fold: whether constants are folded while exporting.
        clone: ends the graph with a copy of the output, for models that return a view of an input or a state.
        facts: further metadata, JSON.

    Raises:
        ExportError: every exporter failed or differed, with the reason of each.
    """
    spec = getattr(model, "spec", {})
    preprocess = preprocess or _preprocess(spec)
    classes = list(classes or spec.get("classes", ()))
    if output == "classes" and not classes:
        raise ExportError("the names of the classes are missing: give classes=, or a model of models.load")
    told = {
        "output": output, "classes": classes, "preprocess": asdict(preprocess), "layout": "NCHW float32 RGB",
        "temperature": temperature, "version": emohelpers.__version__, "data_sha256": data_sha256,
        "trained": trained or datetime.now(UTC).date().isoformat(), "backbone": spec.get("backbone"), **(facts or {}),
    }  # fmt: skip
    plain = prepared(model, clone=clone)
    failed: dict[str, str] = {}
    with files.replace(path) as temp:
        for way, (dynamo, wanted, folded) in _ways(opset, fold).items():
            try:
                _write(plain, temp, preprocess.img_size, output, dynamo=dynamo, opset=wanted, fold=folded)
                proto = load_model(temp)
                annotate(proto, told | {"exporter": way})
                save_model(proto, temp)
                parity = compare(plain, temp, squares, labels)
                if parity.max_difference <= tolerance:  # never true of a NaN
                    break
                failed[way] = f"differs by {parity.max_difference:.2e} from the model, {tolerance:.0e} is allowed"
            except Exception as error:  # exporters fail in dozens of types: each is kept, and all are told
                failed[way] = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"
        else:
            reasons = "".join(f"\n  {way}: {reason}" for way, reason in failed.items())
            raise ExportError(f"{path} was not written, since no exporter gave a file that agrees with it:{reasons}")
        size = temp.stat().st_size / 1e6
    return Exported(Path(path), proto.opset_import[0].version, way, failed, size, parity)


def _ways(opset: int, fold: bool) -> dict[str, tuple[bool, int | None, bool]]:
    """Exporters in the order in which they are tried: by dynamo or not, opset wished for, folding."""
    return {
        f"dynamo, opset {opset}": (True, opset, fold),
        "dynamo, constants as they are": (True, opset, False),
        "dynamo, PyTorch's own opset": (True, None, fold),
        "tracer, opset 17": (False, 17, fold),
    }


def prepared(model: nn.Module, *, clone: bool = False) -> nn.Module:
    """A copy to be exported: on the CPU, in eval mode, without hooks and in-place operations; the model stays as it is.

    SHAP and CAM libraries leave hooks behind when they fail, and those would be traced along.
    """
    plain = copy.deepcopy(model).cpu().float().eval().to(memory_format=torch.contiguous_format).requires_grad_(False)
    for module in plain.modules():
        for name, hooks in vars(module).items():
            if name.endswith("_hooks") and isinstance(hooks, dict):
                hooks.clear()
    models.out_of_place(plain)
    return _Cloned(plain) if clone else plain


class _Cloned(nn.Module):
    """A model whose output is a tensor of its own."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x).clone()


def _write(
    model: nn.Module, path: Path, side: int, output: str, *, dynamo: bool, opset: int | None, fold: bool
) -> None:
    example = (torch.zeros(2, 3, side, side),)  # an example of one would become a constant in some nets
    name = "score" if output == "score" else "logits"
    options: dict[str, Any] = {"optimize": fold, "external_data": False, "verbose": False}
    options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    if not dynamo:
        options = {"do_constant_folding": fold, "dynamic_axes": {"input": {0: "batch"}, name: {0: "batch"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own deprecation, and shapes that the comparison checks
        torch.onnx.export(
            model, example, str(path), dynamo=dynamo, opset_version=opset, input_names=["input"], output_names=[name],
            **options,
        )  # fmt: skip


def annotate(proto: ModelProto, facts: Mapping[str, Any]) -> None:
    """Makes `facts` the file's metadata, each as JSON; None is left out, and so are the marks of other tools."""
    del proto.metadata_props[:]
    for key, value in facts.items():
        if value is not None:
            proto.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))


class Runner:
    """An ONNX file of this suite in onnxruntime; all that it needs comes from the file.

    Raises:
        ExportError: a file without this suite's metadata.
    """

    def __init__(self, path: str | Path, *, threads: int = 0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: as many as there are cores
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found = self.session.get_modelmeta().custom_metadata_map
        if "preprocess" not in found:
            raise ExportError(f"{path} holds no preprocessing: it was not written by emohelpers.export")
        self.facts: dict[str, Any] = {key: json.loads(value) for key, value in found.items()}
        self.preprocess = _preprocess(self.facts)
        self.classes: list[str] = self.facts["classes"]
        self.temperature: float = self.facts.get("temperature", 1.0)

    def raw(self, inputs: np.ndarray) -> np.ndarray:
        """(n, 3, img_size, img_size) float32 -> (n, K) logits, or (n,) scores."""
        (made,) = self.session.run(None, {"input": inputs})
        return made if self.facts["output"] == "classes" else made.reshape(len(inputs))

    def logits(self, squares: np.ndarray, batch: int = 32) -> np.ndarray:
        """(n, side, side, 3) uint8 squares of the store -> (n, K) logits, or (n,) scores."""
        parts = [squares[i : i + batch] for i in range(0, len(squares), batch)]
        return np.concatenate([self.raw(inputs(part, self.preprocess)) for part in parts])

    def probabilities(self, squares: np.ndarray, batch: int = 32) -> np.ndarray:
        """(n, side, side, 3) uint8 -> (n, K), at the file's temperature."""
        return softmax(self.logits(squares, batch) / self.temperature, axis=1)


def inputs(squares: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(n, side, side, 3) uint8 -> (n, 3, img_size, img_size) float32, as the model wants it, without torch."""
    scale, shift = preprocess.affine()
    return np.ascontiguousarray((preprocess.evaluate(squares) * scale + shift).transpose(0, 3, 1, 2))


def compare(model: nn.Module, path: str | Path, squares: np.ndarray, labels: np.ndarray | None = None) -> Parity:
    """Model and file on the same pictures; the file is run with several batch sizes on the way."""
    runner = Runner(path)
    pictures = inputs(squares, runner.preprocess)
    with torch.inference_mode():
        parts = torch.from_numpy(pictures).split(32)
        theirs = torch.cat([model(part) for part in parts]).float().numpy()
    ours, sizes, start = [], iter(BATCHES), 0
    while start < len(pictures):
        size = next(sizes, 32)
        ours.append(runner.raw(pictures[start : start + size]))
        start += size
    mine = np.concatenate(ours)
    theirs = theirs.reshape(mine.shape)
    apart = float(abs(mine - theirs).max())
    right: list[float | None] = [None, None]
    if labels is not None and mine.ndim == 2:
        right = [float((z.argmax(axis=1) == np.asarray(labels)).mean()) for z in (theirs, mine)]
    return Parity(len(mine), apart, agreement(theirs, mine), *right)


def agreement(one: np.ndarray, two: np.ndarray) -> float:
    """Share of pictures that get the same class from (n, K) logits; of pairs in the same order from (n,) scores."""
    if one.ndim == 2:
        return float((one.argmax(axis=1) == two.argmax(axis=1)).mean())
    upper = np.triu_indices(len(one), 1)
    first, second = (np.sign(np.subtract.outer(scores, scores))[upper] for scores in (one, two))
    return float((first == second).mean())


def _preprocess(facts: Mapping[str, Any]) -> Preprocess:
    if "preprocess" not in facts:
        raise ExportError("the model does not say how pictures are prepared: give preprocess=, see models.preprocess")
    return Preprocess.read(facts["preprocess"])

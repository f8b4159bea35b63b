"""ONNX files that stand alone: exported, compared with PyTorch on real pictures, and refused where they differ.

A client needs the file and nothing else: its metadata hold class names, preprocessing, temperature, version, date and
data hash, see `runner.Runner`. A model whose output is one number a picture (a ranking's score) takes the same way.
"""

import copy
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy import ndarray
from onnx import load_model, save_model
from torch import Tensor
from torch.nn import Module

import emohelpers
from emohelpers import models
from emohelpers.config import files, sealed
from emohelpers.export.runner import BATCH, ExportError, Runner, inputs, preprocess_of

OPSET = 18  # the exporter's floor: it ignores a smaller wish, and PyTorch's own default moves with its version
BATCHES = (1, 2, 7)  # pictures; sizes that every file is run with before it counts as exported
TOLERANCE = 1e-4  # largest difference of logits or scores between file and model


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
    exporter: str  # the one that succeeded
    failures: dict[str, str]  # exporters tried before, with the reason
    megabytes: float
    parity: Parity

    def __str__(self) -> str:
        parity = self.parity
        text = f"{self.path.name}: {self.megabytes:.1f} MB, opset {self.opset} ({self.exporter}); on {parity.n} "
        text += f"pictures at most {parity.max_difference:.1e} apart, {parity.agreement:.1%} agree"
        if parity.accuracy_onnx is not None:
            text += f"; accuracy {parity.accuracy_torch:.4f} in PyTorch, {parity.accuracy_onnx:.4f} in onnxruntime"
        return "\n".join([text, *(f"  {exporter} failed: {reason}" for exporter, reason in self.failures.items())])


def write(
    model: Module,
    path: str | Path,
    squares: ndarray,
    *,
    output: Literal["classes", "score"] = "classes",
    labels: ndarray | None = None,
    temperature: float | None = None,
    data_sha256: str = "",
    trained: str = "",
    fold: bool = True,
    facts: Mapping[str, Any] | None = None,
) -> Exported:
    """Writes `model` as one self-contained ONNX file with a dynamic batch; it appears only if it agrees with the model.

    The exporters are tried in turn: dynamo, dynamo without folding, dynamo at PyTorch's own opset, the older tracer.

    Args:
        model: with a `spec` that says its preprocessing and class names, as `models.load` gives it.
        squares: hold-out pictures of the store, (n, side, side, 3) uint8, on which model and file are compared.
        output: "classes": (B, K) logits; "score": one number a picture, (B,) or (B, 1).
        labels: (n,) indices, for the accuracy of both.
        temperature: the calibration's, if there is one; clients divide the logits by it.
        data_sha256: names the training data; `trained` is a date, by default today's.
        fold: whether constants are folded while exporting.
        facts: further metadata, JSON.

    Raises:
        ExportError: every exporter failed or differed, with the reason of each.
    """
    spec = getattr(model, "spec", {})
    preprocess = preprocess_of(spec)
    classes = list(spec.get("classes", ()))
    if output == "classes" and not classes:
        raise ExportError("the names of the classes are missing: the model's spec needs classes, see models.load")
    metadata = {
        "output": output,
        "classes": classes,
        "preprocess": asdict(preprocess),
        "layout": "NCHW float32 RGB",
        "temperature": temperature,
        "version": emohelpers.__version__,
        "data_sha256": data_sha256,
        "trained": trained or datetime.now(UTC).date().isoformat(),
        "backbone": spec.get("backbone"),
        **(facts or {}),
    }
    plain = exportable(model)
    failures = {}
    with files.replace(path) as temp:
        for exporter, options in _exporters(fold).items():
            try:
                _export(plain, temp, preprocess.img_size, output, options)
                # Annotated first: the comparison reads preprocessing and output from the file's metadata.
                opset = annotate(temp, metadata | {"exporter": exporter})
                parity = compare(plain, temp, squares, labels)
            except Exception as error:  # exporters fail in dozens of types: each is kept, and all are told
                message = str(error).strip() or "no message"
                failures[exporter] = f"{type(error).__name__}: {message.splitlines()[0][:200]}"
                continue
            if parity.max_difference <= TOLERANCE:  # never true of a NaN
                megabytes = temp.stat().st_size / 1e6
                return Exported(Path(path), opset, exporter, failures, megabytes, parity)
            difference = f"{parity.max_difference:.2e}"
            failures[exporter] = f"differs by {difference} from the model, {TOLERANCE:.0e} is allowed"
        reasons = "".join(f"\n  {exporter}: {reason}" for exporter, reason in failures.items())
        raise ExportError(f"{path} was not written, since no exporter gave a file that agrees with it:{reasons}")


def _exporters(fold: bool) -> dict[str, dict[str, Any]]:
    """Options of `torch.onnx.export` in the order in which they are tried."""
    dynamo = {
        "dynamo": True,
        "optimize": fold,
        "external_data": False,
        "verbose": False,
        "dynamic_shapes": ({0: torch.export.Dim("batch")},),
    }
    tracer = {"dynamo": False, "do_constant_folding": fold}
    return {
        f"dynamo, opset {OPSET}": dynamo | {"opset_version": OPSET},
        "dynamo, constants as they are": dynamo | {"opset_version": OPSET, "optimize": False},
        "dynamo, PyTorch's own opset": dynamo | {"opset_version": None},
        "tracer, opset 17": tracer | {"opset_version": 17},
    }


def _export(model: Module, path: Path, side: int, output: str, options: Mapping[str, Any]) -> None:
    example = torch.zeros(2, 3, side, side)  # an example of one would become a constant in some nets
    name = "score" if output == "score" else "logits"
    axes = None if options["dynamo"] else {"input": {0: "batch"}, name: {0: "batch"}}
    names = {"input_names": ["input"], "output_names": [name], "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own deprecation, and shapes that the comparison checks
        torch.onnx.export(model, (example,), str(path), **names, **options)


def exportable(model: Module) -> Module:
    """A copy to be exported: on the CPU, in eval mode, without hooks and in-place operations; the model stays as it is.

    SHAP and CAM libraries leave hooks behind when they fail, and those would be traced along.
    """
    plain = copy.deepcopy(model).cpu().float().eval()
    plain.to(memory_format=torch.contiguous_format).requires_grad_(False)
    for module in plain.modules():
        for name, hooks in vars(module).items():
            if name.endswith("_hooks") and isinstance(hooks, dict):
                hooks.clear()
    models.out_of_place(plain)
    return OutputCopy(plain)


class OutputCopy(Module):
    """A model whose output is a tensor of its own, not a view of an input or of a state."""

    def __init__(self, model: Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).clone()


def annotate(path: str | Path, facts: Mapping[str, Any]) -> int:
    """Makes `facts` the file's metadata, each as JSON, in place of all marks of tools; returns the file's opset.

    What is None is left out.
    """
    proto = load_model(path)
    del proto.metadata_props[:]
    for key, value in facts.items():
        if value is not None:
            proto.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    save_model(proto, path)
    sealed.close(Path(path), sealed.ONNX)
    return proto.opset_import[0].version


def compare(model: Module, path: str | Path, squares: ndarray, labels: ndarray | None = None) -> Parity:
    """Model and file on the same pictures; the file is run with several batch sizes on the way."""
    runner = Runner(path)
    pictures = inputs(squares, runner.preprocess)
    with torch.inference_mode():
        parts = torch.from_numpy(pictures).split(BATCH)
        by_torch = torch.cat([model(part) for part in parts]).float().numpy()
    # Small batches of several sizes come first: a batch size that was frozen by the export fails there.
    ends = [*np.cumsum(BATCHES), *range(sum(BATCHES) + BATCH, len(pictures), BATCH)]
    by_onnx = np.concatenate([runner.raw(part) for part in np.split(pictures, ends) if len(part)])
    by_torch = by_torch.reshape(by_onnx.shape)
    difference = float(abs(by_onnx - by_torch).max())
    parity = Parity(len(by_onnx), difference, agreement(by_torch, by_onnx))
    if labels is None or by_onnx.ndim == 1:
        return parity
    return replace(parity, accuracy_torch=_accuracy(by_torch, labels), accuracy_onnx=_accuracy(by_onnx, labels))


def _accuracy(logits: ndarray, labels: ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def agreement(a: ndarray, b: ndarray) -> float:
    """Share of pictures that get the same class from (n, K) logits; of pairs in the same order from (n,) scores."""
    if a.ndim == 2:
        return float((a.argmax(axis=1) == b.argmax(axis=1)).mean())
    pairs = np.triu_indices(len(a), 1)
    order_a = np.sign(np.subtract.outer(a, a))[pairs]
    order_b = np.sign(np.subtract.outer(b, b))[pairs]
    return float((order_a == order_b).mean())

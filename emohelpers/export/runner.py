"""ONNX files of this suite in onnxruntime, without PyTorch: what a client needs stands in the file's metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy import ndarray
from onnxruntime.capi import onnxruntime_pybind11_state
from scipy.special import softmax

from emohelpers.config import sealed
from emohelpers.config.errors import SuiteError
from emohelpers.images.preprocess import Preprocess

KINDS = [kind for kind in vars(onnxruntime_pybind11_state).values() if isinstance(kind, type)]
REFUSED = tuple(
    kind for kind in KINDS if issubclass(kind, Exception)
)  # errors of onnxruntime have no base of their own
BATCH = 32  # pictures that are answered at a time


class ExportError(SuiteError, RuntimeError):
    """A file that does not agree with its model or does not say how it is used, and why."""


class Runner:
    """An ONNX file of this suite in onnxruntime; all that it needs comes from the file.

    Raises:
        ExportError: no whole ONNX file, or one without this suite's metadata.
        Damaged: it does not hold what was written.
    """

    def __init__(self, path: str | Path, *, threads: int = 0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: as many as there are cores
        if not Path(path).is_file():  # a pipe never ends
            raise ExportError(f"{path} is no file: an .onnx of this suite is needed")
        sealed.check(Path(path), sealed.ONNX)
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except REFUSED as error:
            raise ExportError(
                f"{path} is no ONNX file that onnxruntime {onnxruntime.__version__} reads: {error}"
            ) from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        if "preprocess" not in metadata:
            raise ExportError(f"{path} holds no preprocessing: it was not written by emohelpers.export")
        try:
            self.facts = {key: json.loads(value) for key, value in metadata.items() if key != "checksum"}
            self.preprocess = preprocess_of(self.facts)
            self.classes = self.facts["classes"]
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"the metadata of {path} were not written by this emohelpers.export: {error!r}"
            ) from error
        self.temperature: float = self.facts.get("temperature", 1.0)

    def raw(self, inputs: ndarray) -> ndarray:
        """(n, 3, img_size, img_size) float32 -> (n, K) logits, or (n,) scores."""
        (outputs,) = self.session.run(None, {"input": inputs})
        return outputs if self.facts["output"] == "classes" else outputs.reshape(len(inputs))

    def logits(self, squares: ndarray) -> ndarray:
        """(n, side, side, 3) uint8 squares of the store -> (n, K) logits, or (n,) scores."""
        parts = [squares[start : start + BATCH] for start in range(0, len(squares), BATCH)]
        return np.concatenate([self.raw(inputs(part, self.preprocess)) for part in parts])

    def probabilities(self, squares: ndarray) -> ndarray:
        """(n, side, side, 3) uint8 -> (n, K), at the file's temperature."""
        return softmax(self.logits(squares) / self.temperature, axis=1)


def inputs(squares: ndarray, preprocess: Preprocess) -> ndarray:
    """(n, side, side, 3) uint8 -> (n, 3, img_size, img_size) float32, as the model wants it, without torch."""
    scale, shift = preprocess.affine()
    normalised = preprocess.evaluate(squares) * scale + shift
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def preprocess_of(facts: Mapping[str, Any]) -> Preprocess:
    """The preprocessing that a model's spec or a file's metadata hold."""
    if "preprocess" not in facts:
        raise ExportError("the model does not say how pictures are prepared: its spec needs that of models.preprocess")
    return Preprocess.read(facts["preprocess"])

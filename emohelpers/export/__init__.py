"""What leaves a run: ONNX, int8, a hub folder, predictions."""

from emohelpers.export.release import files, share

__all__ = ["files", "share"]

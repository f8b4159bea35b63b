"""What leaves a run: ONNX, int8, a hub folder, predictions."""

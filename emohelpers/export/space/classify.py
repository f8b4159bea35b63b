"""Names the emotion of faces with an ONNX file of this suite; needs NumPy, Pillow and onnxruntime, and no PyTorch.

python classify.py model.onnx face.jpg ...

All else comes from the file's metadata. Pictures should hold one face that fills them, as in training.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def resize(picture, side, cubic):
    """(n, n, 3) -> (side, side, 3) uint8 as OpenCV does: area averages when shrinking, else cubic or linear.

    To the last grey level: rounding otherwise turned three of a hundred answers.
    """
    n = len(picture)
    if side < n:
        edges = np.arange(side + 1) * n / side
        cells = np.arange(n)
        shared = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        weights = np.clip(shared, 0, None) * side / n
    elif cubic:
        weights = np.zeros((side, n))
        centre = (np.arange(side) + 0.5) * n / side - 0.5
        for tap in range(-1, 3):
            at = np.floor(centre).astype(int) + tap
            x = abs(centre - at)
            value = np.where(x < 1, (1.25 * x - 2.25) * x * x + 1, ((-0.75 * x + 3.75) * x - 6) * x + 3)  # a = -0.75
            np.add.at(weights, (np.arange(side), np.clip(at, 0, n - 1)), value)
    else:
        return linear(picture.astype(np.int64), side)
    made = np.einsum("yi,xj,ijc->yxc", weights, weights, picture, optimize=True)
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def linear(picture, side):
    """Bilinear enlargement in OpenCV's fixed-point arithmetic: weights of 11 bits, two shifts, rounded once."""
    n = len(picture)
    centre = np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1)
    low = np.floor(centre).astype(int)
    high = np.minimum(low + 1, n - 1)
    far = np.rint((centre - low) * 2048).astype(np.int64)
    rows = (picture[:, low] * (2048 - far)[:, None] + picture[:, high] * far[:, None]) >> 4
    top, bottom = (rows[low] * (2048 - far)[:, None, None]) >> 16, (rows[high] * far[:, None, None]) >> 16
    return ((top + bottom + 2) >> 2).astype(np.uint8)


class Classifier:
    """A session with the class names and the preprocessing that its file carries."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        self.facts = {key: json.loads(value) for key, value in facts.items()}
        self.classes = self.facts["classes"]

    def prepare(self, picture):
        """A PIL picture -> (1, 3, img_size, img_size) float32."""
        how = self.facts["preprocess"]
        pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        cut = min(pixels.shape[:2])
        top, left = (pixels.shape[0] - cut) // 2, (pixels.shape[1] - cut) // 2
        square = pixels[top : top + cut, left : left + cut]
        if cut != how["side"]:
            square = resize(square, how["side"], cubic=True)
        if how.get("grey"):
            grey = np.rint(square @ np.float32([0.299, 0.587, 0.114])).astype(np.uint8)
            square = np.repeat(grey[..., None], 3, axis=2)
        large, size = round(how["img_size"] * how["zoom"]), how["img_size"]
        if large != how["side"]:
            square = resize(square, large, cubic=how["interpolation"] == "bicubic")
        low = (large - size) // 2
        square = square[low : low + size, low : low + size]
        made = (square / np.float32(255) - np.float32(how["mean"])) / np.float32(how["std"])
        return np.ascontiguousarray(made.transpose(2, 0, 1)[None], np.float32)

    def __call__(self, picture):
        """A PIL picture -> {class: probability}."""
        logits = self.session.run(None, {"input": self.prepare(picture)})[0][0] / self.facts.get("temperature", 1)
        shares = np.exp(logits - logits.max())
        return dict(zip(self.classes, (shares / shares.sum()).tolist(), strict=True))


if __name__ == "__main__":
    model = Classifier(sys.argv[1])
    for name in sys.argv[2:]:
        with Image.open(name) as opened:
            found = model(opened)
        best = max(found, key=found.get)
        print(json.dumps({"path": name, "predicted": best, "probabilities": found}))

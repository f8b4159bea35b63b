"""Names the emotion of faces with an ONNX file of this suite; needs NumPy, OpenCV, Pillow and onnxruntime, no PyTorch.

python classify.py model.onnx face.jpg ...

All else comes from the file's metadata. Pictures should hold one face that fills them, as in training.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def resize(square, side, enlarging):
    """(n, n, 3) -> (side, side, 3) uint8: area averages when shrinking, else as `enlarging` says."""
    if side == len(square):
        return square
    method = cv2.INTER_AREA if side < len(square) else enlarging
    return cv2.resize(square, (side, side), interpolation=method)


def centre(picture, height, width):
    """The middle of a picture."""
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


class Classifier:
    """A session with the class names and the preprocessing that its file carries."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.facts = {key: json.loads(value) for key, value in metadata.items()}
        self.classes = self.facts["classes"]

    def prepare(self, picture):
        """A PIL picture -> (1, 3, img_size, img_size) float32."""
        how = self.facts["preprocess"]
        size = how["img_size"]
        pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        shorter = min(pixels.shape[:2])
        square = resize(centre(pixels, shorter, shorter), how["side"], cv2.INTER_CUBIC)
        if how.get("grey"):
            luma = np.rint(square @ np.float32([0.299, 0.587, 0.114])).astype(np.uint8)
            square = np.repeat(luma[..., None], 3, axis=2)
        bicubic = how["interpolation"] == "bicubic"
        enlarged = resize(square, round(size * how["zoom"]), cv2.INTER_CUBIC if bicubic else cv2.INTER_LINEAR)
        shares = centre(enlarged, size, size) / np.float32(255)
        inputs = (shares - np.float32(how["mean"])) / np.float32(how["std"])
        return np.ascontiguousarray(inputs.transpose(2, 0, 1)[None], np.float32)

    def __call__(self, picture):
        """A PIL picture -> {class: probability}."""
        (logits,) = self.session.run(None, {"input": self.prepare(picture)})
        scaled = logits[0] / self.facts.get("temperature", 1)
        shares = np.exp(scaled - scaled.max())
        return dict(zip(self.classes, (shares / shares.sum()).tolist(), strict=True))


if __name__ == "__main__":
    model = Classifier(sys.argv[1])
    for name in sys.argv[2:]:
        with Image.open(name) as picture:
            probabilities = model(picture)
        best = max(probabilities, key=probabilities.get)
        print(json.dumps({"path": name, "predicted": best, "probabilities": probabilities}))

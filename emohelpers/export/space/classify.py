"""Names the emotion of faces with an ONNX file of this suite; needs NumPy, OpenCV, Pillow and onnxruntime, no PyTorch.

python classify.py model.onnx face.jpg ...

All else comes from the file's metadata. Pictures should hold one face that fills them, as in training.
"""

import io
import json
import re
import sys
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy import ndarray
from PIL import Image, ImageCms

# ---- These lines stand in datasets/decoding.py and in export/space/classify.py, which runs without this package.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM", "QOI", "ICO")  # no other is opened
LARGEST = 110_000_000  # pixels; a phone's 108 megapixels, and not what fills a memory
BAND = 1 << 22  # pixels of deep grey that are floats at a time
BROKEN = (OSError, SyntaxError, ValueError, TypeError, RuntimeError, Image.DecompressionBombError)  # of a damaged file


def opened(source: Any) -> Image.Image:
    """A picture's path or open file as Pillow's picture: its header is read and checked, nothing is decoded."""
    Image.init()
    picture = Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])  # older ones lack AVIF
    width, height = picture.size
    if width * height > LARGEST:
        picture.close()
        raise ValueError(f"{width} x {height} pixels, at most {LARGEST:,} are read: scale it down")
    return picture


def to_srgb(picture: Image.Image) -> ndarray:
    """A picture -> (H, W, 3) uint8 sRGB: upright by its EXIF, on white, of 8 bits, by its colour profile."""
    coarse = re.search(";16[BLN]", str(getattr(picture, "tile", "")))  # of 16 bits Pillow keeps the upper 8 of colours
    picture.load()  # a truncated file raises here
    if coarse and picture.mode[0] != "I" and max(picture.convert("RGB").getextrema())[1] < 64:
        raise ValueError("the upper quarters of its 16 bits are unused: save it with 8")
    profile = picture.info.get("icc_profile")
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> Pillow's Transpose
    orientation = picture.getexif().get(0x0112, 1)
    if orientation in turns:
        picture = picture.transpose(Image.Transpose(turns[orientation]))
    picture = on_white(eight_bits(picture))
    if not foreign(profile):
        if picture.mode == "L":
            return np.repeat(np.asarray(picture)[:, :, None], 3, axis=2)  # Pillow's RGB takes more memory
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    try:
        plain = picture if picture.mode in ("L", "CMYK", "LAB") else picture.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        return np.asarray(ImageCms.profileToProfile(plain, io.BytesIO(profile), srgb, outputMode="RGB"))
    except ImageCms.PyCMSError:  # of another colour space than the picture's, for example
        return np.asarray(picture.convert("RGB"))


def eight_bits(picture: Image.Image) -> Image.Image:
    """Deep grey (modes I and F) by what it holds: floats of 0..1, else the fewest bits from 8 on for its largest value.

    Floats may lie a quarter above 1 or 255, as resampling leaves them. What is negative, not finite or in between is
    refused: nobody knows what would be white.
    """
    if picture.mode[0] not in "IF":
        return picture
    rows = max(BAND // picture.width, 1)
    boxes = [(0, top, picture.width, min(top + rows, picture.height)) for top in range(0, picture.height, rows)]
    limits = [(band.min(), band.max()) for band in (np.asarray(picture.crop(box)) for box in boxes)]
    low, high = float(np.min(limits)), float(np.max(limits))
    slack = 1.25 if picture.mode == "F" else 1
    unit = picture.mode == "F" and high <= slack
    if not (low >= -0.1 * high and high < 2**31) or (picture.mode == "F" and slack < high < 16):
        raise ValueError(f"grey values from {low:g} to {high:g}, neither 0..1 nor 0..255 or more: save it with 8 bits")
    white = 1 if unit else 255 if high <= 255 * slack else 2 ** int(high).bit_length() - 1
    bands = (np.asarray(picture.crop(box), np.float32) * (255 / white) + 0.5 for box in boxes)
    return Image.fromarray(np.concatenate([np.clip(band, 0, 255).astype(np.uint8) for band in bands]))


def on_white(picture: Image.Image) -> Image.Image:
    """What is transparent becomes white."""
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return picture
    layer = picture if picture.mode == "RGBA" else picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), layer).convert("RGB")


def foreign(profile: bytes | None) -> bool:
    """Whether an embedded colour profile is another one than sRGB (a phone's Display P3, a camera's Adobe RGB)."""
    if not profile:
        return False
    try:
        return "srgb" not in ImageCms.getProfileDescription(io.BytesIO(profile)).lower()
    except ImageCms.PyCMSError:  # broken profiles are ignored, as every viewer does
        return False


# ---- So far the lines that stand twice.


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
        """A PIL picture -> (1, 3, img_size, img_size) float32; ValueError where it cannot be shown in 8 bits."""
        how = self.facts["preprocess"]
        size = how["img_size"]
        pixels = to_srgb(picture)
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
        try:
            with opened(name) as picture:
                probabilities = model(picture)
        except BROKEN as error:
            print(json.dumps({"path": name, "error": str(error)}))
            continue
        best = max(probabilities, key=probabilities.get)
        print(json.dumps({"path": name, "predicted": best, "probabilities": probabilities}))

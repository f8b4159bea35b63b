"""From a picture's file to a square of 8-bit sRGB pixels: upright, without silent repair, the same for every use."""

import io

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image, ImageCms

from emohelpers.config.errors import SuiteError

BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # how Pillow says that it cannot read a file


class UnreadableImage(SuiteError, ValueError):
    """A file that is not a whole picture."""


def decode(data: bytes) -> ndarray:
    """Bytes of a picture file -> (H, W, 3) uint8 sRGB; EXIF rotation applied, alpha on white, no silent repair."""
    if not data:
        raise UnreadableImage("empty file")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()  # a truncated file raises here
            profile = picture.info.get("icc_profile")
            upright = _opaque(_eight_bits(_upright(picture)))
            return np.asarray(_srgb(upright, profile) if foreign(profile) else upright.convert("RGB"))
    except BROKEN as error:
        raise UnreadableImage(why(error)) from error


def why(error: Exception) -> str:
    """Why Pillow cannot read a file, without the object that its message names."""
    return str(error).split(" <")[0] or type(error).__name__


def _upright(picture: Image.Image) -> Image.Image:
    orientation = picture.getexif().get(0x0112, 1)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> PIL Transpose
    return picture.transpose(Image.Transpose(turns[orientation])) if orientation in turns else picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, where Pillow would clip it to white."""
    if not picture.mode.startswith("I"):
        return picture
    deep = np.asarray(picture)
    if picture.mode == "I" and deep.max() < 256:  # 8 bits in a wide type
        return picture.convert("L")
    return Image.fromarray((deep.clip(0, 65535) / 257 + 0.5).astype(np.uint8))


def _opaque(picture: Image.Image) -> Image.Image:
    """What is transparent becomes white."""
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return picture
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def foreign(profile: bytes | None) -> bool:
    """Whether an embedded colour profile is another one than sRGB (a phone's Display P3, a camera's Adobe RGB)."""
    if not profile:
        return False
    try:
        return "srgb" not in ImageCms.getProfileDescription(io.BytesIO(profile)).lower()
    except ImageCms.PyCMSError:  # broken profiles are ignored, as every viewer does
        return False


def _srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    try:
        return ImageCms.profileToProfile(picture, io.BytesIO(profile), srgb, outputMode="RGB")
    except ImageCms.PyCMSError:  # of another colour space than the picture's, for example
        return picture.convert("RGB")


def fit_square(picture: ndarray, side: int) -> ndarray:
    """Centre crop, then `side` pixels: (H, W, 3) -> (side, side, 3) uint8, for every use alike.

    Area averaging when shrinking (no aliasing), bicubic when enlarging. What the model sees of the square is for
    `Preprocess.evaluate` and `augment` in `images`.
    """
    height, width = picture.shape[:2]
    cut = min(height, width)
    top = (height - cut) // 2
    left = (width - cut) // 2
    picture = picture[top : top + cut, left : left + cut]
    if cut == side:
        return np.ascontiguousarray(picture)
    method = cv2.INTER_AREA if cut > side else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=method)

"""From a picture's file to a square of 8-bit sRGB pixels: upright, without silent repair, the same for every use."""

import io
import os
import re
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image, ImageCms, UnidentifiedImageError

from emohelpers.config.errors import SuiteError

HEAVIEST = 1 << 29  # bytes of a picture file
GIANTS = Lock()  # one at a time: of the largest each takes 1.5 GB while it is decoded


class UnreadableImage(SuiteError, ValueError):
    """A file that is not a whole picture."""


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


def read(path: str | Path) -> bytes:
    """The bytes of a picture file; a pipe or a device, which never end, is not opened.

    Raises:
        UnreadableImage: it is no file, or larger than any picture.
        OSError: it cannot be read.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("no file, but a folder, a pipe, a socket or a device")
    if status.st_size > HEAVIEST:
        raise UnreadableImage(f"{status.st_size:,} bytes, at most {HEAVIEST:,} are read")
    return Path(path).read_bytes()


def size(path: str | Path) -> tuple[int, int]:
    """(width, height) by the file's header, before EXIF turns it; raises `BROKEN`, which `UnreadableImage` is of."""
    if not os.path.isfile(path):
        raise UnreadableImage("no file")
    with opened(path) as picture:
        return picture.size


def decode(data: bytes) -> ndarray:
    """Bytes of a picture file -> (H, W, 3) uint8 sRGB, by `to_srgb`; raises `UnreadableImage`."""
    if not data:
        raise UnreadableImage("empty file")
    try:
        picture = opened(io.BytesIO(data))
        with picture, GIANTS if picture.width * picture.height > LARGEST / 4 else nullcontext():
            return to_srgb(picture)
    except BROKEN as error:
        raise UnreadableImage(why(error)) from error


def why(error: Exception) -> str:
    """Why Pillow cannot read a file, without the object that its message names."""
    if isinstance(error, UnidentifiedImageError):
        return f"cannot identify it as {', '.join(FORMATS)}; a phone's HEIC is exported as JPEG"
    return getattr(error, "strerror", None) or str(error).split(" <")[0] or type(error).__name__


def picture(path: str | Path) -> ndarray:
    """A file -> (H, W, 3) uint8 sRGB; raises `UnreadableImage` whatever is wrong with it."""
    try:
        return decode(read(path))
    except OSError as error:
        raise UnreadableImage(why(error)) from error


def squares(files: Sequence[Path], side: int) -> tuple[ndarray, dict[Path, str]]:
    """Files -> squares (n, side, side, 3) uint8 of those that can be read, and why the others cannot."""

    def square(file: Path) -> ndarray | str:
        try:
            return fit_square(picture(file), side)
        except UnreadableImage as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        decoded = dict(zip(files, pool.map(square, files), strict=True))
    unreadable = {file: reason for file, reason in decoded.items() if isinstance(reason, str)}
    whole = [decoded[file] for file in files if file not in unreadable]
    return np.stack(whole) if whole else np.empty((0, side, side, 3), np.uint8), unreadable


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

"""A picture of one's own: a file or folder that is named, or one that the camera takes."""

import base64
from pathlib import Path

import cv2
from numpy import ndarray

from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError

DARK = 5  # frames at the start of a camera


class NoCamera(SuiteError, ValueError):
    """This machine has none."""


def chosen(photo: str, folder: str | Path, examples: ndarray) -> str | Path | ndarray:
    """The named picture or folder, or with "camera" a new picture in `folder`; `examples` if none is named."""
    if photo == "camera":
        return snapshot(Path(folder) / "photo.png")
    return photo or examples


def snapshot(path: str | Path) -> Path:
    """Takes a picture with the camera of this machine, on Colab with that of the browser, and writes it."""
    if paths.host() == "colab":
        from google.colab.output import eval_js  # only there

        script = Path(__file__).with_name("camera.js").read_text(encoding="utf-8")
        _, _, content = str(eval_js(script)).partition(",")
        return files.write_bytes(path, base64.b64decode(content))
    camera = cv2.VideoCapture(0)
    try:
        for _ in range(DARK):
            success, frame = camera.read()
    finally:
        camera.release()
    if not success:
        raise NoCamera("no camera on this machine. Name a picture file, or use Colab, which asks the browser")
    _, content = cv2.imencode(".png", frame)
    return files.write_bytes(path, content.tobytes())

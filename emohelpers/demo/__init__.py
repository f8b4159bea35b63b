"""The embedded data sets, drawn by code: no download, no licence, everything about each picture known."""

from pathlib import Path

from emohelpers.demo.faces import DRAWING_VERSION, draw_face, jpeg, redraw, reexpressed, regions, write_faces
from emohelpers.demo.songs import write_songs

# timm's local-dir form of a small pretrained trunk: timm.create_model(f"local-dir:{TRUNK}", pretrained=True)
TRUNK = Path(__file__).parent / "trunk"

__all__ = ["DRAWING_VERSION", "TRUNK", "draw_face", "jpeg", "redraw", "reexpressed", "regions", "write_faces",
           "write_songs"]  # fmt: skip

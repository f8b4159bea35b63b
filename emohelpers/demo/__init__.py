"""The embedded data sets, drawn by code: no download, no licence, everything about each picture known."""

from pathlib import Path

from emohelpers.demo.faces import DRAWING_VERSION, draw_face, jpeg, redraw, reexpressed, regions, write_faces
from emohelpers.demo.songs import write_songs

# small pretrained trunks, one folder an architecture: timm.create_model("local-dir:<folder>", pretrained=True)
TRUNKS = Path(__file__).parent / "trunks"

__all__ = ["DRAWING_VERSION", "TRUNKS", "draw_face", "jpeg", "redraw", "reexpressed", "regions", "write_faces",
           "write_songs"]  # fmt: skip

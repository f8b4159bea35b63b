"""The embedded data sets, drawn by code: no download, no licence, everything about each picture known."""

from emohelpers.datasets.drawn.faces import DRAWING_VERSION, draw_face, jpeg, redraw, reexpressed, regions, write_faces
from emohelpers.datasets.drawn.songs import write_songs

__all__ = ["DRAWING_VERSION", "draw_face", "jpeg", "redraw", "reexpressed", "regions", "write_faces",
           "write_songs"]  # fmt: skip

"""The embedded data sets, drawn by code: no download, no licence, everything about each picture known."""

from emohelpers.demo.faces import DRAWING_VERSION, draw_face, jpeg, redraw, reexpressed, regions, write_faces

__all__ = ["DRAWING_VERSION", "draw_face", "jpeg", "redraw", "reexpressed", "regions", "write_faces"]

"""Training curves to point at: one self-contained HTML file, no library and no network behind it."""

import json
from pathlib import Path

from pandas import DataFrame

from emohelpers.report import style, templates

PAGE = Path(__file__).with_name("curves.html")
LINES = {  # column -> colour
    "train_loss": style.QUIET,
    "val_loss": style.FIRST,
    "train_accuracy": "#8f9bb0",
    "val_accuracy": style.SECOND,
    "val_macro_f1": "#6f8f3a",
    "val_weighted_f1": "#8a5a9e",
    "lr_backbone": "#e3a72f",
    "lr_head": "#3d4f8f",
}


def page(history: DataFrame, title: str = "Training") -> str:
    """The page as HTML: point at an epoch for its figures, tick the lines to be seen."""
    colours = {column: colour for column, colour in LINES.items() if column in history}
    rows = history[["epoch", "phase", *colours]].to_json(orient="records")
    return templates.page(PAGE, title=title, ink=style.INK, rows=rows, colours=json.dumps(colours))

"""The picture of the expected result in each notebook, from what `make run` wrote: python scripts/expected_pictures.py

It is an attachment of the notebook's first cell, so that it travels with the file to Kaggle, Colab or a mail.
"""

import base64
import io
from pathlib import Path

from PIL import Image

from emohelpers.config import files, paths
from emohelpers.suite import notebooks

WIDTH = 600  # pixels; the eight pictures add about .4 MB to the notebooks
NAME = "expected.jpg"
SHOWS = "**A demo run shows**"
FIGURES = {  # number of the notebook -> the figure of its demo run, and what it shows
    "01": ("confusion_matrix_baseline", "Confusion matrices of the golden test set"),
    "02": ("edits", "Faces, their edits and what the gates said"),
    "03": ("differences", "What the edits gained, with intervals"),
    "04": ("reliability", "Confidence and accuracy before and after calibration"),
    "05": ("curves", "Loss, accuracy and learning rates of the stages"),
    "06": ("maps_test_vit", "Maps of six methods for one face a class"),
    "07": ("scatter", "Predicted and rated valence and arousal of five contenders"),
    "08": ("changes", "Pairs of photographs, and what the model saw change"),
}


def main() -> None:
    for stem, book in notebooks.find(Path(__file__).parents[1] / "notebooks").items():
        figure, caption = FIGURES[stem[:2]]
        picture = small(paths.outputs_root() / "demo" / stem / f"{figure}.png")
        attach(book.path, picture, f"{caption} (demo data)")


def small(path: Path) -> bytes:
    """The figure at `path` as a JPEG file of `WIDTH` pixels."""
    with Image.open(path) as figure:
        picture = figure.convert("RGB").resize((WIDTH, round(figure.height * WIDTH / figure.width)), Image.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=70, optimize=True)
    return buffer.getvalue()


def attach(path: Path, picture: bytes, caption: str) -> None:
    """Puts `picture` under the first cell's text, in the place of an earlier one."""
    book = notebooks.load(path)
    first = book.cells[0]
    text = first.source.split(f"\n\n{SHOWS}", 1)[0]
    first.source = f"{text}\n\n{SHOWS}: {caption[0].lower()}{caption[1:]}.\n\n![{caption}](attachment:{NAME})"
    first.attachments = {NAME: {"image/jpeg": base64.b64encode(picture).decode()}}
    with files.replace(path) as temp:
        temp.write_text(notebooks.canonical(book), encoding="utf-8")


if __name__ == "__main__":
    main()

"""A page that names the emotion of a face: python app.py, then open the address that it prints."""

import json
from pathlib import Path

import gradio
from classify import BROKEN, Classifier, opened

HERE = Path(__file__).parent
MODEL = Classifier(str(HERE / "model.onnx"))
TEXT = json.loads((HERE / "page.json").read_text(encoding="utf-8"))


def name(path: str | None) -> dict[str, float]:
    """{class: probability} of a picture's file, opened here: the page itself would drop its transparency and depth."""
    if path is None:
        raise gradio.Error("Choose a picture first, or take one with the camera.")
    try:
        with opened(path) as picture:
            return MODEL(picture)
    except BROKEN as error:
        raise gradio.Error(f"This picture cannot be read: {error}") from error


page = gradio.Interface(
    name,
    gradio.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "webcam", "clipboard"],
        label="One face that fills the picture",
    ),
    gradio.Label(num_top_classes=len(MODEL.classes), label="What the face shows"),
    title=TEXT["title"],
    description=TEXT["description"],
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()

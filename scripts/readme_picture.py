"""docs/baseline_demo.jpg from the figures that `make run NB=01` wrote: python scripts/readme_picture.py"""

from pathlib import Path

from PIL import Image

from emohelpers.config import files, paths

WIDTH, GAP = 1200, 12


def main() -> None:
    run = paths.outputs_root() / "demo" / "01_baseline_training"
    faces, matrix, classes = (
        Image.open(run / name).convert("RGB")
        for name in ("faces.png", "confusion_matrix_baseline.png", "classes_baseline.png")
    )
    top = faces.resize((WIDTH, round(faces.height * WIDTH / faces.width)), Image.Resampling.LANCZOS)
    height = round((WIDTH - GAP) / (matrix.width / matrix.height + classes.width / classes.height))
    low = [p.resize((round(p.width * height / p.height), height), Image.Resampling.LANCZOS) for p in (matrix, classes)]
    page = Image.new("RGB", (WIDTH, top.height + GAP + height), "white")
    page.paste(top, (0, 0))
    page.paste(low[0], (0, top.height + GAP))
    page.paste(low[1], (low[0].width + GAP, top.height + GAP))
    with files.replace(Path(__file__).parents[1] / "docs" / "baseline_demo.jpg") as temp:
        page.save(temp, quality=82, optimize=True)


if __name__ == "__main__":
    main()

"""What Kaggle is told of a bundle: its name, card, data sets and the notebooks whose outputs it reads; and badges."""

from collections.abc import Iterable
from typing import Any

from emohelpers.suite.bundle.contents import EXTRAS, Content
from emohelpers.suite.notebooks import Notebook

USER = "your-kaggle-name"  # stands in kernel-metadata.json until a name is given
WEIGHTS = "emotion-notebooks-weights"  # slugs of the two data sets for runs without internet
WHEELS = "emotion-notebooks-wheels"
IMAGES = (
    "https://kaggle.com/static/images/open-in-kaggle.svg",
    "https://colab.research.google.com/assets/colab-badge.svg",
)


def slug(stem: str) -> str:
    """What Kaggle makes of the title."""
    return title(stem).lower().replace(" ", "-")


def title(stem: str) -> str:
    return "Emotion " + stem.replace("_", " ")


def kernel(book: Notebook, content: Content, user: str, *, offline: bool = False, data: str = "") -> dict[str, Any]:
    """kernel-metadata.json of Kaggle's command line: T4 by name, since the default card no longer works there."""
    handles = [data or content.data]
    if offline and content.weights:
        handles.append(f"{user}/{WEIGHTS}")
    if offline and not EXTRAS.keys().isdisjoint(content.extras):
        handles.append(f"{user}/{WHEELS}")
    return {
        "id": f"{user}/{slug(book.stem)}",
        "title": title(book.stem),
        "code_file": f"{book.stem}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": not offline,
        "machine_shape": "NvidiaTeslaT4",
        "dataset_sources": [handle for handle in handles if handle],
        "kernel_sources": [f"{user}/{slug(need)}" for need in book.needs],
        "competition_sources": [],
        "model_sources": [],
    }


def badges(stems: Iterable[str], repository: str, branch: str = "bundles") -> str:
    """A Markdown table of Open-in-Kaggle and Open-in-Colab badges for bundles that lie at the top of a branch."""
    lines = ["| notebook | Kaggle | Colab |", "|---|---|---|"]
    for stem in stems:
        path = f"{repository}/blob/{branch}/{stem}/{stem}.ipynb"
        kaggle = f"[![Open in Kaggle]({IMAGES[0]})](https://kaggle.com/kernels/welcome?src=https://github.com/{path})"
        colab = f"[![Open in Colab]({IMAGES[1]})](https://colab.research.google.com/github/{path})"
        lines.append(f"| {stem} | {kaggle} | {colab} |")
    return "\n".join(lines) + "\n"

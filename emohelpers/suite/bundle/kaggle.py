"""What Kaggle is told of a bundle: its name, card, data sets and the notebooks whose outputs it reads."""

from typing import Any

from emohelpers.suite.bundle.contents import EXTRAS, Content
from emohelpers.suite.notebooks import Notebook

USER = "your-kaggle-name"  # stands in kernel-metadata.json until a name is given
WEIGHTS = "emotion-notebooks-weights"  # slugs of the two data sets for runs without internet
WHEELS = "emotion-notebooks-wheels"


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

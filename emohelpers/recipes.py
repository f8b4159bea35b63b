"""One config a notebook: what it adds to the shared settings of `config`, and the values of its demo.

The defaults are the original's recipe (preset "full"); `demo` holds the same path at the scale of two CPU cores.
"""

from typing import Any, ClassVar

from emohelpers.config import Data, Model, Training


class Baseline(Training, Model, Data):
    """Notebooks 01 and 03: ViT on AffectNet (seed 000)."""

    manifest: str = "affectnet"

    demo: ClassVar[dict[str, Any]] = {
        "manifest": "demo_faces",
        "backbone": "test_vit",
        "weights": "demo",
        "img_size": 96,
        "head_width": 64,
        "epochs": 10,
        "batch_size": 64,
        "lr": 1e-3,
        "bootstrap": 1000,
    }

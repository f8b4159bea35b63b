"""A small data set with its manifest and a config that trains on it in seconds, for tests of whole experiments."""

from pathlib import Path

import pictures

from emohelpers import config
from emohelpers.config.faces import Transfer

VALUES = {
    "backbone": "test_resnet", "weights": "random", "trainable": "all", "unfreeze": {}, "head": "linear",
    "img_size": 32, "eval_zoom": 1.0, "epochs": 2, "batch_size": 16, "lr": 5e-3, "lr_backbone": 5e-3, "mixup": 0.0,
    "golden": "stratified:0.25", "val_share": 0.25, "twin_similarity": 0.999, "bootstrap": 100, "compare_with": "",
    "statistics": "", "ema": 0.0, "ablation": {}, "flip": 0.0, "rotation": 0.0,
}  # fmt: skip


def manifest(folder: Path, *, each: int = 16, seed: int = 0, classes: tuple[str, ...] = pictures.EMOTIONS) -> str:
    """Writes pictures and their YAML; returns the YAML's path."""
    pictures.write(folder / "faces", each=each, seed=seed, classes=classes)
    yaml = folder / f"{folder.name}.yaml"
    yaml.write_text(f'name: {folder.name}\nroot: faces\nlayout: {{kind: folders, pattern: "{{label}}"}}\n')
    return str(yaml)


def settings(yaml: str, kind=Transfer, **values):
    """A config on that data set."""
    return config.make(kind, "demo", **{**VALUES, "manifest": yaml, **values})

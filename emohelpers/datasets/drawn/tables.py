"""The tables beside the code: what a drawing is made of, as data."""

import functools
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where libyaml is there: ten times as fast


@functools.cache
def table(name: str) -> dict[str, Any]:
    """The content of <name>.yaml; read once, not to be changed."""
    return yaml.load((HERE / f"{name}.yaml").read_text(encoding="utf-8"), LOADER)

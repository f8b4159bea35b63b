"""What one notebook uses of the package, of other packages, and of the data and weights that are fetched for it."""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

from emohelpers import config
from emohelpers.suite import stamps

EXTRAS = {  # module -> what brings it to Kaggle's image, without dependencies: those are there
    "pytorch_grad_cam": ("grad-cam>=1.5.5,<1.6", "ttach==0.0.3"),
    "onnxscript": ("onnxscript>=0.5.4,<1", "onnx-ir"),
    "onnxruntime": ("onnxruntime>=1.22,<2",),
}
ALREADY = {  # the rest of pyproject's extras, which Kaggle and Colab carry; installed only where they are missing
    "onnx": ("onnx>=1.18,<2",),
    "shap": ("shap>=0.48,<0.54",),
    "lime": ("lime==0.2.0.1",),
    "librosa": ("librosa>=0.11,<0.12",),
    "soundfile": ("soundfile>=0.12,<0.14",),
}
BEHIND = {"onnx": ("onnxscript",)}  # module -> what torch imports when it is used
MAGIC = re.compile(r"^(\s*)[%!].*$", re.M)  # a line of a cell that is no Python


@dataclass(frozen=True)
class Content:
    """What one notebook uses: files of the package by name, modules of other packages, and its config class."""

    files: dict[str, Path]
    packages: set[str]
    recipe: type[config.Data] | None

    @property
    def extras(self) -> dict[str, Sequence[str]]:
        """Module -> requirements, of the package's extras that the notebook uses."""
        return {module: lines for module, lines in {**EXTRAS, **ALREADY}.items() if module in self.packages}

    @property
    def data(self) -> str:
        """Handle of the Kaggle data set that the notebook reads by default, or ""."""
        field = self.recipe and self.recipe.model_fields.get("manifest")
        return _manifest(field.default).get("kaggle", "") if field else ""

    @property
    def weights(self) -> str:
        """The trunk that the notebook fetches from the hub by default, or ""."""
        fields = self.recipe.model_fields if self.recipe else {}
        return fields["backbone"].default if "backbone" in fields and fields["weights"].default == "hub" else ""


def used(book: NotebookNode) -> Content:
    """What a notebook's cells import, and what that imports: the package's files, with their data and all manifests."""
    code = "\n".join(MAGIC.sub(r"\1pass", cell.source) for cell in book.cells if cell.cell_type == "code")
    family = re.search(r"from emohelpers\.config\.(\w+) import (\w+)", code)
    recipe = getattr(import_module(f"emohelpers.config.{family[1]}"), family[2]) if family else None
    demo = recipe.demo if recipe else {}
    names = [*_imported(code), "emohelpers.suite.session"]
    # Demo data are drawn by a module that is imported by this name when they are asked for.
    if drawer := _manifest(demo.get("manifest", "")).get("drawn"):
        names.append(f"emohelpers.datasets.drawn.{drawer}")
    sources = dict(stamps.sources())
    carried, packages = _closure(names, sources)
    files = {name: path for name, path in sources.items() if _carries(name, carried, demo.get("backbone", ""))}
    return Content(dict(sorted(files.items())), packages, recipe)


def extras(source: str) -> dict[str, Sequence[str]]:
    """Module -> requirements, of the package's extras that a cell's imports reach."""
    return Content({}, _closure(_imported(MAGIC.sub(r"\1pass", source)), dict(stamps.sources()))[1], None).extras


def _closure(names: Iterable[str], sources: dict[str, Path]) -> tuple[set[str], set[str]]:
    """The package's modules that these dotted names reach, and the other packages."""
    modules = {_dotted(name): path for name, path in sources.items() if name.endswith(".py")}
    carried: set[str] = set()
    packages: set[str] = set()
    waiting = list(names)
    while waiting:
        dotted = waiting.pop()
        parts = dotted.split(".")
        if parts[0] != "emohelpers":
            packages |= {parts[0], *BEHIND.get(parts[0], ())}
            continue
        # A module, and every room around it: Python runs their __init__ first.
        for module in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
            if module in modules and module not in carried:
                carried.add(module)
                waiting += _imported(modules[module].read_text(encoding="utf-8"))
    return carried, packages


def _carries(name: str, carried: set[str], trunk: str) -> bool:
    """Whether a bundle of these modules needs a file; of the demo's small weights those of `trunk` alone."""
    room, _, file = name.removeprefix("emohelpers/").rpartition("/")
    if room == "export/space":  # no module of ours: files that a hub's Space runs
        return "emohelpers.export.hub" in carried
    if file.endswith(".py"):
        return _dotted(name) in carried
    if room.startswith("models/trunks/"):
        return "emohelpers.models" in carried and Path(room).name == trunk and file != "receipt.json"
    if room.startswith("data_manifests"):
        return not file.endswith(".md")
    if room == "datasets/detection":  # a third of a bundle, for photographs of one's own alone
        return False
    return f"emohelpers.{room.replace('/', '.')}" in carried


def _manifest(name: str) -> dict[str, Any]:
    """The content of the package's manifest of this name, {} where there is none."""
    path = next((path for file, path in stamps.sources() if file.endswith(f"/{name}.yaml")), None)
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}


def _dotted(name: str) -> str:
    """The module that a file of the package is: emohelpers/train/loop.py is emohelpers.train.loop."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(source: str) -> Iterable[str]:
    """Every dotted name that a source imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

"""Notebooks that need nothing beside them: each with the part of the package that it uses packed into one cell."""

import ast
import base64
import hashlib
import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, writes

import emohelpers
from emohelpers import config
from emohelpers.config import files
from emohelpers.suite import notebooks, stamps
from emohelpers.suite.notebooks import Notebook, NotebookError, tags

ROOM = 1_000_000  # bytes of a whole notebook; what Kaggle takes is said to be 1 MB
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
USER = "your-kaggle-name"  # stands in kernel-metadata.json until a name is given
WEIGHTS = "emotion-notebooks-weights"  # slugs of the two data sets for runs without internet
WHEELS = "emotion-notebooks-wheels"
BEHIND = {"onnx": ("onnxscript",)}  # module -> what torch imports when it is used
MAGIC = re.compile(r"^(\s*)[%!].*$", re.M)
CELL = """\
# emohelpers {version}, {count} of its files, sha256 {sha256}
import base64, io, sys, tarfile, tempfile

place = tempfile.mkdtemp(prefix="emohelpers-")
content = base64.b85decode("{content}")
tarfile.open(fileobj=io.BytesIO(content), mode="r:xz").extractall(place, filter="data")
sys.path.insert(0, place)

from emohelpers.suite import session
session.check({arguments})"""
PROSE = """\
## The package and the machine

The next cell unpacks the part of the suite's package that this notebook uses, and looks in seconds at what would stop \
it later: card, disk, memory, network, data, packages. The cell after it then finds the package there."""


@dataclass(frozen=True)
class Content:
    """What one notebook uses: files of the package by name, modules of others, and its config class."""

    files: dict[str, Path]
    others: set[str]
    recipe: type[config.Data] | None

    @property
    def extras(self) -> dict[str, Sequence[str]]:
        """Module -> requirements, of the package's extras that the notebook uses."""
        return {module: wanted for module, wanted in {**EXTRAS, **ALREADY}.items() if module in self.others}

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


def _manifest(name: str) -> dict[str, Any]:
    """The content of the package's manifest of this name, {} where there is none."""
    path = next((path for file, path in stamps.sources() if file.endswith(f"/{name}.yaml")), None)
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}


def used(book: NotebookNode) -> Content:
    """What a notebook's cells import, and what that imports: the package's files, with their data and all manifests."""
    code = "\n".join(MAGIC.sub(r"\1pass", cell.source) for cell in book.cells if cell.cell_type == "code")
    home = f"{emohelpers.__name__}/"
    known = dict(stamps.sources())
    modules = {_dotted(name): path for name, path in known.items() if name.endswith(".py")}
    carried: set[str] = set()
    others: set[str] = set()
    waiting = [*_imported(code), "emohelpers.suite.session"]
    family = re.search(r"from emohelpers\.config\.(\w+) import (\w+)", code)
    recipe = getattr(import_module(f"emohelpers.config.{family[1]}"), family[2]) if family else None
    drawer = _manifest(recipe.demo.get("manifest", "")).get("drawn") if recipe else None
    if drawer:  # demo data: imported by this name when they are asked for
        waiting.append(f"emohelpers.datasets.drawn.{drawer}")
    while waiting:
        dotted = waiting.pop()
        if not dotted.startswith("emohelpers"):
            package = dotted.partition(".")[0]
            others |= {package, *BEHIND.get(package, ())}
            continue
        parts = dotted.split(".")
        # a module, and every room around it: Python runs their __init__ first
        for module in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
            if module in modules and module not in carried:
                carried.add(module)
                waiting += _imported(modules[module].read_text(encoding="utf-8"))
    trunk = recipe.demo.get("backbone", "") if recipe else ""  # of the demo's small weights its own alone
    names = [name for name in known if name.endswith(".py") and _dotted(name) in carried]
    for name in known:
        room, _, file = name.removeprefix(home).rpartition("/")
        data = room.startswith("data_manifests") or f"emohelpers.{room.replace('/', '.')}" in carried
        if room.startswith("models/trunks/"):
            data = "emohelpers.models" in carried and Path(room).name == trunk
        if room == "export/space":  # no module of ours: files that a hub's Space runs
            data = "emohelpers.export.hub" in carried
        if data and (not file.endswith(".py") or room == "export/space"):
            names.append(name)
    return Content({name: known[name] for name in sorted(set(names))}, others, recipe)


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


def packed(contents: dict[str, Path]) -> bytes:
    """The files as tar.xz, the same bytes for the same files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(contents.items()):
            about = tarfile.TarInfo(name)
            about.size = path.stat().st_size
            about.mode = 0o644
            archive.addfile(about, io.BytesIO(path.read_bytes()))
    return lzma.compress(plain.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def unpacked(book: NotebookNode) -> dict[str, bytes]:
    """The files that a bundle carries, by name."""
    (cell,) = [cell for cell in book.cells if "package" in tags(cell)]
    content = base64.b85decode(re.search(r'b85decode\("(.*?)"\)', cell.source)[1])
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


def bundled(path: Path, *, offline: str = "") -> NotebookNode:
    """The notebook with the cell that unpacks its part of the package, before its set-up cell.

    `offline` names the owner of the attached weights, which OVERRIDES then names.
    """
    book = notebooks.load(path)
    content = used(book)
    archive = packed(content.files)
    setup = next((n for n, cell in enumerate(book.cells) if "setup" in tags(cell)), None)
    if setup is None:
        raise NotebookError(f"{path} has no cell tagged `setup` before which its package could go")
    arguments = {"data": content.data, "weights": content.weights, "extras": content.extras}
    parameters = notebooks.read(path).parameters
    first = ["PRESET"] if "PRESET" in parameters else []
    source = CELL.format(
        version=emohelpers.__version__,
        count=len(content.files),
        sha256=hashlib.sha256(archive).hexdigest()[:16],
        content=base64.b85encode(archive).decode(),
        arguments=", ".join(first + [f"{name}={value!r}" for name, value in arguments.items() if value]),
    )
    before = setup - 1 if book.cells[setup - 1].cell_type == "markdown" else setup
    cell = new_code_cell(source, id="package", metadata={"tags": ["package"], "jupyter": {"source_hidden": True}})
    book.cells[before:before] = [new_markdown_cell(PROSE, id="package-prose"), cell]
    if offline and content.weights:
        given = f'OVERRIDES = {{"weights": "{offline}/{WEIGHTS}/{content.weights}"}}  # attached: internet is off'
        for one in book.cells:
            if "parameters" in tags(one):
                one.source = re.sub(r"^OVERRIDES = \{\}", given, one.source, flags=re.M)
    return book


def slug(stem: str) -> str:
    """What Kaggle makes of the title."""
    return title(stem).lower().replace(" ", "-")


def title(stem: str) -> str:
    return "Emotion " + stem.replace("_", " ")


def kernel(book: Notebook, content: Content, user: str, *, offline: bool = False) -> dict[str, Any]:
    """kernel-metadata.json of Kaggle's command line: T4 by name, since the default card no longer works there."""
    data = [content.data] if content.data else []
    if offline:
        data += [f"{user}/{WEIGHTS}"] * bool(content.weights) + [f"{user}/{WHEELS}"] * bool(
            set(content.extras) & set(EXTRAS)
        )
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
        "dataset_sources": data,
        "kernel_sources": [f"{user}/{slug(need)}" for need in book.needs],
        "competition_sources": [],
        "model_sources": [],
    }


def write(book: Notebook, folder: Path, user: str = USER, *, offline: bool = False) -> Path:
    """Writes `folder`/<stem>/ with the notebook and its kernel-metadata.json; returns the folder.

    Raises:
        NotebookError: the notebook would be too large to be uploaded.
    """
    whole = bundled(book.path, offline=user if offline else "")
    for cell in whole.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    text = writes(whole) + "\n"
    if len(text) > ROOM:
        raise NotebookError(f"the bundle of {book.stem} has {len(text):,} bytes, more than {ROOM:,}: pack less into it")
    place = folder / book.stem
    files.write_text(place / f"{book.stem}.ipynb", text)
    metadata = kernel(book, used(notebooks.load(book.path)), user, offline=offline)
    files.write_text(place / "kernel-metadata.json", json.dumps(metadata, indent=2) + "\n")
    return place


def badges(stems: Iterable[str], repository: str, branch: str = "bundles") -> str:
    """A Markdown table of Open-in-Kaggle and Open-in-Colab badges for bundles that lie at the top of a branch."""
    lines = ["| notebook | Kaggle | Colab |", "|---|---|---|"]
    for stem in stems:
        place = f"{repository}/blob/{branch}/{stem}/{stem}.ipynb"
        kaggle = f"https://kaggle.com/kernels/welcome?src=https://github.com/{place}"
        colab = f"https://colab.research.google.com/github/{place}"
        lines.append(
            f"| {stem} | [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({kaggle}) "
            f"| [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) |"
        )
    return "\n".join(lines) + "\n"

"""What a run is made of, so that it is done once and no more: code, package versions and the data it reads."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emohelpers.config import paths
from emohelpers.config.errors import SuiteError
from emohelpers.datasets import manifest
from emohelpers.datasets.pixel_store import described
from emohelpers.datasets.text_files import read_yaml

HOME = Path(__file__).parents[1]
YAML = (".yaml", ".yml")


def sources() -> Iterator[tuple[str, Path]]:
    """Every file of the package and of data_manifests/, by the name under which a wheel packs it."""
    manifests = HOME.parent / "data_manifests"  # a checkout; an installed package has them inside
    for root, inside in ((HOME, "emohelpers"), (manifests, "emohelpers/data_manifests")):
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                yield f"{inside}/{path.relative_to(root).as_posix()}", path


def code() -> str:
    """Twelve hex digits over the package's files."""
    digest = hashlib.sha256()
    for name, path in sources():
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def stamp(place: Path) -> str:
    """What tells changed data apart: of each file below `place` its path, size, times and inode; no content is read.

    Links are followed, each folder once.
    """
    if place.is_file():
        return f"1 file, {place.stat().st_size} bytes, {described(place.stat())}"
    digest = hashlib.sha256()
    count = size = 0
    walked = set()
    for folder, folders, names in os.walk(place, followlinks=True):
        identity = os.stat(folder).st_dev, os.stat(folder).st_ino
        if identity in walked:
            folders.clear()
            continue
        walked.add(identity)
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            stat = os.stat(path) if os.path.exists(path) else os.lstat(path)  # a link to nowhere
            count += 1
            size += stat.st_size
            digest.update(f"{os.path.relpath(path, place)}\0{described(stat)}\n".encode(errors="surrogateescape"))
    return f"{count} files, {size} bytes, {digest.hexdigest()[:16]}"


def stamps(values: Mapping[str, Any]) -> dict[str, str]:
    """Text of a parameter or override that names an existing file, folder or attached data set -> its stamp.

    Of a manifest also what lies at its `root` and at the paths that it names.
    """
    places = {text: _located(text) for text in dict.fromkeys(_texts(values))}
    for text in list(places):
        for yaml in [place for place in (places[text], *_shelved(text)) if place and place.suffix in YAML]:
            for behind in _named(yaml):
                places[str(behind)] = behind
    return {text: stamp(place) for text, place in places.items() if place is not None}


def _shelved(name: str) -> list[Path]:
    """The manifests of a name that come with the project."""
    shelf = manifest.shelf(manifest.Description)
    return [path for path in shelf.rglob("*.yaml") if path.stem == name]


def _named(yaml: Path) -> Iterator[Path]:
    """Existing folders and files that a manifest names: relative to itself, to its root, or as attached."""
    try:
        content = read_yaml(yaml)
    except (SuiteError, OSError):  # the run will say what is wrong with it
        return
    root = content.get("root") if isinstance(content, dict) else ""
    home = yaml.parent / str(root or "")
    if root and home.is_dir():
        yield home.resolve()
    for text in _texts(content):
        candidates = (_located(str(home / text)), _located(str(yaml.parent / text)), _located(text))
        yield from {place for place in candidates if place and text.strip("./~ ")}


def _located(text: str) -> Path | None:
    """The file, folder or attached data set that a text names, if it names one."""
    if not text.strip("./~ ") or len(text) > 1000 or "\n" in text:
        return None
    try:
        return paths.located(text)
    except (OSError, ValueError):  # too long for a path, or with a character that none may have
        return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)


def mounted() -> dict[str, str]:
    """Data sets and earlier outputs that are attached as inputs: the data behind an empty parameter."""
    outputs = paths.outputs_root()
    depths = ("*", "datasets/*/*", "notebooks/*/*", "models/*/*", "competitions/*")
    folders = [folder for root in paths.input_roots() for depth in depths for folder in sorted(root.glob(depth))]
    # Our own outputs may lie below an input root, and change with every run.
    inputs = [f for f in folders if f.is_dir() and not (outputs.is_relative_to(f) or f.is_relative_to(outputs))]
    return {str(folder): stamp(folder) for folder in inputs}

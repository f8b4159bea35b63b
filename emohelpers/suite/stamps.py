"""What a run is made of, so that it is done once and no more: code, package versions and the data it reads."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emohelpers.config import paths

HOME = Path(__file__).parents[1]


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
    """What tells changed data apart: files, bytes and the newest change below `place`; contents are not read."""
    if place.is_file():
        facts = place.stat()
        return f"1 file, {facts.st_size} bytes, changed {facts.st_mtime_ns}"
    count = size = newest = 0
    for folder, _, names in os.walk(place):
        for name in names:
            facts = os.stat(os.path.join(folder, name), follow_symlinks=False)
            count = count + 1
            size = size + facts.st_size
            newest = max(newest, facts.st_mtime_ns)
    return f"{count} files, {size} bytes, changed {newest}"


def stamps(values: Mapping[str, Any]) -> dict[str, str]:
    """Text of a parameter or override that names an existing file, folder or attached data set -> its stamp."""
    texts = [text for text in _texts(values) if text.strip("./~ ") and len(text) < 1000 and "\n" not in text]
    marks = {}
    for text in dict.fromkeys(texts):
        try:
            place = paths.located(text)
        except (OSError, ValueError):  # too long for a path, or with a character that none may have
            continue
        if place is not None:
            marks[text] = stamp(place)
    return marks


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
    return {str(folder): str(folder.stat().st_mtime_ns) for folder in inputs}

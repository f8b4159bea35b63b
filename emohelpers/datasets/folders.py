"""Reads the rows of a data set whose folders are named by labels."""

import os
from collections.abc import Iterator
from pathlib import Path

from pandas import DataFrame

from emohelpers.config import paths
from emohelpers.datasets.foreign import advice
from emohelpers.datasets.layouts import Folders, Manifest
from emohelpers.datasets.locate import DEPTH, SPLITS, ManifestError, Tree, fold, is_picture
from emohelpers.datasets.rows import Rows
from emohelpers.datasets.tables import readable_parents

COLUMNS = ("path", "label", "split", "{group}", "{line}")
Places = list[tuple[str, dict[str, str]]]  # folders, and what their names say: label, split, group


def from_folders(manifest: Manifest, spec: Folders, root: Path) -> Rows:
    """Rows of a folder tree: the pictures below the one folder that fits the pattern.

    Raises:
        ManifestError: no folder below `root` fits, or several do, or there is no picture.
    """
    tree = Tree()
    base = _base(manifest, spec, tree, root)
    records = []
    passed_over = 0
    for folder, names in _matches(spec, tree, base):
        if manifest.knows_label(names["label"]) or _knows_split(manifest, names):
            for file in tree.files(folder):
                path = f"{folder}/{file}".removeprefix(f"{base}/")
                passed_over += not is_picture(file)
                if is_picture(file):
                    records.append((path, names["label"], names.get("split", ""), names.get("group", ""), path))
    if not records:
        raise ManifestError(f"the folders of {base} hold no picture")
    frame = DataFrame(records, columns=COLUMNS).assign(source="", parent="")
    if "{group}" not in spec.pattern:
        frame = frame.drop(columns="{group}")
    rows = Rows(Path(base), frame, base)
    rows.closed(tree)
    reached = {os.path.dirname(record[0]) for record in records}
    # Pictures that the pattern does not reach are left out, which must be told.
    beside = [
        f"{folder}/{file}".removeprefix(f"{base}/")
        for level in tree.levels(base)
        for folder in level
        if folder.removeprefix(f"{base}/") not in reached
        for file in tree.files(folder)
        if is_picture(file)
    ]
    if beside:
        rows.notes.append(f"{len(beside):,} pictures are in no folder of {spec.pattern!r}, e.g. {beside[0]}: left out")
    if passed_over:
        rows.notes.append(f"{passed_over:,} files are no pictures and were left out")
    return rows


def _base(manifest: Manifest, spec: Folders, tree: Tree, root: Path) -> str:
    """The one folder that the pattern starts from, on the first level that has any."""
    bases = next(_fitting(manifest, spec, tree, root), [])
    if len(bases) == 1:
        return bases[0]
    if bases:
        raise ManifestError(
            f"several folders below {root} fit {spec.pattern!r}: {', '.join(bases[:5])}. "
            f"Give the one you mean as DATASET_ROOT, or all of them as pattern: '{{any}}/{spec.pattern}' in the YAML"
        )
    above = [folder for folder in readable_parents(root) if _fits(manifest, spec, tree, folder.as_posix())]
    remedy = f"{above[0]} fits: give that folder as DATASET_ROOT." if above else manifest.remedy
    raise ManifestError(
        f"no folder below {root} fit {spec.pattern!r} (searched {DEPTH - 1} folders deep, two labels at least).\n"
        f"{paths.listing(root)}\nLabels and splits must be known names or declared in the YAML (labels, splits); "
        f"known splits: {', '.join(SPLITS)}.\n{advice(tree, root)}{remedy}"
    )


def _fitting(manifest: Manifest, spec: Folders, tree: Tree, root: Path) -> Iterator[list[str]]:
    """The folders that fit, of each level that has any."""
    for level in tree.levels(root.as_posix(), DEPTH - 1):
        bases = [folder for folder in level if _fits(manifest, spec, tree, folder)]
        if bases:
            yield bases


def _fits(manifest: Manifest, spec: Folders, tree: Tree, base: str) -> bool:
    """Whether the folders below `base` name two labels at least."""
    labels = set()
    for _, names in _matches(spec, tree, base):
        if manifest.knows_label(names["label"]) and _knows_split(manifest, names):
            labels.add(names["label"])
    # One folder that is called like a label may be chance.
    return len(labels) > 1


def _knows_split(manifest: Manifest, names: dict[str, str]) -> bool:
    return manifest.part(names.get("split", "train")) is not None


def _matches(spec: Folders, tree: Tree, base: str) -> Places:
    """The folders below `base` that the pattern reaches."""
    level: Places = [(base, {})]
    for part in spec.pattern.split("/"):
        below: Places = []
        for folder, names in level:
            for name in tree.folders(folder):
                if part.startswith("{"):
                    below.append((f"{folder}/{name}", {**names, part.strip("{}"): name}))
                elif fold(part) == fold(name):
                    below.append((f"{folder}/{name}", names))
        level = below
    return level

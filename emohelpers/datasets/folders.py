"""Reads the rows of a data set whose folders are named by labels."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from emohelpers.config import paths
from emohelpers.datasets.locate import DEPTH, SPLITS, ManifestError, Tree, fold, is_picture
from emohelpers.datasets.manifest import Folders
from emohelpers.datasets.tables import Rows


def from_folders(spec: Folders, root: Path, known: Callable[[str, str], bool], remedy: str) -> Rows:
    """Rows of a folder tree; `known(kind, name)` says whether a folder can be a label or a split."""
    tree, parts = Tree(), spec.pattern.split("/")

    def fits(base: str) -> list[tuple[str, dict[str, str]]]:
        level = [(base, {})]
        for part in parts:
            inside = [(folder, values, name) for folder, values in level for name in tree.folders(folder)]
            level = [
                (f"{folder}/{name}", {**values, part[1:-1]: name} if part[0] == "{" else values)
                for folder, values, name in inside
                if part[0] == "{" or fold(part) == fold(name)
            ]
        sure = [v for _, v in level if known("label", v["label"]) and known("split", v.get("split", "train"))]
        return level if len({v["label"] for v in sure}) > 1 else []

    found = next(
        (hits for level in tree.levels(root.as_posix(), DEPTH - 1) if (hits := [f for f in level if fits(f)])), []
    )
    if len(found) != 1:
        above = [p for p in list(root.parents)[:2] if not found and os.access(p, os.R_OK) and fits(p.as_posix())]
        raise ManifestError(
            f"{'several folders' if found else 'no folder'} below {root} fit {spec.pattern!r}"
            + (f": {', '.join(found[:5])}. Give the one you mean as DATASET_ROOT" if found else "")
            + (
                ""
                if found
                else f" (searched {DEPTH - 1} folders deep, two labels at least).\n{paths.listing(root)}\n"
                f"Labels and splits must be known names or declared in the YAML (labels, splits); known splits: "
                f"{', '.join(SPLITS)}.\n"
            )
            + (f"{above[0]} fits: give that folder as DATASET_ROOT." if above else "" if found else remedy)
        )
    rows, other = [], 0
    for folder, values in fits(found[0]):
        if known("label", values["label"]) or known("split", values.get("split", "train")):
            names = tree.files(folder)
            pics = [n for n in names if is_picture(n)]
            other += len(names) - len(pics)
            place = folder[len(found[0]) :].strip("/")
            rows += [(f"{place}/{n}", values["label"], values.get("split", ""), values.get("group", "")) for n in pics]
    if not rows:
        raise ManifestError(f"the folders of {found[0]} hold no picture")
    frame = pd.DataFrame(rows, columns=["path", "label", "split", "{group}"]).assign(source="", parent="")
    frame["{line}"] = frame["path"]
    notes = [f"folders that may not be read were passed over: {', '.join(tree.closed[:5])}"] if tree.closed else []
    notes += [f"{other:,} files are no pictures and were left out"] if other else []
    return Rows(Path(found[0]), frame, found[0], notes=notes)

"""Groups of pictures that no split may tear apart, and drawing whole groups of them.

A group: equal stems, one person, one content, twins, a picture and its edits.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy import ndarray
from pandas import DataFrame, Series

from emohelpers.config.errors import SuiteError
from emohelpers.datasets import audit, twins
from emohelpers.datasets.pixels import Pixels


class SplitError(SuiteError, ValueError):
    """A split that cannot be made, or a golden set that is not what it was."""


def grouped(table: DataFrame, pixels: Pixels, likeness: float) -> DataFrame:
    """The table with groups joined wherever content is the same or pictures are twins; an edit has its source's group.

    Edits join nothing: with or without them the photographs have the same groups, and so the same parts.
    """
    photographs = table[originals(table)]
    paths = list(photographs["path"])
    keys = [list(photographs["group"]), pixels.hashes(paths)]
    names = audit.joined(paths, keys, twins.rows(pixels, paths, likeness))
    group = dict(zip(paths, names, strict=True))
    rows = zip(sources(table), table["group"], strict=True)
    return table.assign(group=[group.get(source) or group.get(name, name) for source, name in rows])


def originals(table: DataFrame) -> Series:
    """Which rows are photographs, neither made from another row nor declared as made."""
    return (table["parent"] == "") & (table["source"] == "original")


def contradictory(photographs: DataFrame) -> Series:
    """Which rows, with `label` and `sha256`, hold a picture that stands byte for byte under another label too."""
    names = photographs.groupby("sha256")["label"].transform("nunique")
    return (names > 1) & (photographs["sha256"] != "")


def official(table: DataFrame) -> Series:
    """Which photographs are the test part that the data set declares: its validation part where it has no test."""
    test = table["split"] == "test"
    return originals(table) & (test if test.any() else table["split"] == "val")


def sources(table: DataFrame) -> list[str]:
    """The photograph that each row stands on: its own path, or that of the last parent that the table knows."""
    parent = {path: above for path, above in zip(table["path"], table["parent"], strict=True) if above}
    photographs = []
    for path in table["path"]:
        chain = {path}
        while parent.get(path, path) not in chain:  # an edit of an edit; a circle ends where it closes
            path = parent[path]
            chain.add(path)
        photographs.append(path)
    return photographs


def draw(table: DataFrame, quota: dict[str, int], seed: int) -> ndarray:
    """(n,) mask of whole groups that fill each class's quota as far as groups allow; the order comes from `seed` alone.

    Groups are shuffled by a hash of their name, so that adding pictures does not reshuffle the others.
    """
    rows_of = table.groupby("group", sort=True).indices
    labels = table["label"].to_numpy()
    left = dict(quota)
    chosen = np.zeros(len(table), bool)
    for name in shuffled(rows_of, seed):
        rows = rows_of[name]
        counts = Series(labels[rows]).value_counts()
        if all(left.get(label, 0) >= n for label, n in counts.items()):
            chosen[rows] = True
            for label, n in counts.items():
                left[label] -= n
    return chosen


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order of their own hashes, in which the others keep their order when one is added."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest())


def check_classes(part: DataFrame, classes: Iterable[str], title: str, table: DataFrame) -> None:
    """Raises `SplitError` with every class of `classes` that a part of `table` lacks."""
    if empty := sorted(set(classes) - set(part["label"])):
        counts = table["label"].value_counts()
        names = ", ".join(f"{name} ({counts.get(name, 0)} pictures)" for name in empty)
        raise SplitError(
            f"the {title} would hold no picture of: {names}. A class needs several pictures in separate groups (equal "
            "file names are one, unless the manifest says group: {stem: false}): "
            "add pictures, raise golden_cap or val_share, or leave the class out of the manifest's classes."
        )

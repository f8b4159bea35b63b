"""The leak guard: what a part shares with pictures that are held out, by id, group, lineage, content or looks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame, Series

from emohelpers.datasets.groups import sources
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.thumbnails import twins as alike
from emohelpers.datasets.twins import twins

GIVES_WAY = (("golden", "val"), ("golden", "train"), ("val", "train"))  # the second to the first
DECIDES = ("manifest", "testset_csv", "golden", "golden_cap", "val_share", "split_seed", "twin_similarity")


@dataclass(frozen=True)
class Leaks:
    """What the guard removed from training and validation, by reason, and what is left (nothing)."""

    removed: DataFrame  # path, label, reason, partner, part
    left: int

    def __str__(self) -> str:
        removed = by_reason(self.removed) or "nothing"
        return f"leak guard: removed {removed} from training and validation; left: {self.left}"


def by_reason(removed: DataFrame) -> str:
    """How many rows were removed for each reason."""
    counts = removed["reason"].value_counts()
    return ", ".join(f"{n:,} by {reason}" for reason, n in counts.items())


def guard(table: DataFrame, pixels: Pixels, likeness: float) -> tuple[DataFrame, Leaks]:
    """Removes from training whatever shares id, group, content or looks with a golden or validation picture, or was
    made from one; validation gives way to the golden set. Looks everything up again and counts what is left.
    """
    removed = []
    # In this order, so that training gives way to the validation part that is left and to no other row.
    near = twins(likeness, (pixels, list(table["path"])))
    for held, part in GIVES_WAY:
        shared = _shared(table, pixels, likeness, near, held, part)
        removed.append(shared.assign(part=part))
        table = table[(table["split"] != part) | ~table["path"].isin(shared["path"])]
    left = sum(len(_shared(table, pixels, likeness, near, held, part)) for held, part in GIVES_WAY)
    return table.reset_index(drop=True), Leaks(pd.concat(removed, ignore_index=True), left)


def _shared(table: DataFrame, pixels: Pixels, likeness: float, near: DataFrame, held: str, part: str) -> DataFrame:
    """Rows of `part` that share something with the part `held`: path, label, reason, partner."""
    source = Series(sources(table), table.index)
    rows = table[table["split"] == part]
    partners = table[table["split"] == held]
    paths = list(rows["path"])
    partner_paths = list(partners["path"])
    # what the rows and their possible partners have in common, the plainest reason first
    ways = {
        "same id": (paths, partner_paths),
        "group": (rows["group"], partners["group"]),
        "parent": (source[rows.index], partner_paths),
        "content": (pixels.hashes(paths), pixels.hashes(partner_paths)),
    }
    shared: dict[str, tuple[str, str]] = {}
    for reason, (keys, partner_keys) in ways.items():
        partner_of = dict(zip(partner_keys, partner_paths, strict=True))
        for path, key in zip(paths, keys, strict=True):
            if key and key in partner_of:
                shared.setdefault(path, (reason, partner_of[key]))
    for partner, row in alike(pixels.thumbnails(partner_paths), pixels.thumbnails(paths), likeness):
        shared.setdefault(paths[row], ("near-duplicate", partner_paths[partner]))
    partner_of = dict(zip(pixels.hashes(partner_paths), partner_paths, strict=True))
    contents = {first: second for first, second in _both_ways(near) if second in partner_of}
    for path, sha256 in zip(paths, pixels.hashes(paths), strict=True):
        if sha256 in contents:
            shared.setdefault(path, ("near-duplicate", partner_of[contents[sha256]]))
    label = dict(zip(paths, rows["label"], strict=True))
    lines = [(path, label[path], reason, partner) for path, (reason, partner) in shared.items()]
    return DataFrame(lines, columns=["path", "label", "reason", "partner"])


def _both_ways(near: DataFrame) -> Iterator[tuple[str, str]]:
    """The contents of each pair of `twins`, in either order."""
    yield from zip(near["first"], near["second"], strict=True)
    yield from zip(near["second"], near["first"], strict=True)


def known(rows: DataFrame, pixels: Pixels, learned: DataFrame, their: Pixels, likeness: float) -> ndarray:
    """(n,) bool: which rows of one data set show a picture, or a twin of one, among the rows of another."""
    contents = set(their.hashes(learned["path"])) - {""}
    near = twins(likeness, (pixels, list(rows["path"])), (their, list(learned["path"])))
    contents |= {first for first, second in _both_ways(near) if second in contents}
    same = np.isin(pixels.hashes(rows["path"]), list(contents))
    pairs = alike(pixels.thumbnails(rows["path"]), their.thumbnails(learned["path"]), likeness)
    same[pairs[:, 0]] = True
    return same


def numbers(hashes: Iterable[str]) -> ndarray:
    """(n,) int64, sorted: the first eight bytes of each different SHA-256, which name the pictures of a training."""
    return np.array(sorted({int(text[:16], 16) for text in hashes if text}), np.uint64).view(np.int64)


def apart(used: Mapping[str, Any], cfg) -> str:
    """Which settings that decide golden set and parts differ between a training (its config as JSON) and `cfg`, or "".

    A model must not be asked about faces, nor judge edits of faces, that its own training may have seen.
    """
    settings = {name: (used.get(name), getattr(cfg, name)) for name in DECIDES}
    return "; ".join(
        f"{name} = {theirs!r}, here {here!r}" for name, (theirs, here) in settings.items() if theirs != here
    )

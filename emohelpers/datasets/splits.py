"""Training and validation parts beside the golden test set, guarded against whatever they share with it."""

from pathlib import Path

from pandas import DataFrame, Series

from emohelpers.datasets.golden import Golden, golden_set
from emohelpers.datasets.groups import check_classes, draw, grouped, originals
from emohelpers.datasets.leaks import Leaks, guard
from emohelpers.datasets.pixels import Pixels


def parts(table: DataFrame, pixels: Pixels, cfg, folder: str | Path, name: str) -> tuple[DataFrame, Golden, Leaks]:
    """The table with `group` and `split`, guarded; its golden set, and what the guard removed.

    Args:
        folder: where golden sets lie; `name` of the data set.

    Raises:
        SplitError: from `groups`: a class has no picture in a part, or the golden set is not what it was.
    """
    table = grouped(table, pixels, cfg.twin_similarity)
    golden = golden_set(table, pixels, cfg, folder, name)
    guarded, leaks = guard(split(table, golden, cfg), pixels, cfg.twin_similarity)
    return guarded, golden, leaks


def split(table: DataFrame, golden: Golden, cfg) -> DataFrame:
    """The table with `split` = golden, val or train: the golden set, then `val_share` of every class by group.

    Synthetic rows are training rows and nothing else; `leaks.guard` removes those of a golden or validation picture.
    """
    held = table["path"].isin(golden.table["path"])
    held_groups = {*golden.table["group"], *table.loc[held, "group"]}
    rest = table[~held & originals(table) & ~table["group"].isin(held_groups)]
    counts = rest["label"].value_counts()
    quota = {label: max(round(n * cfg.val_share), 1) for label, n in counts.items()}
    validation = rest[draw(rest, quota, cfg.split_seed + 1)]
    check_classes(validation, counts.index, "validation part", table)
    names = Series("train", table.index)
    names[held] = "golden"
    names[validation.index] = "val"
    check_classes(table[names == "train"], counts.index, "training part", table)
    return table.assign(split=names)

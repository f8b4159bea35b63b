"""Training and validation parts beside the golden test set, guarded against whatever they share with it."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from pandas import DataFrame, Series

from emohelpers.datasets.golden import Golden, golden_set
from emohelpers.datasets.groups import check_classes, contradictory, draw, grouped, official, originals
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
    photographs = table[originals(table)]
    photographs = photographs.assign(sha256=pixels.hashes(photographs["path"]))
    doubtful = photographs[contradictory(photographs)].sort_values("sha256")
    guarded, leaks = guard(split(table, golden, cfg, set(doubtful["group"])), pixels, cfg.twin_similarity)
    notes = [*golden.notes, *_contradictions(doubtful, golden), *_mixed(table[official(table)], guarded, cfg)]
    return guarded, replace(golden, notes=notes), leaks


def _contradictions(doubtful: DataFrame, golden: Golden) -> list[str]:
    if doubtful.empty:
        return []
    (first, label), (second, other) = doubtful[["path", "label"]].drop_duplicates("label").head(2).to_numpy()
    tested = doubtful["path"].isin(golden.table["path"]).sum()
    return [
        f"{len(doubtful):,} pictures stand byte for byte under two labels, e.g. {first} ({label}) and {second} "
        f"({other}): correct the table. Golden set and validation part are not drawn from their groups; in the golden "
        f"set are {tested}"
    ]


def _mixed(test: DataFrame, guarded: DataFrame, cfg) -> list[str]:
    """What became of the test part that the data set declares, where it is not the golden set."""
    part = guarded.loc[guarded["path"].isin(test["path"]), "split"].value_counts()
    used = part.drop("golden", errors="ignore").sum()
    if not used:
        return []
    name = test["split"].iloc[0]
    return [
        f"the data set declares an official {name} part of {len(test):,} pictures: {used:,} of them are trained on "
        f"or validated with, since golden={cfg.golden!r} draws from all pictures. No figure of this run compares with "
        'published ones. To test on the official part: OVERRIDES = {"golden": "official"}'
    ]


def split(table: DataFrame, golden: Golden, cfg, doubtful: Collection[str] = ()) -> DataFrame:
    """The table with `split` = golden, val or train: the golden set, then `val_share` of every class by group.

    With golden="official" the validation part that the data set declares is taken, if there is one beside its test.
    Groups with `doubtful` labels are never validated with. Synthetic rows are training rows and nothing else;
    `leaks.guard` removes those of a golden or validation picture.
    """
    held = table["path"].isin(golden.table["path"])
    # Groups as the golden file has them and as they are now: neither may reach another part.
    held_groups = {*golden.table["group"], *table.loc[held, "group"]}
    rest = table[~held & originals(table) & ~table["group"].isin(held_groups)]
    counts = rest["label"].value_counts()
    quota = {label: max(round(n * cfg.val_share), 1) for label, n in counts.items()}
    rest = rest[~rest["group"].isin(doubtful)]
    validation = rest[rest["split"] == "val"] if cfg.golden == "official" else rest.head(0)
    if validation.empty:
        validation = rest[draw(rest, quota, cfg.split_seed + 1)]
    check_classes(validation, counts.index, "validation part", table)
    names = Series("train", table.index)
    names[held] = "golden"
    names[validation.index] = "val"
    check_classes(table[names == "train"], counts.index, "training part", table)
    return table.assign(split=names)

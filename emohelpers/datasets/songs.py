"""Any set of rated songs -> one table, everything that is wrong with it said at once, and a split by song.

Ratings are on -1..1, whatever their scale was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame
from sklearn.model_selection import StratifiedGroupKFold

from emohelpers.config import paths
from emohelpers.datasets import manifest, problems, ratings
from emohelpers.datasets.audit import joined
from emohelpers.datasets.labels import TARGETS
from emohelpers.datasets.locate import ManifestError, Tree
from emohelpers.datasets.ratings import Ratings
from emohelpers.datasets.spelling import matched

__all__ = ["TARGETS", "ManifestError", "Songs", "check", "leaks", "load", "names", "quadrants", "read", "split"]


@dataclass(frozen=True)
class Songs:
    """Rated songs: `song` (id), `path` (below `root`), `valence`, `arousal` (-1..1), `group`."""

    name: str
    title: str
    root: Path
    table: DataFrame  # sorted by song
    problems: list[str]  # stop a run: see `check`
    notes: list[str]
    demo: bool
    left_out: dict[str, str] = field(default_factory=dict)  # song -> reason
    traps: list[str] = field(default_factory=list)


def names() -> list[str]:
    """The data sets of songs that come with the project."""
    return manifest.names(Ratings)


def read(name_or_yaml: str | Path) -> Ratings:
    """The manifest of a data set of songs; raises `ManifestError` with every wrong key at once."""
    return manifest.read(Ratings, name_or_yaml)


def load(name_or_yaml: str | Path, root: str | Path = "", labels_csv: str | Path = "") -> Songs:
    """The table of a data set of songs, with every problem of it collected for `check`.

    Args:
        root: its folder or Kaggle handle; empty: where the manifest says.
        labels_csv: one CSV, or the folder that holds the CSVs; empty: they are searched below `root`.

    Raises:
        ManifestError: no folder, no CSV, no column, no rated song with its audio.
    """
    spec = read(name_or_yaml)
    folder = spec.folder(str(root))
    tree = Tree()
    wrong: list[str] = []
    notes: list[str] = []

    # Ratings of one side, audio files of the other.
    tables, absent = ratings.tables(spec, folder, tree, str(labels_csv))
    rated = pd.concat([ratings.ratings(spec, path, wrong) for path in tables], ignore_index=True)
    files = ratings.recordings(folder, tree, wrong)
    rated["song"] = matched(rated["song"], files)
    rated = ratings.once(rated, wrong, notes)
    table = rated[rated["song"].isin(files)]
    if table.empty:
        raise ManifestError(
            f"none of the {len(rated):,} rated songs of {', '.join(map(str, tables))} has an audio file "
            f"(<{spec.id}>{'|'.join(ratings.AUDIO)}) below {folder}.\n{paths.listing(folder)}\n{spec.remedy}"
        )

    # What only one of the sides has.
    without_table = f" ({' and '.join(absent)} was not found)" if absent else ""
    silent = rated.loc[~rated["song"].isin(files), "song"]
    unrated = [song for song in files if song not in set(rated["song"])]
    left_out = dict.fromkeys(silent, "rated, but there is no audio file")
    left_out |= dict.fromkeys(unrated, f"audio without a rating{without_table}")
    if absent:
        notes.append(f"{' and '.join(absent)} was not found below {folder}: ratings come from {len(tables)} table")
    table = table.sort_values("song", key=lambda ids: ids.map(ratings.order), ignore_index=True)
    table.insert(1, "path", table["song"].map(files))
    return Songs(
        name=spec.name,
        title=spec.title,
        root=folder,
        table=table.assign(group=table["song"]),
        problems=wrong,
        notes=[f"{len(table):,} songs with ratings and audio", *notes],
        demo=bool(spec.drawn),
        left_out=left_out,
        traps=spec.traps,
    )


def check(songs: Songs, heard: Any = None, max_unreadable: float = 0.0) -> Songs:
    """The songs that can be used, where those that cannot are at most the share `max_unreadable` (0..1) of all.

    Args:
        heard: of `spectrograms.build`: what could not be read is left out, and one recording is one group.

    Raises:
        ManifestError: with all problems at once; the first songs that are left out are named with their reasons.
    """
    table = songs.table
    left_out = dict(songs.left_out)
    if heard is not None:
        reasons = table["path"].map(heard.unreadable).set_axis(table["song"]).dropna()
        left_out |= reasons.to_dict()
    table = table[~table["song"].isin(list(left_out))].reset_index(drop=True)
    repeats = ""
    if heard is not None:
        rows = heard.rows(table["path"])
        table["sha256"] = [heard.sha256[row] for row in rows]
        table["recording"] = [heard.recordings[row] for row in rows]
        # One recording under two ids is one group, or it would stand in two parts.
        table["group"] = joined(list(table["song"]), [list(table["sha256"]), list(table["recording"])])
        ids = table.groupby("group")["song"].agg(list)
        again = ids[ids.str.len() > 1]
        if len(again):
            names = " and ".join(again.iloc[0])
            repeats = f"{len(again):,} recordings stand under several ids, e.g. {names}: each is in one part"
    total = len(table) + len(left_out)
    problem, note = problems.leave_out(left_out, total, max_unreadable, kind="songs", root=songs.root)
    problems.stop(songs.title, songs.root, [*songs.problems, problem])
    return replace(songs, table=table, notes=[*songs.notes, *filter(None, [note, repeats])], left_out=left_out)


def quadrants(table: DataFrame) -> ndarray:
    """(n,) names of the quadrants of Russell's circumplex: happy, tense, sad, calm (ratings 0 belong to the upper)."""
    high = table["arousal"] >= 0
    good = table["valence"] >= 0
    return np.select([high & good, high, good], ["happy", "tense", "calm"], "sad")


def split(table: DataFrame, cfg) -> DataFrame:
    """The table with `split` = test (fold `cfg.fold` of `cfg.folds`), val (`cfg.val_share` of the rest) or train.

    Songs of one group stay together; every part has the same mix of quadrants as far as that allows. Nothing but the
    table, `cfg.split_seed` and the fold decides.

    Raises:
        ManifestError: too few songs for so many folds.
    """
    if table["group"].nunique() < 2 * cfg.folds:
        raise ManifestError(f"{len(table)} songs are too few for {cfg.folds} folds: add songs, or lower folds")
    folds = list(_folds(table, cfg.folds, cfg.split_seed))
    rest, test = folds[cfg.fold]
    parts = max(round(1 / cfg.val_share), 2)
    # `val` holds positions within `rest`, not within the table.
    _, val = next(_folds(table.iloc[rest], parts, cfg.split_seed + 1))
    split = np.full(len(table), "train", dtype=object)
    split[test] = "test"
    split[rest[val]] = "val"
    return table.assign(split=split)


def leaks(table: DataFrame) -> int:
    """Songs that share id, audio, recording or group with another part; looked up again, not remembered."""
    count = 0
    for key in ("song", "path", "group", "sha256", "recording"):
        if key in table:
            parts = table.groupby(key)["split"].nunique()
            count += int((parts > 1).sum())
    return count


def _folds(table: DataFrame, n: int, seed: int) -> Iterator[tuple[ndarray, ndarray]]:
    strata = quadrants(table)
    return StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(table, strata, table["group"])

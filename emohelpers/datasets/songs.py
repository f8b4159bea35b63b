"""Any set of rated songs -> one table, everything that is wrong with it said at once, and a split by song.

Ratings are on -1..1, whatever their scale was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from emohelpers.config import paths
from emohelpers.datasets import ratings
from emohelpers.datasets.labels import TARGETS
from emohelpers.datasets.locate import ManifestError, Tree
from emohelpers.datasets.ratings import names, read

__all__ = ["TARGETS", "ManifestError", "Songs", "check", "leaks", "load", "names", "quadrants", "read", "split"]


@dataclass(frozen=True)
class Songs:
    """Rated songs: `song` (id), `path` (below `root`), `valence`, `arousal` (-1..1), `group`."""

    name: str
    title: str
    root: Path
    table: pd.DataFrame  # sorted by song
    problems: list[str]  # stop a run: see `check`
    notes: list[str]
    demo: bool
    left_out: dict[str, str] = field(default_factory=dict)  # song -> reason
    traps: list[str] = field(default_factory=list)


def load(name_or_yaml: str | Path, root: str | Path = "", labels_csv: str | Path = "") -> Songs:
    """The table of a data set of songs, with every problem of it collected for `check`.

    Args:
        root: its folder or Kaggle handle; empty: where the description says.
        labels_csv: one CSV, or the folder that holds the CSVs; empty: they are searched below `root`.

    Raises:
        ManifestError: no folder, no CSV, no column, no rated song with its audio.
    """
    about = ratings.read(name_or_yaml)
    folder, remedy = ratings.place(about, str(root))
    tree, notes, problems = Tree(), [], []
    chosen, absent = ratings.tables(about, folder, tree, str(labels_csv), remedy)
    rated = pd.concat([ratings.ratings(about, path, problems) for path in chosen], ignore_index=True)
    rated = ratings.once(rated, problems, notes)
    files = ratings.recordings(folder, tree, problems)
    left_out = {song: "rated, but there is no audio file" for song in rated["song"] if song not in files}
    missing = f" ({' and '.join(absent)} was not found)" if absent else ""
    known = set(rated["song"])
    left_out |= {song: f"audio without a rating{missing}" for song in files if song not in known}
    table = rated[rated["song"].isin(files)].reset_index(drop=True)
    if table.empty:
        raise ManifestError(
            f"none of the {len(rated):,} rated songs of {', '.join(map(str, chosen))} has an audio file "
            f"(<{about.id}>{'|'.join(ratings.AUDIO)}) below {folder}.\n{paths.listing(folder)}\n{remedy}"
        )
    if absent:
        notes.append(f"{' and '.join(absent)} was not found below {folder}: ratings come from {len(chosen)} table")
    table.insert(1, "path", [files[song] for song in table["song"]])
    table["group"] = table["song"]
    order = sorted(range(len(table)), key=lambda i: ratings.order(table["song"].iloc[i]))
    notes.insert(0, f"{len(table):,} songs with ratings and audio")
    return Songs(
        name=about.name,
        title=about.title or about.name,
        root=folder,
        table=table.iloc[order].reset_index(drop=True),
        problems=problems,
        notes=notes,
        demo=about.demo,
        left_out=left_out,
        traps=about.traps,
    )


def check(songs: Songs, heard: Any = None, max_unreadable: float = 0.0) -> Songs:
    """The songs that can be used, where those that cannot are at most the share `max_unreadable` (0..1) of all.

    Args:
        heard: of `spectrograms.build`: what could not be read is left out, and songs of equal content become one group.

    Raises:
        ManifestError: with all problems at once; the first songs that are left out are named with their reasons.
    """
    song_of = dict(zip(songs.table["path"], songs.table["song"], strict=True))
    unreadable = heard.unreadable if heard is not None else {}
    out = songs.left_out | {song_of[path]: why for path, why in unreadable.items() if path in song_of}
    table = songs.table[~songs.table["song"].isin(list(out))].reset_index(drop=True)
    if heard is not None:
        table["sha256"] = [heard.sha256[row] for row in heard.rows(table["path"])]
        table["group"] = table.groupby("sha256")["song"].transform("first")
    problems, notes = list(songs.problems), list(songs.notes)
    whole = len(table) + len(out)
    told = f"{len(out):,} of {whole:,} songs ({len(out) / max(whole, 1):.1%}) cannot be used"
    if len(out) > max_unreadable * whole:
        first = "\n".join(f"       {song}: {why}" for song, why in list(out.items())[:5])
        problems.append(
            f"{told}; max_unreadable allows {max_unreadable:.1%}. The first, below {songs.root}:\n{first}\n     "
            'Mend or add them, or leave them out knowingly: OVERRIDES = {"max_unreadable": '
            f"{np.ceil(len(out) / whole * 100) / 100:g}}}"
        )
    elif out:
        notes.append(f"{told} and are left out (max_unreadable = {max_unreadable:.1%})")
    if problems:
        lines = "\n".join(f"  {i}. {text}" for i, text in enumerate(problems, 1))
        raise ManifestError(f"{len(problems)} wrong in {songs.title} ({songs.root}):\n{lines}")
    return replace(songs, table=table, notes=notes, left_out=out)


def quadrants(table: pd.DataFrame) -> np.ndarray:
    """(n,) names of the quadrants of Russell's circumplex: happy, tense, sad, calm (ratings 0 belong to the upper)."""
    high, good = table["arousal"] >= 0, table["valence"] >= 0
    return np.select([high & good, high, good], ["happy", "tense", "calm"], "sad")


def split(table: pd.DataFrame, cfg) -> pd.DataFrame:
    """The table with `split` = test (fold `cfg.fold` of `cfg.folds`), val (`cfg.val_share` of the rest) or train.

    Songs of one group stay together; every part has the same mix of quadrants as far as that allows. Nothing but the
    table, `cfg.split_seed` and the fold decides.

    Raises:
        ManifestError: too few songs for so many folds.
    """
    if table["group"].nunique() < 2 * cfg.folds:
        raise ManifestError(f"{len(table)} songs are too few for {cfg.folds} folds: add songs, or lower folds")
    part = np.full(len(table), "train", dtype=object)
    rest, test = list(_folds(table, cfg.folds, cfg.split_seed))[cfg.fold]
    part[test] = "test"
    inner = max(round(1 / cfg.val_share), 2)
    _, val = next(_folds(table.iloc[rest], inner, cfg.split_seed + 1))
    part[rest[val]] = "val"
    return table.assign(split=part)


def leaks(table: pd.DataFrame) -> int:
    """Songs of val and test that share id, audio or group with another part; looked up again, not remembered."""
    count = 0
    for key in [name for name in ("song", "path", "group", "sha256") if name in table]:
        parts = table.groupby(key)["split"].nunique()
        count += int((parts > 1).sum())
    return count


def _folds(table: pd.DataFrame, n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    strata = quadrants(table)
    return StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(table, strata, table["group"])

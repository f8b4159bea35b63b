"""Where rated songs and their ratings lie on a disk: tables found by name, audio files by id, ids spelt alike."""

import difflib
from collections import defaultdict
from pathlib import Path
from typing import Annotated, ClassVar

from pandas import DataFrame
from pydantic import Field, field_validator

from emohelpers.config import paths
from emohelpers.datasets.labels import TARGETS
from emohelpers.datasets.locate import ManifestError, Tree, find_input, same_content
from emohelpers.datasets.manifest import Description, Names
from emohelpers.datasets.spelling import whole
from emohelpers.datasets.tables import named_column
from emohelpers.datasets.text_files import as_numbers, read_csv

AUDIO = (".mp3", ".wav", ".flac", ".ogg", ".m4a")
DEEP = 6  # folders below a root that are searched: DEAM's tables lie four deep, in a re-upload one more
ALL_ABOVE = 20  # rows from which arousal >= valence in all of them is no chance


class Ratings(Description):
    """One data set of rated songs."""

    shelf: ClassVar[str] = "songs"

    tables: list[Names]  # each a file name, or alternatives of which the first that exists is used
    id: str = "song_id"  # column; the audio file's stem
    valence: str = "valence_mean"  # column
    arousal: str = "arousal_mean"  # column
    scale: Annotated[tuple[float, float], Field(strict=False)] = (1.0, 9.0)  # lowest and highest rating

    @field_validator("scale")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[1] - value[0] < float("inf"):
            raise ValueError("is the lowest and the highest rating, two different numbers")
        return value


def tables(spec: Ratings, root: Path, tree: Tree, labels_csv: str) -> tuple[list[Path], list[str]]:
    """The tables of ratings, and the names of those that are nowhere.

    Raises:
        ManifestError: there is none, or several different ones have the same name.
    """
    folder = root
    if labels_csv:
        folder = find_input(labels_csv, "LABELS_CSV is a CSV of ratings, or the folder that holds the CSVs")
        if folder.is_file():
            return [folder], []
    chosen = []
    absent = []
    for names in spec.tables:
        hits = [tree.search(folder.as_posix(), name, DEEP) for name in names]
        files = next(filter(None, hits), [])
        # Copies of one table in several folders are no contradiction.
        if not same_content(files):
            raise ManifestError(f"{len(files)} different files called {names[0]}: {files}. Name one by LABELS_CSV")
        if files:
            chosen.append(Path(files[0]))
        else:
            absent.append(names[0])
    if not chosen:
        raise ManifestError(
            f"no table of ratings was found below {folder}: looked for {' and '.join(absent)}.\n"
            f"{paths.listing(folder)}\n{spec.remedy}; the CSVs may lie elsewhere: give their folder as LABELS_CSV"
        )
    return chosen, absent


def ratings(spec: Ratings, path: Path, problems: list[str]) -> DataFrame:
    """`song, valence, arousal` (-1..1) of one table; what is wrong with its values goes to `problems`."""
    table = read_csv(path)  # outer spaces of the header are gone; `valence_ max_mean` keeps its inner one
    columns = {"valence": spec.valence, "arousal": spec.arousal}
    written = {name: named_column(table, [name]) for name in (spec.id, *columns.values())}
    _refuse_absent(table, [name for name, column in written.items() if not column], path)
    rated = DataFrame({"song": [_id(text) for text in table[written[spec.id]]]}, table.index)
    low, high = spec.scale
    for target, name in columns.items():
        values = as_numbers(table[written[name]])
        # `between` is false for NaN, so that a text that is no number is wrong too.
        wrong = ~values.between(low, high)
        if wrong.any():
            rows = values.index[wrong]
            first = ", ".join(
                f"song {rated['song'][row]}: {table[written[name]][row]!r} (line {row})" for row in rows[:5]
            )
            problems.append(
                f"{len(rows)} values of {name} in {path} are no numbers within {low:g}..{high:g}: "
                f"{first}. Is it the right column and scale?"
            )
        # The middle of the scale becomes 0, its ends -1 and 1.
        rated[target] = (values - (low + high) / 2) / ((high - low) / 2)
    if len(rated) >= ALL_ABOVE and (rated["arousal"] >= rated["valence"]).all():
        problems.append(
            f"in {path} arousal is at least valence in all {len(rated)} rows: the column `{spec.arousal}` looks like "
            "DEAM's `valence_ max_mean`, taken by its position. Take arousal_mean by name"
        )
    return rated


def _refuse_absent(table: DataFrame, absent: list[str], path: Path) -> None:
    if not absent:
        return
    near = []
    for name in absent:
        near += difflib.get_close_matches(name, table.columns, n=2, cutoff=0.5)
    hint = f" (near: {near}, which may be another quantity)" if near else ""
    raise ManifestError(
        f"{path} has no column {' and '.join(map(repr, absent))}; it has {', '.join(map(repr, table.columns))}. "
        f"Nothing else is taken in its place{hint}: "
        "name the right column in the data set's YAML, or give another table as LABELS_CSV"
    )


def once(rated: DataFrame, problems: list[str], notes: list[str]) -> DataFrame:
    """One row a song: equal repeats are a note, contradicting ones a problem."""
    if rated["song"].is_unique:
        return rated
    values = rated.groupby("song")[list(TARGETS)].nunique().max(axis=1)
    contradicting = values.index[values > 1]
    if len(contradicting):
        problems.append(
            f"{len(contradicting)} songs are rated twice and differently, e.g. song {contradicting[0]}: "
            "keep one row of each"
        )
    notes.append(f"{rated['song'].duplicated().sum()} repeated rows were dropped")
    return rated.drop_duplicates("song").reset_index(drop=True)


def recordings(root: Path, tree: Tree, problems: list[str]) -> dict[str, str]:
    """Audio files below `root` by song id, as paths below it."""
    files: dict[str, list[str]] = defaultdict(list)
    for level in tree.levels(root.as_posix(), DEEP):
        for folder in level:
            for name in tree.files(folder):
                stem, dot, suffix = name.rpartition(".")
                if dot + suffix.lower() in AUDIO:
                    files[_id(stem)].append(f"{folder}/{name}")
    different = [song for song, copies in files.items() if len(copies) > 1 and not same_content(copies)]
    if different:
        copies = ", ".join(files[different[0]][:3])
        problems.append(f"{len(different)} ids have several different audio files, e.g. {different[0]}: {copies}")
    return {song: Path(copies[0]).relative_to(root).as_posix() for song, copies in files.items()}


def _id(text: str) -> str:
    """One spelling of an id: "0002", " 2 " and "2.0" are song 2."""
    return whole(text) or text.strip()


def order(song: str) -> tuple[int, str]:
    """What ids are sorted by: numbers as numbers."""
    return (len(song), song) if song.isdecimal() else (10**9, song)

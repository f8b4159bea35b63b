"""Where rated songs and their ratings lie on a disk: read by name from a YAML, tables and audio files, ids alike."""

import difflib
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import pandas as pd
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from emohelpers.config import paths
from emohelpers.datasets import manifest
from emohelpers.datasets.labels import TARGETS
from emohelpers.datasets.locate import ManifestError, Tree
from emohelpers.datasets.tables import find_input, read_csv

AUDIO = (".mp3", ".wav", ".flac", ".ogg", ".m4a")
DEEP = 6  # folders below a root that are searched: DEAM's tables lie four deep, in a re-upload one more
ALL_ABOVE = 20  # rows from which arousal >= valence in all of them is no chance


class Ratings(BaseModel):
    """One data set of rated songs, as its YAML describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    # Each a file name, or alternatives of which the first found is used.
    tables: list[Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]]
    id: str = "song_id"  # column; the audio file's stem
    valence: str = "valence_mean"
    arousal: str = "arousal_mean"
    scale: tuple[float, float] = (1.0, 9.0)  # lowest and highest rating
    title: str = ""
    kaggle: str = ""  # owner/slug
    demo: bool = False  # written by emohelpers.demo
    licence: str = ""
    citation: str = ""
    source: str = ""
    traps: list[str] = []


def names() -> list[str]:
    """The descriptions that come with the project."""
    return sorted(path.stem for path in (manifest.home() / "songs").glob("*.yaml"))


def read(name_or_yaml: str | Path) -> Ratings:
    """A description by its name or by the path of a YAML file; raises `ManifestError` with every wrong key at once."""
    text = str(name_or_yaml)
    path = Path(text).expanduser() if text.endswith((".yaml", ".yml")) else manifest.home() / "songs" / f"{text}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(text, names(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ManifestError(f"no data set of songs is called {text!r} (looked for {path}){hint}. Known: {names()}")
    try:
        return Ratings(**yaml.safe_load(path.read_text(encoding="utf-8-sig")))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        raise ManifestError(f"{path} does not describe rated songs: {error}") from error


def place(about: Ratings, root: str) -> tuple[Path, str]:
    """The folder to look in, and what to do where something is not found there."""
    attach = f"attach {about.kaggle} by Add Input on Kaggle, or unpack it and " if about.kaggle else ""
    remedy = f"{about.title or about.name}: {attach}give its folder as DATASET_ROOT"
    if not root and about.demo:
        from emohelpers.datasets import drawn as demo  # only where it is asked for

        return demo.write_songs(paths.cache_folder() / about.name), remedy
    if not root and not about.kaggle:
        raise ManifestError(f"the data set {about.name} names no place of its own. {remedy}")
    place = find_input(root or about.kaggle, remedy)
    if not place.is_dir():
        raise ManifestError(f"{place} is a file: DATASET_ROOT is the unpacked folder")
    return place, remedy


def tables(about: Ratings, root: Path, tree: Tree, given: str, remedy: str) -> tuple[list[Path], list[str]]:
    """The tables of ratings, and the names of those that were not found."""
    place = root
    if given:
        place = find_input(given, "LABELS_CSV is a CSV of ratings, or the folder that holds the CSVs")
        if place.is_file():
            return [place], []
    chosen, absent = [], []
    for options in about.tables:
        found = next((hits for name in options if (hits := _search(tree, place.as_posix(), name))), [])
        if len({hashlib.sha256(Path(path).read_bytes()).digest() for path in found}) > 1:
            raise ManifestError(f"{len(found)} different files called {options[0]}: {found}. Name one by LABELS_CSV")
        if found:
            chosen.append(Path(found[0]))
        else:
            absent.append(options[0])
    if not chosen:
        raise ManifestError(
            f"no table of ratings was found below {place}: looked for {' and '.join(absent)}.\n"
            f"{paths.listing(place)}\n{remedy}; the CSVs may lie elsewhere: give their folder as LABELS_CSV"
        )
    return chosen, absent


def _search(tree: Tree, root: str, name: str) -> list[str]:
    """Files called `name` on the first level below `root` that has any."""
    for level in tree.levels(root, DEEP):
        if found := [path for folder in level for path in tree.match(folder, name)]:
            return found
    return []


def ratings(about: Ratings, path: Path, problems: list[str]) -> pd.DataFrame:
    """`song, valence, arousal` (-1..1) of one table; what is wrong with its values goes to `problems`."""
    table = read_csv(path)  # outer spaces of the header are gone; `valence_ max_mean` keeps its inner one
    wanted = {"song": about.id, "valence": about.valence, "arousal": about.arousal}
    if absent := [name for name in wanted.values() if name not in table]:
        near = [n for name in absent for n in difflib.get_close_matches(name, table.columns, n=2, cutoff=0.5)]
        raise ManifestError(
            f"{path} has no column {' and '.join(map(repr, absent))}; it has {', '.join(map(repr, table.columns))}. "
            f"Nothing else is taken in its place{f' (near: {near}, which may be another quantity)' if near else ''}: "
            "name the right column in the data set's YAML, or give another table as LABELS_CSV"
        )
    made = pd.DataFrame({"song": [_id(text) for text in table[about.id]]})
    low, high = about.scale
    for name in TARGETS:
        values = pd.to_numeric(table[wanted[name]].str.strip(), errors="coerce")
        wrong = ~values.between(low, high)
        if wrong.any():
            first = ", ".join(f"song {made['song'][i]}: {table[wanted[name]][i]!r}" for i in values.index[wrong][:5])
            problems.append(
                f"{int(wrong.sum())} values of {wanted[name]} in {path} are no numbers within {low:g}..{high:g}: "
                f"{first}. Is it the right column and scale?"
            )
        made[name] = (values - (low + high) / 2) / ((high - low) / 2)
    if len(made) >= ALL_ABOVE and (made["arousal"] >= made["valence"]).all():
        problems.append(
            f"in {path} arousal is at least valence in all {len(made)} rows: the column `{about.arousal}` looks like "
            "DEAM's `valence_ max_mean`, taken by its position. Take arousal_mean by name"
        )
    return made


def once(rated: pd.DataFrame, problems: list[str], notes: list[str]) -> pd.DataFrame:
    """One row a song: equal repeats are a note, contradicting ones a problem."""
    again = rated["song"].duplicated(keep=False)
    if again.any():
        spread = rated[again].groupby("song")[list(TARGETS)].nunique().max(axis=1)
        if len(torn := spread[spread > 1]):
            told = f"{len(torn)} songs are rated twice and differently, e.g. song {torn.index[0]}"
            problems.append(f"{told}: keep one row of each")
        notes.append(f"{int(rated['song'].duplicated().sum())} repeated rows were dropped")
    return rated.drop_duplicates("song").reset_index(drop=True)


def recordings(root: Path, tree: Tree, problems: list[str]) -> dict[str, str]:
    """Audio files below `root` by song id, as paths below it."""
    found: dict[str, list[str]] = defaultdict(list)
    for level in tree.levels(root.as_posix(), DEEP):
        for folder in level:
            for name in tree.files(folder):
                if name.lower().endswith(AUDIO):
                    found[_id(name.rpartition(".")[0])].append(f"{folder}/{name}")
    twice = {song: files for song, files in found.items() if len(files) > 1}
    for song, files in list(twice.items()):
        if len({hashlib.sha256(Path(path).read_bytes()).digest() for path in files}) == 1:
            twice.pop(song)
    if twice:
        song, files = next(iter(twice.items()))
        problems.append(f"{len(twice)} ids have several different audio files, e.g. {song}: {', '.join(files[:3])}")
    return {song: Path(files[0]).relative_to(root).as_posix() for song, files in found.items()}


def _id(text: str) -> str:
    """One spelling of an id: "0002", " 2 " and "2.0" are song 2."""
    text = text.strip()
    whole = text.removesuffix(".0")
    return str(int(whole)) if whole.isdecimal() else text


def order(song: str) -> tuple[int, str]:
    """What ids are sorted by: numbers as numbers."""
    return (int(song), "") if song.isdecimal() else (10**9, song)

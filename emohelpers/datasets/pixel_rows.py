"""Pixel CSVs (FER2013, CK+, with FER+'s votes beside them): each row's numbers become a PNG file once, then a row."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame, Series
from PIL import Image
from tqdm.auto import tqdm

from emohelpers.config import files, paths
from emohelpers.datasets import labels
from emohelpers.datasets.layouts import Pixels, Votes
from emohelpers.datasets.locate import ManifestError, Tree
from emohelpers.datasets.rows import Rows
from emohelpers.datasets.spelling import word
from emohelpers.datasets.tables import column, find_table, given_table, named_column
from emohelpers.datasets.text_files import numbers, read_csv

EACH = 1000  # pictures a folder
READING = 2  # changes where rows are read in another way, so that they are read again
BETWEEN = str.maketrans("[](),;", "      ")  # what stands around pixel values beside blanks


def from_pixels(spec: Pixels, root: Path, labels_csv: str, remedy: str) -> Rows:
    """Rows of a pixel CSV, whose pictures are written as PNG into the cache folder once for each content."""
    tree = Tree()
    table = given_table(labels_csv, root) if labels_csv else None
    # LABELS_CSV is the table of votes where there is one, else that of the pixels.
    name = next((name for name in spec.file if tree.search(root.as_posix(), name)), spec.file[0])
    source = table if table and not spec.votes else find_table(tree, root, name, remedy)
    folder = _materialise(spec, source)
    frame = read_csv(folder / "rows.csv").assign(source="", parent="")
    frame["{line}"] = f"{source.name} line " + frame.pop("line")
    broken = frame[frame["reason"] != ""]
    reasons = broken["{line}"] + ": " + broken["reason"]
    unreadable = dict(zip(broken["path"], reasons, strict=True))
    rows = Rows(folder, frame.drop(columns="reason"), str(source), unreadable=unreadable)
    if spec.votes:
        _vote(rows, spec.votes, table or find_table(tree, root, spec.votes.file, remedy))
    return rows


def _materialise(spec: Pixels, source: Path) -> Path:
    """The folder of a CSV's pictures and their rows.csv, whole or not there; one for each content and columns."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(repr((READING, spec.pixels, spec.label, spec.split, spec.side)).encode())
    folder = paths.cache_folder() / "pixel_csv" / digest.hexdigest()[:16]
    try:
        with files.new_folder(folder, "rows.csv", replace=True) as new:
            if new:
                _write(new, spec, source)
    except OSError as error:
        raise ManifestError(
            f"the pictures of {source} cannot be written to {folder.parent}: {error.strerror}; "
            "EMOHELPERS_CACHE may name another folder"
        ) from error
    return folder


def _write(folder: Path, spec: Pixels, source: Path) -> None:
    """Writes a PNG file for each row of a CSV that can be read, and rows.csv with path, label, split and reason."""
    table = read_csv(source)
    pixels = column(table, [spec.pixels], "layout.pixels", source)
    label = column(table, [spec.label], "layout.label", source)
    split = named_column(table, [spec.split])
    records = []
    rows = DataFrame({"label": table[label], "split": table[split] if split else "", "line": table.index})
    for row, text in enumerate(tqdm(table[pixels], desc=f"{source.name} -> PNG", unit="img")):
        picture, reason = _picture(text, spec.side)
        path = folder / f"{row // EACH:03d}" / f"row{row:06d}.png"
        path.parent.mkdir(exist_ok=True)
        if picture is not None:
            Image.fromarray(picture).save(path, compress_level=1)
        records.append((path.relative_to(folder).as_posix(), reason))
    rows["path"], rows["reason"] = zip(*records, strict=True)
    files.write_csv(rows, folder / "rows.csv")


def _picture(text: str, side: int) -> tuple[ndarray | None, str]:
    """Numbers 0..255 separated by blanks or commas -> (side, side) uint8, or the reason why not."""
    values = text.translate(BETWEEN).split()
    if len(values) != side * side:
        return None, f"{len(values)} pixel values instead of {side * side}"
    try:
        numbers = np.array(values, dtype=np.int64)  # in a fifth of the time
    except (ValueError, OverflowError):
        numbers = pd.to_numeric(Series(values), errors="coerce").to_numpy(np.float64)
    fraction = numbers != np.round(numbers)  # a text is NaN
    if fraction.any():
        return None, f"pixel value {values[fraction.argmax()][:20]!r} is no whole number"
    if numbers.min() < 0 or numbers.max() > 255:
        return None, f"pixel values from {numbers.min():g} to {numbers.max():g}, allowed 0 to 255"
    return numbers.astype(np.uint8).reshape(side, side), ""


def _vote(rows: Rows, spec: Votes, path: Path) -> None:
    """Replaces labels by the majority of the votes and keeps the votes as columns `votes_<name>`.

    As FER+'s own reader does it: single votes are dropped, then more than half of the rest must agree
    (Barsoum et al. 2016, arXiv:1608.01041).
    """
    table = read_csv(path)
    columns = [column(table, [name], "layout.votes", path) for name in (*spec.emotions, *spec.discard)]
    _refuse_unequal(rows, table, path)
    counts = DataFrame({name: numbers(table, name, path) for name in columns})
    if (wrong := (counts < 0) | (counts % 1 != 0)).any(axis=None):
        raise ManifestError(f"{path} line {counts.index[wrong.any(axis=1)][0]}: votes must be whole numbers")
    votes = counts.to_numpy(int)  # (rows, emotions and what is discarded)
    emotions = [labels.canonical(name) for name in spec.emotions]
    names = np.array([*emotions, *spec.discard], dtype=object)
    for name, count in zip(names, votes.T, strict=True):
        rows.frame[f"votes_{name}"] = count

    strong = np.where(votes > 1, votes, 0)
    winner = strong.argmax(axis=1)
    # More than half, strictly: neither a tie nor a row without strong votes has a winner.
    clear = strong.max(axis=1) * 2 > strong.sum(axis=1)
    # Emotions are the first columns, so a winner beyond them is one of the discarded.
    usable = clear & (winner < len(emotions))
    rows.frame["label"] = np.where(usable, names[winner], "")
    unclear = np.sum(~clear)
    discarded = np.sum(clear & ~usable)
    rows.notes.append(
        f"{unclear + discarded:,} of {len(usable):,} rows of {path.name} have no label and were left out: "
        f"{unclear:,} without a majority, {discarded:,} for {' or '.join(spec.discard)}"
    )
    rows.frame = rows.frame[usable].reset_index(drop=True)
    remaining = set(rows.frame["path"])
    rows.unreadable = {path: reason for path, reason in rows.unreadable.items() if path in remaining}
    rows.where = str(path)


def _refuse_unequal(rows: Rows, table: DataFrame, path: Path) -> None:
    """Votes and pixels belong together row by row: raises `ManifestError` where they cannot."""
    if len(table) != len(rows.frame):
        raise ManifestError(
            f"{path} has {len(table):,} rows and {rows.where} {len(rows.frame):,}: they belong together row by row, "
            "so both must be the original, complete files"
        )
    usage = named_column(table, ["Usage"])
    split = rows.frame["split"].map(word).to_numpy()
    if not usage:
        return
    apart = np.flatnonzero((table[usage].map(word) != split) & (split != ""))
    if apart.size:
        raise ManifestError(
            f"{path} and {rows.where} disagree on Usage in {apart.size:,} rows, first line {table.index[apart[0]]}: "
            "they belong together row by row, so neither may be sorted or shuffled"
        )

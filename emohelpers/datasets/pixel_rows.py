"""Pixel CSVs (FER2013, CK+, with FER+'s votes beside them): each row's numbers become a PNG file once, then a row."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from emohelpers.config import files, paths
from emohelpers.datasets import labels
from emohelpers.datasets.locate import ManifestError, Tree
from emohelpers.datasets.manifest import Pixels, Votes
from emohelpers.datasets.tables import Rows, column, find_table, given_table, named_column, read_csv


def from_pixels(spec: Pixels, root: Path, labels_csv: str, remedy: str) -> Rows:
    """Rows of a pixel CSV, whose pictures are written as PNG into the cache folder once for each content."""
    tree = Tree()
    given = given_table(labels_csv, root) if labels_csv else None
    source = given if given and not spec.votes else find_table(tree, root, spec.file, remedy)
    folder = _materialise(spec, source)
    frame = read_csv(folder / "rows.csv")
    frame["{line}"] = [f"{source.name} line {i + 2}" for i in range(len(frame))]
    rows = Rows(folder, frame.assign(source="", parent=""), str(source))
    bad = frame[frame["reason"] != ""]
    rows.unreadable = dict(zip(bad["path"], bad["{line}"] + ": " + bad["reason"], strict=True))
    rows.frame = rows.frame.drop(columns="reason")
    if spec.votes:
        _vote(rows, spec.votes, given or find_table(tree, root, spec.votes.file, remedy))
    return rows


def _materialise(spec: Pixels, source: Path) -> Path:
    """The folder of a CSV's pictures and their rows.csv, whole or not there; one for each content and columns."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(repr((spec.pixels, spec.label, spec.split, spec.side)).encode())
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
    rows = []
    for i, text in enumerate(tqdm(table[pixels], desc=f"{source.name} -> PNG", unit="img")):
        picture, reason = _picture(text, spec.side)
        path = f"{i // 1000:03d}/row{i:06d}.png"
        if i % 1000 == 0:
            (folder / path).parent.mkdir()
        if picture is not None:
            Image.fromarray(picture).save(folder / path, compress_level=1)
        rows.append((path, table[label].iat[i], table[split].iat[i] if split else "", reason))
    files.write_csv(pd.DataFrame(rows, columns=["path", "label", "split", "reason"]), folder / "rows.csv")


def _picture(text: str, side: int) -> tuple[np.ndarray | None, str]:
    """Numbers 0..255 separated by spaces -> (side, side) uint8, or the reason why not."""
    values = text.split()
    if len(values) != side * side:
        return None, f"{len(values)} pixel values instead of {side * side}"
    try:
        numbers = np.array(values, dtype=np.int64)
    except (ValueError, OverflowError):
        wrong = next(v for v in values if not v.isdecimal())
        return None, f"pixel value {wrong[:20]!r} is no whole number"
    if numbers.min() < 0 or numbers.max() > 255:
        return None, f"pixel values from {numbers.min()} to {numbers.max()}, allowed 0 to 255"
    return numbers.astype(np.uint8).reshape(side, side), ""


def _vote(rows: Rows, spec: Votes, path: Path) -> None:
    """Replaces labels by the majority of the votes and keeps the votes as columns `votes_<name>`.

    As FER+'s own reader does it: single votes are dropped, then more than half of the rest must agree
    (Barsoum et al. 2016, arXiv:1608.01041).
    """
    table = read_csv(path)
    columns = [column(table, [name], "layout.votes", path) for name in (*spec.emotions, *spec.discard)]
    if len(table) != len(rows.frame):
        raise ManifestError(
            f"{path} has {len(table):,} rows and {rows.where} {len(rows.frame):,}: they belong together row by row, "
            "so both must be the original, complete files"
        )
    usage = named_column(table, ["Usage"])
    told = rows.frame["split"]
    apart = np.flatnonzero((table[usage] != told) & (told != "")) if usage else np.empty(0)
    if apart.size:
        raise ManifestError(
            f"{path} and {rows.where} disagree on Usage in {apart.size:,} rows, first line {apart[0] + 2}: "
            "they belong together row by row, so neither may be sorted or shuffled"
        )
    try:
        votes = table[columns].astype(int).to_numpy()
    except ValueError as error:
        raise ManifestError(f"{path}: votes must be whole numbers ({error})") from error
    names = [labels.canonical(name) for name in spec.emotions]
    strong = np.where(votes > 1, votes, 0)
    clear = strong.max(1) * 2 > strong.sum(1)
    winner = strong.argmax(1)
    usable = clear & (winner < len(names))
    for i, name in enumerate([*names, *spec.discard]):
        rows.frame[f"votes_{name}"] = votes[:, i]
    rows.frame["label"] = [names[w] if ok else "" for w, ok in zip(winner, usable, strict=True)]
    rows.notes.append(
        f"{int((~usable).sum()):,} of {len(usable):,} rows of {path.name} have no label and were left out: "
        f"{int((~clear).sum()):,} without a majority, {int((clear & ~usable).sum()):,} for {' or '.join(spec.discard)}"
    )
    rows.frame = rows.frame[usable].reset_index(drop=True)
    left = set(rows.frame["path"])
    rows.unreadable = {p: why for p, why in rows.unreadable.items() if p in left}
    rows.where = str(path)

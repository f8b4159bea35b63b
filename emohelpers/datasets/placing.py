"""From the paths that a table writes to the files that they mean: the data set's folder, splits by folder, parents."""

import os
from pathlib import Path

from emohelpers.config import paths
from emohelpers.datasets.candidates import candidates
from emohelpers.datasets.layouts import Table
from emohelpers.datasets.locate import SPLITS, ManifestError, Tree, fold, is_picture, parts_of, same_content
from emohelpers.datasets.rows import Rows


def place(rows: Rows, tree: Tree, home: Path | None, spec: Table) -> None:
    """Turns paths as written into paths of files below the data set's folder, the deepest that holds all of it."""
    frame = rows.frame
    written = list(frame["path"])
    bases = list(dict.fromkeys(((home or rows.root).as_posix(), rows.root.as_posix())))
    # The ending goes before the suffix: 1.jpg becomes 1_aligned.jpg.
    ended = [spec.ending.join(os.path.splitext(path)) for path in written]
    meant = candidates(tree, bases, ended) if spec.ending else None
    if not meant or not any(meant.files):
        meant = candidates(tree, bases, written)
    files = meant.files
    if meant.torn:
        rows.problems.append(
            f"the pictures of {len(meant.torn)} folders of {rows.where} lie in several others, of which none has them "
            f"all: {'; '.join(meant.torn[:3])}. Give a DATASET_ROOT that holds the right one"
        )
    elif not any(files):
        remedy = (
            "Give the folder that holds the pictures as DATASET_ROOT, or correct the table: a file of the same name in "
            "a folder of another name is not taken for a picture"
        )
        if not any(map(is_picture, written)):
            remedy = "The names have no suffix of a picture: write it, such as .jpg, into the table"
        raise ManifestError(
            f"none of the {len(written):,} pictures of {rows.where} was found below {rows.root}, for example "
            f"{written[0]!r}.\n{paths.listing(rows.root)}\n{remedy}"
        )
    files = [_of_split(options, split) for options, split in zip(files, frame["split"], strict=True)]
    _report_ambiguous(rows, written, files)

    # The data set's folder, and each picture's path below it.
    first = [options[0] if options else "" for options in files]
    folders = {os.path.dirname(path) for path in first if path}
    base = os.path.commonpath([*folders, home] if home else folders)
    rows.root = Path(base)
    frame["path"] = [
        _below(base, path) if path else "/".join(parts_of(text)) for path, text in zip(first, written, strict=True)
    ]
    reason = f"no such file (looked below {' and '.join(bases)}; a namesake in another folder is not taken for it)"
    rows.unreadable |= {path: reason for path, file in zip(frame["path"], first, strict=True) if not file}
    if meant.moved:
        moves = {os.path.dirname(written[row]): row for row in reversed(meant.moved)}  # the first of each folder
        examples = "; ".join(f"{written[row]} -> {_below(bases[-1], first[row])}" for row in list(moves.values())[:3])
        rows.notes.append(f"{len(meant.moved):,} pictures lie in another folder than {rows.where} writes: {examples}")

    # What the name and the place of a picture say of it.
    if spec.split_names and not any(frame["split"]):
        words = [os.path.basename(path).partition("_")[0] for path in frame["path"]]
        frame["split"] = [word if fold(word) in SPLITS else "" for word in words]
    if spec.split_folders and not spec.split:
        frame["split"] = [_split_folder(path) for path in frame["path"]]
    if (frame["parent"] != "").any():
        _lineage(rows, tree, bases, written)


def _of_split(files: list[str], split: str) -> list[str]:
    """Those of several files that lie in a folder of their split: 1.jpg of train.csv is train/1.jpg, not test/1.jpg."""
    if not split or len(files) < 2:
        return files
    return [file for file in files if fold(split) in map(fold, parts_of(file))] or files


def _report_ambiguous(rows: Rows, written: list[str], files: list[list[str]]) -> None:
    ambiguous = [row for row, options in enumerate(files) if len(options) > 1 and not same_content(options)]
    if ambiguous:
        examples = "; ".join(f"{written[row]} -> {', '.join(files[row])}" for row in ambiguous[:3])
        rows.problems.append(
            f"{len(ambiguous):,} paths of {rows.where} fit several different pictures: {examples}. "
            "Write more of the folder into the table, or give a DATASET_ROOT that holds one of them"
        )


def _below(base: str, path: str) -> str:
    return path.removeprefix(base).lstrip("/")


def _split_folder(path: str) -> str:
    """The last folder on a picture's path that is named as a split."""
    *folders, _ = path.split("/")
    return next((name for name in reversed(folders) if fold(name) in SPLITS), "")


def _lineage(rows: Rows, tree: Tree, bases: list[str], written: list[str]) -> None:
    """Turns parents as written into paths of the table."""
    frame = rows.frame
    base = rows.root.as_posix()
    path_of = {"/".join(parts_of(text)): path for text, path in zip(written, frame["path"], strict=True)}
    pictures = set(frame["path"])
    names = sorted(set(frame["parent"]) - {""})
    files = candidates(tree, bases, names).files
    parents = {"": ""}
    for name, options in zip(names, files, strict=True):
        path = _below(base, options[0]) if len(options) == 1 else ""
        parents[name] = path_of.get("/".join(parts_of(name))) or (path if path in pictures else "")
    parent = frame["parent"].map(parents)
    lost = frame.loc[(frame["parent"] != "") & (parent == ""), "parent"]
    if len(lost):
        rows.problems.append(
            f"{len(lost):,} synthetic rows of {rows.where} name a parent that is not in the table, e.g. "
            f"{lost.iloc[0]}: without it their place in a split cannot be checked"
        )
    frame["parent"] = parent

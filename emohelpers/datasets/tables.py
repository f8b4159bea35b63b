"""Reads the rows of a data set from its CSV tables; what they mean is for `audit`."""

import os
from pathlib import Path

import pandas as pd
from pandas import DataFrame, Index

from emohelpers.config import paths
from emohelpers.datasets.foreign import advice
from emohelpers.datasets.layouts import Join, Table
from emohelpers.datasets.locate import DEPTH, ManifestError, Tree, find_input, fold, is_picture, parts_of
from emohelpers.datasets.placing import place
from emohelpers.datasets.rows import Rows
from emohelpers.datasets.spelling import matched
from emohelpers.datasets.text_files import read_csv

COLUMNS = ("path", "label", "split", "source", "parent")  # what a table can say of a picture


def column(table: DataFrame, names: list[str], key: str, path: str | Path) -> str:
    """The first of `names` that a table has, in any case; raises `ManifestError` naming what it has."""
    if name := named_column(table, names):
        return name
    columns = ", ".join(table.columns[:30])
    by_name = f"Name the right one in the manifest's YAML ({key}: ...), or choose another table with LABELS_CSV"
    raise ManifestError(
        f"{path} has no column {' or '.join(map(repr, names))} for {key}; its columns: {columns}. "
        + (by_name if key.startswith("layout.") else "Rename the right one in the table")
    )


def named_column(table: DataFrame, names: list[str]) -> str:
    """As `column`, but "" where there is none."""
    spelt = {fold(name): name for name in reversed(list(table.columns))}
    for name in names:
        if name in table.columns:
            return name
        if fold(name) in spelt:
            return spelt[fold(name)]
    return ""


def find_table(tree: Tree, root: Path, name: str, remedy: str) -> Path:
    """The file called `name` on the first level below `root` that has it; raises `ManifestError` unless it is one."""
    files = tree.search(root.as_posix(), name)
    if len(files) == 1:
        return Path(files[0])
    if files:
        raise ManifestError(
            f"{len(files)} files called {name} below {root}: {', '.join(files[:5])}. "
            "Give the one folder you mean as DATASET_ROOT, or the file as LABELS_CSV"
        )
    above = [folder for folder in readable_parents(root) if tree.match(folder.as_posix(), name)]
    remedy = f"It lies in {above[0]}: give that folder as DATASET_ROOT." if above else remedy
    raise ManifestError(
        f"{name} was not found below {root} (searched {DEPTH - 1} folders deep).\n{paths.listing(root)}\n"
        f"{advice(tree, root)}{remedy}"
    )


def readable_parents(root: Path) -> list[Path]:
    """The two folders above a root that was perhaps given too low."""
    return [parent for parent in root.parents[:2] if os.access(parent, os.R_OK)]


def given_table(labels_csv: str, root: Path) -> Path:
    """The file that LABELS_CSV names, below `root` or anywhere."""
    if (root / labels_csv).is_file():  # also where labels_csv is absolute
        return (root / labels_csv).resolve()
    return find_input(labels_csv, f"LABELS_CSV is a file, or a path below DATASET_ROOT ({root})")


def from_table(spec: Table, root: Path, labels_csv: str, remedy: str) -> Rows:
    """Rows of a CSV whose paths name pictures below `root`."""
    tree = Tree()
    tables, home = _tables(spec, tree, root, labels_csv, remedy)
    frames = [_read(spec, split, path) for split, path in tables.items()]
    frame = pd.concat(frames, ignore_index=True).fillna("")
    rows = Rows(root, frame, ", ".join(map(str, tables.values())))
    nameless = frame["path"] == ""
    if nameless.any():
        first_line = frame.loc[nameless, "{line}"].iloc[0]
        rows.problems.append(f"{nameless.sum()} rows without a path, first {first_line}: remove them from {rows.where}")
        rows.frame = frame[~nameless].reset_index(drop=True)
    place(rows, tree, home if home.is_relative_to(root) else None, spec)
    rows.closed(tree)
    if spec.join:
        _join(rows, tree, spec.join, remedy)
    return rows


def _tables(spec: Table, tree: Tree, root: Path, labels_csv: str, remedy: str) -> tuple[dict[str, Path], Path]:
    """The table of each split ("" where there is one for all), and the folder of the data set's own tables."""
    files = [{split: tree.search(root.as_posix(), name) for split, name in names.items()} for names in spec.file]
    complete = [number for number, paths_of in enumerate(files) if all(paths_of.values())]
    if labels_csv:
        table = given_table(labels_csv, root)
        # The data set's folder stays the one of its own table: pictures keep their ids whatever table names them.
        first = next(iter(files[complete[0]].values())) if complete else []
        home = Path(first[0]).parent if len(first) == 1 else table.parent
        return {"": table}, home
    names = spec.file[complete[0] if complete else 0]
    tables = {split: find_table(tree, root, name, remedy) for split, name in names.items()}
    homes = {path.parent for path in tables.values()}
    if len(homes) > 1:
        raise ManifestError(f"the tables lie in different folders, so they may be of different versions: {tables}")
    return tables, homes.pop()


def _read(spec: Table, split: str, path: Path) -> DataFrame:
    """A table with our names for its columns, its own other columns, and each row's line for messages."""
    table = _headed(read_csv(path), spec)
    names = {
        "path": column(table, spec.path, "layout.path", path),
        "label": column(table, spec.label, "layout.label", path),
        "split": named_column(table, [spec.split]),
        "source": named_column(table, [spec.source]),
        "parent": named_column(table, [spec.parent]),
    }
    absent = {"split": split}
    frame = table.drop(columns={*names.values(), *COLUMNS} & set(table.columns))
    for key, name in names.items():
        frame[key] = table[name] if name else absent.get(key, "")
    frame["{line}"] = [f"{path.name} line {number}" for number in table.index]
    return frame


def _headed(table: DataFrame, spec: Table) -> DataFrame:
    """The table; a list without a header, `name label` in each line as RAF-DB's, gets the header that it lacks."""
    first = [word for cell in table.columns for word in cell.split()]
    if len(first) != 2 or not is_picture(first[0]):
        return table
    lines = [first, *(" ".join(row).rsplit(maxsplit=1) for row in table.to_numpy())]
    return DataFrame(lines, columns=[spec.path[0], spec.label[0]], index=[1, *table.index])


def _join(rows: Rows, tree: Tree, spec: Join, remedy: str) -> None:
    """Adds the further columns of a second table about the same paths."""
    path = find_table(tree, rows.root, spec.file, remedy)
    table = read_csv(path)
    key = column(table, spec.path, "layout.join.path", path)
    written = ["/".join(parts_of(text)) for text in table[key]]
    table.index = Index(matched(written, rows.frame["path"]))
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise ManifestError(f"{path} names {twice} twice: one row a picture is needed")
    pictures = rows.frame["path"]
    lost = pictures[~pictures.isin(table.index)]
    if len(lost):
        rows.problems.append(f"{len(lost):,} pictures of {rows.where} have no row in {path}, e.g. {lost.iloc[0]}")
    for name in table.columns:
        if name and name != key and name not in rows.frame.columns:
            rows.frame[name] = table[name].reindex(pictures).fillna("").to_numpy()

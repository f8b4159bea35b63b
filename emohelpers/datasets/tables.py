"""Reads the rows of a data set from its CSV tables; what they mean is for `audit`."""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emohelpers.config import paths
from emohelpers.datasets.candidates import candidates
from emohelpers.datasets.layouts import Join, Table
from emohelpers.datasets.locate import DEPTH, SPLITS, ManifestError, Tree, find_input, fold, parts_of, same_content

COLUMNS = ("path", "label", "split", "source", "parent")  # what a table can say of a picture


@dataclass
class Rows:
    """Rows as read: `path` below `root`; `label`, `split`, `source`, `parent` as written; other columns."""

    root: Path
    frame: pd.DataFrame
    where: str  # for messages: the table, or the folder
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason

    def closed(self, tree: Tree) -> None:
        """Notes the folders that could not be searched."""
        if tree.closed:
            self.notes.append(f"folders that may not be read were passed over: {', '.join(tree.closed[:5])}")


def read_csv(path: str | Path) -> pd.DataFrame:
    """A CSV as text: UTF-8 with or without a byte order mark, any line ends, separated by comma, semicolon or tab."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        text = {"dtype": str, "na_filter": False, "encoding": "utf-8-sig", "index_col": False}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # pandas would cut a row that is too long
            table = pd.read_csv(path, sep=separator, **text)
    except pd.errors.EmptyDataError as error:
        raise ManifestError(f"{path} is empty: download it again") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ManifestError(f"{path} is not a regular CSV: {error}. A path with a comma needs quotes") from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror})") from error
    table.columns = table.columns.str.strip()
    if table.empty:
        raise ManifestError(f"{path} has a header but no rows: download it again")
    return table


def column(table: pd.DataFrame, names: list[str], key: str, path: str | Path) -> str:
    """The first of `names` that a table has, in any case; raises `ManifestError` naming what it has."""
    if name := named_column(table, names):
        return name
    raise ManifestError(
        f"{path} has no column {' or '.join(map(repr, names))} for {key}; its columns: {', '.join(table.columns)}. "
        f"Name the right one in the manifest's YAML ({key}: ...), or choose another table with LABELS_CSV"
    )


def named_column(table: pd.DataFrame, names: list[str]) -> str:
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
    advice = f"It lies in {above[0]}: give that folder as DATASET_ROOT." if above else remedy
    raise ManifestError(
        f"{name} was not found below {root} (searched {DEPTH - 1} folders deep).\n{paths.listing(root)}\n{advice}"
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
    _place(rows, tree, home if home.is_relative_to(root) else None, spec)
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


def _read(spec: Table, split: str, path: Path) -> pd.DataFrame:
    """A table with our names for its columns, its own other columns, and each row's line for messages."""
    table = read_csv(path)
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
        frame[key] = table[name].str.strip() if name else absent.get(key, "")
    frame["{line}"] = [f"{path.name} line {number + 2}" for number in range(len(frame))]
    return frame


def _place(rows: Rows, tree: Tree, home: Path | None, spec: Table) -> None:
    """Turns paths as written into paths of files below the data set's folder, the deepest that holds all of it."""
    frame = rows.frame
    written = list(frame["path"])
    bases = list(dict.fromkeys(((home or rows.root).as_posix(), rows.root.as_posix())))
    files, by_name = candidates(tree, bases, written)
    if not any(files):
        raise ManifestError(
            f"none of the {len(written):,} pictures of {rows.where} was found below {rows.root}, for example "
            f"{written[0]!r}.\n{paths.listing(rows.root)}\nGive the folder that holds the pictures as DATASET_ROOT"
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
    reason = f"no such file (looked below {' and '.join(bases)})"
    rows.unreadable |= {path: reason for path, file in zip(frame["path"], first, strict=True) if not file}
    if by_name:
        rows.notes.append(
            f"{len(by_name):,} pictures were found by their file name alone, since their folder is nowhere below "
            f"{rows.root}, e.g. {written[by_name[0]]} -> {frame['path'].iloc[by_name[0]]}"
        )

    # What the place of a picture says of it.
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
    frame, base = rows.frame, rows.root.as_posix()
    path_of = {"/".join(parts_of(text)): path for text, path in zip(written, frame["path"], strict=True)}
    pictures = set(frame["path"])
    names = sorted(set(frame["parent"]) - {""})
    files, _ = candidates(tree, bases, names)
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


def _join(rows: Rows, tree: Tree, spec: Join, remedy: str) -> None:
    """Adds the further columns of a second table about the same paths."""
    path = find_table(tree, rows.root, spec.file, remedy)
    table = read_csv(path)
    key = column(table, spec.path, "layout.join.path", path)
    table.index = pd.Index(["/".join(parts_of(text)) for text in table[key]])
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

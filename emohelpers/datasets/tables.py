"""Reads the rows of a data set from its CSV tables; what they mean is for `audit`."""

import hashlib
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emohelpers.config import paths
from emohelpers.datasets.locate import DEPTH, SPLITS, ManifestError, Tree, candidates, fold, parts_of
from emohelpers.datasets.manifest import Join, Table


@dataclass
class Rows:
    """Rows as found: `path` below `root`; `label`, `split`, `source`, `parent` as written; other columns."""

    root: Path
    frame: pd.DataFrame
    where: str  # for messages: the table, or the folder
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason


def read_csv(path: str | Path, **options) -> pd.DataFrame:
    """A CSV as text: UTF-8 with or without a byte order mark, any line ends, separated by comma, semicolon or tab."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            header = file.readline()
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # pandas would cut a row that is too long
            table = pd.read_csv(
                path, sep=max(",;\t", key=header.count), dtype=str, na_filter=False, encoding="utf-8-sig",
                index_col=False, **options,
            )  # fmt: skip
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


def column(table: pd.DataFrame, wanted: list[str], what: str, path: str | Path) -> str:
    """The first of the `wanted` columns that a table has, in any case; raises `ManifestError` naming what it has."""
    if found := named_column(table, wanted):
        return found
    raise ManifestError(
        f"{path} has no column {' or '.join(map(repr, wanted))} for {what}; its columns: {', '.join(table.columns)}. "
        f"Name the right one in the manifest's YAML ({what}: ...), or choose another table with LABELS_CSV"
    )


def named_column(table: pd.DataFrame, wanted: list[str]) -> str:
    """As `column`, but "" where there is none."""
    have = {fold(name): name for name in reversed(list(table.columns))}
    return next((w if w in table.columns else have[fold(w)] for w in wanted if fold(w) in have), "")


def find_table(tree: Tree, root: Path, name: str, remedy: str) -> Path:
    """The one file called `name` on the first level below `root` that has it."""
    found = tree.search(root.as_posix(), name)
    if len(found) == 1:
        return Path(found[0])
    if found:
        raise ManifestError(
            f"{len(found)} files called {name} below {root}: {', '.join(found[:5])}. "
            "Give the one folder you mean as DATASET_ROOT, or the file as LABELS_CSV"
        )
    above = [p for p in list(root.parents)[:2] if os.access(p, os.R_OK) and tree.match(p.as_posix(), name)]
    raise ManifestError(
        f"{name} was not found below {root} (searched {DEPTH - 1} folders deep).\n{paths.listing(root)}\n"
        + (f"It lies in {above[0]}: give that folder as DATASET_ROOT." if above else remedy)
    )


def from_table(spec: Table, root: Path, labels_csv: str, remedy: str) -> Rows:
    """Rows of a CSV whose paths name pictures below `root`."""
    tree, top = Tree(), root.as_posix()
    there = [option for option in spec.file if all(tree.search(top, name) for name in option.values())]
    if labels_csv:
        chosen = {"": given_table(labels_csv, root)}
        # The data set's folder stays the one of its own table: pictures keep their ids whatever table names them.
        kin = [tree.search(top, name) for name in there[0].values()] if there else []
        home = Path(kin[0][0]).parent if kin and len(kin[0]) == 1 else chosen[""].parent
    else:
        chosen = {s: find_table(tree, root, name, remedy) for s, name in (there or spec.file)[0].items()}
        home = next(iter(chosen.values())).parent
        if len({path.parent for path in chosen.values()}) > 1:
            raise ManifestError(f"the tables lie in different folders, so they may be of different versions: {chosen}")
    frames = []
    for split, path in chosen.items():
        table = read_csv(path)
        names = {key: column(table, getattr(spec, key), f"layout.{key}", path) for key in ("path", "label")}
        names |= {key: named_column(table, [getattr(spec, key)]) for key in ("split", "source", "parent")}
        part = table.drop(columns=[n for n in (*names.values(), "") if n in table.columns])
        part = part.drop(columns=[c for c in ("path", "label", "split", "source", "parent") if c in part.columns])
        for key, name in names.items():
            part[key] = table[name].str.strip() if name else (split if key == "split" else "")
        part["{line}"] = [f"{path.name} line {i + 2}" for i in range(len(part))]
        frames.append(part)
    frame = pd.concat(frames, ignore_index=True).fillna("")
    rows = Rows(root, frame, ", ".join(map(str, chosen.values())))
    if empty := int((frame["path"] == "").sum()):
        first_line = frame.loc[frame["path"] == "", "{line}"].iloc[0]
        rows.problems.append(f"{empty} rows without a path, first {first_line}: remove them from {rows.where}")
        rows.frame = frame = frame[frame["path"] != ""].reset_index(drop=True)
    _place(rows, tree, home if home.is_relative_to(root) else None, spec)
    if spec.join:
        _join(rows, tree, spec.join, remedy)
    return rows


def given_table(labels_csv: str, root: Path) -> Path:
    """The file that LABELS_CSV names, below `root` or anywhere."""
    if (root / labels_csv).is_file():  # also where labels_csv is absolute
        return (root / labels_csv).resolve()
    return find_input(labels_csv, f"LABELS_CSV is a file, or a path below DATASET_ROOT ({root})")


def find_input(name: str, remedy: str) -> Path:
    """`paths.find_input`, in this floor's error."""
    try:
        return paths.find_input(name, remedy=remedy)
    except paths.InputNotFound as error:
        raise ManifestError(str(error)) from error


def _place(rows: Rows, tree: Tree, home: Path | None, spec: Table) -> None:
    """Turns paths as written into paths of files below the data set's folder, the deepest that holds all of it."""
    frame, given = rows.frame, list(rows.frame["path"])
    bases = list(dict.fromkeys(((home or rows.root).as_posix(), rows.root.as_posix())))
    found, by_name = candidates(tree, bases, given)
    if not any(found):
        raise ManifestError(
            f"none of the {len(given):,} pictures of {rows.where} was found below {rows.root}, for example "
            f"{given[0]!r}.\n{paths.listing(rows.root)}\nGive the folder that holds the pictures as DATASET_ROOT"
        )
    for i, split in enumerate(frame["split"]):
        if len(found[i]) > 1 and split:  # 1.jpg of train.csv, where train/ and test/ have a 1.jpg each
            found[i] = [f for f in found[i] if fold(split) in map(fold, parts_of(f))] or found[i]
    twice = [i for i, files_ in enumerate(found) if len(files_) > 1 and not _same_content(files_)]
    if twice:
        example = "; ".join(f"{given[i]} -> {', '.join(found[i])}" for i in twice[:3])
        rows.problems.append(
            f"{len(twice):,} paths of {rows.where} fit several different pictures: {example}. "
            "Write more of the folder into the table, or give a DATASET_ROOT that holds one of them"
        )
    homes = [f[0].rpartition("/")[0] if f else "" for f in found]
    places = {place for place in homes if place}
    base = os.path.commonpath([*places, home] if home else places)
    below = {p: "" if p == base else Path(p).relative_to(base).as_posix() + "/" for p in places}
    frame["path"] = [
        below[place] + f[0].rpartition("/")[2] if f else "/".join(parts_of(p))
        for place, f, p in zip(homes, found, given, strict=True)
    ]
    rows.root = Path(base)
    where = "looked below " + " and ".join(bases)
    rows.unreadable |= {p: f"no such file ({where})" for f, p in zip(found, frame["path"], strict=True) if not f}
    if by_name:
        rows.notes.append(
            f"{len(by_name):,} pictures were found by their file name alone, since their folder is nowhere below "
            f"{rows.root}, e.g. {given[by_name[0]]} -> {frame['path'].iloc[by_name[0]]}"
        )
    if spec.split_folders and not spec.split:
        words = [[p for p in path.split("/")[:-1] if fold(p) in SPLITS] for path in frame["path"]]
        frame["split"] = [w[-1] if w else "" for w in words]
    if (frame["parent"] != "").any():
        _lineage(rows, tree, bases, given)
    if tree.closed:
        rows.notes.append(f"folders that may not be read were passed over: {', '.join(tree.closed[:5])}")


def _lineage(rows: Rows, tree: Tree, bases: list[str], given: list[str]) -> None:
    """Turns parents as written into paths of the table."""
    frame, base = rows.frame, rows.root.as_posix()
    as_given = dict(zip(("/".join(parts_of(p)) for p in given), frame["path"], strict=True))
    wanted = sorted(set(frame["parent"]) - {""})
    here, known = set(frame["path"]), {"": ""}
    for text, found in zip(wanted, candidates(tree, bases, wanted)[0], strict=True):
        place = found[0][len(base) :].strip("/") if len(found) == 1 else ""
        known[text] = as_given.get("/".join(parts_of(text))) or (place if place in here else "")
    lost = frame.loc[[bool(text) and not known[text] for text in frame["parent"]], "parent"]
    if len(lost):
        rows.problems.append(
            f"{len(lost):,} synthetic rows of {rows.where} name a parent that is not in the table, e.g. "
            f"{lost.iloc[0]}: without it their place in a split cannot be checked"
        )
    frame["parent"] = frame["parent"].map(known)


def _same_content(files: list[str]) -> bool:
    return len({hashlib.sha256(Path(path).read_bytes()).digest() for path in files}) == 1


def _join(rows: Rows, tree: Tree, spec: Join, remedy: str) -> None:
    path = find_table(tree, rows.root, spec.file, remedy)
    other = read_csv(path)
    key = column(other, spec.path, "layout.join.path", path)
    other.index = pd.Index(["/".join(parts_of(p)) for p in other[key]])
    if other.index.has_duplicates:
        twice = other.index[other.index.duplicated()][0]
        raise ManifestError(f"{path} names {twice} twice: one row a picture is needed")
    lost = rows.frame.loc[~rows.frame["path"].isin(other.index), "path"]
    if len(lost):
        rows.problems.append(f"{len(lost):,} pictures of {rows.where} have no row in {path}, e.g. {lost.iloc[0]}")
    new = [c for c in other.columns if c and c not in rows.frame.columns and c != key]
    for name in new:
        rows.frame[name] = other[name].reindex(rows.frame["path"]).fillna("").to_numpy()

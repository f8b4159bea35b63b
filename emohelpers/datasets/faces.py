"""Any face data set -> one table, and everything that is wrong with it said at once, before training starts.

How a data set lies on a disk is written in a YAML (data_manifests/README.md explains it): a new one needs no code.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pandas import DataFrame, Series

from emohelpers.config import files
from emohelpers.datasets import audit, labels, manifest, problems
from emohelpers.datasets.folders import from_folders
from emohelpers.datasets.layouts import TABLE, Folders, Manifest, Pixels, Table
from emohelpers.datasets.locate import ManifestError, is_picture
from emohelpers.datasets.pixel_rows import from_pixels
from emohelpers.datasets.rows import Rows, is_original
from emohelpers.datasets.tables import from_table, named_column
from emohelpers.datasets.text_files import as_numbers

__all__ = ["Dataset", "Manifest", "ManifestError", "check", "load", "names", "read", "write_unreadable"]


@dataclass(frozen=True)
class Dataset:
    """A data set as one table: `path` (below `root`, unique), `label`, `split`, `source`, `parent`, `group`."""

    name: str
    title: str
    root: Path
    table: DataFrame  # sorted by path
    classes: tuple[str, ...]
    problems: list[str]  # stop a run: see `check`
    notes: list[str]  # worth saying
    demo: bool
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason; after `check`: what was left out
    traps: list[str] = field(default_factory=list)  # what the manifest warns of
    licence: str = ""
    citation: str = ""
    elsewhere: dict[str, Path] = field(default_factory=dict)  # path -> folder it lies below, where not `root`: edits


def names() -> list[str]:
    """The face data sets that come with the project."""
    return manifest.names(Manifest)


def read(name_or_yaml: str | Path) -> Manifest:
    """The manifest of a face data set; raises `ManifestError` with every wrong key at once."""
    return manifest.read(Manifest, name_or_yaml)


def load(name_or_yaml: str | Path, root: str | Path = "", labels_csv: str | Path = "") -> Dataset:
    """The table of a data set, with every problem of it collected for `check`.

    Args:
        name_or_yaml: one of `names()` or the path of a YAML file.
        root: its folder or Kaggle handle; empty: where the manifest says.
        labels_csv: another table than the manifest's, for the same pictures.

    Raises:
        ManifestError: the manifest is wrong, or no table can be made (no folder, no CSV, no column, no known label).
    """
    spec = read(name_or_yaml)
    rows = _rows(spec, spec.folder(str(root)), str(labels_csv))

    # From what is written to what it means.
    audit.read_declared(spec, rows)
    audit.read_labels(spec, rows)
    audit.read_splits(spec, rows)
    audit.drop_repeats(rows)
    source = rows.frame["source"].str.casefold()
    rows.frame["source"] = source.where(~is_original(source), "original")
    rows.frame["group"] = audit.groups(spec, rows)
    further = _further(spec, rows)
    rows.frame = rows.frame.sort_values("path", ignore_index=True)
    table = rows.frame[[*TABLE, *further]].astype(dict.fromkeys(TABLE, str))
    for name in further:
        table[name] = _kept(rows, name)

    # What is wrong or worth saying.
    strange = [path for path in table["path"] if not is_picture(path)]
    if strange:
        rows.problems.append(f"{len(strange):,} paths of {rows.where} name no picture, e.g. {strange[0]}")
    if isinstance(spec.layout, Table) or (labels_csv and isinstance(spec.layout, Folders)):
        rows.notes += audit.agreement(spec, table)
    # In the order of EMOTIONS, whatever the data set's own is: a model's outputs follow it.
    classes = tuple(emotion for emotion in labels.EMOTIONS if emotion in (spec.classes or set(table["label"])))
    paths = set(table["path"])
    return Dataset(
        name=spec.name,
        title=spec.title,
        root=rows.root,
        table=table,
        classes=classes,
        problems=rows.problems + audit.class_problems(table, classes, spec.group.stem),
        notes=rows.notes,
        demo=bool(spec.drawn),
        unreadable={path: reason for path, reason in rows.unreadable.items() if path in paths},
        traps=spec.traps,
        licence=spec.licence,
        citation=spec.citation,
    )


def check(dataset: Dataset, pixels: Any = None, max_unreadable: float = 0.0) -> Dataset:
    """The data set without its unreadable pictures, where they are at most the share `max_unreadable` (0..1) of all.

    Missing files count as unreadable; `pixels.unreadable` (path -> reason, of `pixels.build`) tells the others.

    Raises:
        ManifestError: with all problems at once.
    """
    reasons = {**(pixels.unreadable if pixels is not None else {}), **dataset.unreadable}
    unreadable = {path: reasons[path] for path in dataset.table["path"] if path in reasons}
    problem, note = problems.leave_out(
        unreadable, len(dataset.table), max_unreadable, kind="pictures", root=dataset.root
    )
    table = dataset.table
    wrong = [*dataset.problems, problem]
    if note:
        table = table[~table["path"].isin(list(unreadable))].reset_index(drop=True)
        wrong += audit.class_problems(table, dataset.classes)  # leaving pictures out must not empty a class
    problems.stop(dataset.title, dataset.root, wrong)
    return replace(dataset, table=table, notes=[*dataset.notes, *filter(None, [note])], unreadable=unreadable)


def write_unreadable(path: str | Path, unreadable: dict[str, str]) -> Path:
    """Writes `path,reason` of the pictures that were left out; returns the CSV's path."""
    return files.write_csv(DataFrame(list(unreadable.items()), columns=["path", "reason"]), path)


def _rows(spec: Manifest, root: Path, labels_csv: str) -> Rows:
    layout = spec.layout
    if isinstance(layout, Pixels):
        return from_pixels(layout, root, labels_csv, spec.remedy)
    if isinstance(layout, Folders) and labels_csv:
        # The table is right, and the folders are only where the pictures lie.
        layout = Table(kind="table", file="")
    if isinstance(layout, Table):
        return from_table(layout, root, labels_csv, spec.remedy)
    return from_folders(spec, layout, root)


def _further(spec: Manifest, rows: Rows) -> list[str]:
    """Columns to keep, votes always; one that the table lacks is said, since re-uploads often drop some."""
    written = {name: named_column(rows.frame, [name]) for name in spec.keep}
    absent = [name for name, column in written.items() if not column]
    if absent:
        rows.notes.append(f"{rows.where} has no column {', '.join(absent)} to keep")
    rows.frame = rows.frame.rename(columns={column: name for name, column in written.items() if column})
    votes = [name for name in rows.frame.columns if name.startswith("votes_")]
    columns = dict.fromkeys([*spec.keep, *votes])
    return [name for name in columns if name not in absent]


def _kept(rows: Rows, name: str) -> Series:
    """A further column as numbers, but for ids such as 0001 and words; a text among numbers is said."""
    values = rows.frame[name]
    numbers = as_numbers(values)
    wrong = numbers.isna() & (values != "") | (name.startswith("votes_") & (numbers < 0))
    if not wrong.any():
        return values if values.astype(str).str.match("0[0-9]").any() else numbers
    first = rows.frame[wrong].iloc[0]
    text = f"{name} of {wrong.sum():,} rows is no number, first {first[name]!r} of {first['path']} ({first['{line}']})"
    if name.startswith("votes_"):
        rows.problems.append(f"{text}: votes are 0 or more, or empty")
    elif wrong.sum() < numbers.count():
        rows.notes.append(f"{text}: the column stays text")
    return values

"""Any face data set -> one table, and everything that is wrong with it said at once, before training starts.

How a data set lies on a disk is written in a YAML (data_manifests/README.md explains it): a new one needs no code.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from emohelpers.config import files, paths
from emohelpers.datasets import audit, labels
from emohelpers.datasets.folders import from_folders
from emohelpers.datasets.locate import ManifestError, is_picture
from emohelpers.datasets.manifest import TABLE, Manifest, Pixels, Table, meaning, names, needs_order, read
from emohelpers.datasets.pixel_rows import from_pixels
from emohelpers.datasets.tables import Rows, find_input, from_table

__all__ = ["Dataset", "Manifest", "ManifestError", "check", "load", "names", "read", "write_unreadable"]


@dataclass(frozen=True)
class Dataset:
    """A data set as one table: `path` (below `root`, unique), `label`, `split`, `source`, `parent`, `group`."""

    name: str
    title: str
    root: Path
    table: pd.DataFrame  # sorted by path
    classes: tuple[str, ...]
    problems: list[str]  # stop a run: see `check`
    notes: list[str]  # worth saying
    demo: bool
    missing: list[str]  # paths without a picture; their rows stay until `check`
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason; after `check`: what was left out
    traps: list[str] = field(default_factory=list)  # what the manifest warns of
    licence: str = ""
    citation: str = ""
    elsewhere: dict[str, Path] = field(default_factory=dict)  # path -> folder it lies below, where not `root`: edits


def load(name_or_yaml: str | Path, root: str | Path = "", labels_csv: str | Path = "") -> Dataset:
    """The table of a data set, with every problem of it collected for `check`.

    Args:
        name_or_yaml: one of `names()` or the path of a YAML file.
        root: its folder or Kaggle handle; empty: where the manifest says.
        labels_csv: another table than the manifest's, for the same pictures.

    Raises:
        ManifestError: the manifest is wrong, or no table can be made (no folder, no CSV, no column, no known label).
    """
    manifest, yaml_path = read(name_or_yaml)
    rows = _rows(manifest, *_root(manifest, yaml_path, str(root)), str(labels_csv))
    audit.read_labels(manifest, rows)
    audit.read_splits(manifest, rows)
    audit.drop_repeats(rows)
    made = rows.frame["source"].str.casefold()
    rows.frame["source"] = made.where(~made.isin(["", "orig", "real"]), "original")
    rows.frame["group"] = audit.groups(manifest, rows)
    table = rows.frame[[*TABLE, *_kept(manifest, rows)]].sort_values("path", ignore_index=True)
    for name in table.columns:
        table[name] = table[name].astype(str) if name in TABLE else audit.as_numbers(table[name])
    strange = table.loc[[not is_picture(path) for path in table["path"]], "path"]
    if len(strange):
        rows.problems.append(f"{len(strange):,} paths of {rows.where} name no picture, e.g. {strange.iloc[0]}")
    if labels_csv or isinstance(manifest.layout, Table):
        rows.notes += audit.agreement(manifest, table)
    classes = tuple(e for e in labels.EMOTIONS if e in (manifest.classes or set(table["label"])))
    here = set(table["path"])
    unreadable = {path: reason for path, reason in rows.unreadable.items() if path in here}
    return Dataset(
        name=manifest.name,
        title=manifest.title or manifest.name,
        root=rows.root,
        table=table,
        classes=classes,
        problems=rows.problems + audit.class_problems(table, classes),
        notes=rows.notes,
        demo=bool(manifest.demo),
        missing=list(unreadable),
        unreadable=unreadable,
        traps=manifest.traps,
        licence=manifest.licence,
        citation=manifest.citation,
    )


def check(dataset: Dataset, pixels: Any = None, max_unreadable: float = 0.0) -> Dataset:
    """The data set without its unreadable pictures, where they are at most the share `max_unreadable` (0..1) of all.

    Missing files count as unreadable; `pixels.unreadable` (path -> reason, of `store.build`) tells the others.

    Raises:
        ManifestError: with all problems at once.
    """
    found = {**(pixels.unreadable if pixels is not None else {}), **dataset.unreadable}
    bad = {path: found[path] for path in dataset.table["path"] if path in found}
    problems, notes, table = list(dataset.problems), list(dataset.notes), dataset.table
    share = len(bad) / max(len(table), 1)
    told = f"{len(bad):,} of {len(table):,} pictures ({share:.2%}) are missing or cannot be read"
    if share > max_unreadable:
        first = "\n".join(f"       {path}: {reason}" for path, reason in list(bad.items())[:3])
        enough = max(0.02, math.ceil(share * 100) / 100)
        skip = f', or leave them out knowingly: OVERRIDES = {{"max_unreadable": {enough}}}' if share <= 0.1 else ""
        problems.append(
            f"{told}; max_unreadable allows {max_unreadable:.2%}. The first, below {dataset.root}:\n{first}\n"
            f"     Download or unpack them again, or take their rows out of the table{skip}"
        )
    elif bad:
        table = table[~table["path"].isin(list(bad))].reset_index(drop=True)
        notes.append(f"{told} and were left out (max_unreadable = {max_unreadable:.2%})")
        problems += [p for p in audit.class_problems(table, dataset.classes) if p not in problems]
    if problems:
        several = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        lines = "\n".join(f"  {i}. {text}" for i, text in enumerate(problems, 1))
        raise ManifestError(f"{several} in {dataset.title} ({dataset.root}):\n{lines}")
    return replace(dataset, table=table, notes=notes, missing=[], unreadable=bad)


def write_unreadable(path: str | Path, unreadable: dict[str, str]) -> Path:
    """Writes `path,reason` of the pictures that were left out; returns the CSV's path."""
    return files.write_csv(pd.DataFrame(list(unreadable.items()), columns=["path", "reason"]), path)


def _root(manifest: Manifest, yaml_path: Path, root: str) -> tuple[Path, str]:
    """The folder to look in, and what to do where something is not found there."""
    attach = f"attach {manifest.kaggle} by Add Input on Kaggle, or unpack it and " if manifest.kaggle else ""
    remedy = f"{manifest.title or manifest.name}: {attach}give its folder as DATASET_ROOT"
    remedy += f". It comes from: {manifest.source}" if manifest.source else ""
    if not root and manifest.demo:
        from emohelpers.datasets import drawn as demo  # only where it is asked for: drawing needs more than reading

        folder = paths.cache_folder() / f"demo_{manifest.demo}"
        demo.write_faces(folder)
        return folder, remedy
    if not root and manifest.root:
        root = str(yaml_path.parent / manifest.root)
    if not root and not manifest.kaggle:
        raise ManifestError(f"the manifest {manifest.name} names no place of its own. {remedy}")
    place = find_input(root or manifest.kaggle, remedy)
    if not place.is_dir():
        raise ManifestError(
            f"{place} is a file: DATASET_ROOT is the unpacked folder, and a table is given as LABELS_CSV"
        )
    return place, remedy


def _rows(manifest: Manifest, root: Path, remedy: str, labels_csv: str) -> Rows:
    layout, understand = manifest.layout, meaning(manifest)

    def known(kind: str, name: str) -> bool:
        if kind == "split":
            return audit.split_of(manifest, name) is not None
        try:
            understand(name)
        except labels.UnknownLabel:
            return needs_order(manifest, name)
        return True

    if isinstance(layout, Pixels):
        return from_pixels(layout, root, labels_csv, remedy)
    if isinstance(layout, Table):
        return from_table(layout, root, labels_csv, remedy)
    if labels_csv:  # the table is right and the folders are only where the pictures lie
        return from_table(Table(kind="table", file=[]), root, labels_csv, remedy)
    return from_folders(layout, root, known, remedy)


def _kept(manifest: Manifest, rows: Rows) -> list[str]:
    """Columns to keep, votes always; one that the table lacks is said, since re-uploads often drop some."""
    votes = [name for name in rows.frame.columns if name.startswith("votes_")]
    if absent := [name for name in manifest.keep if name not in rows.frame.columns]:
        rows.notes.append(f"{rows.where} has no column {', '.join(absent)} to keep")
    return list(dict.fromkeys([*(name for name in manifest.keep if name not in absent), *votes]))

"""Photographs and edits in one table, `combined_labels.csv`: `filepath,label,source,parent`; no torch, no GPU.

An edit's `filepath` lies below the augmented set's folder, a photograph's below the data set's; `parent` is the
photograph that an edit was made from.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pandas import DataFrame, Series

from emohelpers.config import files, paths
from emohelpers.datasets import labels, leaks, resemblance
from emohelpers.datasets.faces import Dataset
from emohelpers.datasets.groups import sources
from emohelpers.datasets.locate import ManifestError, parts_of
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.rows import is_original
from emohelpers.datasets.spelling import matched
from emohelpers.datasets.tables import column, named_column
from emohelpers.datasets.text_files import read_csv

NAME = "combined_labels.csv"
FOLDER = "augmented_affectnet"  # of the edits; seed 000
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Combined:
    """The combined rows, and what the leak guard took out of the edits."""

    table: DataFrame  # filepath, label, source, parent; in the order of the seed
    removed: DataFrame  # path, label, reason, partner
    counts: DataFrame  # class -> photographs, edits offered, edits kept, all
    left: int  # leaks that are still there: none

    def __str__(self) -> str:
        edits = int((self.table["source"] == SYNTHETIC).sum())
        removed = leaks.by_reason(self.removed) or "none"
        counts = f"{len(self.table):,} rows, {edits:,} of them edits"
        return f"{counts}; edits removed as leaks: {removed}; left: {self.left}"

    def save(self, folder: str | Path, classes: tuple[str, ...]) -> Path:
        """Writes the table, `label_map.json` (name -> index) and `removed.csv`; returns the table's path."""
        files.write_json(Path(folder) / "label_map.json", {name: i for i, name in enumerate(classes)})
        files.write_csv(self.removed, Path(folder) / "removed.csv")
        return files.write_csv(self.table, Path(folder) / NAME)


def add(dataset: Dataset, edits: DataFrame, root: str | Path) -> Dataset:
    """The data set with edits (`path, label, parent` below `root`) as rows of source "synthetic".

    Raises:
        ManifestError: an edit has the path of a photograph, or a label that is no class.
    """
    twice = edits.loc[edits["path"].isin(dataset.table["path"]), "path"]
    if len(twice):
        first = twice.iloc[0]
        raise ManifestError(f"{len(twice):,} edits have the path of a photograph, first {first}: rename their folder")
    if strange := sorted(set(edits["label"]) - set(dataset.classes)):
        raise ManifestError(f"edits are labelled {', '.join(strange)}; the classes are {', '.join(dataset.classes)}")
    rows = edits[["path", "label", "parent"]].assign(split="", source=SYNTHETIC)
    rows["group"] = rows["parent"].where(rows["parent"] != "", rows["path"])
    table = pd.concat([dataset.table, rows], ignore_index=True)
    roots = dict.fromkeys(rows["path"], Path(root))
    return replace(dataset, table=table, elsewhere=dataset.elsewhere | roots)


def combine(dataset: Dataset, pixels: Pixels, table: DataFrame, cfg) -> Combined:
    """All photographs, and the edits that share no parent, group, content or looks with a golden or validation face.

    Args:
        dataset: with its edits, see `add`; `pixels` of all of it.
        table: its photographs, grouped, split and guarded (`splits`): only edits are looked at here.
        cfg: `twin_similarity`, `seed`.
    """
    synthetic = dataset.table["source"] == SYNTHETIC
    edits = dataset.table[synthetic]
    photographs = dataset.table[~synthetic]
    removed, left = _leaks(dataset.table, edits, table, pixels, cfg.twin_similarity)
    clean = edits[~edits["path"].isin(removed["path"])]
    rows = pd.concat([photographs, clean]).rename(columns={"path": "filepath"})
    rows = rows[["filepath", "label", "source", "parent"]].sort_values("filepath")
    rows = rows.sample(frac=1, random_state=cfg.seed).reset_index(drop=True)
    return Combined(rows, removed, _counts(photographs, edits, clean, dataset.classes), left)


def _counts(photographs: DataFrame, edits: DataFrame, clean: DataFrame, classes) -> DataFrame:
    """Rows of each class and of all: photographs, edits offered, edits kept, all."""
    parts = {"photographs": photographs, "edits offered": edits, "edits kept": clean}
    counts = DataFrame({name: part["label"].value_counts() for name, part in parts.items()}, dtype="Int64")
    counts = counts.reindex(list(classes)).fillna(0).astype(int).rename_axis("class")
    counts["all"] = counts["photographs"] + counts["edits kept"]
    counts.loc["all"] = counts.sum()
    return counts


def _leaks(
    every: DataFrame, edits: DataFrame, table: DataFrame, pixels: Pixels, likeness: float
) -> tuple[DataFrame, int]:
    """Edits that must go (path, label, reason, partner), and the leaks that are left then."""
    group = dict(zip(table["path"], table["group"], strict=True))
    source = Series(sources(every), every.index)[edits.index]
    # edits of a photograph that the guard or the audit left out of the table
    is_orphan = source.isin(set(every["path"]) - set(edits["path"])) & ~source.isin(table["path"])
    orphans = edits.loc[is_orphan, ["path", "label"]].assign(reason="parent left out", partner=source[is_orphan])
    # the others as training rows beside the held-out photographs
    rest = edits[~is_orphan]
    groups = [group.get(photograph, path) for photograph, path in zip(source[~is_orphan], rest["path"], strict=True)]
    held = table[table["split"].isin(["golden", "val"])]
    both = pd.concat([held, rest.assign(split="train", group=groups)], ignore_index=True)
    clean, found_leaks = leaks.guard(both, pixels, likeness)
    shared = found_leaks.removed[found_leaks.removed["path"].isin(edits["path"])].drop(columns="part")
    alike = _resembling(rest[rest["path"].isin(clean["path"])], table, pixels)
    return pd.concat([orphans, shared, alike], ignore_index=True), found_leaks.left


def _resembling(edits: DataFrame, table: DataFrame, pixels: Pixels) -> DataFrame:
    """Edits that clearly resemble a held-out face, whatever their lineage says: path, label, reason, partner."""
    thumbs = pixels.thumbnails(edits["path"]), pixels.thumbnails(table["path"])
    best, _, clear = resemblance.resembled(*thumbs, table["group"].to_numpy())
    partner = table.iloc[best]
    leaking = clear & partner["split"].isin(["golden", "val"]).to_numpy()
    rows = edits.loc[leaking, ["path", "label"]]
    return rows.assign(reason="resemblance", partner=partner["path"].to_numpy()[leaking])


def read(dataset: Dataset, combined_labels: str | Path, augmented_root: str | Path = "") -> Dataset:
    """The data set with the edits of a combined table: the one way in which a training gets them.

    Photographs come from the data set itself, so that its checks and groups hold. A table without `source` or
    `parent` (the original project's) is read too: what the data set does not have is an edit, and one without a
    parent is known to the guard by its content and looks alone, which is said in the notes.

    Args:
        augmented_root: folder that the edits' paths are below; empty: `augmented_affectnet` beside the table.

    Raises:
        ManifestError: no such table or column, unknown labels, a photograph or a parent that the data set lacks, or a
            photograph with another label.
    """
    file = paths.find_input(str(combined_labels), remedy="COMBINED_LABELS is the table that notebook 02 wrote.")
    table = read_csv(file)
    rows = _rows(table, file, list(dataset.table["path"]))
    problems = _problems(rows, dict(zip(dataset.table["path"], dataset.table["label"], strict=True)))
    if problems:
        lines = "\n".join(f"  {len(paths):,} {text}, first {paths[0]}" for text, paths in problems.items())
        raise ManifestError(
            f"{file} does not belong to {dataset.title} ({dataset.root}):\n{lines}\nRun notebook 02 again"
        )
    edits = rows[~rows["real"]]
    root = paths.find_input(
        str(augmented_root or file.parent / FOLDER), remedy="AUGMENTED_ROOT is the folder of the edits."
    )
    notes = [*dataset.notes, f"{len(edits):,} edits were added from {file}"]
    if orphans := int((edits["parent"] == "").sum()):
        notes.append(f"{orphans:,} of them name no parent: only content and looks can give a leak away")
    return replace(add(dataset, edits, root), notes=notes)


def _rows(table: DataFrame, file: Path, photographs: list[str]) -> DataFrame:
    """path, label, parent and real (whether it is a photograph) of each row of a combined table."""

    def plain(values: Series) -> list[str]:
        return ["/".join(parts_of(path)) for path in values]

    filepath = column(table, ["filepath", "path", "pth"], "filepath", file)
    rows = DataFrame({"path": plain(table[filepath])})
    label = table[column(table, ["label"], "label", file)]
    try:
        rows["label"] = [labels.canonical(name) for name in label]
    except labels.UnknownLabel as error:
        raise ManifestError(f"{file} has a label that is none: {error}") from error
    parent = named_column(table, ["parent"])
    source = named_column(table, ["source"])
    rows["parent"] = matched(plain(table[parent]), photographs) if parent else ""
    known = Series(matched(rows["path"], photographs))
    rows["real"] = is_original(table[source]).to_numpy() if source else known.isin(photographs)
    rows["path"] = known.where(rows["real"], rows["path"])
    return rows


def _problems(rows: DataFrame, label_of: dict[str, str]) -> dict[str, list[str]]:
    """The paths of each thing that is wrong with a combined table; `label_of` has the data set's photographs."""
    real = rows[rows["real"]]
    edits = rows[~rows["real"]]
    missing = [path for path in real["path"] if path not in label_of]
    relabelled = [
        path for path, label in zip(real["path"], real["label"], strict=True) if label_of.get(path, label) != label
    ]
    orphans = [parent for parent in edits["parent"] if parent and parent not in label_of]
    twice = list(rows.loc[rows["path"].duplicated(), "path"])
    problems = {
        "photographs are not in the data set": missing,
        "photographs have another label there": relabelled,
        "parents are not in the data set": orphans,
        "rows stand there twice": twice,
    }
    return {text: paths for text, paths in problems.items() if paths}

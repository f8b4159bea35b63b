"""Photographs and edits in one table, `combined_labels.csv`: `filepath,label,source,parent`; no torch, no GPU.

An edit's `filepath` lies below the augmented set's folder, a photograph's below the data set's; `parent` is the
photograph that an edit was made from.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from emohelpers.config import files, paths
from emohelpers.datasets import labels, resemblance, splits
from emohelpers.datasets.faces import Dataset
from emohelpers.datasets.locate import ManifestError, parts_of
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.tables import column, named_column, read_csv

NAME = "combined_labels.csv"
FOLDER = "augmented_affectnet"  # of the edits; seed 000
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Combined:
    """The combined rows, and what the leak guard took out of the edits."""

    table: pd.DataFrame  # filepath, label, source, parent; in the order of the seed
    removed: pd.DataFrame  # path, label, reason, partner
    counts: pd.DataFrame  # class -> photographs, edits offered, edits kept, all
    left: int  # leaks that are still there: none

    def __str__(self) -> str:
        reasons = self.removed["reason"].value_counts()
        told = ", ".join(f"{n:,} by {reason}" for reason, n in reasons.items()) or "none"
        kept = int((self.table["source"] == SYNTHETIC).sum())
        return f"{len(self.table):,} rows, {kept:,} of them edits; edits removed as leaks: {told}; left: {self.left}"

    def save(self, folder: str | Path, classes: tuple[str, ...]) -> Path:
        """Writes the table, `label_map.json` (name -> index) and `removed.csv`; returns the table's path."""
        files.write_json(Path(folder) / "label_map.json", {name: i for i, name in enumerate(classes)})
        files.write_csv(self.removed, Path(folder) / "removed.csv")
        return files.write_csv(self.table, Path(folder) / NAME)


def add(dataset: Dataset, edits: pd.DataFrame, root: str | Path) -> Dataset:
    """The data set with edits (`path, label, parent` below `root`) as rows of source "synthetic".

    Raises:
        ManifestError: an edit has the path of a photograph, or a label that is no class.
    """
    here = set(dataset.table["path"])
    if twice := [path for path in edits["path"] if path in here]:
        raise ManifestError(
            f"{len(twice):,} edits have the path of a photograph, first {twice[0]}: rename their folder"
        )
    if strange := sorted(set(edits["label"]) - set(dataset.classes)):
        raise ManifestError(f"edits are labelled {', '.join(strange)}; the classes are {', '.join(dataset.classes)}")
    rows = edits[["path", "label", "parent"]].assign(split="", source=SYNTHETIC)
    rows["group"] = [parent or path for path, parent in zip(rows["path"], rows["parent"], strict=True)]
    table = pd.concat([dataset.table, rows], ignore_index=True)
    return replace(dataset, table=table, elsewhere={**dataset.elsewhere, **dict.fromkeys(rows["path"], Path(root))})


def combine(dataset: Dataset, pixels: Pixels, table: pd.DataFrame, cfg) -> Combined:
    """All photographs, and the edits that share no parent, group, content or looks with a golden or validation face.

    Args:
        dataset: with its edits, see `add`; `pixels` of all of it.
        table: its photographs, grouped, split and guarded (`splits`): only edits are looked at here.
        cfg: `twin_similarity`, `seed`.
    """
    edits = dataset.table[dataset.table["source"] == SYNTHETIC]
    clean, removed, left = _guarded(dataset.table, edits, table, pixels, cfg.twin_similarity)
    kept = edits[edits["path"].isin(clean)]
    real = dataset.table[dataset.table["source"] != SYNTHETIC]
    rows = pd.concat([real, kept]).rename(columns={"path": "filepath"})[["filepath", "label", "source", "parent"]]
    rows = rows.sort_values("filepath").sample(frac=1, random_state=cfg.seed).reset_index(drop=True)
    parts = {"photographs": real, "edits offered": edits, "edits kept": kept}
    counts = pd.DataFrame({name: part["label"].value_counts() for name, part in parts.items()}, dtype="Int64")
    counts = counts.reindex(list(dataset.classes)).fillna(0).astype(int).rename_axis("class")
    counts["all"] = counts["photographs"] + counts["edits kept"]
    counts.loc["all"] = counts.sum()
    return Combined(rows, removed, counts, left)


def _guarded(
    every: pd.DataFrame, edits: pd.DataFrame, table: pd.DataFrame, pixels: Pixels, likeness: float
) -> tuple[set[str], pd.DataFrame, int]:
    """Paths of the clean edits, what was removed (path, label, reason, partner), and leaks that are left."""
    group, own = (
        dict(zip(table["path"], table["group"], strict=True)),
        dict(zip(every["path"], splits.sources(every), strict=True)),
    )
    source = edits["path"].map(own)
    known = set(every["path"]) - set(edits["path"])
    orphans = edits[[face in known and face not in group for face in source]]
    removed = [orphans[["path", "label"]].assign(reason="parent left out", partner=orphans["path"].map(own))]
    rest = edits.drop(orphans.index)
    rest = rest.assign(split="train", group=[group.get(own[path], path) for path in rest["path"]])
    held = table[table["split"].isin(["golden", "val"])]
    clean, leaks = splits.guard(pd.concat([held, rest], ignore_index=True), pixels, likeness)
    rest = rest[rest["path"].isin(clean["path"])]
    strange = _resembling(rest, table.reset_index(drop=True), pixels)
    removed += [leaks.removed[leaks.removed["path"].isin(edits["path"])].drop(columns="part"), strange]
    return set(rest["path"]) - set(strange["path"]), pd.concat(removed, ignore_index=True), leaks.left


def _resembling(edits: pd.DataFrame, real: pd.DataFrame, pixels: Pixels) -> pd.DataFrame:
    """Edits that clearly resemble a held-out face, whatever their lineage says: path, label, reason, partner."""
    thumbs = [pixels.thumbs[pixels.rows(part["path"])] for part in (edits, real)]
    best, _, clear = resemblance.resembled(*thumbs, real["group"].to_numpy())
    partner = real.iloc[best]
    found = clear & partner["split"].isin(["golden", "val"]).to_numpy()
    rows = edits[found][["path", "label"]].assign(reason="resemblance", partner=partner["path"].to_numpy()[found])
    return rows.reset_index(drop=True)


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
    names = {
        key: column(table, [key, *also], key, file) for key, also in {"filepath": ["path", "pth"], "label": []}.items()
    }
    rows = pd.DataFrame({"path": ["/".join(parts_of(path)) for path in table[names["filepath"]]]})
    rows["label"] = [labels.canonical(name) for name in table[names["label"]]]
    told = named_column(table, ["parent"])
    rows["parent"] = ["/".join(parts_of(path)) for path in table[told]] if told else ""
    label = dict(zip(dataset.table["path"], dataset.table["label"], strict=True))
    source = named_column(table, ["source"])
    real = table[source].isin(["original", ""]) if source else rows["path"].isin(list(label))
    edits = rows[~real.to_numpy()]
    problems = [
        (len(wrong), text, wrong)
        for text, wrong in {
            "photographs are not in the data set": [p for p in rows.loc[real.to_numpy(), "path"] if p not in label],
            "photographs have another label there": [
                p
                for p, said in rows.loc[real.to_numpy(), ["path", "label"]].itertuples(index=False)
                if label.get(p, said) != said
            ],
            "parents are not in the data set": [p for p in edits["parent"] if p and p not in label],
            "rows stand there twice": list(rows.loc[rows["path"].duplicated(), "path"]),
        }.items()
        if wrong
    ]
    if problems:
        lines = "\n".join(f"  {n:,} {text}, first {wrong[0]}" for n, text, wrong in problems)
        raise ManifestError(
            f"{file} does not belong to {dataset.title} ({dataset.root}):\n{lines}\nRun notebook 02 again"
        )
    beside = augmented_root or file.parent / FOLDER
    done = add(dataset, edits, paths.find_input(str(beside), remedy="AUGMENTED_ROOT is the folder of the edits."))
    unknown = int((edits["parent"] == "").sum())
    notes = [f"{len(edits):,} edits were added from {file}"]
    notes += [f"{unknown:,} of them name no parent: only content and looks can give a leak away"] if unknown else []
    return replace(done, notes=[*dataset.notes, *notes])

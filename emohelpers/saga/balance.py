"""How many edits each class needs, and which faces are asked for them: faces of the training part, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pandas import DataFrame, Series

from emohelpers.config import paths
from emohelpers.datasets import lineage
from emohelpers.datasets.lineage import ReadySet


@dataclass(frozen=True)
class Plan:
    """Slots a class, and for each class the faces to be asked in their order."""

    slots: DataFrame  # class -> training, wanted (up to the largest), slots (after the caps)
    jobs: dict[str, DataFrame]  # target -> path, label (the face's own), [file], in the order of asking
    ready: ReadySet | None = None  # where the edits are there already

    def __str__(self) -> str:
        return str(self.ready or f"{self.total:,} edits are to be made")

    @property
    def total(self) -> int:
        """Edits that are to pass the guard."""
        return int(self.slots["slots"].sum())


def plan(cfg, faces) -> Plan:
    """The plan of a config: each edit of the ready set of the editor "attached", else `balance`."""
    cache = paths.cache_folder() / "pixels"
    ready = lineage.ready(cfg, faces.dataset, faces.table, faces.pixels, cache)
    if ready is None:
        return balance(faces.table, faces.classes, cfg)
    return of_ready_set(ready, faces.table, faces.classes, keep_unmatched=cfg.keep_unmatched)


def balance(table: DataFrame, classes: Sequence[str], cfg) -> Plan:
    """Fills every class up to the largest, within the caps, by faces of the other classes in turn (round-robin).

    Only photographs of the training part are asked, each once a target at most; of equal file stems with one label only
    the first, since an edit's name would not tell them apart. The order comes from `cfg.seed`.

    Args:
        table: `path, label, split, source, parent` after the leak guard.
        cfg: `class_cap` and `total_cap`, shares of the training pictures that may be synthetic; `seed`.
    """
    photographs = table[(table["split"] == "train") & (table["source"] == "original") & (table["parent"] == "")]
    stems = [Path(path).stem for path in photographs["path"]]
    faces = photographs.assign(stem=stems).drop_duplicates(["stem", "label"]).sort_values("path")
    faces = faces.sample(frac=1, random_state=cfg.seed)
    turn = faces.groupby("label").cumcount()
    number = faces["label"].map(list(classes).index)
    jobs = {}
    for i, target in enumerate(classes):
        # one of each other class in turn, beginning with the class after the target
        queue = faces.assign(turn=turn, distance=(number - i) % len(classes))
        queue = queue[queue["distance"] > 0].sort_values(["turn", "distance"])
        jobs[target] = queue[["path", "label"]].reset_index(drop=True)
    return Plan(_slots(photographs["label"], classes, cfg), jobs)


def of_ready_set(ready: ReadySet, table: DataFrame, classes: Sequence[str], *, keep_unmatched: bool = False) -> Plan:
    """The plan of a ready set: each of its edits once, and of several of one face to one target the first.

    Args:
        table: the photographs with their labels.
        keep_unmatched: edits whose face nobody knows as well.
    """
    edits = ready.table if keep_unmatched else ready.table[ready.table["parent"] != ""]
    jobs = DataFrame({"path": edits["parent"], "file": edits["path"], "target": edits["label"]})
    jobs["label"] = jobs["path"].map(table.set_index("path")["label"]).fillna("unknown")
    names = [name(job.path or job.file, job.label, job.target) for job in jobs.itertuples()]
    jobs = jobs.assign(name=names).drop_duplicates("name")
    by_target = {}
    for target in classes:
        of_target = jobs[jobs["target"] == target]
        by_target[target] = of_target[["path", "label", "file"]].reset_index(drop=True)
    training = _counts(table.loc[table["split"] == "train", "label"], classes)
    slots = Series({target: len(queue) for target, queue in by_target.items()})
    return Plan(_table(training, slots), by_target, ready)


def odds(share: float) -> float:
    """Synthetic pictures for each photograph so that they are `share` of all."""
    return share / (1 - share) if share < 1 else np.inf


def name(path: str, label: str, target: str, content: bytes = b"") -> str:
    """Where an edit lies: `aug_<target>/aug_<stem>_<current>_to_<target>.jpg` (seed 000), or .png as its content is."""
    suffix = ".jpg"
    if content.startswith(b"\x89PNG"):
        suffix = ".png"
    elif content[8:12] == b"WEBP":
        suffix = ".webp"
    return f"aug_{target}/aug_{Path(path).stem}_{label}_to_{target}{suffix}"


def _slots(labels: Series, classes: Sequence[str], cfg) -> DataFrame:
    training = _counts(labels, classes)
    missing = training.max() - training
    slots = np.minimum(missing, training * odds(cfg.class_cap)).astype(int)
    room = min(training.sum() * odds(cfg.total_cap), missing.sum())
    if slots.sum() > room:  # every class gives way by the same share
        slots = (slots * (room / slots.sum())).astype(int)
    return _table(training, slots)


def _counts(labels: Series, classes: Sequence[str]) -> Series:
    return labels.value_counts().reindex(list(classes), fill_value=0)


def _table(training: Series, slots: Series) -> DataFrame:
    table = DataFrame({"training": training, "wanted": training.max() - training, "slots": slots})
    return table.rename_axis("class")

"""How many edits each class needs, and which faces are asked for them: faces of the training part, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Plan:
    """Slots a class, and for each class the faces to be asked in their order."""

    slots: pd.DataFrame  # class -> training, wanted (up to the largest), slots (after the caps)
    jobs: dict[str, pd.DataFrame]  # target -> path, label (the face's own), [file], in the order of asking


def balance(table: pd.DataFrame, classes: Sequence[str], cfg) -> Plan:
    """Fills every class up to the largest, within the caps, by faces of the other classes in turn (round-robin).

    Only photographs of the training part are asked, each once a target at most; of equal file stems with one label only
    the first, since an edit's name would not tell them apart. The order comes from `cfg.seed`.

    Args:
        table: `path, label, split, source, parent` after the leak guard.
        cfg: `class_cap` and `total_cap`, shares of the training pictures that may be synthetic; `seed`.
    """
    train = table[(table["split"] == "train") & (table["source"] == "original") & (table["parent"] == "")]
    counts = train["label"].value_counts().reindex(list(classes), fill_value=0)
    wanted = counts.max() - counts
    slots = np.minimum(wanted, counts * odds(cfg.class_cap)).astype(int)
    room = min(counts.sum() * odds(cfg.total_cap), wanted.sum())
    if slots.sum() > room:  # every class gives way by the same share
        slots = (slots * (room / slots.sum())).astype(int)
    stems = [Path(path).stem for path in train["path"]]
    faces = train.assign(stem=stems).drop_duplicates(["stem", "label"]).sort_values("path")
    faces = faces.sample(frac=1, random_state=cfg.seed)
    turn = faces.groupby("label").cumcount()
    rank = {name: i for i, name in enumerate(classes)}
    jobs = {}
    for target in classes:  # one of each other class in turn, beginning with the class after the target
        after = (faces["label"].map(rank) - rank[target]) % len(classes)
        order = np.lexsort([after, turn])
        jobs[target] = faces.iloc[order][["path", "label"]][after.to_numpy()[order] > 0].reset_index(drop=True)
    told = pd.DataFrame({"training": counts, "wanted": wanted, "slots": slots}).rename_axis("class")
    return Plan(told, jobs)


def make(table: pd.DataFrame, classes: Sequence[str], cfg, ready=None) -> Plan:
    """The plan of a config: `given` for the edits of a ready set (`lineage.Edits`), else `balance`."""
    if ready is None:
        return balance(table, classes, cfg)
    return given(ready.table if cfg.keep_unmatched else ready.table[ready.table["parent"] != ""], table, classes)


def given(edits: pd.DataFrame, table: pd.DataFrame, classes: Sequence[str]) -> Plan:
    """The plan of a ready set: each of its edits once, and of several of one face to one target the first.

    Args:
        edits: `path, label, parent` of `lineage.Edits`; `table` the photographs with their labels.
    """
    label = dict(zip(table["path"], table["label"], strict=True))
    jobs = pd.DataFrame({"path": edits["parent"], "file": edits["path"], "target": edits["label"]})
    jobs["label"] = jobs["path"].map(label).fillna("unknown")
    names = [name(p or f, o, t) for p, f, o, t in jobs[["path", "file", "label", "target"]].itertuples(index=False)]
    jobs = jobs[~pd.Series(names, index=jobs.index).duplicated()]
    by_target = {t: jobs[jobs["target"] == t][["path", "label", "file"]].reset_index(drop=True) for t in classes}
    train = table[table["split"] == "train"]["label"].value_counts().reindex(list(classes), fill_value=0)
    slots = pd.Series({target: len(part) for target, part in by_target.items()})
    told = pd.DataFrame({"training": train, "wanted": train.max() - train, "slots": slots}).rename_axis("class")
    return Plan(told, by_target)


def odds(share: float) -> float:
    """Synthetic pictures for each photograph so that they are `share` of all."""
    return share / (1 - share) if share < 1 else np.inf


def name(path: str, label: str, target: str, content: bytes = b"") -> str:
    """Where an edit lies: `aug_<target>/aug_<stem>_<current>_to_<target>.jpg` (seed 000), or .png as its content is."""
    suffix = ".png" if content.startswith(b"\x89PNG") else ".webp" if content[8:12] == b"WEBP" else ".jpg"
    return f"aug_{target}/aug_{Path(path).stem}_{label}_to_{target}{suffix}"

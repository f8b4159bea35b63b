"""The golden test set, the training and validation parts, and the proof that nothing leaks between them.

A group (equal stems, one person, one content, twins, a picture and its edits) is never torn apart.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.datasets import audit
from emohelpers.datasets.pixels import Pixels

NAME = "testset_saved.csv"  # of the golden set; seed 000
DECIDES = ("manifest", "testset_csv", "golden", "golden_cap", "val_share", "split_seed", "twin_similarity")
BLOCK = 2048  # rows compared at once when looking for twins


class SplitError(ValueError):
    """A split that cannot be made, or a golden set that is not what it was."""


@dataclass(frozen=True)
class Golden:
    """A test set written once: its pictures, and the file with its hash."""

    table: pd.DataFrame  # path, label, group, sha256
    file: Path
    protocol: str
    sha256: str  # of the file
    notes: list[str] = field(default_factory=list)

    def save(self, folder: str | Path) -> Path:
        """Copies the file and its stamp to `folder`, where a later notebook or another machine takes them from."""
        target = Path(folder) / NAME  # whatever the file is called that TESTSET_CSV named
        files.write_bytes(target.with_suffix(".json"), self.file.with_suffix(".json").read_bytes())
        return files.write_bytes(target, self.file.read_bytes())


@dataclass(frozen=True)
class Leaks:
    """What the guard removed from training and validation, by reason, and what is left (nothing)."""

    removed: pd.DataFrame  # path, label, reason, partner
    left: int

    def __str__(self) -> str:
        counts = self.removed["reason"].value_counts()
        told = ", ".join(f"{n} by {reason}" for reason, n in counts.items()) or "nothing"
        return f"leak guard: removed {told} from training and validation; left: {self.left}"


def twins(thumbs: np.ndarray, likeness: float, among: np.ndarray | None = None) -> np.ndarray:
    """(m, 2) pairs of rows whose 16x16 thumbnails, or mirror images, have a cosine of at least `likeness`.

    With `among`, only pairs of one such row and one other: for a guard between parts. O(N^2) products in blocks.
    """
    n = len(thumbs)
    blank = np.abs(thumbs).sum(1) == 0  # unreadable or one colour: like nothing
    left = np.arange(n) if among is None else np.asarray(among)
    found = []
    for start in range(0, len(left), BLOCK):
        rows = left[start : start + BLOCK]
        near = likenesses(thumbs[rows], thumbs) >= likeness
        near[:, blank] = False
        i, j = np.nonzero(near)
        i = rows[i]
        keep = (i < j) if among is None else (i != j)
        found.append(np.stack([i[keep], j[keep]], 1)[~blank[i[keep]]])
    return np.concatenate(found) if found else np.empty((0, 2), int)


def likenesses(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(m, n) cosines of thumbnails (m, 256) and (n, 256), each the larger of as they are and mirrored."""
    side = round(some.shape[1] ** 0.5)
    mirrored = some.reshape(-1, side, side)[:, :, ::-1].reshape(len(some), -1)
    return np.maximum(some @ others.T, mirrored @ others.T)


def grouped(table: pd.DataFrame, pixels: Pixels, likeness: float) -> pd.DataFrame:
    """The table with groups joined wherever content is the same or pictures are twins; an edit has its source's group.

    Edits join nothing: with or without them the photographs have the same groups, and so the same parts.
    """
    real = table[_original(table)]
    paths, rows = list(real["path"]), pixels.rows(real["path"])
    keys = [list(real["group"]), [pixels.sha256[row] for row in rows]]
    group = dict(zip(paths, audit.joined(paths, keys, twins(pixels.thumbs[rows], likeness)), strict=True))
    own = [
        group.get(source) or group.get(name, name) for source, name in zip(sources(table), table["group"], strict=True)
    ]
    return table.assign(group=own)


def sources(table: pd.DataFrame) -> list[str]:
    """The photograph that each row stands on: its own path, or that of the last parent that the table knows."""
    parent = {path: above for path, above in zip(table["path"], table["parent"], strict=True) if above}
    found = []
    for path in table["path"]:
        seen = {path}
        while path in parent and parent[path] not in seen:  # an edit of an edit; a circle ends where it closes
            path = parent[path]
            seen.add(path)
        found.append(path)
    return found


def draw(table: pd.DataFrame, quota: dict[str, int], seed: int) -> np.ndarray:
    """(n,) mask of whole groups that fill each class's quota as far as groups allow; the order comes from `seed` alone.

    Groups are shuffled by a hash of their name, so that adding pictures does not reshuffle the others.
    """
    groups = table.groupby("group", sort=True).indices
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    left, labels = dict(quota), table["label"].to_numpy()
    chosen = np.zeros(len(table), bool)
    for name in order:
        rows = groups[name]
        wanted = pd.Series(labels[rows]).value_counts()
        if all(left.get(label, 0) >= n for label, n in wanted.items()):
            chosen[rows] = True
            for label, n in wanted.items():
                left[label] -= n
    return chosen


def golden(table: pd.DataFrame, pixels: Pixels, cfg, folder: str | Path, name: str) -> Golden:
    """The golden set of this data: read and verified if it exists, else drawn by group and written once.

    Only original pictures are drawn. The file's name carries data set, protocol, seed and a fingerprint of the original
    pictures, so that demo and real data, or two protocols, never meet, and synthetic rows that are added later change
    nothing. `cfg.testset_csv` names an existing file instead.

    Raises:
        SplitError: the file, a picture in it or a label has changed since it was written; a class is too small.
    """
    sha = dict(zip(table["path"], (pixels.sha256[row] for row in pixels.rows(table["path"])), strict=True))
    if cfg.testset_csv:
        remedy = "TESTSET_CSV must be a golden set that a run wrote, with its .json beside it; empty: one is drawn."
        return _verified(paths.find_input(cfg.testset_csv, remedy=remedy), table, sha)
    real = table[_original(table)]
    content = zip(real["path"], real["label"], (sha[path] for path in real["path"]), strict=True)
    fingerprint = config.digest(sorted(content))[:8]
    kind, _, size = cfg.golden.partition(":")
    cap = f"-cap{cfg.golden_cap:g}" if kind == "balanced" else ""
    protocol = f"{kind}{size}{cap}-s{cfg.split_seed}"
    file = Path(folder) / f"{name}-{protocol}-{fingerprint}" / NAME
    if file.is_file():
        return _verified(file, table, sha)
    counts = real["label"].value_counts()
    notes = []
    if kind == "balanced":
        quota = {label: min(int(size), int(n * cfg.golden_cap)) for label, n in counts.items()}
        capped = {label: n for label, n in sorted(quota.items()) if n < int(size)}
        if capped:
            told = ", ".join(f"{label} {n}" for label, n in capped.items())
            notes.append(f"{size} a class would take more than {cfg.golden_cap:.0%} of some classes; capped: {told}")
    else:
        quota = {label: round(n * float(size)) for label, n in counts.items()}
    part = real[draw(real, quota, cfg.split_seed)]
    _enough(part, set(table["label"]), f"golden test set ({cfg.golden})", table)
    content = part[["path", "label", "group"]].assign(sha256=[sha[path] for path in part["path"]])
    text = content.to_csv(index=False, lineterminator="\n")
    digest = hashlib.sha256(text.encode()).hexdigest()
    stamp = {"sha256": digest, "protocol": protocol, "dataset": name, "n": len(content), "notes": notes}
    files.write_json(file.with_suffix(".json"), stamp)  # first the stamp: a table without one would not be trusted
    files.write_text(file, text)
    return _verified(file, table, sha)


def _original(table: pd.DataFrame) -> pd.Series:
    """Which rows are photographs, neither made from another row nor declared as made."""
    return (table["parent"] == "") & (table["source"] == "original")


def _verified(file: Path, table: pd.DataFrame, sha: dict[str, str]) -> Golden:
    stamp_file = file.with_suffix(".json")
    if not file.is_file() or not stamp_file.is_file():
        raise SplitError(
            f"the golden set needs {file} and {stamp_file.name} beside it (its hash); one is missing. "
            "Copy both from the run that wrote them, or leave TESTSET_CSV empty."
        )
    try:
        stamp = json.loads(stamp_file.read_text(encoding="utf-8"))
        protocol, written, notes = stamp["protocol"], stamp["sha256"], stamp["notes"]
    except (ValueError, KeyError, TypeError) as error:
        raise SplitError(f"{stamp_file} is damaged ({error}). Restore it from the run that wrote it.") from error
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    remedy = f"Restore both files, or remove {file.parent} and train every model that was compared on it again."
    if digest != written:
        raise SplitError(
            f"{file} was changed after it was written (hash {digest[:12]}, was {stamp['sha256'][:12]}). {remedy}"
        )
    part = pd.read_csv(file, dtype=str, keep_default_na=False)
    label = dict(zip(table["path"], table["label"], strict=True))
    changed = [
        f"{path}: "
        + ("not in the data set" if path not in label else "other label" if label[path] != was else "other content")
        for path, was, content in zip(part["path"], part["label"], part["sha256"], strict=True)
        if label.get(path) != was or sha[path] != content
    ]
    if changed:
        more = "\n  ".join(changed[:3])
        raise SplitError(
            f"{len(changed)} of {len(part)} pictures of the golden set {file} are not what they were:\n  {more}\n"
            f"Is this the same data set? {remedy}"
        )
    return Golden(part, file, protocol, digest, notes)


def _enough(part: pd.DataFrame, classes: Iterable[str], what: str, table: pd.DataFrame) -> None:
    empty = sorted(set(classes) - set(part["label"]))
    if empty:
        told = ", ".join(f"{name} ({(table['label'] == name).sum()} pictures)" for name in empty)
        raise SplitError(
            f"the {what} would hold no picture of: {told}. A class needs several pictures in separate groups: "
            "add pictures, raise golden_cap or val_share, or leave the class out of the manifest's classes."
        )


def split(table: pd.DataFrame, golden: Golden, cfg) -> pd.DataFrame:
    """The table with `split` = golden, val or train: the golden set, then `val_share` of every class by group.

    Synthetic rows are training rows and nothing else; `guard` removes those of a golden or validation picture.
    """
    held = set(golden.table["path"])
    part = np.where(table["path"].isin(held), "golden", "train").astype(object)
    groups = set(golden.table["group"]) | set(table.loc[table["path"].isin(held), "group"])
    rest = table[(part == "train") & _original(table) & ~table["group"].isin(groups)]
    counts = rest["label"].value_counts()
    quota = {label: max(round(n * cfg.val_share), 1) for label, n in counts.items()}
    chosen = rest[draw(rest, quota, cfg.split_seed + 1)]
    _enough(chosen, counts.index, "validation part", table)
    part[table.index.get_indexer(chosen.index)] = "val"
    done = table.assign(split=part)
    _enough(done[done["split"] == "train"], counts.index, "training part", table)
    return done


def guard(table: pd.DataFrame, pixels: Pixels, likeness: float) -> tuple[pd.DataFrame, Leaks]:
    """Removes from training whatever shares id, group, content or looks with a golden or validation picture, or was
    made from one; validation gives way to the golden set. Looks everything up again and counts what is left.
    """
    removed = []
    for held, loser in (("golden", "val"), ("golden", "train"), ("val", "train")):
        found = _shared(table, pixels, likeness, held, loser)
        removed.append(found.assign(part=loser))
        table = table[~((table["split"] == loser) & table["path"].isin(found["path"]))]
    pairs = (("golden", "val"), ("golden", "train"), ("val", "train"))
    left = sum(len(_shared(table, pixels, likeness, held, loser)) for held, loser in pairs)
    return table.reset_index(drop=True), Leaks(pd.concat(removed, ignore_index=True), left)


def _shared(table: pd.DataFrame, pixels: Pixels, likeness: float, held: str, loser: str) -> pd.DataFrame:
    """Rows of part `loser` that share something with part `held`: path, label, reason, partner."""
    kept, other = table[table["split"] == held], table[table["split"] == loser]
    sha = {path: pixels.sha256[row] for path, row in zip(table["path"], pixels.rows(table["path"]), strict=True)}
    found: dict[str, tuple[str, str]] = {}

    def look(reason: str, keys: Iterable[str], partners: dict[str, str]) -> None:
        for path, key in zip(other["path"], keys, strict=True):
            if key and key in partners and path not in found:
                found[path] = (reason, partners[key])

    look("same id", other["path"], {p: p for p in kept["path"]})
    look("group", other["group"], dict(zip(kept["group"], kept["path"], strict=True)))
    source = dict(zip(table["path"], sources(table), strict=True))
    look("parent", [source[p] if source[p] != p else "" for p in other["path"]], {p: p for p in kept["path"]})
    look("content", [sha[p] for p in other["path"]], {sha[p]: p for p in kept["path"]})
    both = pd.concat([kept, other])["path"].tolist()
    for i, j in twins(pixels.thumbs[pixels.rows(both)], likeness, among=np.arange(len(kept))):
        if j >= len(kept) and both[j] not in found:
            found[both[j]] = ("near-duplicate", both[i])
    label = dict(zip(other["path"], other["label"], strict=True))
    rows = [(path, label[path], reason, partner) for path, (reason, partner) in found.items()]
    return pd.DataFrame(rows, columns=["path", "label", "reason", "partner"])


def known(rows: pd.DataFrame, pixels: Pixels, learned: pd.DataFrame, their: Pixels, likeness: float) -> np.ndarray:
    """(n,) bool: which rows of one data set show a picture, or a twin of one, among the rows of another."""
    here, there = pixels.rows(rows["path"]), their.rows(learned["path"])
    contents = {their.sha256[row] for row in there}
    found = np.array([pixels.sha256[row] in contents for row in here], bool)
    pairs = twins(np.concatenate([pixels.thumbs[here], their.thumbs[there]]), likeness, among=np.arange(len(here)))
    found[pairs[pairs[:, 1] >= len(here), 0]] = True
    return found


def apart(used: Mapping[str, Any], cfg) -> str:
    """Which settings that decide golden set and parts differ between a training (its config as JSON) and `cfg`, or "".

    A model must not be asked about faces, nor judge edits of faces, that its own training may have seen.
    """
    told = (f"{name} = {used.get(name)!r}, here {getattr(cfg, name)!r}" for name in DECIDES
            if used.get(name) != getattr(cfg, name))  # fmt: skip
    return "; ".join(told)

"""The golden test set: drawn once by group, written with its hash, and verified whenever it is read again."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.datasets.groups import SplitError, check_classes, contradictory, draw, official, originals
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.spelling import matched

NAME = "testset_saved.csv"  # seed 000


@dataclass(frozen=True)
class Golden:
    """A test set written once: its pictures, and the file with its hash."""

    table: DataFrame  # path, label, group, sha256
    file: Path
    protocol: str
    sha256: str  # of the file
    notes: list[str] = field(default_factory=list)

    def save(self, folder: str | Path) -> Path:
        """Copies the file and its stamp to `folder`, where a later notebook or another machine takes them from."""
        target = Path(folder) / NAME  # whatever the file is called that TESTSET_CSV named
        files.write_bytes(_stamp_of(target), _stamp_of(self.file).read_bytes())
        return files.write_bytes(target, self.file.read_bytes())


def golden_set(table: DataFrame, pixels: Pixels, cfg, folder: str | Path, name: str) -> Golden:
    """The golden set of this data: read and verified if it exists, else drawn by group and written once.

    Only original pictures are drawn, and no group that holds one under two labels. The file's name carries data set,
    protocol, seed and a fingerprint of the original pictures, so that demo and real data, or two protocols, never meet,
    and synthetic rows that are added later change nothing. `cfg.testset_csv` names an existing file instead.

    Raises:
        SplitError: the file, a picture in it or a label has changed since it was written; a class is too small.
    """
    table = table.assign(sha256=pixels.hashes(table["path"]))
    if cfg.testset_csv:
        remedy = "TESTSET_CSV must be a golden set that a run wrote, with its .json beside it; empty: one is drawn."
        return _verified(paths.find_input(cfg.testset_csv, remedy=remedy), table)
    photographs = table[originals(table)]
    is_official = cfg.golden == "official"
    # The declared split is part of the content only where it decides what is drawn.
    columns = ["path", "label", "sha256", *["split"] * is_official]
    contents = photographs[columns].itertuples(index=False, name=None)
    # Sorted, so that another order of the rows names the same set.
    fingerprint = config.digest(sorted(contents))[:8]
    protocol = _protocol(cfg)
    file = Path(folder) / f"{name}-{protocol}-{fingerprint}" / NAME
    if not file.is_file():
        quota, notes = _quota(photographs, cfg)
        doubtful = photographs.loc[contradictory(photographs), "group"]
        clear = photographs[~photographs["group"].isin(doubtful)]
        part = photographs[official(photographs)] if is_official else clear[draw(clear, quota, cfg.split_seed)]
        if is_official and part.empty:
            raise SplitError(f"golden='official': {name} declares no test part. Draw one: golden='balanced:150'.")
        notes += _earlier(file, photographs)
        check_classes(part, table["label"], f"golden test set ({cfg.golden})", table)
        text = part[["path", "label", "group", "sha256"]].to_csv(index=False, lineterminator="\n")
        digest = hashlib.sha256(text.encode()).hexdigest()
        stamp = {"sha256": digest, "protocol": protocol, "dataset": name, "n": len(part), "notes": notes}
        files.write_json(_stamp_of(file), stamp)  # first the stamp: a table without one would not be trusted
        files.write_text(file, text)
    return _verified(file, table)


def _protocol(cfg) -> str:
    """How the set is drawn, for its file's name: "balanced150-cap0.2-s42", "stratified0.15-s42"."""
    kind, _, size = cfg.golden.partition(":")
    if not size:
        return kind
    cap = f"-cap{cfg.golden_cap:g}" if kind == "balanced" else ""
    return f"{kind}{size}{cap}-s{cfg.split_seed}"


def _quota(photographs: DataFrame, cfg) -> tuple[dict[str, int], list[str]]:
    """Pictures of each class to draw, and what is to be said of them."""
    counts = photographs["label"].value_counts()
    kind, _, size = cfg.golden.partition(":")
    if not size:
        return {}, ["the golden set is the official test part of the data set, whole"]
    if kind != "balanced":
        return {label: round(n * float(size)) for label, n in counts.items()}, []
    quota = {label: min(int(size), int(n * cfg.golden_cap)) for label, n in counts.items()}
    capped = ", ".join(f"{label} {n}" for label, n in sorted(quota.items()) if n < int(size))
    if not capped:
        return quota, []
    note = f"{size} a class would take more than {cfg.golden_cap:.0%} of some classes; capped: {capped}"
    return quota, [note]


def _earlier(file: Path, photographs: DataFrame) -> list[str]:
    """What has become of the golden set that was drawn last by this protocol, from other pictures or labels."""
    name = file.parent.name.rpartition("-")[0]
    others = sorted(file.parents[1].glob(f"{name}-????????/{NAME}"), key=lambda other: other.stat().st_mtime)
    if not others:
        return []
    before = pd.read_csv(others[-1], dtype=str, keep_default_na=False)
    today = before["path"].map(dict(zip(photographs["path"], photographs["label"], strict=True)))
    gone = int(today.isna().sum())
    relabelled = int((today.notna() & (today != before["label"])).sum())
    return [
        f"the pictures or labels have changed since the golden set {others[-1]} was drawn (of its {len(before):,} "
        f"pictures {gone:,} are gone and {relabelled:,} relabelled), so a new one was drawn. A model that was trained "
        "before may know its pictures, and figures on the two do not compare. To keep the old one: TESTSET_CSV"
    ]


def _stamp_of(file: Path) -> Path:
    return file.with_suffix(".json")


def _verified(file: Path, table: DataFrame) -> Golden:
    """The set in `file`, whose hash is that of its stamp and whose pictures are still those of `table`."""
    stamp_file = _stamp_of(file)
    if not file.is_file() or not stamp_file.is_file():
        raise SplitError(
            f"the golden set needs {file} and {stamp_file.name} beside it (its hash); one is missing. "
            "Copy both from the run that wrote them, or leave TESTSET_CSV empty."
        )
    try:
        stamp = json.loads(stamp_file.read_text(encoding="utf-8-sig"))
        protocol = stamp["protocol"]
        written = stamp["sha256"]
        notes = stamp["notes"]
    except (ValueError, KeyError, TypeError) as error:
        raise SplitError(f"{stamp_file} is damaged ({error}). Restore it from the run that wrote it.") from error
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    remedy = f"Restore both files, or remove {file.parent} and train every model that was compared on it again."
    if digest != written:
        raise SplitError(f"{file} was changed after it was written (hash {digest[:12]}, was {written[:12]}). {remedy}")
    part = pd.read_csv(file, dtype=str, keep_default_na=False)
    part["path"] = matched(part["path"], table["path"])  # on another system names may be encoded otherwise
    # each picture of the set, beside what the data set has under its path today
    columns = table.drop_duplicates("path").set_index("path")[["label", "sha256"]]
    today = columns.reindex(part["path"]).fillna("")
    pairs = zip(part.itertuples(), today.itertuples(), strict=True)
    changes = [f"{was.path}: {change}" for was, now in pairs if (change := _difference(was, now))]
    if changes:
        first = "\n  ".join(changes[:3])
        raise SplitError(
            f"{len(changes)} of {len(part)} pictures of the golden set {file} are not what they were:\n  {first}\n"
            f"Is this the same data set? {remedy}"
        )
    return Golden(part, file, protocol, digest, notes)


def _difference(was, now) -> str:
    """What has changed of a picture since the set was written, or ""; both have label and sha256."""
    if not now.label:
        return "not in the data set"
    if now.label != was.label:
        return "other label"
    return "other content" if now.sha256 != was.sha256 else ""

"""What is wrong with a data set of pairs, all in one pass over its files, and what a small one cannot tell."""

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from PIL import Image

from emohelpers.config import files
from emohelpers.datasets import pixels as store
from emohelpers.datasets import splits
from emohelpers.datasets.pairs import PARTS, PairError, Pairs
from emohelpers.datasets.pixels import BROKEN, Pixels

CONVERTED = ("CMYK", "16-bit", "turned by EXIF", "colour profile")  # dealt with while decoding, see store.decode
NOTES = (*CONVERTED, "small validation set")  # said, but no reason to stop
PNG, DEPTH_AT = b"\x89PNG\r\n\x1a\n", 24  # where a PNG says how many bits a channel has


def audit(data: Pairs, pixels: Pixels, *, min_side: int, likeness: float, min_delta: float) -> pd.DataFrame:
    """Everything found: kind, where, told, stops (whether a training must not start).

    Args:
        pixels: the decoded pictures of `data`.
        min_side: pixels that the shorter side must have.
        likeness: cosine of thumbnails from which two pictures count as one, see `splits.twins`.
        min_delta: gain of accuracy that early stopping looks for.
    """
    found = list(data.found)
    for path in data.table["path"]:
        found += [(kind, path, told) for kind, told in _file(data.root / path, min_side)]
    known = {path for kind, path, _ in found if kind == "unreadable"}
    found += [("unreadable", path, why) for path, why in pixels.unreadable.items() if path not in known]
    found += [*_torn(data), *_same(data, pixels), *_alike(data, pixels, likeness)]
    n = len(data.part("val"))
    if n and 1 / n > min_delta > 0:
        told = f"{n} pairs: one pair is {1 / n:.1%} of accuracy, so a gain of {min_delta:.1%} cannot be seen; "
        found.append(("small validation set", "val", told + "the hinge loss decides when to stop"))
    table = pd.DataFrame(found, columns=["kind", "where", "told"])
    return table.assign(stops=~table["kind"].isin(NOTES)).sort_values("stops", ascending=False, kind="stable")


def check(findings: pd.DataFrame, root: str | Path) -> None:
    """Stops before any training when something is wrong.

    Raises:
        PairError: with all problems at once.
    """
    wrong = findings[findings["stops"]]
    if len(wrong):
        lines = "\n".join(f"  {i}. {r.kind}: {r.where}: {r.told}" for i, r in enumerate(wrong.itertuples(), 1))
        raise PairError(f"{len(wrong)} problem(s) in the pairs below {root}:\n{lines}")


def summary(findings: pd.DataFrame) -> str:
    """A line a kind: how many, and the first."""
    if findings.empty:
        return "audit: nothing found"
    lines = []
    for (stops, kind), rows in findings.groupby(["stops", "kind"], sort=False):
        first = rows.iloc[0]
        lines.append(f"{'PROBLEM' if stops else 'note'} {kind} ({len(rows)}): {first['where']}: {first['told']}")
    return "\n".join(lines)


def write(findings: pd.DataFrame, path: str | Path) -> Path:
    """Writes the findings as CSV; returns the path."""
    return files.write_csv(findings, path)


def _file(path: Path, min_side: int) -> Iterator[tuple[str, str]]:
    """What one file's header tells: kind, told."""
    try:
        head = path.read_bytes()
        with Image.open(io.BytesIO(head)) as picture:  # the header alone: pixels were decoded by the store
            size, mode, info = picture.size, picture.mode, picture.info
            orientation = picture.getexif().get(0x0112, 1)
    except BROKEN as error:
        yield "unreadable", str(error).split(" <")[0] or type(error).__name__
        return
    if min(size) < min_side:
        yield "too small", f"{size[0]}x{size[1]} pixels, the shorter side must have {min_side}"
    if mode == "CMYK":
        yield "CMYK", "converted to sRGB"
    if mode.startswith("I") or (head.startswith(PNG) and head[DEPTH_AT] == 16):
        yield "16-bit", "reduced to 8 bits"
    if orientation != 1:
        yield "turned by EXIF", f"orientation {orientation}, turned upright"
    if store.foreign(info.get("icc_profile")):
        yield "colour profile", "converted to sRGB"


def _torn(data: Pairs) -> Iterator[tuple[str, str, str]]:
    """Scenes with folders in several parts."""
    placed = data.pairs[data.pairs["split"].isin(PARTS)]
    for scene, rows in placed.groupby("scene"):
        if rows["split"].nunique() > 1:
            where = ", ".join(f"{r.folder} in {r.split}" for r in rows.drop_duplicates("split").itertuples())
            yield "scene in two splits", str(scene), where


def _same(data: Pairs, pixels: Pixels) -> Iterator[tuple[str, str, str]]:
    """Equal contents: across splits, on both sides of a pair, and pairs that contradict one another."""
    sha = dict(zip(pixels.paths, pixels.sha256, strict=True))
    seen: dict[str, tuple[str, str]] = {}
    for row in data.table[data.table["split"].isin(PARTS)].itertuples():
        path, split = seen.setdefault(sha[row.path], (row.path, row.split))
        if sha[row.path] and split != row.split:
            yield "picture in two splits", row.path, f"{row.split}; the same as {path} in {split}"
    order: dict[tuple[str, str], str] = {}
    for row in data.pairs.itertuples():
        good, bad = sha[row.good], sha[row.bad]
        if good and good == bad:
            yield "both sides equal", row.folder, f"{row.good} and {row.bad} are the same picture"
        elif (bad, good) in order:
            yield "pairs contradict", row.folder, f"{order[bad, good]} says the opposite of the same two pictures"
        order.setdefault((good, bad), row.folder)


def _alike(data: Pairs, pixels: Pixels, likeness: float) -> Iterator[tuple[str, str, str]]:
    """Near-duplicates and mirror images in different parts, of scenes that are not torn anyway."""
    table = data.table[data.table["split"].isin(PARTS)].reset_index(drop=True)
    if table.empty:
        return
    rows = pixels.rows(table["path"])
    thumbs = pixels.thumbs[rows]
    mirrored = thumbs.reshape(len(rows), store.THUMB, store.THUMB)[:, :, ::-1].reshape(len(rows), -1)
    told = set()
    for i, j in splits.twins(thumbs, likeness):
        one, other = table.iloc[i], table.iloc[j]
        equal = pixels.sha256[rows[i]] == pixels.sha256[rows[j]]
        if one["split"] != other["split"] and one["scene"] != other["scene"] and not equal:
            straight, turned = float(thumbs[i] @ thumbs[j]), float(mirrored[i] @ thumbs[j])
            kind = "mirrored copy across splits" if turned > straight else "near-duplicate across splits"
            pair = (pixels.sha256[rows[i]], pixels.sha256[rows[j]])
            if pair not in told:
                told.add(pair)
                where = f"{other['split']}; like {one['path']} in {one['split']} ({max(straight, turned):.3f})"
                yield kind, other["path"], where

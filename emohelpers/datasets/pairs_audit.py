"""What is wrong with a data set of pairs, all in one pass over its files, and what a small one cannot tell."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pandas import DataFrame

from emohelpers.datasets import decoding, thumbnails
from emohelpers.datasets.pairs import PARTS, PairError, Pairs
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.twins import twins

CONVERTED = ("CMYK", "16-bit", "turned by EXIF", "colour profile")  # dealt with in `decoding`
NOTES = (*CONVERTED, "small validation set", "scene unknown", "scores missing")  # said, but no reason to stop
# where a PNG says how many bits a channel has
PNG = b"\x89PNG\r\n\x1a\n"
DEPTH_AT = 24


def audit(data: Pairs, pixels: Pixels, *, min_side: int, likeness: float, min_delta: float) -> DataFrame:
    """Every problem and note: kind, where, told (what is wrong), stops (whether a training must not start).

    Args:
        pixels: the decoded pictures of `data`.
        min_side: pixels that the shorter side must have.
        likeness: cosine of thumbnails from which two pictures count as one, see `twins`.
        min_delta: gain of accuracy that early stopping looks for.
    """
    headers = [(kind, path, text) for path in data.table["path"] for kind, text in _header(data.root / path, min_side)]
    damaged = {path for kind, path, _ in headers if kind == "unreadable"}
    undecoded = [("unreadable", path, why) for path, why in pixels.unreadable.items() if path not in damaged]
    problems = [*data.problems, *headers, *undecoded]
    problems += [*_torn(data), *_same(data, pixels), *_alike(data, pixels, likeness), *_small(data, min_delta)]
    table = DataFrame(problems, columns=["kind", "where", "told"])
    return table.assign(stops=~table["kind"].isin(NOTES)).sort_values("stops", ascending=False, kind="stable")


def check(findings: DataFrame, root: str | Path) -> None:
    """Stops before any training when something is wrong.

    Raises:
        PairError: with all problems at once.
    """
    problems = findings[findings["stops"]]
    if len(problems):
        lines = "\n".join(
            f"  {i}. {row.kind}: {row.where}: {row.told}" for i, row in enumerate(problems.itertuples(), 1)
        )
        raise PairError(f"{len(problems)} problem(s) in the pairs below {root}:\n{lines}")


def summary(findings: DataFrame) -> str:
    """A line a kind: how many, and the first."""
    if findings.empty:
        return "audit: nothing found"
    lines = []
    for (stops, kind), rows in findings.groupby(["stops", "kind"], sort=False):
        first = rows.iloc[0]
        word = "PROBLEM" if stops else "note"
        lines.append(f"{word} {kind} ({len(rows)}): {first['where']}: {first['told']}")
    return "\n".join(lines)


def _header(path: Path, min_side: int) -> Iterator[tuple[str, str]]:
    """What one file's header says: kind, and what is wrong or remarkable."""
    try:
        data = decoding.read(path)
        with decoding.opened(io.BytesIO(data)) as picture:  # the header alone: pixels were decoded already
            width, height = picture.size
            mode = picture.mode
            profile = picture.info.get("icc_profile")
            orientation = picture.getexif().get(0x0112, 1)
    except decoding.BROKEN as error:
        yield "unreadable", decoding.why(error)
        return
    if min(width, height) < min_side:
        yield "too small", f"{width}x{height} pixels, the shorter side must have {min_side}"
    if mode == "CMYK":
        yield "CMYK", "converted to sRGB"
    if mode.startswith("I") or (data.startswith(PNG) and data[DEPTH_AT] == 16):
        yield "16-bit", "reduced to 8 bits"
    if orientation != 1:
        yield "turned by EXIF", f"orientation {orientation}, turned upright"
    if decoding.foreign(profile):
        yield "colour profile", "converted to sRGB"


def _small(data: Pairs, min_delta: float) -> Iterator[tuple[str, str, str]]:
    """A validation part in which one pair weighs more than the gain that is looked for."""
    n = len(data.part("val"))
    if n and 1 / n > min_delta > 0:
        weight = f"{n} pairs: one pair is {1 / n:.1%} of accuracy, so a gain of {min_delta:.1%} cannot be seen"
        yield "small validation set", "val", f"{weight}; the hinge loss decides when to stop"


def _torn(data: Pairs) -> Iterator[tuple[str, str, str]]:
    """Scenes with folders in several parts."""
    placed = data.pairs[data.pairs["split"].isin(PARTS)]
    for scene, rows in placed.groupby("scene"):
        if rows["split"].nunique() > 1:
            where = ", ".join(f"{r.folder} in {r.split}" for r in rows.drop_duplicates("split").itertuples())
            yield "scene in two splits", str(scene), where


def _same(data: Pairs, pixels: Pixels) -> Iterator[tuple[str, str, str]]:
    """Equal contents: across splits, on both sides of a pair, and pairs that contradict one another."""
    sha256 = dict(zip(pixels.paths, pixels.sha256, strict=True))
    first: dict[str, tuple[str, str]] = {}  # of each content: path and split
    for row in data.table[data.table["split"].isin(PARTS)].itertuples():
        content = sha256[row.path]
        path, split = first.setdefault(content, (row.path, row.split))
        if content and split != row.split:
            yield "picture in two splits", row.path, f"{row.split}; the same as {path} in {split}"
    folder_of: dict[tuple[str, str], str] = {}
    for row in data.pairs.itertuples():
        good = sha256[row.good]
        bad = sha256[row.bad]
        if good and good == bad:
            yield "both sides equal", row.folder, f"{row.good} and {row.bad} are the same picture"
        elif (bad, good) in folder_of:
            yield "pairs contradict", row.folder, f"{folder_of[bad, good]} says the opposite of the same two pictures"
        folder_of.setdefault((good, bad), row.folder)


def _alike(data: Pairs, pixels: Pixels, likeness: float) -> Iterator[tuple[str, str, str]]:
    """Near-duplicates and mirror images in different parts, of scenes that are not torn anyway."""
    table = data.table[data.table["split"].isin(PARTS)]
    table = table.assign(sha256=pixels.hashes(table["path"]))
    thumbs = pixels.thumbnails(table["path"])
    cosines = thumbnails.twins(thumbs, thumbs, likeness)
    turned = (thumbnails.mirrored(thumbs[cosines[:, 0]]) * thumbs[cosines[:, 1]]).sum(1)
    plain = (thumbs[cosines[:, 0]] * thumbs[cosines[:, 1]]).sum(1)
    pairs = [*zip(cosines, np.maximum(plain, turned), turned > plain, strict=True)]
    row_of = {sha256: row for row, sha256 in enumerate(table["sha256"])}
    near = twins(likeness, (pixels, list(table["path"])))
    pairs += [
        (sorted((row_of[pair.first], row_of[pair.second])), pair.likeness, pair.mirrored) for pair in near.itertuples()
    ]
    rows = list(table.itertuples())
    reported = set()
    for (i, j), value, is_mirrored in pairs:
        earlier = rows[i]
        later = rows[j]
        contents = (earlier.sha256, later.sha256)
        apart = earlier.split != later.split and earlier.scene != later.scene
        # `twins` gives each pair in both orders, and each picture with itself.
        if i >= j or not apart or contents[0] == contents[1] or contents in reported:
            continue
        reported.add(contents)
        kind = "mirrored copy across splits" if is_mirrored else "near-duplicate across splits"
        yield kind, later.path, f"{later.split}; like {earlier.path} in {earlier.split} ({value:.3f})"

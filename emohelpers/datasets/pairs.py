"""Pairs of photographs of one scene, the good and the bad, in both layouts that they come in.

On a disk: `training_files/<folder>/{good,bad}/<picture>` or `<folder>/{good,bad}.jpg`, with `splits.json` =
{"train": [folder, ...], "val": [...], "test": [...]} and, where scores exist, `scores.csv` = folder, scene, good_score,
bad_score. `pair_audit` says what is wrong with them, `pairing` makes them.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emohelpers.config import paths
from emohelpers.datasets.locate import is_picture

SIDES = ("good", "bad")
PARTS = ("train", "val", "test")
COLUMNS = ("folder", "scene", "split", "good", "bad", "good_score", "bad_score")


class PairError(ValueError):
    """Pairs that cannot be used, with everything that is wrong with them and what would be right."""


@dataclass(frozen=True)
class Pairs:
    """A data set of pairs; with `root`, `name` and `table` it is what `store.build` decodes."""

    name: str
    root: Path
    pairs: pd.DataFrame  # COLUMNS, one row a pair; scores are NaN where nobody gave any
    table: pd.DataFrame  # path, scene, split, score, wrong (the known defects, or ""): one row a file
    found: list[tuple[str, str, str]]  # what reading came across, each (kind, where, told): see pair_audit
    demo: str = ""  # "drawn scenes", or empty for photographs; said in every figure

    def part(self, split: str) -> pd.DataFrame:
        """The pairs of "train", "val" or "test"."""
        return self.pairs[self.pairs["split"] == split].reset_index(drop=True)


def read(root: str | Path, splits_json: str | Path = "", *, demo: str = "") -> Pairs:
    """All pairs below `root`, in either layout; whatever is wrong is collected for `pair_audit`.

    A folder with several pictures on a side gives every combination.

    Raises:
        PairError: no folder of pairs at all.
    """
    place = paths.find_input(str(root), remedy="DATASET_ROOT is the folder that holds training_files or the pairs.")
    home = place / "training_files" if (place / "training_files").is_dir() else place
    folders = sorted(p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".")) if home.is_dir() else []
    found: list[tuple[str, str, str]] = []
    sides = {folder.name: {side: _pictures(folder, side) for side in SIDES} for folder in folders}
    if not any(all(both.values()) for both in sides.values()):
        raise PairError(
            f"no pairs below {home}: a pair is <folder>/good/<picture> and <folder>/bad/<picture>, or "
            f"<folder>/good.jpg and <folder>/bad.jpg.\n{paths.listing(home)}"
        )
    assigned = _splits(home, str(splits_json), found)
    scores = _scores(home / "scores.csv", found)
    rows = []
    for name, both in sides.items():
        for side in (side for side in SIDES if not both[side]):
            found.append(("side missing", name, f"no picture for {side!r}: {paths.listing(home / name, 1, 4)}"))
        scene, *values = scores.get(name, (name, float("nan"), float("nan")))
        if name not in assigned:
            found.append(("split missing", name, "is in no part of splits.json"))
        for good, bad in itertools.product(both["good"], both["bad"]):
            inside = [str(Path(name, picture).as_posix()) for picture in (good, bad)]
            rows.append((name, scene, assigned.get(name, ""), *inside, *values))
    found += [
        ("folder missing", name, "is named in splits.json and has no folder") for name in assigned if name not in sides
    ]
    pairs = pd.DataFrame(rows, columns=COLUMNS)
    return Pairs(place.name, home, pairs, _table(pairs, home / "pictures.csv"), found, demo)


def _pictures(folder: Path, side: str) -> list[str]:
    """Names below `folder` of the pictures of one side, in either layout and any case."""
    names: list[str] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name.lower() == side:
            inside = sorted(p.name for p in entry.iterdir() if is_picture(p.name) and p.name[0] != ".")
            names += [f"{entry.name}/{name}" for name in inside]
        elif entry.stem.lower() == side and is_picture(entry.name):
            names.append(entry.name)
    return names


def _splits(home: Path, named: str, found: list[tuple[str, str, str]]) -> dict[str, str]:
    """Folder -> part. A folder that is named twice keeps the first."""
    places = [Path(named).expanduser()] if named else [p / "splits.json" for p in (home, home.parent)]
    places += [] if named else [home.parent / "docs" / "splits.json"]  # where the original kept it
    place = next((p for p in places if p.is_file()), None)
    if place is None:
        tried = ", ".join(map(str, places))
        found.append(("splits.json missing", tried, "write one: python -m emohelpers appeal split FOLDER draws it"))
        return {}
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PairError(f"{place} is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(names, list) for names in content.values()):
        raise PairError(f'{place} must be {{"train": [folder, ...], "val": [folder, ...], "test": [folder, ...]}}')
    assigned: dict[str, str] = {}
    for part, names in content.items():
        if part not in PARTS:
            found.append(("unknown split", part, f"splits.json may have {', '.join(PARTS)}"))
            continue
        for name in names:
            if name in assigned:
                found.append(("folder named twice", str(name), f"in {assigned[name]} and in {part} of splits.json"))
            assigned.setdefault(str(name), part)
    found += [("split missing", part, "has no folder in splits.json") for part in PARTS if not content.get(part)]
    return assigned


def _scores(place: Path, found: list[tuple[str, str, str]]) -> dict[str, tuple[str, float, float]]:
    """Folder -> scene and both scores, read by name."""
    if not place.is_file():
        return {}
    table = pd.read_csv(place, skipinitialspace=True).rename(columns=str.strip)
    if missing := [name for name in ("folder", "scene", "good_score", "bad_score") if name not in table]:
        raise PairError(f"{place} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    for row in table.itertuples():
        if row.good_score <= row.bad_score:
            found.append(
                ("scores contradict", row.folder, f"good {row.good_score:g} is not above bad {row.bad_score:g}")
            )
    columns = (table["folder"].astype(str), table["scene"].astype(str), table["good_score"], table["bad_score"])
    return {folder: (scene, good, bad) for folder, scene, good, bad in zip(*columns, strict=True)}


def _table(pairs: pd.DataFrame, known: Path) -> pd.DataFrame:
    """One row a file: path, scene, split, score, wrong; the last by file name from pictures.csv, if it is there."""
    sides = [
        pairs[[side, "scene", "split", f"{side}_score"]].set_axis(["path", "scene", "split", "score"], axis=1)
        for side in SIDES
    ]
    table = pd.concat(sides).drop_duplicates("path").sort_values("path", ignore_index=True)
    told: dict[str, str] = {}
    if known.is_file():
        told = pd.read_csv(known, dtype=str, keep_default_na=False).set_index("path")["wrong"].to_dict()
    return table.assign(wrong=[told.get(Path(path).name, "") for path in table["path"]])

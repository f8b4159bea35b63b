"""Pairs of photographs of one scene, the good and the bad, in both layouts that they come in.

On a disk: `training_files/<folder>/{good,bad}/<picture>` or `<folder>/{good,bad}.jpg`, with `splits.json` =
{"train": [folder, ...], "val": [...], "test": [...]} and, where scores exist, `scores.csv` = folder, scene, good_score,
bad_score. `pairs_audit` says what is wrong with them, `pairing` makes them.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from emohelpers.config import paths
from emohelpers.config.errors import SuiteError
from emohelpers.datasets.locate import SPLITS, is_hidden, is_picture
from emohelpers.datasets.spelling import is_nobody, key, matched, unified
from emohelpers.datasets.tables import column
from emohelpers.datasets.text_files import numbers, read_csv, read_json

SIDES = ("good", "bad")
PARTS = ("train", "val", "test")
COLUMNS = ("folder", "scene", "split", "good", "bad", "good_score", "bad_score")
SCORES = ("folder", "scene", "good_score", "bad_score")  # of scores.csv

Problems = list[tuple[str, str, str]]  # kind, where, and what is wrong there


class PairError(SuiteError, ValueError):
    """Pairs that cannot be used, with everything that is wrong with them and what would be right."""


@dataclass(frozen=True)
class Pairs:
    """A data set of pairs; with `root`, `name` and `table` it is what `pixels.build` decodes."""

    name: str
    root: Path
    pairs: DataFrame  # COLUMNS, one row a pair; scores are NaN where nobody gave any
    table: DataFrame  # path, scene, split, score, wrong (the known defects, or ""): one row a file
    problems: Problems  # of reading, see `pairs_audit`
    demo: str = ""  # "drawn scenes", or empty for photographs; said in every figure

    def part(self, split: str) -> DataFrame:
        """The pairs of "train", "val" or "test"."""
        return self.pairs[self.pairs["split"] == split].reset_index(drop=True)


def read(root: str | Path, splits_json: str | Path = "", *, demo: str = "") -> Pairs:
    """All pairs below `root`, in either layout; whatever is wrong is collected for `pairs_audit`.

    A folder with several pictures on a side gives every combination.

    Raises:
        PairError: no folder of pairs at all.
        ManifestError: splits.json or a table beside the pairs cannot be read, with the line.
    """
    top = paths.find_input(str(root), remedy="DATASET_ROOT is the folder that holds training_files or the pairs.")
    home = top / "training_files" if (top / "training_files").is_dir() else top
    pictures = _folders(home)
    problems: Problems = []
    split_of = _splits(home, str(splits_json), list(pictures), problems)
    scores = _scores(home / "scores.csv", list(pictures), problems)
    rows = []
    for name, (good_side, bad_side) in pictures.items():
        for side, files in zip(SIDES, (good_side, bad_side), strict=True):
            if not files:
                inside = paths.listing(home / name, 1, 4)
                problems.append(("side missing", name, f"no picture for {side!r}: {inside}"))
        if name not in split_of:
            problems.append(("split missing", name, "is in no part of splits.json"))
        scene, good_score, bad_score = scores.get(name, (name, float("nan"), float("nan")))
        for good, bad in itertools.product(good_side, bad_side):
            rows.append((name, scene, split_of.get(name, ""), good, bad, good_score, bad_score))
    for name in split_of:
        if name not in pictures:
            problems.append(("folder missing", name, "is named in splits.json and has no folder"))
    pairs = DataFrame(rows, columns=COLUMNS)
    return Pairs(top.name, home, pairs, _table(pairs, home / "pictures.csv"), problems, demo)


def _folders(home: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Of each folder the paths of its good and of its bad pictures.

    Raises:
        PairError: none has both.
    """
    folders = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    pictures = {
        folder.name: (_pictures(folder, "good"), _pictures(folder, "bad"))
        for folder in folders
        if not is_hidden(folder.name)
    }
    if not any(good and bad for good, bad in pictures.values()):
        raise PairError(
            f"no pairs below {home}: a pair is <folder>/good/<picture> and <folder>/bad/<picture>, or "
            f"<folder>/good.jpg and <folder>/bad.jpg.\n{paths.listing(home)}"
        )
    return pictures


def _pictures(folder: Path, side: str) -> list[str]:
    """Paths, with the folder's name, of the pictures of one side, in either layout and any case."""
    files: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name.lower() == side:
            inside = sorted(entry.iterdir())
            files += [file for file in inside if is_picture(file.name) and not is_hidden(file.name)]
        elif entry.stem.lower() == side and is_picture(entry.name):
            files.append(entry)
    return [file.relative_to(folder.parent).as_posix() for file in files]


def _splits(home: Path, named: str, folders: list[str], problems: Problems) -> dict[str, str]:
    """Folder -> part. A folder that is named twice keeps the first."""
    # beside the pairs, above them, and where the original project kept it
    usual = [home / "splits.json", home.parent / "splits.json", home.parent / "docs" / "splits.json"]
    candidates = [paths.expanded(named)] if named else usual
    file = next((path for path in candidates if path.is_file()), None)
    if file is None:
        tried = ", ".join(map(str, candidates))
        problems.append(("splits.json missing", tried, "write one: python -m emohelpers appeal split FOLDER draws it"))
        return {}
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(names, list) for names in content.values()):
        raise PairError(f'{file} must be {{"train": [folder, ...], "val": [folder, ...], "test": [folder, ...]}}')
    split_of: dict[str, str] = {}
    for written, names in content.items():
        part = SPLITS.get(key(written), "")
        if not part:
            problems.append(("unknown split", written, f"splits.json may have {', '.join(PARTS)}"))
        for name in matched(map(str, names if part else []), folders):
            if name in split_of:
                problems.append(("folder named twice", name, f"in {split_of[name]} and in {part} of splits.json"))
            split_of.setdefault(name, part)
    for part in PARTS:
        if part not in split_of.values():
            problems.append(("split missing", part, "has no folder in splits.json"))
    return split_of


def _scores(file: Path, folders: list[str], problems: Problems) -> dict[str, tuple[str, float, float]]:
    """Folder -> scene and both scores, read by name; a scene that is not known is the folder's own."""
    if not file.is_file():
        return {}
    table = read_csv(file)
    folder, scene, *sides = (column(table, [name], "the pairs", file) for name in SCORES)
    rows = DataFrame({"folder": matched(table[folder], folders), "scene": unified(table[scene])}, table.index)
    rows["scene"] = rows["scene"].where(rows["scene"] != "", rows["folder"])
    for name, side in zip(SCORES[2:], sides, strict=True):
        rows[name] = numbers(table, side, file, gaps=True)
    scores = {}
    for line, name, *row in rows.itertuples():
        if row[1] <= row[2]:
            problems.append(("scores contradict", name, f"good {row[1]:g} is not above bad {row[2]:g}"))
        if name not in folders:
            problems.append(("folder missing", name, f"is named in {file.name} line {line} and has no folder"))
        if name in scores:
            problems.append(("folder named twice", name, f"in {file.name}, the second time in line {line}"))
        scores[name] = tuple(row)
    if unknown := int(table[scene].map(is_nobody).sum()):
        problems.append(("scene unknown", file.name, f"{unknown} rows name no scene: each is a scene of its own"))
    problems += [("scores missing", name, f"has no row in {file.name}") for name in folders if name not in scores]
    return scores


def _table(pairs: DataFrame, known: Path) -> DataFrame:
    """One row a file: path, scene, split, score, wrong; the last by file name from pictures.csv, if it is there."""
    columns = ["path", "scene", "split", "score"]
    sides = [pairs[[side, "scene", "split", f"{side}_score"]].set_axis(columns, axis=1) for side in SIDES]
    table = pd.concat(sides).drop_duplicates("path").sort_values("path", ignore_index=True)
    defects: dict[str, str] = {}
    if known.is_file():
        pictures = read_csv(known)
        path, wrong = (column(pictures, [name], "the pairs", known) for name in ("path", "wrong"))
        defects = dict(zip(pictures[path].str.split("/").str[-1], pictures[wrong], strict=True))
    return table.assign(wrong=[defects.get(Path(path).name, "") for path in table["path"]])

"""Where pairs come from: pictures of a scene that people scored, photographs spoiled on purpose, drawn scenes."""

import itertools
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from emohelpers.config import files, paths
from emohelpers.datasets import audit, decoding, locate, pairs, twins
from emohelpers.datasets.drawn import defects, photos
from emohelpers.datasets.groups import shuffled
from emohelpers.datasets.locate import Listing, Tree, fold, is_hidden, parts_of
from emohelpers.datasets.pairs import PARTS, SCORES, SIDES, PairError, Pairs
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.spelling import unified
from emohelpers.datasets.tables import column
from emohelpers.datasets.text_files import numbers, read_csv

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}  # when nobody has decided
QUALITY = 95  # of the JPEGs that `spoiled` writes, the unspoiled ones too


def find(cfg) -> Pairs:
    """The pairs of a config: those of `dataset_root`, or, where the preset says so, drawn by code.

    Raises:
        PairError: neither, or no pair there.
    """
    if cfg.dataset_root:
        return pairs.read(cfg.dataset_root, cfg.splits_json)
    if not cfg.drawn_scenes:
        raise PairError(
            "no pairs are named: give DATASET_ROOT, a folder (or Kaggle handle) with training_files/<folder>/"
            "{good,bad}/<picture> and splits.json. PRESET='demo' draws its own."
        )
    scenes = cfg.drawn_scenes
    min_gap = cfg.min_gap
    drawn = photos.write_photos(paths.cache_folder() / f"demo_photos_{scenes}", scenes=scenes)
    folder = paths.cache_folder() / f"demo_pairs_{scenes}_gap{min_gap:g}"
    stamp = {"drawing": photos.DRAWING_VERSION, "scenes": scenes, "min_gap": min_gap}
    with files.new_folder(folder, "pairs.json", stamp) as new:
        if new:
            from_scores(drawn, pd.read_csv(drawn / "photos.csv"), new, min_gap=min_gap)
    return pairs.read(folder, demo="drawn scenes")


def read_scored(path: str | Path) -> DataFrame:
    """A table of the scored pictures below its folder, for `from_scores`: path, scene, score, and its further columns.

    Raises:
        ManifestError: a column is missing, a score is no number, with the line.
        PairError: a picture is missing or stands there twice, or a scene is not known, with the line.
    """
    file = Path(path)
    table = read_csv(file)
    names = {column(table, [name], "the pairs", file): name for name in ("path", "scene", "score")}
    table = table.rename(columns=names)
    table["score"] = numbers(table, "score", file)
    scene = Series(unified(table["scene"]), table.index)
    _refuse(file, table["scene"], scene == "", "name no scene, within which pictures are paired")
    tree = Tree()
    files: list[str] = []
    for text in table["path"]:
        *folders, name = parts_of(text) or ("",)
        fitting = [hit for folder in tree.descend(file.parent.as_posix(), folders) for hit in tree.match(folder, name)]
        files.append(fitting[0].removeprefix(f"{file.parent.as_posix()}/") if len(fitting) == 1 else "")
    picture = Series(files, table.index)
    _refuse(file, table["path"], picture == "", f"name no picture below {file.parent}")
    _refuse(file, table["path"], picture.duplicated(), "name a picture that stands there before")
    return table.assign(path=picture, scene=scene)


def _refuse(file: Path, values: Series, wrong: Series, reason: str) -> None:
    if wrong.any():
        first = values[wrong]
        raise PairError(
            f"{len(first):,} of {len(values):,} rows of {file} {reason}, first line {first.index[0]}: "
            f"{first.iloc[0]!r}. Correct or remove them"
        )


def from_scores(
    root: str | Path,
    scored: DataFrame,
    out: str | Path,
    *,
    min_gap: float,
    shares: Mapping[str, float] = SHARES,
    seed: int = 42,
) -> Path:
    """Writes every pair of pictures of a scene whose scores are at least `min_gap` apart, as `pairs.read` reads them.

    Args:
        scored: path (below `root`), scene, score (more is better), wrong (known defects, or ""); kept as pictures.csv.
        out: a new folder: one folder a pair, splits.json by scene, scores.csv.

    Raises:
        PairError: no pair is that far apart.
        InputNotFound: a path leads out of `root`.
        FileExistsError: `out` holds something already.
    """
    lines = []
    pictures = []
    numbers_of = defaultdict(itertools.count)  # of each name of folders: a/b and a:b are written alike
    for scene, rows in scored.sort_values("path").groupby("scene"):
        name = files.safe_name(str(scene))
        name = f"scene{name}" if is_hidden(name) else name
        for both in itertools.combinations(rows.itertuples(), 2):
            # Numbered before the scores are compared: a folder's name does not depend on min_gap.
            number = next(numbers_of[fold(name)])
            bad, good = sorted(both, key=lambda row: row.score)
            # A tie has neither a good nor a bad side, even with min_gap = 0.
            if good.score - bad.score >= max(min_gap, 1e-9):
                lines.append((f"{name}_{number:03d}", str(scene), good.score, bad.score))
                pictures.append((good.path, bad.path))
    if not lines:
        raise PairError(f"no two pictures of a scene are {min_gap:g} apart: lower min_gap, or score more pictures")
    scores = DataFrame(lines, columns=SCORES)
    with files.new_folder(out) as home:
        for folder, both in zip(scores["folder"], pictures, strict=True):
            for side, path in zip(SIDES, both, strict=True):
                target = home / folder / side / Path(path).name
                target.parent.mkdir(parents=True)
                shutil.copyfile(paths.below(Path(root), path), target)
        files.write_json(home / "splits.json", _by_scene(scores, shares, seed))
        files.write_csv(scores, home / "scores.csv")
        files.write_csv(scored.assign(wrong=scored.get("wrong", "")), home / "pictures.csv")
    return Path(out)


def _by_scene(scores: DataFrame, shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """The content of a splits.json that keeps the folders of a scene together."""
    scenes = shuffled(set(scores["scene"]), seed)
    ends = np.cumsum([shares[part] for part in PARTS]) * len(scenes)
    # Half a scene past the edge, so that rounding of the shares moves no scene.
    numbers = np.searchsorted(ends, np.arange(len(scenes)) + 0.5)
    part_of = {scene: PARTS[min(number, 2)] for scene, number in zip(scenes, numbers, strict=True)}
    parts = scores["scene"].map(part_of)
    return {part: list(scores.loc[parts == part, "folder"]) for part in PARTS}


def spoiled(
    photographs: str | Path, out: str | Path, *, strengths: Sequence[float] = (0.5, 1.0), kinds: int = 2, seed: int = 42
) -> tuple[DataFrame, Listing]:
    """Writes each photograph of a folder, and what `kinds` defects make of it at rising `strengths`, for `from_scores`.

    Returns path, scene (the photograph), score (1 - strength), wrong; also in `out`/photos.csv; and what was left out.
    The photograph itself is encoded anew like the others, so that no trace in the file tells them apart.

    Raises:
        FileNotFoundError: no photograph there.
        PairError: none of them can be read.
    """
    listing = locate.pictures(paths.find_input(str(photographs), remedy="Give a folder of photographs."))
    scenes = _scenes(listing.files)
    unreadable = {}
    rows = []
    with files.new_folder(out) as home:
        for index, (path, scene) in enumerate(zip(listing.files, scenes, strict=True)):
            try:
                picture = decoding.picture(path)
            except decoding.UnreadableImage as error:
                unreadable[path.relative_to(listing.root).as_posix()] = str(error)
                continue
            # Seeded by the place in the listing: a photograph that cannot be read changes no other's defects.
            chosen = np.random.default_rng([seed, index]).permutation(list(defects.KINDS))[:kinds]
            plan = [("", 0.0), *itertools.product(map(str, chosen), strengths)]
            for number, (kind, strength) in enumerate(plan):
                rng = np.random.default_rng([seed, index, number])
                spoilt = defects.spoil(picture, kind, strength, rng) if kind else picture
                name = f"{scene}_{number}.jpg"
                _, jpeg = cv2.imencode(".jpg", spoilt[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                files.write_bytes(home / name, jpeg.tobytes())
                rows.append((name, scene, 1 - strength, f"{kind} {strength:.2f}" if kind else ""))
        listing = replace(listing, left_out=unreadable | listing.left_out)
        if not rows:
            raise PairError(f"none of the photographs can be read; {listing.note()}")
        table = DataFrame(rows, columns=["path", "scene", "score", "wrong"])
        files.write_csv(table, home / "photos.csv")
    return table, listing


def _scenes(photographs: Sequence[Path]) -> list[str]:
    """A name for each that every disk takes as a file's and a folder's; all are numbered where some are equal."""
    stems = [files.safe_name(path.stem) for path in photographs]
    equal = len({stem.casefold() for stem in stems}) < len(stems)
    return [f"{i:05d}_{stem}" for i, stem in enumerate(stems)] if equal else stems


def draw_splits(data: Pairs, pixels: Pixels, likeness: float, *, seed: int = 42) -> dict[str, list[str]]:
    """The content of a splits.json by `SHARES`: scenes, equal contents, near-duplicates and mirror images together."""
    paths = list(data.table["path"])
    keys = [list(data.table["scene"]), pixels.hashes(paths), [path.split("/")[0] for path in paths]]
    group_of = dict(zip(paths, audit.joined(paths, keys, twins.rows(pixels, paths, likeness)), strict=True))
    members: dict[str, set[str]] = {}
    for folder, good in zip(data.pairs["folder"], data.pairs["good"], strict=True):  # several pairs may come of one
        members.setdefault(group_of[good], set()).add(folder)
    total = data.pairs["folder"].nunique()
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for group in shuffled(members, seed):
        # The part that lacks most takes the next group, so that large groups even out.
        missing = {part: SHARES[part] - len(parts[part]) / total for part in PARTS}
        parts[max(PARTS, key=missing.__getitem__)] += sorted(members[group])
    return parts

"""Where pairs come from: pictures of a scene that people scored, photographs spoiled on purpose, drawn scenes."""

import hashlib
import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from emohelpers.config import files, paths
from emohelpers.datasets import audit, pairs, splits
from emohelpers.datasets import pixels as store
from emohelpers.datasets.drawn import defects, photos
from emohelpers.datasets.locate import is_picture
from emohelpers.datasets.pairs import PARTS, SIDES, PairError, Pairs

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
    home = paths.cache_folder()
    drawn = photos.write_photos(home / f"demo_photos_{cfg.drawn_scenes}", scenes=cfg.drawn_scenes)
    stamp = {"drawing": photos.DRAWING_VERSION, "scenes": cfg.drawn_scenes, "min_gap": cfg.min_gap}
    table, place = pd.read_csv(drawn / "photos.csv"), home / f"demo_pairs_{cfg.drawn_scenes}_gap{cfg.min_gap:g}"
    with files.new_folder(place, "pairs.json", stamp) as new:
        if new:
            from_scores(drawn, table, new, min_gap=cfg.min_gap)
    return pairs.read(place, demo="drawn scenes")


def from_scores(
    root: str | Path, scored: pd.DataFrame, out: str | Path, *, min_gap: float, shares: Mapping[str, float] = SHARES,
    seed: int = 42,
) -> Path:  # fmt: skip
    """Writes every pair of pictures of a scene whose scores are at least `min_gap` apart, as `pairs.read` reads them.

    Args:
        scored: path (below `root`), scene, score (more is better), wrong (known defects, or ""); kept as pictures.csv.
        out: a new folder: one folder a pair, splits.json by scene, scores.csv.

    Raises:
        PairError: no pair is that far apart.
        FileExistsError: `out` holds something already.
    """
    made = []
    for scene, rows in scored.sort_values("path").groupby("scene"):
        for number, (one, other) in enumerate(itertools.combinations(rows.itertuples(), 2)):
            good, bad = (one, other) if one.score > other.score else (other, one)
            if good.score - bad.score >= max(min_gap, 1e-9):
                made.append((f"{scene}_{number:03d}", str(scene), good, bad))
    if not made:
        raise PairError(f"no two pictures of a scene are {min_gap:g} apart: lower min_gap, or score more pictures")
    scenes = sorted({scene for _, scene, *_ in made}, key=lambda s: hashlib.sha256(f"{seed}:{s}".encode()).digest())
    ends = np.cumsum([shares[part] for part in PARTS]) * len(scenes)
    part_of = {scene: PARTS[min(int(np.searchsorted(ends, i + 0.5)), 2)] for i, scene in enumerate(scenes)}
    with files.new_folder(out) as home:
        for folder, _, *both in made:
            for side, picture in zip(SIDES, both, strict=True):
                target = home / folder / side / Path(picture.path).name
                target.parent.mkdir(parents=True)
                shutil.copyfile(Path(root) / picture.path, target)
        lists = {part: [folder for folder, scene, *_ in made if part_of[scene] == part] for part in PARTS}
        files.write_json(home / "splits.json", lists)
        lines = [(folder, scene, good.score, bad.score) for folder, scene, good, bad in made]
        files.write_csv(
            pd.DataFrame(lines, columns=["folder", "scene", "good_score", "bad_score"]), home / "scores.csv"
        )
        files.write_csv(scored.assign(wrong=scored.get("wrong", "")), home / "pictures.csv")
    return Path(out)


def spoiled(
    photographs: str | Path, out: str | Path, *, strengths: Sequence[float] = (0.5, 1.0), kinds: int = 2, seed: int = 42
) -> pd.DataFrame:
    """Writes each photograph of a folder, and what `kinds` defects make of it at rising `strengths`, for `from_scores`.

    Returns path, scene (the photograph), score (1 - strength), wrong; also in `out`/photos.csv. The photograph itself
    is encoded anew like the others, so that no trace in the file tells them apart.
    """
    source = sorted(p for p in Path(photographs).iterdir() if is_picture(p.name))
    if not source:
        raise PairError(f"no photographs in {photographs}. {paths.listing(Path(photographs))}")
    rows = []
    with files.new_folder(out) as home:
        for index, path in enumerate(source):
            picture = store.decode(path.read_bytes())
            drawn = np.random.default_rng([seed, index]).permutation(list(defects.KINDS))[:kinds]
            plan = [("", 0.0), *((str(kind), strength) for kind in drawn for strength in strengths)]
            for number, (kind, strength) in enumerate(plan):
                rng = np.random.default_rng([seed, index, number])
                done = defects.spoil(picture, kind, strength, rng) if kind else picture
                name = f"{path.stem}_{number}.jpg"
                written = cv2.imwrite(str(home / name), done[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                if not written:  # OpenCV does not say why
                    raise OSError(f"{home / name} could not be written: look at the disk's free space")
                rows.append((name, path.stem, 1 - strength, f"{kind} {strength:.2f}" if kind else ""))
        table = pd.DataFrame(rows, columns=["path", "scene", "score", "wrong"])
        files.write_csv(table, home / "photos.csv")
    return table


def draw_splits(data: Pairs, pixels: store.Pixels, likeness: float, *, seed: int = 42) -> dict[str, list[str]]:
    """The content of a splits.json by `SHARES`: scenes, equal contents, near-duplicates and mirror images together."""
    table, rows = data.table, pixels.rows(data.table["path"])
    keys = [list(table["scene"]), [pixels.sha256[row] for row in rows], [p.split("/")[0] for p in table["path"]]]
    group = audit.joined(list(table["path"]), keys, splits.twins(pixels.thumbs[rows], likeness))
    of = dict(zip(table["path"], group, strict=True))
    members: dict[str, list[str]] = {}
    for row in data.pairs.itertuples():
        members.setdefault(of[row.good], []).append(row.folder)
    folders = data.pairs["folder"].nunique()  # several pairs may come of one
    made: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in sorted(members, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
        lacks = {part: SHARES[part] - len(made[part]) / folders for part in PARTS}
        made[max(PARTS, key=lambda part: lacks[part])] += sorted(set(members[name]))
    return made

"""Which photograph an edited picture was made from: by the table that came with it, by its file name, by its looks.

Edits lie as `aug_<target>/aug_<stem>_<current>_to_<target>.jpg` or `<emotion>/aug_...`, with or without a table
`augmented_labels.csv`. A stem can stand for several photographs, and a re-upload may have lost its names.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from emohelpers.config import paths
from emohelpers.datasets import labels, resemblance, splits
from emohelpers.datasets import pixels as store
from emohelpers.datasets.edits import FOLDER
from emohelpers.datasets.locate import DEPTH, ManifestError, Tree, is_picture, parts_of
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.tables import read_csv

TABLE = "augmented_labels.csv"  # seed 000
COLUMNS = ("original_path", "original_label", "augmented_label", "augmented_path", "augmentation_type")  # seed 000
NAME = re.compile(r"aug_(?P<stem>.+)_(?P<current>[A-Za-z]+)_to_(?P<target>[A-Za-z]+)")


@dataclass(frozen=True)
class Edits:
    """A ready set of edited pictures below `root`."""

    root: Path
    table: pd.DataFrame  # path, label, parent ("" if unknown), via (how it was found), candidates (tuple), type
    left_out: pd.DataFrame  # path, reason: rows that cannot be used at all

    def __str__(self) -> str:
        via = self.table["via"].replace("", "unknown").value_counts()
        told = ", ".join(f"{n:,} by {how}" if how != "unknown" else f"{n:,} unknown" for how, n in via.items())
        return f"{len(self.table):,} edits below {self.root}; parents: {told}; unusable: {len(self.left_out):,}"


def attached(root: str | Path, dataset) -> Edits:
    """The edits of a ready set with their labels, and their parents as far as table and file names tell.

    Args:
        root: a folder or a Kaggle handle; `dataset` has the photographs (`table`, `root`).

    Raises:
        ManifestError: nothing there looks like such a set.
    """
    place = paths.find_input(str(root), remedy="AUGMENTED_ROOT is the unpacked augmented_affectnet_dataset.zip.")
    tree = Tree()
    home, folders = _home(tree, place, dataset.root)
    found = {
        f"{Path(folder).name}/{name}": emotion
        for folder, emotion in folders.items()
        for name in tree.files(folder)
        if is_picture(name)
    }
    known, lost = _told(tree, place, home, found)
    stems, ids = _index(dataset.table)
    rows, bad = [], [(path, f"in {TABLE}, but no such file") for path in lost]
    for path, folder_label in sorted(found.items()):
        told = known.get(path, {})
        name = NAME.fullmatch(Path(path).stem)
        said = [told.get("augmented_label") or folder_label, name["target"] if name else ""]
        meant = {labels.canonical(word) for word in said if word}
        if len(meant) > 1:
            bad.append((path, f"labelled {' and '.join(sorted(meant))}"))
            continue
        parent, via, several = _parent(told.get("original_path", ""), name, stems, ids)
        rows.append((path, meant.pop(), parent, via, several, told.get("augmentation_type", "")))
    table = pd.DataFrame(rows, columns=["path", "label", "parent", "via", "candidates", "type"])
    return Edits(Path(home), table, pd.DataFrame(bad, columns=["path", "reason"]))


def matched(root: str | Path, dataset, pixels: Pixels, likeness: float, cache: str | Path) -> Edits:
    """The edits of a ready set with all parents that table, names or looks tell; `pixels` are of the photographs.

    Raises:
        ManifestError: nothing there looks like such a set, or its pictures cannot be read.
    """
    found = attached(root, dataset)
    seen = store.build(SimpleNamespace(name="edits", root=found.root, table=found.table), pixels.side, cache)
    if seen.unreadable:
        path, reason = next(iter(seen.unreadable.items()))
        raise ManifestError(f"{len(seen.unreadable):,} edits below {found.root} cannot be read, first {path}: {reason}")
    return by_looks(found, dataset.table, pixels, seen, likeness)


def ready(cfg, dataset, table: pd.DataFrame, pixels: Pixels, cache: str | Path) -> Edits | None:
    """The ready set of a config, `matched`; None for an editor that makes its own.

    Args:
        table: the photographs with their final groups (`splits.grouped`), by which twins are one.
    """
    if cfg.editor != "attached":
        return None
    if not cfg.augmented_root:
        raise ManifestError(
            "editor='attached' needs AUGMENTED_ROOT, the folder or Kaggle data set with the edited faces "
            f"({FOLDER}/aug_<emotion>/... or augmented/<emotion>/...). To make edits: "
            'OVERRIDES = {"editor": "gemini"} or {"editor": "diffusers"}.'
        )
    return matched(cfg.augmented_root, replace(dataset, table=table), pixels, cfg.twin_similarity, cache)


def by_looks(edits: Edits, photographs: pd.DataFrame, pixels: Pixels, seen: Pixels, likeness: float) -> Edits:
    """The edits with parents found by their looks where names did not tell, or told what cannot be.

    Of several candidates by name the most alike is taken; without any, the photograph that an edit clearly resembles
    (see `resemblance`) or whose cosine is at least `likeness`. A parent by name gives way to a photograph of another
    group that the edit clearly resembles. What then has no parent stays unknown.

    Args:
        photographs: `path, group`; `pixels` of them, `seen` of the edits.
    """
    table, names, groups = edits.table.copy(), photographs["path"].to_numpy(), photographs["group"].to_numpy()
    position, thumbs = {path: i for i, path in enumerate(names)}, pixels.thumbs[pixels.rows(names)]
    own = seen.thumbs[seen.rows(table["path"])]
    best, cosine, clear = resemblance.resembled(own, thumbs, groups)
    parents, how = table["parent"].to_list(), table["via"].to_list()
    for row, (parent, several) in enumerate(zip(parents, table["candidates"], strict=True)):
        if several:
            rows = [position[path] for path in several]
            alike = splits.likenesses(own[row : row + 1], thumbs[rows])[0]
            parents[row], how[row] = names[rows[int(alike.argmax())]], "name and looks"
        elif not parent and (clear[row] or cosine[row] >= likeness):
            parents[row], how[row] = names[best[row]], "looks"
        elif parent and clear[row] and groups[best[row]] != groups[position[parent]]:
            parents[row], how[row] = names[best[row]], f"looks, against its {how[row]}"
    return Edits(edits.root, table.assign(parent=parents, via=how), edits.left_out)


def _home(tree: Tree, root: Path, originals: Path) -> tuple[str, dict[str, str]]:
    """The folder that holds the emotions' folders, and these with their emotion."""
    for level in tree.levels(root.as_posix(), DEPTH - 1):
        for place in level:
            inside = {f"{place}/{name}": emotion for name in tree.folders(place) if (emotion := _emotion(name))}
            marked = {folder: e for folder, e in inside.items() if Path(folder).name.lower().startswith("aug_")}
            named = "aug" in Path(place).name.lower() or Path(place) == root
            if marked:
                return place, marked
            if inside and named and Path(place) != originals:
                return place, inside
    raise ManifestError(
        f"no folders aug_<emotion> or augmented/<emotion> below {root}.\n{paths.listing(root)}\n"
        "AUGMENTED_ROOT is the unpacked augmented_affectnet_dataset.zip of notebook 02."
    )


def _emotion(folder: str) -> str:
    try:
        return labels.canonical(folder.lower().removeprefix("aug_"))
    except labels.UnknownLabel:
        return ""


def _told(tree: Tree, place: Path, home: str, found: dict[str, str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What `augmented_labels.csv` says of each file, and the files it names that are not there."""
    tables = tree.search(place.as_posix(), TABLE) or tree.match(Path(home).parent.as_posix(), TABLE)
    if not tables:
        return {}, []
    table = read_csv(tables[0])
    if missing := [name for name in COLUMNS[:4] if name not in table.columns]:
        raise ManifestError(f"{tables[0]} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    short = {_short(path): path for path in found}
    keys = [_short("/".join(parts_of(path)[-2:])) for path in table["augmented_path"]]
    rows = table.to_dict("records")
    lost = [row["augmented_path"] for key, row in zip(keys, rows, strict=True) if key not in short]
    return {short[key]: row for key, row in zip(keys, rows, strict=True) if key in short}, lost


def _short(path: str) -> str:
    """`aug_fear/x.jpg` and `fear/x.jpg` are two spellings of one place."""
    folder, _, name = path.rpartition("/")
    return f"{_emotion(folder) or folder}/{name}"


def _index(table: pd.DataFrame) -> tuple[dict[str, list[tuple[str, str]]], dict[str, str]]:
    stems: dict[str, list[tuple[str, str]]] = defaultdict(list)
    ids = {}
    for path, label in zip(table["path"], table["label"], strict=True):
        stems[Path(path).stem].append((path, label))
        ids["/".join(parts_of(path)[-2:]).casefold()] = path
    return stems, ids


def _parent(told: str, name: re.Match | None, stems: dict, ids: dict) -> tuple[str, str, tuple[str, ...]]:
    """Parent, how it was found, and the candidates where the name fits several photographs."""
    if path := ids.get("/".join(parts_of(told)[-2:]).casefold()) if told else None:
        return path, "table", ()
    if not name:
        return "", "", ()
    same = stems.get(name["stem"], [])
    current = _emotion(name["current"])
    fitting = [path for path, label in same if label == current] or [path for path, _ in same]
    if len(fitting) == 1:
        return fitting[0], "name", ()
    return "", "", tuple(fitting)

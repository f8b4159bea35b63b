"""Which photograph an edited picture was made from: by the table that came with it, by its file name, by its looks.

Edits lie as `aug_<target>/aug_<stem>_<current>_to_<target>.jpg` or `<emotion>/aug_...`, with or without a table
`augmented_labels.csv`. A stem can stand for several photographs, and a re-upload may have lost its names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from pandas import DataFrame

from emohelpers.config import paths
from emohelpers.datasets import labels, pixels, resemblance
from emohelpers.datasets.candidates import common_end, folded
from emohelpers.datasets.edits import FOLDER
from emohelpers.datasets.locate import DEPTH, ManifestError, Tree, is_picture, parts_of
from emohelpers.datasets.pixels import Pixels
from emohelpers.datasets.text_files import read_csv
from emohelpers.datasets.thumbnails import likenesses

TABLE = "augmented_labels.csv"  # seed 000
COLUMNS = ("original_path", "original_label", "augmented_label", "augmented_path", "augmentation_type")  # seed 000
NAME = re.compile(r"aug_(?P<stem>.+)_(?P<current>[A-Za-z]+)_to_(?P<target>[A-Za-z]+)")


@dataclass(frozen=True)
class ReadySet:
    """A ready set of edited pictures below `root`."""

    root: Path
    table: DataFrame  # path, label, parent ("" if unknown), via (how it was found), candidates (tuple), type
    left_out: DataFrame  # path, reason: rows that cannot be used at all

    def __str__(self) -> str:
        via = self.table["via"].replace("", "unknown").value_counts()
        parents = ", ".join(f"{n:,} {way}" if way == "unknown" else f"{n:,} by {way}" for way, n in via.items())
        return f"{len(self.table):,} edits below {self.root}; parents: {parents}; unusable: {len(self.left_out):,}"


def attached(root: str | Path, dataset) -> ReadySet:
    """The edits of a ready set with their labels, and their parents as far as table and file names tell.

    Args:
        root: a folder or a Kaggle handle; `dataset` has the photographs (`table`, `root`).

    Raises:
        ManifestError: nothing there looks like such a set.
    """
    folder = paths.find_input(str(root), remedy="AUGMENTED_ROOT is the unpacked augmented_affectnet_dataset.zip.")
    tree = Tree()
    home, emotions = _home(tree, folder, dataset.root)
    label_of = {}  # of each picture that lies there, by its folder
    for name, emotion in emotions.items():
        pictures = filter(is_picture, tree.files(f"{home}/{name}"))
        label_of |= {f"{name}/{picture}": emotion for picture in pictures}
    listed, lost = _listed(tree, folder, home, label_of)
    photographs = _Photographs(dataset.table, dataset.root)
    rows = []
    left_out = [(path, f"in {TABLE}, but no such file") for path in lost]
    for path, folder_label in sorted(label_of.items()):
        line = listed.get(path, {})
        name = NAME.fullmatch(Path(path).stem)
        # The table's label goes before the folder's; a file name that tells another emotion contradicts both.
        words = [line.get("augmented_label") or folder_label, name["target"] if name else ""]
        emotions_named = {labels.canonical(word) for word in words if word}
        if len(emotions_named) > 1:
            left_out.append((path, f"labelled {' and '.join(sorted(emotions_named))}"))
            continue
        parent, via, candidates = photographs.parent(line.get("original_path", ""), name)
        rows.append((path, emotions_named.pop(), parent, via, candidates, line.get("augmentation_type", "")))
    table = DataFrame(rows, columns=["path", "label", "parent", "via", "candidates", "type"])
    return ReadySet(Path(home), table, DataFrame(left_out, columns=["path", "reason"]))


def matched(root: str | Path, dataset, of_photographs: Pixels, likeness: float, cache: str | Path) -> ReadySet:
    """The edits of a ready set with all parents that table, names or looks tell.

    Args:
        of_photographs: the decoded pictures of `dataset`.

    Raises:
        ManifestError: nothing there looks like such a set, or its pictures cannot be read.
    """
    edits = attached(root, dataset)
    decoded = SimpleNamespace(name="edits", root=edits.root, table=edits.table)
    of_edits = pixels.build(decoded, of_photographs.side, cache)
    if of_edits.unreadable:
        path, reason = next(iter(of_edits.unreadable.items()))
        raise ManifestError(
            f"{len(of_edits.unreadable):,} edits below {edits.root} cannot be read, first {path}: {reason}"
        )
    return by_looks(edits, dataset.table, of_photographs, of_edits, likeness)


def ready(cfg, dataset, table: DataFrame, of_photographs: Pixels, cache: str | Path) -> ReadySet | None:
    """The ready set of a config, `matched`; None for an editor that makes its own.

    Args:
        table: the photographs with their final groups (`groups.grouped`), by which twins are one.
    """
    if cfg.editor != "attached":
        return None
    if not cfg.augmented_root:
        raise ManifestError(
            "editor='attached' needs AUGMENTED_ROOT, the folder or Kaggle data set with the edited faces "
            f"({FOLDER}/aug_<emotion>/... or augmented/<emotion>/...). To make edits: "
            'OVERRIDES = {"editor": "gemini"} or {"editor": "diffusers"}.'
        )
    grouped = replace(dataset, table=table)
    return matched(cfg.augmented_root, grouped, of_photographs, cfg.twin_similarity, cache)


def by_looks(
    edits: ReadySet, photographs: DataFrame, of_photographs: Pixels, of_edits: Pixels, likeness: float
) -> ReadySet:
    """The edits with parents found by their looks where names did not tell, or told what cannot be.

    Of several candidates by name the most alike is taken; without any, the photograph that an edit clearly resembles
    (see `resemblance`) or whose cosine is at least `likeness`. A parent by name gives way to a photograph of another
    group that the edit clearly resembles. What then has no parent stays unknown.

    Args:
        photographs: `path, group`; `of_photographs` and `of_edits` are the decoded pictures.
    """
    names = list(photographs["path"])
    groups = photographs["group"].to_numpy()
    group_of = dict(zip(names, groups, strict=True))
    thumbs = of_edits.thumbnails(edits.table["path"])
    best, cosine, clear = resemblance.resembled(thumbs, of_photographs.thumbnails(names), groups)
    parents = []
    ways = []
    for i, row in enumerate(edits.table.itertuples()):
        parent = row.parent
        via = row.via
        alike = names[best[i]]
        if row.candidates:
            cosines = likenesses(thumbs[[i]], of_photographs.thumbnails(row.candidates))[0]
            parent = row.candidates[cosines.argmax()]
            via = "name and looks"
        elif not parent and (clear[i] or cosine[i] >= likeness):
            parent = alike
            via = "looks"
        elif parent and clear[i] and group_of[alike] != group_of[parent]:
            parent = alike
            via = f"looks, against its {via}"
        parents.append(parent)
        ways.append(via)
    return replace(edits, table=edits.table.assign(parent=parents, via=ways))


def _home(tree: Tree, root: Path, originals: Path) -> tuple[str, dict[str, str]]:
    """The folder that holds the emotions' folders, and the names of these with their emotion."""
    for level in tree.levels(root.as_posix(), DEPTH - 1):
        for folder in level:
            emotions = {name: emotion for name in tree.folders(folder) if (emotion := _emotion(name))}
            marked = {name: emotion for name, emotion in emotions.items() if name.lower().startswith("aug_")}
            if marked:
                return folder, marked
            path = Path(folder)
            # Photographs lie in folders of emotions too: only the root itself or an augmented folder counts.
            if emotions and path != originals and (path == root or "aug" in path.name.lower()):
                return folder, emotions
    raise ManifestError(
        f"no folders aug_<emotion> or augmented/<emotion> below {root}.\n{paths.listing(root)}\n"
        "AUGMENTED_ROOT is the unpacked augmented_affectnet_dataset.zip of notebook 02."
    )


def _emotion(folder: str) -> str:
    try:
        return labels.canonical(folder.lower().removeprefix("aug_"))
    except labels.UnknownLabel:
        return ""


def _listed(tree: Tree, root: Path, home: str, files: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The row of `augmented_labels.csv` of each file, and the files it names that are not there."""
    tables = tree.search(root.as_posix(), TABLE) or tree.match(Path(home).parent.as_posix(), TABLE)
    if not tables:
        return {}, []
    table = read_csv(tables[0])
    if missing := [name for name in COLUMNS[:4] if name not in table.columns]:
        raise ManifestError(f"{tables[0]} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    file_of = {_short(path): path for path in files}
    listed = {}
    lost = []
    for row in table.to_dict("records"):
        key = _short(_last_two(row["augmented_path"]))
        if key in file_of:
            listed[file_of[key]] = row
        else:
            lost.append(row["augmented_path"])
    return listed, lost


def _last_two(path: str) -> str:
    """Folder and name of a path."""
    return "/".join(parts_of(path)[-2:])


def _short(path: str) -> str:
    """`aug_fear/x.jpg` and `fear/x.jpg` are two spellings of one path."""
    folder, _, name = path.rpartition("/")
    return f"{_emotion(folder) or folder}/{name}"


class _Photographs:
    """The photographs of a data set by stem, and by name."""

    def __init__(self, table: DataFrame, root: Path):
        self.by_stem: dict[str, list[tuple[str, str]]] = defaultdict(list)  # path and label
        for path, label in zip(table["path"], table["label"], strict=True):
            self.by_stem[Path(path).stem].append((path, label))
        self.by_name: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)  # path and all its names
        for path in table["path"]:
            names = folded(f"{root}/{path}")
            self.by_name[names[-1]].append((path, names))

    def parent(self, listed: str, name: re.Match | None) -> tuple[str, str, tuple[str, ...]]:
        """Parent, how it was found, and the candidates where the name fits several photographs.

        Args:
            listed: the original that the table names, or ""; name: the match of `NAME`.
        """
        fitting = self._listed(listed) if listed else []
        if len(fitting) == 1:
            return fitting[0], "table", ()
        if fitting or not name:  # happy/1.jpg, where there are Train/happy/1.jpg and Test/happy/1.jpg: by looks
            return "", "", tuple(fitting)
        same_stem = self.by_stem.get(name["stem"], [])
        current = _emotion(name["current"])
        fitting = [path for path, label in same_stem if label == current] or [path for path, _ in same_stem]
        if len(fitting) == 1:
            return fitting[0], "name", ()
        return "", "", tuple(fitting)

    def _listed(self, path: str) -> list[str]:
        """The photographs that share the longest end with a path, folder and name at least."""
        names = folded(path)
        shared = {photograph: common_end(ours, names) for photograph, ours in self.by_name.get(names[-1], ())}
        longest = max(shared.values(), default=0)
        return [photograph for photograph, n in shared.items() if n == longest >= min(2, len(names))]

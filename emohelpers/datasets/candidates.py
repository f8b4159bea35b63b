"""Which files a table's paths can mean: as written, else in the folder that shares the longest end."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

from emohelpers.datasets.locate import SPLITS, Tree, fold, parts_of

# Folders beside the pictures that hold files of the same names, which are no pictures of faces.
NO_FACES = {"annotations", "depth", "heatmaps", "labels", "landmarks", "mask", "masks", "segmentation", "segmentations"}

Names = tuple[str, ...]  # of a path, from the top


@dataclass
class Candidates:
    """What the paths of a table can mean."""

    files: list[list[str]]  # of each path; none: missing, several: ambiguous
    moved: list[int] = field(default_factory=list)  # rows that were found in another folder than written
    torn: list[str] = field(default_factory=list)  # folders whose pictures lie in several others, each with these


def candidates(tree: Tree, bases: Sequence[str], written: Sequence[str]) -> Candidates:
    """For every path of a table the files it can mean.

    A folder is tried as it stands below each base. One that is not there is re-rooted whole: the folder with the
    longest common end is taken for all of its pictures. What is missing in it is missing: no namesake takes its place.
    """
    names = [parts_of(path) for path in written]
    result = Candidates([[] for _ in names])
    files = result.files
    rows_of = defaultdict(list)  # parent folder as written -> rows
    for row, parts in enumerate(names):
        if parts:
            rows_of[parts[:-1]].append(row)

    # As it stands, below the first base that has some of its pictures.
    stands: dict[Names, str] = {}
    for parent, rows in rows_of.items():
        for folders in filter(None, (tree.descend(base, parent) for base in bases)):
            options = {row: _matches(tree, folders, names[row]) for row in rows}
            if any(options.values()):
                stands[parent] = folders[0]
                for row, paths in options.items():
                    files[row] = paths
                break

    # In another folder. A root given too high holds other data sets, which are none of our business.
    last = [fold(parts[-1]) for parts in names if parts]
    unique = len(set(last)) == len(last)
    for base in bases:
        if base != bases[0] and any(files):
            break
        missing = {parent: {row: names[row] for row in rows if not files[row]} for parent, rows in rows_of.items()}
        if any(missing.values()):
            below = Below(tree, base)
            for parent, lost in missing.items():
                _reroot(below, parent, lost, stands.get(parent, ""), unique, result)
    return result


def _reroot(below: "Below", parent: Names, lost: dict[int, Names], stands: str, unique: bool, result: Candidates):
    """Fills in `result` for rows of one folder as written, which `stands` elsewhere or ("") nowhere as it stands."""
    if not parent and not stands:  # a bare file name may lie in any folder
        options = {row: below.named(names[-1]) for row, names in lost.items()}
    elif unique and not stands and not below.has(parent[-1]):  # the folder is nowhere: all of it may lie in the base
        options = {row: _matches(below.tree, [below.base], names) for row, names in lost.items()}
        options = options if all(options.values()) else {}
    else:
        folders = below.nearest(parent, stands) if parent else []
        options = {row: _matches(below.tree, folders, names) for row, names in lost.items()}
        # Of folders of different places, one must have all that any of them has.
        rows_in = defaultdict(set)
        for row, paths in options.items():
            for path in paths:
                rows_in[below.place(os.path.dirname(path))].add(row)
        if rows_in and max(map(len, rows_in.values())) < len(set.union(*rows_in.values())):
            result.torn.append(f"{'/'.join(parent)} ({' or '.join(folders)})")
            return
    for row, paths in options.items():
        result.files[row] = paths
    result.moved += [row for row, paths in options.items() if paths]


def _matches(tree: Tree, folders: Iterable[str], names: Names) -> list[str]:
    return [path for folder in folders for path in tree.match(folder, names[-1])]


class Below:
    """The folders below a base, by the end of their path; those that hold no faces are passed over."""

    def __init__(self, tree: Tree, base: str) -> None:
        self.tree = tree
        self.base = base
        self._folders = [folder for level in tree.levels(base) for folder in level]
        self._by_end = defaultdict(list)  # folded name of the last folder -> (folded names from the base, folder)
        for folder in self._folders:
            if names := self._names(folder):
                self._by_end[names[-1]].append((names, folder))

    def _names(self, folder: str) -> Names:
        return folded(folder[len(self.base) :])

    def place(self, folder: str) -> Names:
        """A folder below the base without the split on its path: train/happy and test/happy are one place."""
        return tuple(name for name in self._names(folder) if name not in SPLITS)

    def has(self, name: str) -> bool:
        """Whether there is a folder of this name."""
        return fold(name) in self._by_end

    def nearest(self, parent: Names, stands: str = "") -> list[str]:
        """The folders that share the longest end with `parent`; `train/happy` is never taken for `val/happy`.

        Args:
            stands: where a part of the pictures of `parent` is; then the others are at most in another split of it.
        """
        names = tuple(fold(name) for name in parent)
        shared = {}
        for ours, folder in self._by_end.get(names[-1], ()):
            length = common_end(ours, names)
            if length and not NO_FACES.intersection(set(ours) - set(names)):
                shared[folder] = length
        if stands:
            return [folder for folder in shared if self.place(folder) == self.place(stands)]
        longest = max(shared.values(), default=0)
        return [folder for folder, length in shared.items() if length == longest]

    def named(self, name: str) -> list[str]:
        """Files of this name in any folder."""
        return list(self._by_name.get(fold(name), ()))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        files = defaultdict(list)
        for folder in self._folders:
            if not NO_FACES.intersection(self._names(folder)):
                for name in self.tree.files(folder):
                    files[fold(name)].append(f"{folder}/{name}")
        return files


def folded(path: str) -> Names:
    """The names of a path in one spelling."""
    return tuple(fold(name) for name in parts_of(path))


def common_end(first: Names, second: Names) -> int:
    """How many names two folded paths share, counted from their ends; 0 where another split stands just above them."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    splits = {SPLITS.get(path[-1 - length]) for path in (first, second) if length < len(path)}
    return length if len(splits - {None}) < 2 else 0

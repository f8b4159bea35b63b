"""Which files a table's paths can mean: as written, else in the folder that shares the longest end."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, takewhile

from emohelpers.datasets.locate import SPLITS, Tree, fold, parts_of


def candidates(tree: Tree, bases: Sequence[str], written: Sequence[str]) -> tuple[list[list[str]], list[int]]:
    """For every path of a table the files it can mean, and the rows that were found by their file name alone.

    No file: missing; several: ambiguous. A path is tried as it stands below each base; then it is re-rooted, and the
    folder with the longest common end wins.
    """
    names = [parts_of(path) for path in written]
    files: list[list[str]] = [[] for _ in names]
    rows_of = defaultdict(list)  # parent folder as written -> rows
    for row, parts in enumerate(names):
        if parts:
            rows_of[parts[:-1]].append(row)

    # As it stands, below the first base that has it.
    for parent, rows in rows_of.items():
        folders = chain.from_iterable(tree.descend(base, parent) for base in bases)
        for folder in dict.fromkeys(folders):
            for row in rows:
                files[row] = files[row] or tree.match(folder, names[row][-1])

    # In another folder. A root given too high holds other data sets, which are none of our business.
    by_name: list[int] = []
    for base in bases:
        if base != bases[0] and any(files):
            break
        missing = {parent: [row for row in rows if not files[row]] for parent, rows in rows_of.items()}
        if any(missing.values()):
            by_name += _reroot(Below(tree, base), names, files, missing)
    return files, by_name


def _reroot(
    below: "Below", names: list[tuple[str, ...]], files: list[list[str]], missing: dict[tuple[str, ...], list[int]]
) -> list[int]:
    """Fills in `files` of the missing rows; returns those that were found by their file name alone."""
    last = [fold(parts[-1]) for parts in names if parts]
    unique = len(set(last)) == len(last)
    by_name = []
    for parent, rows in missing.items():
        folders = below.nearest(parent) if rows and parent else []
        # A bare file name may lie anywhere. One whose folder is nowhere may too, but only where names are unique:
        # happy/ffhq_1.png must never be answered with neutral/ffhq_1.png.
        anywhere = not parent or (unique and not below.has(parent[-1]))
        for row in rows:
            name = names[row][-1]
            if anywhere:
                files[row] = below.named(name)
            else:
                files[row] = [path for folder in folders for path in below.tree.match(folder, name)]
            if parent and anywhere and files[row]:
                by_name.append(row)
    return by_name


class Below:
    """The folders below a base, by the end of their path."""

    def __init__(self, tree: Tree, base: str) -> None:
        self.tree = tree
        self._folders = [folder for level in tree.levels(base) for folder in level]
        self._by_end = defaultdict(list)  # folded name of the last folder -> (folded names from the base, folder)
        for folder in self._folders:
            names = tuple(fold(name) for name in parts_of(folder[len(base) :]))
            if names:
                self._by_end[names[-1]].append((names, folder))

    def has(self, name: str) -> bool:
        """Whether there is a folder of this name."""
        return fold(name) in self._by_end

    def nearest(self, parent: tuple[str, ...]) -> list[str]:
        """The folders that share the longest end with `parent`; `train/happy` is never taken for `val/happy`."""
        names = tuple(fold(name) for name in parent)
        shared = {}
        for ours, folder in self._by_end.get(names[-1], ()):
            length = _common_end(ours, names)
            # What stands just above the common end.
            parts = {SPLITS.get(path[-1 - length]) for path in (ours, names) if length < len(path)}
            if len(parts - {None}) < 2:
                shared[folder] = length
        longest = max(shared.values(), default=0)
        return [folder for folder, length in shared.items() if length == longest]

    def named(self, name: str) -> list[str]:
        """Files of this name in any folder."""
        return list(self._by_name.get(fold(name), ()))

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        files = defaultdict(list)
        for folder in self._folders:
            for name in self.tree.files(folder):
                files[fold(name)].append(f"{folder}/{name}")
        return files


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    """How many names two paths share, counted from their ends."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

"""The rows of a data set between reading and understanding: as they are written, with what is wrong or worth saying."""

from dataclasses import dataclass, field
from pathlib import Path

from pandas import DataFrame, Series

from emohelpers.datasets.locate import Tree
from emohelpers.datasets.spelling import is_nobody, word


@dataclass
class Rows:
    """Rows as read: `path` below `root`; `label`, `split`, `source`, `parent` as written; other columns."""

    root: Path
    frame: DataFrame
    where: str  # for messages: the table, or the folder
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason

    def closed(self, tree: Tree) -> None:
        """Notes the folders that could not be searched."""
        if tree.closed:
            self.notes.append(f"folders that may not be read were passed over: {', '.join(tree.closed[:5])}")


def is_original(source: Series) -> Series:
    """Whether the words of a column `source` mean a photograph."""
    return source.map(is_nobody) | source.map(word).isin(["original", "orig", "real"])

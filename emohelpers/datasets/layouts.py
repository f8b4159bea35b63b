"""The manifest of a face data set: how its pictures lie on a disk, and what its labels mean."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator

from emohelpers.datasets import labels
from emohelpers.datasets.locate import SPLITS
from emohelpers.datasets.manifest import Description, Names, Strict
from emohelpers.datasets.spelling import key, whole

TABLE = ("path", "label", "split", "source", "parent", "group")  # columns that every data set ends up with


def _alternatives(value: Any) -> Any:
    """One table or several: each a mapping of split to file name, where "" is the only split."""
    entries = value if isinstance(value, list) else [value]
    return [{"": entry} if isinstance(entry, str) else entry for entry in entries]


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


Files = Annotated[dict[str, str], Field(min_length=1)]


class Join(Strict):
    """A second table, matched by the paths of the first."""

    file: str
    path: Names = ["pth", "filepath", "path", "image"]


class Table(Strict):
    """A CSV with a path and a label a row."""

    kind: Literal["table"]
    # A name; {split: name, ...} where each split has its own; or a list of such alternatives: the first that exists.
    file: Annotated[list[Files], Field(min_length=1), BeforeValidator(_alternatives)] = [{"": "labels.csv"}]
    path: Names = ["pth", "filepath", "path", "image", "file_name", "filename"]  # the first of these that exists
    label: Names = ["label", "emotion"]
    split: str = ""  # column
    split_names: bool = False  # a file's name begins with its split, e.g. train_00001.jpg
    ending: str = ""  # of a picture's stem, tried before the name as it is written: 1.jpg is 1_aligned.jpg
    split_folders: bool = False  # the split is a folder on the picture's path, e.g. Train/anger/1.jpg
    source: str = "source"  # column: "original" or how a picture was made; all original where there is no such column
    parent: str = "parent"  # column: path of the picture a synthetic one was made from
    join: Join | None = None


class Folders(Strict):
    """Pictures in folders whose names are labels."""

    kind: Literal["folders"]
    pattern: str = "{label}"  # of {split} {label} {group} {any} and fixed names

    @field_validator("pattern")
    @classmethod
    def _placeholders(cls, pattern: str) -> str:
        unknown = set(re.findall(r"{[^}/]*}?", pattern)) - {"{split}", "{label}", "{group}", "{any}"}
        if unknown or pattern.count("{label}") != 1:
            hint = f", not {', '.join(sorted(unknown))}" if unknown else ""
            raise ValueError(f"needs {{label}} once and knows {{split}}, {{group}}, {{any}} beside it{hint}")
        return pattern.strip("/")


class Votes(Strict):
    """A table of raters' votes, row by row beside the pixels; the majority is the label."""

    file: str
    emotions: Names  # columns that count votes for an emotion
    discard: Names = []  # columns that count votes for "none of these": no label if they win


class Pixels(Strict):
    """A CSV with a grey picture as numbers in each row, as FER2013."""

    kind: Literal["pixels"]
    file: Names  # the first that exists
    pixels: str = "pixels"
    label: str = "emotion"
    split: str = "Usage"
    side: Annotated[int, Field(ge=8)] = 48  # pixels of one side
    votes: Votes | None = None


Layout = Annotated[
    Annotated[Table, Tag("table")] | Annotated[Folders, Tag("folders")] | Annotated[Pixels, Tag("pixels")],
    Discriminator(
        lambda layout: layout.get("kind") if isinstance(layout, dict) else None,
        custom_error_type="layout_kind",
        custom_error_message="its kind must be table, folders or pixels",
    ),
]


class Group(Strict):
    """What must not be torn apart by a split."""

    stem: bool = True  # equal file names (without suffix) belong together
    strip: Annotated[str, AfterValidator(_regular)] = ""  # taken out of a stem before, e.g. "_aug[0-9]+$"
    columns: Names = []  # equal values belong together, e.g. subject


class Manifest(Description):
    """One data set of faces."""

    layout: Layout
    task: Literal["classification"] = "classification"
    labels: str | dict[str, str | None] = "names"
    classes: list[str] = []  # empty: those that occur
    splits: dict[str, str] = {}  # the data set's own words for train, val, test, beside the usual ones
    group: Group = Group()
    keep: list[str] = []  # further columns

    @field_validator("labels", mode="before")
    @classmethod
    def _meanings(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            if not isinstance(value, str) or value not in ("names", *labels.ORDERS):
                orders = ", ".join(labels.ORDERS)
                raise ValueError(f"is names, a declared order ({orders}) or a mapping {{label: emotion}}")
            return value
        meanings = {}
        for label, emotion in value.items():
            if isinstance(label, bool):
                raise ValueError("YAML reads yes, no, on and off as true and false: put such a label in quotes")
            meaning = None if emotion is None else labels.canonical(emotion)
            if meanings.setdefault(key(str(label)), meaning) != meaning:
                raise ValueError(f"{label!r} stands there twice, in two spellings and with two meanings")
        return meanings

    @field_validator("classes")
    @classmethod
    def _emotions(cls, value: list[str]) -> list[str]:
        return [labels.canonical(name) for name in value]

    @field_validator("splits")
    @classmethod
    def _three(cls, value: dict[str, str]) -> dict[str, str]:
        if wrong := set(value.values()) - {"train", "val", "test"}:
            raise ValueError(f"maps to train, val or test, not to {min(wrong)!r}")
        return value

    @field_validator("keep")
    @classmethod
    def _free(cls, value: list[str]) -> list[str]:
        if taken := [name for name in value if name in TABLE]:
            raise ValueError(f"{taken[0]!r} is a column that every data set has already")
        return value

    def emotion(self, text: str) -> str | None:
        """What a label as written means, None for a row to leave out.

        Raises:
            UnknownLabel: neither the manifest nor a known spelling explains it.
        """
        label = key(text)
        if isinstance(self.labels, dict) and label in self.labels:
            return self.labels[label]
        if whole(text) and isinstance(self.labels, str) and self.labels in labels.ORDERS:
            return labels.from_index(label, labels.ORDERS[self.labels])
        return labels.canonical(label)

    def needs_order(self, text: str) -> bool:
        """Whether `text` is an integer label although the manifest declares no order for integers."""
        return self.labels == "names" and whole(text).isdecimal()

    def part(self, text: str) -> str | None:
        """train, val, test or "" for the data set's own word for a split, None for an unknown one."""
        words = {key(word): split for word, split in self.splits.items()}
        return {"": "", **SPLITS, **words}.get(key(text))

    def knows_label(self, text: str) -> bool:
        """Whether a folder of this name can be a label, one that still lacks its order included."""
        try:
            self.emotion(text)
        except labels.UnknownLabel:
            return self.needs_order(text)
        return True

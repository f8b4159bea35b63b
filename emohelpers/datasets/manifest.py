"""The schema of a data manifest: how a data set lies on a disk and what its labels mean, as one YAML file."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from emohelpers.datasets import labels
from emohelpers.datasets.locate import ManifestError

TABLE = ("path", "label", "split", "source", "parent", "group")  # columns that every data set ends up with

# In YAML one name may stand for a list of one.
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


def _files(value: Any) -> Any:
    several = value if isinstance(value, list) else [value]
    return [{"": entry} if isinstance(entry, str) else entry for entry in several]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Join(_Strict):
    """A second table, matched by the paths of the first."""

    file: str
    path: Names = ["pth", "filepath", "path", "image"]


class Table(_Strict):
    """A CSV with a path and a label a row."""

    kind: Literal["table"]
    # A name; {split: name, ...} where each split has its own; or a list of such alternatives, the first found wins.
    file: Annotated[list[dict[str, str]], BeforeValidator(_files)] = [{"": "labels.csv"}]
    path: Names = ["pth", "filepath", "path", "image"]  # the first of these columns that exists
    label: Names = ["label", "emotion"]
    split: str = ""  # column
    split_folders: bool = False  # the split is a folder of the picture's place, e.g. Train/anger/1.jpg
    source: str = "source"  # column: "original" or how a picture was made; all original where there is no such column
    parent: str = "parent"  # column: path of the picture a synthetic one was made from
    join: Join | None = None


class Folders(_Strict):
    """Pictures in folders whose names are labels."""

    kind: Literal["folders"]
    pattern: str = "{label}"  # of {split} {label} {group} {any} and fixed names

    @field_validator("pattern")
    @classmethod
    def _placeholders(cls, pattern: str) -> str:
        wrong = set(re.findall(r"{[^}/]*}?", pattern)) - {"{split}", "{label}", "{group}", "{any}"}
        if wrong or pattern.count("{label}") != 1:
            found = f"; found {', '.join(sorted(wrong))}" if wrong else ""
            raise ValueError(f"needs {{label}} once and knows {{split}}, {{group}}, {{any}} beside it{found}")
        return pattern.strip("/")


class Votes(_Strict):
    """A table of raters' votes, row by row beside the pixels; the majority is the label."""

    file: str
    emotions: Names  # columns that count votes for an emotion
    discard: Names = []  # columns that count votes for "none of these": no label if they win


class Pixels(_Strict):
    """A CSV with a grey picture as numbers in each row, as FER2013."""

    kind: Literal["pixels"]
    file: str
    pixels: str = "pixels"
    label: str = "emotion"
    split: str = "Usage"
    side: Annotated[int, Field(ge=8)] = 48  # pixels of one side
    votes: Votes | None = None


class Group(_Strict):
    """What must not be torn apart by a split."""

    stem: bool = True  # equal file names (without suffix) belong together
    strip: str = ""  # regular expression taken out of a stem before, e.g. "_aug[0-9]+$"
    columns: Names = []  # equal values belong together, e.g. subject

    @field_validator("strip")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class Manifest(_Strict):
    """One data set."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]  # used in file names
    layout: Annotated[Table | Folders | Pixels, Field(discriminator="kind")]
    title: str = ""
    kaggle: str = ""  # owner/slug
    root: str = ""  # folder, relative to the YAML; used when no DATASET_ROOT is given
    demo: Literal["", "faces"] = ""  # written by emohelpers.demo
    licence: str = ""
    citation: str = ""
    source: str = ""
    task: Literal["classification"] = "classification"
    labels: str | dict[str, str | None] = "names"
    classes: list[str] = []  # empty: those that occur
    splits: dict[str, str] = {}  # the data set's own words for train, val, test, beside the usual ones
    group: Group = Group()
    keep: list[str] = []  # further columns
    traps: list[str] = []  # known to mislead

    @field_validator("labels", mode="before")
    @classmethod
    def _meanings(cls, value: Any) -> Any:
        if isinstance(value, dict):
            if any(isinstance(key, bool) for key in value):
                raise ValueError("YAML reads yes, no, on and off as true and false: put such a label in quotes")
            for name in value.values():
                if name is not None:
                    labels.canonical(name)
            return {str(k).strip().casefold(): v and labels.canonical(v) for k, v in value.items()}
        if value != "names" and value not in labels.ORDERS:
            raise ValueError(f"is names, a declared order ({', '.join(labels.ORDERS)}) or a mapping {{label: emotion}}")
        return value

    @field_validator("classes")
    @classmethod
    def _emotions(cls, value: list[str]) -> list[str]:
        return [labels.canonical(name) for name in value]

    @field_validator("splits")
    @classmethod
    def _three(cls, value: dict[str, str]) -> dict[str, str]:
        if wrong := [v for v in value.values() if v not in ("train", "val", "test")]:
            raise ValueError(f"maps to train, val or test, not to {wrong[0]!r}")
        return value

    @field_validator("keep")
    @classmethod
    def _free(cls, value: list[str]) -> list[str]:
        if taken := [name for name in value if name in TABLE]:
            raise ValueError(f"{taken[0]!r} is a column that every data set has already")
        return value


def home() -> Path:
    """The folder of the manifests that come with the project: in the package, or in the checkout around it."""
    package = Path(__file__).parents[1]
    return next((p for p in (package / "data_manifests", package.parent / "data_manifests") if p.is_dir()), package)


def names() -> list[str]:
    """The manifests that come with the project."""
    return sorted(path.stem for path in home().glob("*.yaml"))


def read(name_or_yaml: str | Path) -> tuple[Manifest, Path]:
    """A manifest by its name or by the path of a YAML file, and that path.

    Raises:
        ManifestError: with every wrong key and value at once.
    """
    text = str(name_or_yaml)
    path = Path(text).expanduser() if re.search(r"[/\\]|\.ya?ml$", text) else home() / f"{text}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(text, names(), n=3)
        raise ManifestError(
            f"there is no manifest {text!r} (looked for {path.absolute()})"
            + (f"; did you mean {', '.join(near)}?" if near else "")
            + f"\nKnown: {', '.join(names())}; your own: the path of a YAML file, see data_manifests/README.md"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not a YAML file in UTF-8: {error}") from error
    if not isinstance(content, dict):
        raise ManifestError(f"{path} must be a mapping with at least name and layout, see data_manifests/README.md")
    try:
        return Manifest(**{str(key): value for key, value in content.items()}), path
    except ValidationError as error:
        lines = "\n  ".join(_explain(problem) for problem in error.errors())
        raise ManifestError(
            f"{error.error_count()} wrong in {path}:\n  {lines}\nEvery key is explained in data_manifests/README.md"
        ) from None


def _explain(problem: dict[str, Any]) -> str:
    where, model = [], Manifest
    inner = {"table": Table, "folders": Folders, "pixels": Pixels, "join": Join, "votes": Votes, "group": Group}
    for step in problem["loc"]:
        if where and where[0] == "layout" and step in ("table", "folders", "pixels") and len(where) == 1:
            model = inner[step]
            continue
        where.append(str(step))
        model = inner.get(step, model) if step in ("join", "votes", "group") else model
    place = ".".join(where)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], model.model_fields, n=3, cutoff=0.5)
        return f"{place}: no such key; " + (
            f"did you mean {', '.join(near)}?" if near else f"allowed: {', '.join(model.model_fields)}"
        )
    if problem["type"].startswith("union_tag"):
        return "layout.kind: must be table, folders or pixels"
    if problem["type"] == "missing":
        return f"{place}: is needed"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')} (given: {problem['input']!r})"


def meaning(manifest: Manifest) -> Callable[[str], str | None]:
    """How the manifest reads a label: text -> emotion, None for a row to leave out; raises `labels.UnknownLabel`."""
    own = manifest.labels if isinstance(manifest.labels, dict) else {}
    order = None if own else labels.ORDERS.get(manifest.labels)

    def read_label(text: str) -> str | None:
        key = text.strip().casefold()
        number = re.fullmatch(r"(\d+)(\.0+)?", key)
        key = str(int(number[1])) if number else key
        if key in own:
            return own[key]
        if number and order:
            return labels.from_index(key, order)
        return labels.canonical(key)

    return read_label


def needs_order(manifest: Manifest, text: str) -> bool:
    """Whether `text` is an integer label although the manifest declares no order for integers."""
    return manifest.labels == "names" and re.fullmatch(r"\s*\d+(\.0+)?\s*", text) is not None

"""How a data set is described: one YAML for where it lies and what its labels mean, read by name or by path."""

import difflib
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from emohelpers.config import paths
from emohelpers.config.mistakes import mistakes
from emohelpers.datasets.locate import ManifestError, find_input
from emohelpers.datasets.text_files import read_yaml

# In YAML one name may stand for a list of one.
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Strict(BaseModel):
    """A part of a manifest: no key and no type but those declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Description(Strict):
    """What every manifest says, whatever its data are."""

    shelf: ClassVar[str] = ""  # folder of data_manifests/ that holds this kind

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]  # used in file names
    title: str = ""  # empty: the name
    kaggle: str = ""  # owner/slug
    root: str = ""  # folder, relative to the YAML; used when no DATASET_ROOT is given
    drawn: Literal["", "faces", "songs"] = ""  # demo data: the module of datasets/drawn that writes them
    licence: str = ""
    citation: str = ""
    source: str = ""
    traps: list[str] = []  # known to mislead

    @property
    def remedy(self) -> str:
        """What to do where something of the data set is not found."""
        attach = f"attach {self.kaggle} by Add Input on Kaggle, or unpack it and " if self.kaggle else ""
        source = f". It comes from: {self.source}" if self.source else ""
        return f"{self.title}: {attach}give its folder as DATASET_ROOT{source}"

    def folder(self, root: str = "") -> Path:
        """The folder to look in: `root` (a path or a Kaggle handle), or where the manifest says.

        Demo data are drawn into the cache folder first.

        Raises:
            ManifestError: there is no such folder.
        """
        if self.drawn and not root:
            # Only where it is asked for: a notebook that reads real faces carries no code that draws some.
            drawer = import_module(f"emohelpers.datasets.drawn.{self.drawn}")
            return getattr(drawer, f"write_{self.drawn}")(paths.cache_folder() / f"demo_{self.drawn}")
        source = root or self.root or self.kaggle
        if not source:
            raise ManifestError(f"the manifest {self.name} names no place of its own. {self.remedy}")
        folder = find_input(source, self.remedy)
        if not folder.is_dir():
            raise ManifestError(
                f"{folder} is a file: DATASET_ROOT is the unpacked folder, and a table is given as LABELS_CSV"
            )
        return folder


Kind = TypeVar("Kind", bound=Description)


def shelf(kind: type[Description]) -> Path:
    """The folder of the manifests that come with the project: in the package, or in the checkout around it."""
    package = Path(__file__).parents[1]
    home = package if (package / "data_manifests").is_dir() else package.parent
    return home / "data_manifests" / kind.shelf


def names(kind: type[Description]) -> list[str]:
    """The manifests of a kind that come with the project."""
    return sorted(path.stem for path in shelf(kind).glob("*.yaml"))


def read(kind: type[Kind], name_or_yaml: str | Path) -> Kind:
    """A manifest by its name or by the path of a YAML file; its `root` becomes absolute.

    Raises:
        ManifestError: with every wrong key and value at once.
    """
    text = str(name_or_yaml)
    is_path = re.search(r"[/\\]|\.ya?ml$", text)
    path = paths.expanded(text) if is_path else shelf(kind) / f"{text}.yaml"
    if not path.is_file():
        known = names(kind)
        near = difflib.get_close_matches(text, known, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ManifestError(
            f"there is no manifest {text!r} (looked for {path.absolute()}){hint}\n"
            f"Known: {', '.join(known)}; your own: the path of a YAML file, see data_manifests/README.md"
        )
    content = _content(path)
    try:
        manifest = kind(**content)
    except ValidationError as error:
        problems = mistakes(kind, content, error, "key")
        lines = "\n  ".join(problems)
        raise ManifestError(
            f"{len(problems)} wrong in {path}:\n  {lines}\nEvery key is explained in data_manifests/README.md"
        ) from None
    root = str(path.parent / manifest.root) if manifest.root else ""
    return manifest.model_copy(update={"root": root, "title": manifest.title or manifest.name})


def _content(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ManifestError(f"{path} must be a mapping of keys such as name, see data_manifests/README.md")
    return {str(key): value for key, value in content.items()}

"""The packages that a rented session lacks: found out and installed before a notebook imports what it uses."""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError
from emohelpers.config.redaction import brief
from emohelpers.models import weights
from emohelpers.suite.bundle import contents

HOME = Path(__file__).resolve().parents[2]  # of the package
LIST = "emohelpers-wheels.txt"  # in a data set of wheels: what it holds, with hashes, as pip reads it


class SessionError(SuiteError, RuntimeError):
    """Packages that a notebook imports and that could not be had, with the remedy."""


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext emohelpers.suite.session` before a cell's imports installs what they need and the session lacks."""
    sys.path.insert(0, paths.handed_on(HOME))
    network = bool(paths.host()) and weights.online()
    if missing := install(contents.extras(shell.user_ns["In"][-1]), network=network):
        raise SessionError(
            f"not installed: {', '.join(missing)}. On Kaggle turn Internet on, or attach the data set of wheels that "
            f"`python -m emohelpers bundle --offline` makes, with {LIST} in it; elsewhere install them by pip"
        )


def wheel_lists() -> list[Path]:
    """The lists of attached data sets of wheels that say that they are ours; from another nothing is installed."""
    roots = paths.input_roots()
    return [path for root in roots for depth in ("*", "datasets/*/*") for path in sorted(root.glob(f"{depth}/{LIST}"))]


def install(extras: Mapping[str, Sequence[str]], *, network: bool) -> list[str]:
    """Installs what is missing, without dependencies, from attached wheels first; returns what could not be had.

    A wheel is installed only if its list has its hash: pip compares them.

    Args:
        extras: module name -> requirements that bring it.

    Raises:
        SessionError: torch changed, which breaks a session.
    """

    def missing() -> list[str]:
        """Requirements of the modules that are not there."""
        importlib.invalidate_caches()
        return [line for module, lines in extras.items() if find_spec(module) is None for line in lines]

    if not missing():
        return []
    before = metadata.version("torch")
    for path in wheel_lists():
        with tempfile.TemporaryDirectory() as folder:
            pinned = files.write_text(Path(folder) / LIST, _pinned(path, missing()))
            _pip("--no-index", f"--find-links={path.parent}", "--require-hashes", "--requirement", str(pinned))
    if network and missing():
        _pip(*missing())
    if metadata.version("torch") != before:
        raise SessionError(f"torch became {metadata.version('torch')}, was {before}: restart the session, report this")
    return missing()


def _pinned(path: Path, requirements: Sequence[str]) -> str:
    """The lines of a list that bring some requirements."""
    names = {canonicalize_name(Requirement(text).name) for text in requirements}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if canonicalize_name(line.partition("==")[0]) in names)


def _pip(*arguments: str) -> None:
    """Installs without dependencies; what keeps pip from it is printed."""
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    ran = subprocess.run([*line, *arguments], capture_output=True, text=True)
    if ran.returncode:
        print(brief(ran.stderr.strip(), 600))

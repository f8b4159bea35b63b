"""The rented machine, looked at in seconds before hours are spent: card, disk, memory, network, data, packages."""

import importlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError
from emohelpers.config.redaction import brief
from emohelpers.models import devices

# least free, with room for checkpoints and for decoded pictures
DISK_GB = 2.0
MEMORY_GB = 3.0
ONLINE = ("huggingface.co", 443)  # where timm's weights come from
LIST = "emohelpers-wheels.txt"  # in a data set of wheels: what it holds, with hashes, as pip reads it
LIMIT_HOURS = {"kaggle": 12.0, "colab": 12.0}  # after which a session is ended


class SessionError(SuiteError, RuntimeError):
    """Everything that would stop this session later, at once, each with its remedy."""


def online(seconds: float = 3.0) -> bool:
    """Whether the network reaches the place that weights come from."""
    try:
        socket.create_connection(ONLINE, timeout=seconds).close()
    except OSError:
        return False
    return True


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


def hours_left() -> float | None:
    """Until the session is ended; None on a machine of one's own."""
    limit = LIMIT_HOURS.get(paths.host())
    return None if limit is None else limit - (time.time() - psutil.Process(1).create_time()) / 3600


def check(
    preset: str = "auto",
    *,
    data: str = "",
    extras: Mapping[str, Sequence[str]] | None = None,
    weights: str = "",
    disk_gb: float = DISK_GB,
    memory_gb: float = MEMORY_GB,
) -> None:
    """Looks at everything, installs the extras that are missing, prints what it found.

    Args:
        preset: of the notebook's parameters cell.
        data: Kaggle handle that the notebook reads by default; that it is missing is said, for another may be named.
        extras: see `install`.
        weights: what the notebook fetches from the hub by default, e.g. "vit_base_patch16_224".
        disk_gb, memory_gb: least free.

    Raises:
        SessionError: with everything that would stop the session later.
    """
    network = online()
    lines = []
    problems = []
    # The machine: card, disk, memory, network.
    try:
        lines.append(f"mixed precision: {devices.precision()}")
    except devices.UnusableDevice as error:
        problems.append(str(error))
    outputs = paths.outputs_root()
    folder = next(folder for folder in (outputs, *outputs.parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free / 1e9
    memory = psutil.virtual_memory().available / 1e9
    lines += [f"disk: {free:.1f} GB free in {folder}", f"memory: {memory:.1f} GB free"]
    lines.append(f"internet: {'on' if network else 'off'}")
    if free < disk_gb:
        problems.append(f"{free:.1f} GB are free in {folder}, {disk_gb:g} are needed: delete what is not used there")
    if memory < memory_gb:
        problems.append(f"{memory:.1f} GB of memory are free, {memory_gb:g} are needed: restart the session")
    # What the notebook reads and imports.
    full = config.chosen(preset, {}) == "full"
    if full and data:
        attached = "is attached" if paths.located(data) else "is not attached: Add Input, or name other data"
        lines.append(f"data: {data} {attached}")
    if full and weights and not network:
        lines.append(f"weights: {weights} cannot be fetched without internet: attach them and name their folder")
    if missing := install(extras or {}, network=network):
        problems.append(
            f"not installed: {', '.join(missing)}. Turn Internet on, or attach the data set of wheels that "
            f"`python -m emohelpers bundle --offline` makes, with {LIST} in it"
        )
    if (left := hours_left()) is not None:
        lines.append(f"session: about {left:.1f} hours left")
    print("\n".join(lines))
    if problems:
        raise SessionError("This session cannot run the notebook:\n- " + "\n- ".join(problems))

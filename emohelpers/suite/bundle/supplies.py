"""What a session without internet gets as data sets of its own: the wheels its image lacks, and trunks' weights."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import timm

from emohelpers.config import files
from emohelpers.config.errors import SuiteError
from emohelpers.suite import session

PYTHONS = ("3.12", "3.13")  # of the images of Kaggle and Colab
GLIBC = ("_2_28", "_2_27", "_2_17", "2014")  # manylinux tags that their Linux takes


class SupplyError(SuiteError, RuntimeError):
    """Wheels that could not be had."""


def wheels(folder: Path, requirements: Iterable[str], pythons: Iterable[str] = PYTHONS) -> list[Path]:
    """Downloads or builds one wheel a requirement, and a Python version where it is compiled; no dependencies."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    platforms = [f"--platform=manylinux{tag}_x86_64" for tag in GLIBC]
    binary = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms, "-d", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for line in requirements:
        downloads = [subprocess.run([*binary, f"--python-version={p}", line], capture_output=True) for p in pythons]
        if not any(download.returncode for download in downloads):
            continue
        # No wheel is published: a plain one is built from its source.
        with tempfile.TemporaryDirectory() as scratch:
            command = [*pip, "wheel", "--quiet", "--no-deps", "-w", scratch, line]
            build = subprocess.run(command, capture_output=True, text=True)
            plain = [*Path(scratch).glob("*-none-any.whl")]
            for path in plain:
                files.write_bytes(folder / path.name, path.read_bytes())
            if not plain:
                failed.append(f"{line}: {(build.stderr or 'only a wheel of this machine came out').strip()[-300:]}")
    if failed:
        raise SupplyError("no wheel for\n- " + "\n- ".join(failed))
    pinned(folder)
    return sorted(folder.glob("*.whl"))


def pinned(folder: str | Path) -> Path:
    """Writes the list by which a data set of wheels is known for ours: `name==version` and the hash of each file."""
    folder = Path(folder)
    hashes: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.whl")):
        name, version, _ = path.name.split("-", 2)
        hashes.setdefault(f"{name}=={version}", []).append(hashlib.sha256(path.read_bytes()).hexdigest())
    lines = [" ".join([pin, *(f"--hash=sha256:{digest}" for digest in hashes[pin])]) for pin in hashes]
    return files.write_text(folder / session.LIST, "\n".join(["--no-index", "--find-links .", *lines, ""]))


def weights(folder: Path, backbones: Iterable[str]) -> list[Path]:
    """Each backbone as timm's `local-dir:` form (config.json, model.safetensors) in a folder of its name."""
    targets = []
    for name in backbones:
        target = folder / Path(name.removeprefix("local-dir:")).name
        timm.models.save_for_hf(timm.create_model(name, pretrained=True), target, safe_serialization=True)
        targets.append(target)
    return targets


def described(folder: Path, user: str, slug: str) -> str:
    """Writes dataset-metadata.json and returns the line that uploads the folder as a private data set."""
    content = {"title": slug.replace("-", " ").capitalize(), "id": f"{user}/{slug}", "licenses": [{"name": "other"}]}
    files.write_text(folder / "dataset-metadata.json", json.dumps(content, indent=2) + "\n")
    return f"kaggle datasets create -p {folder} --dir-mode zip"

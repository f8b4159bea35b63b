"""What a session without internet gets as data sets of its own: the wheels its image lacks, and trunks' weights."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import timm

from emohelpers.config import files
from emohelpers.config.errors import SuiteError

PYTHONS = ("3.12", "3.13")  # of the images of Kaggle and Colab
GLIBC = ("2_28", "2_27", "2_17")  # manylinux tags that their Linux takes


class SupplyError(SuiteError, RuntimeError):
    """Wheels that could not be had."""


def wheels(folder: Path, requirements: Iterable[str], pythons: Iterable[str] = PYTHONS) -> list[Path]:
    """Downloads or builds one wheel a requirement, and a Python version where it is compiled; no dependencies."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [f"--platform=manylinux_{glibc}_x86_64" for glibc in GLIBC] + ["--platform=manylinux2014_x86_64"]
    failed = []
    for one in requirements:
        binary = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms, "-d", str(folder)]
        ran = [subprocess.run([*binary, f"--python-version={python}", one], capture_output=True) for python in pythons]
        if any(process.returncode for process in ran):  # no wheel is published: a plain one is built from its source
            with tempfile.TemporaryDirectory() as scratch:
                built = subprocess.run(
                    [*pip, "wheel", "--quiet", "--no-deps", "-w", scratch, one], capture_output=True, text=True
                )
                plain = [*Path(scratch).glob("*-none-any.whl")]
                for path in plain:
                    files.write_bytes(folder / path.name, path.read_bytes())
                if not plain:
                    failed.append(f"{one}: {(built.stderr or 'only a wheel of this machine came out').strip()[-300:]}")
    if failed:
        raise SupplyError("no wheel for\n- " + "\n- ".join(failed))
    return sorted(folder.glob("*.whl"))


def weights(folder: Path, backbones: Iterable[str]) -> list[Path]:
    """Each backbone as timm's `local-dir:` form (config.json, model.safetensors) in a folder of its name."""
    made = []
    for name in backbones:
        model = timm.create_model(name, pretrained=True)
        place = folder / Path(name.removeprefix("local-dir:")).name
        timm.models.save_for_hf(model, place, safe_serialization=True)
        made.append(place)
    return made


def described(folder: Path, user: str, slug: str) -> str:
    """Writes dataset-metadata.json and returns the line that uploads the folder as a private data set."""
    content = {"title": slug.replace("-", " ").capitalize(), "id": f"{user}/{slug}", "licenses": [{"name": "other"}]}
    files.write_text(folder / "dataset-metadata.json", json.dumps(content, indent=2) + "\n")
    return f"kaggle datasets create -p {folder} --dir-mode zip"

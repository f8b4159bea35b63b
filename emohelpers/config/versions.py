"""What a figure depends on besides data and settings: versions of packages, and the commit of the checkout."""

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import emohelpers

PACKAGES = (  # the tools that start and check notebooks are left out
    *("torch", "torchvision", "timm", "accelerate", "safetensors", "huggingface_hub", "transformers"),
    *("numpy", "pandas", "scipy", "scikit-learn", "pillow", "opencv-python-headless", "opencv-python"),
    *("matplotlib", "seaborn", "pydantic", "pyyaml", "filelock", "tqdm", "psutil"),
    *("onnx", "onnxscript", "onnxruntime", "grad-cam", "shap", "lime", "librosa", "soundfile"),
)


@cache
def versions() -> dict[str, str]:
    """Python and those of `PACKAGES` that are installed."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # an extra that only some notebooks need
    return installed


def commit() -> str | None:
    """The commit of the checkout that this package lies in, with "-dirty" if changed; None outside of one."""
    git = ["git", "-C", str(Path(emohelpers.__file__).parent)]
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        name = subprocess.run(describe, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or one without a commit
        return None
    # An installed package may lie inside somebody else's repository, whose commit says nothing about ours.
    return name if (Path(top.stdout.strip()) / "data_manifests").is_dir() else None

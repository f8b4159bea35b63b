"""What is installed: the requirements, and a wheel that carries all that the package reads beside its code."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import emohelpers

HOME = Path(__file__).parents[1]


def test_requirements_and_project_list_the_same() -> None:
    lines = [line.split("#")[0].strip() for line in (HOME / "requirements.txt").read_text().splitlines()]
    listed = [line for line in lines if line]
    assert tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["dependencies"] == listed
    torch = [line for line in listed if line.startswith("torch")]
    assert torch and not any("<" in line or "==" in line for line in torch), "an upper bound would reinstall torch"


def test_the_wheel_carries_manifests_and_the_demo_trunk(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(build, cwd=HOME, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"emohelpers-{emohelpers.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(HOME).as_posix() for path in (HOME / "emohelpers").rglob("*.py")}
    manifests = {f"emohelpers/data_manifests/{path.name}" for path in (HOME / "data_manifests").glob("*.yaml")}
    trunk = {path.relative_to(HOME).as_posix() for path in (HOME / "emohelpers" / "models" / "trunks").glob("*/*")}
    assert manifests and trunk, "nothing to pack: the folders are empty"
    assert not (sources | manifests | trunk) - names
    texts = {path.relative_to(HOME).as_posix() for path in (HOME / "emohelpers").rglob("*.jinja")}
    assert "emohelpers/suite/page/index.html.jinja" in texts and not texts - names
    assert "emohelpers/suite/page/page.css" in names
    assert {name.split("/")[0] for name in names} == {"emohelpers", f"emohelpers-{emohelpers.__version__}.dist-info"}
    assert wheel.stat().st_size < 3_000_000  # bytes; it is embedded in notebooks

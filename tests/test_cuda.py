"""The paths that only a CUDA card takes, on a make-believe one: each in a process that begins with it."""

import json
import subprocess
import sys
from pathlib import Path

import card
import pytest
from mounts import SMALL

from emohelpers.datasets.drawn import faces

HOME = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(bool(card.missing()), reason=card.missing())


def run(*arguments: str, **variables: str) -> None:
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=HOME, env=card.environment(**variables), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]


def test_trainings_of_all_tasks() -> None:
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "tests/on_card.py")


def test_notebook_01_whole(tmp_path: Path) -> None:
    faces.write_faces(tmp_path / "faces", n=160)
    parameters = {"DATASET_ROOT": str(tmp_path / "faces"), "OVERRIDES": SMALL["01_baseline_training"]}
    given = [word for name, value in parameters.items() for word in ("--param", f"{name}={json.dumps(value)}")]
    places = {"EMOHELPERS_OUTPUTS": str(tmp_path / "outputs"), "EMOHELPERS_CACHE": str(tmp_path / "cache")}
    run("-m", "emohelpers", "run", "01", "--run", "card", *given, **places)
    assert "T4" in next(tmp_path.rglob("metrics.json")).read_text()

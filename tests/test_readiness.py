"""What would stop a run later is told before it begins, all at once."""

import re
import shutil
import socketserver
import threading
from pathlib import Path

import pytest

from emohelpers import config
from emohelpers.config import paths
from emohelpers.config.explain import Explain
from emohelpers.config.faces import Augmented, Baseline
from emohelpers.config.music import Music
from emohelpers.config.ranking import Ranking
from emohelpers.config.saga import Saga
from emohelpers.datasets.locate import ManifestError
from emohelpers.models import devices, weights
from emohelpers.models.weights import WeightsError
from emohelpers.report import readiness


@pytest.fixture(autouse=True)
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kaggle with nothing attached and no internet; returns the folder of inputs."""
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    for name, folder in {"INPUTS": "input", "OUTPUTS": "working", "CACHE": "temp"}.items():
        monkeypatch.setenv(f"EMOHELPERS_{name}", str(tmp_path / folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(readiness, "MEMORY_GB", 0.1)
    return tmp_path / "input"


def told(cfg) -> list[str]:
    """The problems of a run, one an entry."""
    with pytest.raises(readiness.NotReady) as caught:
        readiness.check(cfg)
    first, *problems = str(caught.value).split("\n- ")
    assert first == f"{len(problems)} things would stop this run:"
    return problems


def test_data_weights_and_earlier_results_are_told_at_once() -> None:
    data, weights, baseline, table = told(config.make(Augmented))
    assert "attach manavukani/affectnet by Add Input" in data
    assert "vit_base_patch16_224 could not be fetched (Internet is off)" in weights and "Turn Internet on" in weights
    assert "vit_baseline_best_model.pth of notebook 01_baseline_training was not found" in baseline
    assert "combined_labels.csv of notebook 02_saga_combine_labels was not found" in table


def test_a_wrong_card_stands_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(setting: str) -> str:
        raise devices.UnusableDevice("a P100")

    monkeypatch.setattr(devices, "precision", refuse)
    assert [told(config.make(kind))[0] for kind in (Baseline, Music, Explain)] == ["a P100"] * 3


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(readiness, "DISK_GB", 1e9)
    assert "delete what is not used there" in told(config.make(Baseline))[0]
    assert re.search(r"free: [\d.]+ GB in .*, [\d.]+ GB of memory", capsys.readouterr().out)


def test_one_problem_alone_keeps_its_kind(kaggle: Path) -> None:
    (kaggle / "affectnet").mkdir(parents=True)
    with pytest.raises(WeightsError):
        readiness.check(config.make(Baseline))
    with pytest.raises(ManifestError, match="imsparsh/deam"):
        readiness.check(config.make(Music, weights="demo", backbone="test_vit"))
    with pytest.raises(paths.InputNotFound, match="'me/pairs' was not found"):
        readiness.check(config.make(Ranking, dataset_root="me/pairs", weights="random", trainable="all"))


def test_maps_need_both_models_or_files_that_are_named(kaggle: Path, tmp_path: Path) -> None:
    (kaggle / "affectnet").mkdir(parents=True)
    problems = told(config.make(Explain))
    assert [stem in problem for stem, problem in zip(("01_base", "05_enhanced"), problems, strict=True)] == [True, True]
    named = tmp_path / "mine.pth"
    named.touch()
    readiness.check(config.make(Explain, checkpoint_files=[str(named)]))
    with pytest.raises(paths.InputNotFound, match=r"'gone\.pth' was not found"):
        readiness.check(config.make(Explain, checkpoint_files=["gone.pth"]))


def test_the_guard_needs_the_baseline_where_its_gate_is_on(kaggle: Path) -> None:
    (kaggle / "affectnet").mkdir(parents=True)
    with pytest.raises(paths.InputNotFound, match="01_baseline_training"):
        readiness.check(config.make(Saga))
    readiness.check(config.make(Saga, gates_off=["classifier"]))


@pytest.mark.parametrize("kind", [Baseline, Saga, Music, Ranking])
def test_the_demo_needs_nothing(kind: type) -> None:
    off = {"gates_off": ["clip", "classifier"]} if kind is Saga else {}
    readiness.check(config.make(kind, "demo", **off))


def test_weights_are_asked_for_where_they_can_be_fetched(kaggle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kaggle / "affectnet").mkdir(parents=True)
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(weights, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        readiness.check(config.make(Baseline))
        server.shutdown()
    shutil.rmtree(kaggle / "affectnet")
    with pytest.raises(ManifestError):
        readiness.check(config.make(Baseline, weights="demo", backbone="test_vit"))

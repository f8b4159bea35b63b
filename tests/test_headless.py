import json
import shutil
from pathlib import Path

import bars
import numpy as np
import pandas as pd
import pytest
import torch

from emohelpers import config, explain, metrics, models, report, train
from emohelpers.config import paths
from emohelpers.config.explain import Explain
from emohelpers.config.faces import Augmented, Enhanced, Transfer
from emohelpers.saga import fractions
from emohelpers.suite import cli, headless
from emohelpers.train import study

SMALL = [text for name, value in bars.VALUES.items() for text in ("--set", f"{name}={json.dumps(value)}")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("headless")
    yaml = bars.manifest(home / "set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOHELPERS_OUTPUTS", str(home / "outputs"))
        code = cli.main(["train", "transfer", "--preset", "demo", *SMALL, "--set", f"manifest={yaml}"])
    assert code == 0
    return home, yaml


@pytest.fixture
def home(trained, monkeypatch):
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(trained[0] / "outputs"))
    return trained[0]


def test_train_leaves_what_a_notebook_leaves(home):
    run = home / "outputs" / "headless" / "transfer"
    for name in ("best_model.pth", "config.json", "metrics.json", "predictions.csv", "history.csv", "steps.csv"):
        assert (run / name).stat().st_size
    assert headless.trained_by(models.load(run / "best_model.pth").facts).backbone == "test_resnet"


def test_evaluate_finds_the_newest_checkpoint_and_the_same_figures(home, capsys):
    assert cli.main(["evaluate"]) == 0
    assert "best_model.pth: test_resnet, epoch" in capsys.readouterr().out
    before, after = (
        json.loads((home / "outputs" / "headless" / name / "metrics.json").read_text())["figures"]["accuracy"]["value"]
        for name in ("transfer", "best_model_evaluated")
    )
    assert before == after
    assert cli.main(["evaluate"]) == 0
    assert "an earlier evaluation in" in capsys.readouterr().out


def test_evaluate_takes_an_external_folder_whole(home, tmp_path, capsys):
    away = bars.pictures.write(tmp_path / "away", each=5, seed=3)
    code = cli.main(["evaluate", "--data", str(away.root), "--out", str(tmp_path / "out")])
    assert code == 0 and len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 40


def test_evaluate_leaves_out_what_the_training_knew(home, trained, tmp_path, capsys):
    away = bars.pictures.write(tmp_path / "away", each=5, seed=3)
    table = pd.read_csv(home / "outputs" / "headless" / "transfer" / "predictions.csv")  # golden: these may be asked
    (source,) = {path.parents[1] for path in (home / "set").rglob(Path(table["path"][0]).name)}
    tested = set(table["path"])
    known = next(path for path in sorted(source.rglob("*.*g")) if path.relative_to(source).as_posix() not in tested)
    asked = source / table["path"][0]
    for number, path in enumerate((known, asked)):
        shutil.copy(path, Path(away.root) / path.parent.name / f"copy{number}{path.suffix}")
    capsys.readouterr()
    assert cli.main(["evaluate", "--data", str(away.root), "--out", str(tmp_path / "out")]) == 0
    assert "1 pictures that the training knows were left out" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "out" / "predictions.csv")["path"]
    assert len(found) == 41 and found.str.contains("copy1").any() and not found.str.contains("copy0").any()


def test_evaluate_refuses_a_model_that_was_trained_on_todays_golden_faces(home, trained, tmp_path, capsys):
    path = shutil.copy(home / "outputs" / "headless" / "transfer" / "best_model.pth", tmp_path)
    saved = torch.load(path, weights_only=True)
    saved["config"]["split_seed"] = 7  # another golden set, as other pictures or labels draw one too
    torch.save(saved, path)
    assert cli.main(["evaluate", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "was trained or chosen on" in capsys.readouterr().err
    del saved["learned"]  # as an earlier version wrote it
    torch.save(saved, path)
    assert cli.main(["evaluate", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "does not say what it was trained on" in capsys.readouterr().out


@pytest.fixture
def knowing(home, trained, tmp_path):
    """A model, the YAML, and faces of which some that the model was trained on are golden."""
    faces = study.prepare(bars.settings(trained[1], split_seed=7))
    return home / "outputs" / "headless" / "transfer" / "best_model.pth", trained[1], faces


def test_notebook_03_refuses_a_baseline_that_knows_golden_faces(knowing, tmp_path):
    checkpoint, _, faces = knowing
    shutil.copy(checkpoint, tmp_path / fractions.CHECKPOINT)
    (tmp_path / "metrics.json").write_text(json.dumps({"split": faces.golden.sha256, "status": "finished"}))
    (tmp_path / "config.json").write_text("{}")
    cfg = config.make(Augmented, "demo", baseline_dir=str(tmp_path))
    with pytest.raises(train.TrainingError, match=rf"{fractions.CHECKPOINT} was trained or chosen on .* golden today"):
        fractions.baseline(cfg, faces)


@pytest.mark.parametrize("kind", [Transfer, Enhanced])
def test_notebooks_04_and_05_refuse_to_be_compared_with_a_model_that_knows_golden_faces(kind, knowing, tmp_path):
    checkpoint, yaml, faces = knowing
    run = report.Run("a notebook", bars.settings(yaml, kind=kind, compare_with="01_baseline_training"), tmp_path)
    earlier = paths.results("01_baseline_training", run.name)
    earlier.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint, earlier)
    golden = faces.part("golden")
    true = golden["label"].map(faces.classes.index)
    scores = np.full((len(true), len(faces.classes)), 1 / len(faces.classes))
    metrics.predictions(golden["path"], true, scores, faces.classes).to_csv(earlier / "predictions.csv")
    with pytest.raises(train.TrainingError, match=r"best_model.pth was trained or chosen on .* golden today"):
        run.earlier(faces)


def test_notebook_06_refuses_to_explain_a_model_by_faces_that_it_knows(knowing):
    checkpoint, _, faces = knowing
    with pytest.raises(train.TrainingError, match="^the net was trained or chosen on .* golden today"):
        explain.Panel({"the net": models.load(checkpoint)}, faces, config.make(Explain, "demo"))


def test_a_wrong_variant_or_teacher_is_told_before_any_data_is_read(home, tmp_path, capsys):
    command = ["ablation", "transfer", "--preset", "demo", "--set", "manifest=no_such"]
    assert cli.main([*command, "--variant", "mixdown"]) == 2
    assert "no such variant: mixdown" in capsys.readouterr().err
    assert cli.main([*command, "--teacher", str(tmp_path / "none.pth")]) == 2
    assert cli.main(["train", *command[1:], "--set", f"teacher={tmp_path / 'none.pth'}"]) == 2
    assert capsys.readouterr().err.count("teacher must be a checkpoint that this suite wrote") == 2


def test_what_cannot_be_done_is_said_in_one_line(home, tmp_path, capsys, monkeypatch):
    assert cli.main(["evaluate", str(tmp_path / "no.pth")]) == 2
    assert cli.main(["train", "transfer", "--preset", "demo", "--set", "epoch=3"]) == 2
    assert "did you mean epochs" in capsys.readouterr().err
    assert cli.main(["across", "transfer", "--on", "ferplus"]) == 2
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path / "empty"))
    assert cli.main(["evaluate"]) == 2
    assert f"no checkpoint (.pth) below {paths.outputs_root()}" in capsys.readouterr().err


def test_a_checkpoint_of_no_recipe_is_refused():
    with pytest.raises(ValueError, match="names no known recipe .Other.: Baseline, Transfer, Enhanced"):
        headless.trained_by({"recipe": "Other", "config": {}})


def test_ablation_prints_its_table(home, trained, capsys):
    name = ["--variant", "no label smoothing", "--set", f"manifest={trained[1]}", "--set", 'ablation={"epochs": 1}']
    assert cli.main(["ablation", "transfer", "--preset", "demo", *SMALL, *name]) == 0
    assert "no label smoothing" in capsys.readouterr().out


def test_folds_prints_every_fold_and_all_together(home, trained, tmp_path, capsys):
    few = ["--k", "3", "--set", f"manifest={trained[1]}", "--out", str(tmp_path / "out")]
    assert cli.main(["folds", "transfer", "--preset", "demo", *SMALL, *few]) == 0
    assert "3 models and mirror image" in capsys.readouterr().out
    assert (tmp_path / "out" / "folds.csv").is_file() and (tmp_path / "out" / "options.csv").is_file()

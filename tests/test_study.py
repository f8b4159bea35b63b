import bars
import pandas as pd
import pytest
import torch

from emohelpers import config, metrics, models, train
from emohelpers.config.faces import Enhanced, Transfer
from emohelpers.datasets import faces as manifests
from emohelpers.train import study


@pytest.fixture
def yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path / "outputs"))
    return bars.manifest(tmp_path / "set")


def test_a_checkpoint_reproduces_its_recorded_figure_exactly(yaml, tmp_path):
    cfg = bars.settings(yaml, ema=0.99, epochs=3)
    faces = study.prepare(cfg)
    done = study.fit(cfg, faces, tmp_path / "run", name="models/best_model.pth", quiet=True)
    saved = torch.load(done.checkpoint, weights_only=True)
    assert {"weights", "epoch", "monitor", "value", "config", "history", "spec", "recipe"} <= set(saved)
    model = models.load(done.checkpoint, classes=faces.classes)
    batches = study.batches(model, faces.pixels, faces.part("val"), cfg.batch_size)
    scores = study.objective(cfg, faces, model).scores(*train.evaluate(model, batches))
    assert saved["monitor"] == "val_macro_f1" and scores["macro_f1"] == saved["value"]
    row = saved["history"][saved["epoch"] - 1]
    assert scores["accuracy"] == row["val_accuracy"] and scores["loss"] == pytest.approx(row["val_loss"], abs=1e-6)
    assert scores["f1_happy"] == row["val_f1_happy"]


def test_predictions_are_of_the_rows_in_their_order(yaml, tmp_path):
    cfg = bars.settings(yaml, epochs=4)
    faces = study.prepare(cfg)
    done = study.fit(cfg, faces, tmp_path / "run", quiet=True)
    _, parts = study.build(cfg, faces)
    rows = faces.part("golden")
    found = study.predict(done.model, parts["golden"], rows)
    assert list(found["path"]) == list(rows["path"]) and list(found["label"]) == list(rows["label"])
    shuffled = rows.sample(frac=1, random_state=0)
    again = study.predict(done.model, study.batches(done.model, faces.pixels, shuffled, 16), shuffled).set_index("path")
    assert (again.loc[found["path"], "predicted"].to_numpy() == found["predicted"].to_numpy()).all()


def test_rows_of_an_unknown_class_are_refused(yaml):
    cfg = bars.settings(yaml)
    faces = study.prepare(cfg)
    model, _ = study.build(cfg, faces)
    model.spec["classes"] = [name for name in faces.classes if name != "fear"]
    with pytest.raises(metrics.PredictionError, match="the model has no class fear"):
        study.batches(model, faces.pixels, faces.part("val"), 16)


def test_synthetic_faces_are_trained_on_and_nothing_else(yaml, tmp_path):
    faces = study.prepare(bars.settings(yaml))
    source = faces.part("train")["path"].iloc[0]
    edits = bars.pictures.write(tmp_path / "edits", each=4, seed=9).table
    rows = pd.DataFrame({"filepath": faces.table["path"], "label": faces.table["label"], "source": "original"})
    made = pd.DataFrame({"filepath": "aug/" + edits["path"], "label": edits["label"], "source": "synthetic"})
    (tmp_path / "augmented").mkdir()
    (tmp_path / "edits").rename(tmp_path / "augmented" / "aug")
    both = pd.concat([rows.assign(parent=""), made.assign(parent=source)])
    both.to_csv(tmp_path / "combined_labels.csv", index=False)
    extra = {"combined_labels": str(tmp_path / "combined_labels.csv"), "augmented_root": str(tmp_path / "augmented")}
    more = study.prepare(bars.settings(yaml, **extra))
    added = more.table[more.table["source"] != "original"]
    assert len(added) == 32 and set(added["split"]) == {"train"}
    assert more.golden.sha256 == faces.golden.sha256
    assert set(more.part("val")["path"]) == set(faces.part("val")["path"])


def test_problems_come_before_training(yaml):
    with pytest.raises(manifests.ManifestError, match="no_such"):
        study.prepare(bars.settings("no_such"))


@pytest.mark.parametrize("kind", [Transfer, Enhanced])
def test_recipes_hold_the_seeds_values(kind):

    cfg = config.make(kind, "full")
    shared = {"backbone": "resnet50", "epochs": 80, "lr": 1e-3, "img_size": 224, "clip": 1.0, "weight_decay": 1e-4}
    own = {
        Transfer: {"batch_size": 32, "lr_backbone": 1e-4, "label_smoothing": 0.05, "mixup": 0.4, "cutmix": 0.0,
                           "ema": 0.999, "patience": 5, "class_weight_power": 0.6, "crop_scale": (0.75, 1.0),
                           "rotation": 15.0, "eval_zoom": 1.14, "unfreeze": {3: "all"}, "trainable": 0,
                           "schedule": "cosine", "warmup_epochs": 3.0, "head": "layernorm"},
        Enhanced: {"batch_size": 16, "lr_backbone": 1e-5, "label_smoothing": 0.1, "mixup": 0.3,
                           "mix_probability": 0.8, "ema": 0.9999, "patience": 15, "head_dropout": 0.5,
                           "unfreeze": {10: 0.25, 20: 0.5, 30: 0.75, 40: "all"}, "schedule": "onecycle",
                           "save_every": 5, "head": "batchnorm"},
    }  # fmt: skip
    assert {name: getattr(cfg, name) for name in shared | own[kind]} == shared | own[kind]

import bars
import numpy as np
import pandas as pd
import pytest

from emohelpers.datasets.labels import EMOTIONS
from emohelpers.train import folds, study


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path / "outputs"))


def test_every_data_set_is_tested_on_every_one_over_shared_classes(tmp_path):
    one = bars.manifest(tmp_path / "one", each=24)
    few = bars.manifest(tmp_path / "few", each=24, seed=5, classes=("anger", "happy", "sad"))
    cfg = bars.settings(one, epochs=5)
    sets = {"one": {"manifest": one}, "few": {"manifest": few}}
    table = folds.across(cfg, sets, tmp_path / "across").set_index(["trained on", "tested on"])
    assert table["classes"].to_dict() == {("one", "one"): 8, ("one", "few"): 3, ("few", "one"): 3, ("few", "few"): 3}
    assert table.loc[("few", "few"), "accuracy"] > 1 / 3 and table["n"].min() >= 12
    assert (tmp_path / "across" / "across.csv").is_file()


def test_folds_hold_every_row_once_and_tear_no_group():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"label": rng.choice(EMOTIONS, 600), "group": rng.integers(0, 200, 600).astype(str)})
    fold = folds.folds(table, 5, 42)
    assert set(fold) == set(range(5)) and table.assign(fold=fold).groupby("group")["fold"].nunique().max() == 1
    assert np.bincount(fold).min() > 90
    assert (folds.folds(table, 5, 42) == fold).all()


def test_cross_validation_and_the_table_of_options(tmp_path):
    cfg = bars.settings(bars.manifest(tmp_path / "set"), epochs=3)
    faces = study.prepare(cfg)
    table, members = folds.cross_validate(cfg, faces, 3, tmp_path / "folds")
    rest = faces.table[faces.table["split"] != "golden"]
    tested = [set(pd.read_csv(tmp_path / "folds" / f"fold_{i}" / "predictions.csv")["path"]) for i in (1, 2, 3)]
    assert sum(map(len, tested)) == len(set.union(*tested)) == len(rest) and set.union(*tested) == set(rest["path"])
    assert len(table) == len(members) == 3
    rows = faces.part("golden")
    batches = study.batches(members[0], faces.pixels, rows, 16)
    options = folds.options(members, batches, rows, 100)
    assert list(options["option"]) == ["one model", "and mirror image", "3 models", "3 models and mirror image"]
    assert options.loc[0, "difference"] == 0
    assert np.allclose(options["accuracy"] - options["accuracy"][0], options["difference"])

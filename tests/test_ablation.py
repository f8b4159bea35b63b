import bars
import numpy as np
import pandas as pd
import pytest

from emohelpers import config
from emohelpers.config.faces import Enhanced, Transfer
from emohelpers.metrics import compare
from emohelpers.train import ablation, study


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    home = tmp_path_factory.mktemp("ablation")
    cfg = bars.settings(bars.manifest(home / "set"), mixup=0.4, epochs=9, ablation={"epochs": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOHELPERS_OUTPUTS", str(home / "outputs"))
        faces = study.prepare(cfg)
    return cfg, faces, home


def test_one_thing_changes_and_the_rest_stays_and_a_second_call_trains_nothing(job, monkeypatch):
    cfg, faces, home = job
    table = ablation.run(cfg, faces, home / "run", ["no MixUp, no CutMix", "LDAM loss"])
    assert list(table["variant"]) == ["recipe", "no MixUp, no CutMix", "LDAM loss"]
    assert (table["epochs"] == 2).all() and (table["n"] == len(faces.part("val"))).all()
    one, other = (pd.read_csv(home / "run" / slug / "predictions_val.csv") for slug in ("recipe", "ldam_loss"))
    compared = compare.compare(one, other, faces.classes, resamples=cfg.bootstrap)
    line = compared[(compared["class"] == "all") & (compared["figure"] == "macro_f1")].iloc[0]
    assert np.isclose(table.loc[2, "difference"], line["difference"]) and np.isclose(table.loc[2, "low"], line["low"])
    assert np.isclose(table.loc[2, "macro_f1"] - table.loc[0, "macro_f1"], table.loc[2, "difference"])
    assert not set(one["path"]) & set(faces.part("golden")["path"]), "the golden set must not choose a recipe"
    stamp = (home / "run" / "recipe" / "best_model.pth").stat().st_mtime_ns
    again = ablation.run(cfg, faces, home / "run", ["no MixUp, no CutMix", "LDAM loss"])
    last = next((home / "run" / "recipe" / "checkpoints").glob("*/last.pth"))
    assert again["macro_f1"].equals(table["macro_f1"]) and last.stat().st_mtime_ns < stamp


def test_every_variant_is_a_config_that_the_recipes_allow():
    for kind in (Transfer, Enhanced):
        for preset in ("demo", "full"):
            cfg = config.make(kind, preset)
            plan = ablation.variants(cfg, teacher="teacher.pth")
            assert len(plan) > 12 and plan["small student, taught"][0] == "small student"
            for name, (against, changes) in plan.items():
                made = config.with_settings(cfg, **{**cfg.ablation, **changes})
                assert made != config.with_settings(cfg, **cfg.ablation), f"{name} changes nothing"
                assert against == ablation.RECIPE or against in plan
            assert set(cfg.ablations) <= set(plan)


def test_what_the_recipe_does_already_is_no_variant(job):
    assert "cosine" not in ablation.variants(job[0]) and "one cycle" in ablation.variants(job[0])


def test_an_unknown_variant_is_refused_before_any_training(job):
    cfg, faces, home = job
    with pytest.raises(config.ConfigError, match="no such variant: mixdown. There are: recipe, no MixUp"):
        ablation.run(cfg, faces, home / "none", ["mixdown"])
    assert not (home / "none").exists()
    assert ablation.run(cfg, faces, home / "none", ()).empty

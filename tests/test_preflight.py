import copy
from dataclasses import replace

import bars
import numpy as np
import pandas as pd
import pytest
import torch

from emohelpers import metrics
from emohelpers.train import preflight, study

TRUNK = {"backbone": "test_vit", "weights": "demo", "head": "layernorm", "img_size": 96}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    home = tmp_path_factory.mktemp("preflight")
    cfg = bars.settings(bars.manifest(home / "set"), **TRUNK, class_weight_power=0.6, mixup=0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOHELPERS_OUTPUTS", str(home / "outputs"))
        faces = study.prepare(cfg)
    model, parts = study.build(cfg, faces)
    return cfg, faces, model, parts, study.objective(cfg, faces, model)


def test_a_sound_net_passes_and_is_left_as_it_was(job):
    cfg, _, model, parts, objective = job
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [m.training for m in model.modules()]
    table = preflight.check(model, parts, objective, cfg)
    assert list(table["check"]) == ["sanity batch", "overfit", "classes", "gradients"] and table["passed"].all(), table
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state()) and modes == [m.training for m in model.modules()]
    assert all(p.grad is None for p in model.parameters())


def test_a_net_that_cannot_learn_fails_the_overfit_check(job):
    cfg, _, model, parts, objective = job
    dead = copy.deepcopy(model)
    torch.nn.init.zeros_(dead.head[-1].weight)
    dead.register_forward_hook(lambda module, inputs, logits: logits * 0 + module.head[-1].bias.sum() * 0)
    table = preflight.check(dead, parts, objective, cfg).set_index("check")
    assert not table.loc["overfit", "passed"] and not table.loc["gradients", "passed"]


def test_logits_that_are_not_finite_stop_it(job):
    cfg, _, model, parts, objective = job
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.head[-1].bias[0] = float("nan")
    with pytest.raises(preflight.PreflightError, match=r"gives \(16, 8\) with 16 figures that are not finite"):
        preflight.check(broken, parts, objective, cfg)


def test_balance_tells_weights_that_sum_to_one(job):
    cfg, faces, *_ = job
    labels = list(faces.part("train")["label"]) + ["happy"] * 40
    rows = pd.DataFrame({"label": labels, "split": "train"})
    table = preflight.balance(replace(faces, table=rows), cfg).set_index("class")
    assert table["say"].sum() == pytest.approx(1) and table.loc["happy", "weight"] == table["weight"].min()
    assert np.allclose(table["weight"], metrics.weights(labels, faces.classes, 0.6))


def test_places_names_what_was_found(job, tmp_path):
    cfg, faces, *_ = job
    table = preflight.places(faces, cfg, tmp_path).set_index("what")
    assert table.loc["data", "found"] == str(faces.dataset.root)
    assert table.loc["golden set", "found"].endswith("testset_saved.csv")

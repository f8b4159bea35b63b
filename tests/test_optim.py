import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from emohelpers import config, models
from emohelpers.config.faces import Baseline
from emohelpers.config.registry import SCHEDULES
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.train import losses, objectives, optim


def settings(**values):
    return config.make(Baseline, "demo", **{"weights": "random", "trainable": "all", "lr": 0.01, **values})


@pytest.fixture
def model():
    return models.build(settings(), EMOTIONS)


def rates(optimizer, schedule, steps):
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("kind", ["cosine", "onecycle", "restarts"])
def test_schedules_warm_up_and_end_when_training_ends(model, kind):
    cfg = settings(schedule=kind, epochs=10, warmup_epochs=1.0, lr_backbone=0.001)
    optimizer = optim.optimizer(model, cfg)
    seen = rates(optimizer, optim.schedule(optimizer, cfg, 100), 100)
    head, backbone = [r[2] for r in seen], [r[0] for r in seen]
    assert head[0] < max(head) / 5 and head[-1] < max(head) / 50 and math.isclose(max(head), 0.01, rel_tol=0.05)
    assert all(math.isclose(h, 10 * b, rel_tol=1e-6) for h, b in zip(head, backbone, strict=True))
    turns = sum(a < b for a, b in zip(head[12:], head[13:], strict=False))
    if kind == "cosine":
        assert turns == 0, "the original's rate rose again in the second half"
    if kind == "restarts":
        assert turns == 2


def test_a_schedule_from_outside_is_chosen_by_its_name_like_any_other(model, monkeypatch):
    monkeypatch.setattr(SCHEDULES, "_entries", dict(SCHEDULES._entries))

    @SCHEDULES.register("steep")
    def steep(optimizer, cfg, steps):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)

    cfg = settings(schedule="steep")
    optimizer = optim.optimizer(model, cfg)
    assert [row[0] for row in rates(optimizer, optim.schedule(optimizer, cfg, 3), 3)] == [0.01, 0.005, 0.0025]
    with pytest.raises(config.ConfigError, match="'steeper' is no schedule"):
        settings(schedule="steeper")


def test_decay_spares_biases_and_norms_and_every_parameter_has_one_group(model):
    groups = optim.optimizer(model, settings(weight_decay=0.1)).param_groups
    grouped = [p for group in groups for p in group["params"]]
    assert len(grouped) == len(set(map(id, grouped))) == len(list(model.parameters()))
    for group in groups:
        assert group["weight_decay"] == (0.0 if "no decay" in group["name"] else 0.1)
        assert all((p.ndim <= 1) == ("no decay" in group["name"]) for p in group["params"])
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for g in groups[2:] for p in g["params"]} == models.head_parameters(model)


def test_ema_follows_the_formula_covers_buffers_and_is_undone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    ema, expected = optim.Ema(0.999), {}
    for t in range(1, 6):
        model(torch.randn(8, 4))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        moving = models.moving(model)
        ema.update(moving)
        decay = min(0.999, (1 + t) / (10 + t))
        for name, tensor in moving.items():
            value = tensor.double()
            first = t == 1 or not tensor.is_floating_point()
            expected[name] = value.clone() if first else expected[name] * decay + value * (1 - decay)
    assert "1.running_mean" in expected and "1.running_var" in expected
    before = copy.deepcopy(model.state_dict())
    with ema.applied(models.moving(model)):
        for name, tensor in model.state_dict().items():
            assert torch.allclose(tensor.double(), expected[name].double(), atol=1e-6), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_ema_takes_in_what_is_unfrozen_later(model):
    models.freeze(model, 0)
    ema = optim.Ema(0.9)
    ema.update(models.moving(model))
    assert set(ema.average) == set(models.moving(model))
    models.freeze(model, "all")
    ema.update(models.moving(model))
    assert set(ema.average) == set(model.state_dict())


def test_class_weights_keep_one_scale_for_hard_and_soft_targets():
    """torch's weighted mean reads 1.63 for hard and 4.33 for the same targets one-hot; ours reads one number."""
    torch.manual_seed(0)
    logits, y = torch.randn(64, 8) * 3, torch.randint(8, (64,))
    weights = torch.rand(8) * 2
    objective = objectives.Classification(EMOTIONS, weights=weights.numpy(), each=partial(losses.plain, smoothing=0.1))
    hard = objective.loss(logits, y)
    soft = objective.loss(logits, nn.functional.one_hot(y, 8).float())
    assert torch.allclose(hard, soft)
    halves = [objective.loss(logits[i::2], y[i::2]) for i in (0, 1)]
    assert torch.allclose(hard, sum(halves) / 2), "two processes would see another loss than one"


def test_mixing_keeps_the_amount_of_each_class_and_can_be_off():
    torch.manual_seed(0)
    x, y = torch.rand(8, 3, 16, 16), torch.arange(8)
    plain = objectives.Classification(EMOTIONS)
    assert plain.mix(x, y) == (x, y)
    mixed, soft = objectives.Classification(EMOTIONS, mixup=0.4, cutmix=1.0).mix(x, y)
    assert soft.shape == (8, 8) and torch.allclose(soft.sum(0), torch.ones(8)) and not torch.equal(mixed, x)
    kinds = objectives.Classification(EMOTIONS, mixup=0.4, cutmix=1.0, mix_probability=0.0)
    assert torch.equal(kinds.mix(x, y)[0], x)

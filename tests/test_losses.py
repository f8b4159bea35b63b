from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emohelpers import config, metrics
from emohelpers.config.faces import Transfer
from emohelpers.config.registry import LOSSES
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.models import heads
from emohelpers.train import losses, objectives

torch.manual_seed(0)
LOGITS, HARD = torch.randn(32, 8) * 3, torch.randint(8, (32,))
SOFT = F.one_hot(HARD, 8).float()


def settings(**values):
    return config.make(Transfer, "demo", **values)


def loss(name, counts=(1,) * 8, **values):
    """The registered loss of a small config, without smoothing unless it is set."""
    return LOSSES[name](
        settings(**{"loss": name, "head": "cosine", "label_smoothing": 0.0, **values}), np.array(counts)
    )


def test_focal_is_the_papers_formula():
    p = LOGITS.softmax(1)[torch.arange(32), HARD]
    assert torch.allclose(loss("focal")(LOGITS, HARD), -((1 - p) ** 2) * p.log(), atol=1e-6)
    flat = loss("focal", focal_gamma=0.0, label_smoothing=0.1)
    assert torch.allclose(flat(LOGITS, HARD), losses.plain(LOGITS, HARD, 0.1), atol=1e-6)


def test_focal_cares_less_for_what_is_right_already():
    sure, unsure = torch.tensor([[6.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    plain, focal = losses.plain, loss("focal")
    assert focal(sure, torch.tensor([0])) / plain(sure, torch.tensor([0])) < 1e-4
    assert focal(unsure, torch.tensor([0])) / plain(unsure, torch.tensor([0])) == pytest.approx(0.25)


def test_ldam_gives_the_rare_class_the_wide_margin():
    counts = np.array([16, 16, 16, 16, 16, 16, 16, 1])
    lost = loss("ldam", counts)(torch.zeros(8, 8), torch.arange(8))
    scale = heads.COSINE_SCALE
    for k, margin in ((7, 0.5), (0, 0.25)):  # 16 times rarer: twice the margin
        assert lost[k].item() == pytest.approx(np.log(7 + np.exp(-scale * margin)) + scale * margin, abs=1e-4)


@pytest.mark.parametrize("name", [*LOSSES, "adjusted"])
def test_a_one_hot_target_counts_as_its_index(name):
    adjusted = losses.adjusted(partial(losses.plain, smoothing=0.1), np.arange(1, 9))
    fn = adjusted if name == "adjusted" else loss(name, np.arange(1, 9), label_smoothing=0.1)
    assert torch.allclose(fn(LOGITS, HARD), fn(LOGITS, SOFT), atol=1e-5)
    assert fn(LOGITS, HARD).shape == (32,) and (fn(LOGITS, HARD) >= 0).all()


def test_adjusted_logits_need_not_learn_how_frequent_a_class_is():
    """Pictures that tell nothing: at tau 1 equal logits are the minimum, at tau .5 half the log-frequencies are."""
    labels = [EMOTIONS[i] for i in range(8) for _ in range(2**i)]
    truth = torch.tensor([EMOTIONS.index(name) for name in labels])
    frequencies = torch.log(torch.arange(8).exp2())
    for tau, best in ((1.0, torch.zeros(8)), (0.5, frequencies / 2)):
        adjusted = losses.of(settings(logit_adjustment=tau, label_smoothing=0.0), EMOTIONS, labels)
        at = best.clone().requires_grad_()
        adjusted(at.expand(len(truth), 8), truth).mean().backward()
        assert at.grad.abs().max() < 1e-6
    with pytest.raises(metrics.PredictionError, match="no training picture of contempt"):
        losses.of(settings(logit_adjustment=0.5), EMOTIONS, [name for name in EMOTIONS if name != "contempt"])


def test_a_loss_from_outside_is_chosen_by_its_name_like_any_other(monkeypatch):
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._entries))

    @LOSSES.register("half")
    def half(cfg, counts):
        return lambda logits, targets: losses.plain(logits, targets, cfg.label_smoothing) / 2

    cfg = settings(loss="half", label_smoothing=0.1)
    made = objectives.Classification.of(cfg, EMOTIONS, list(EMOTIONS))
    assert torch.allclose(made.each(LOGITS, HARD), losses.plain(LOGITS, HARD, 0.1) / 2)
    with pytest.raises(config.ConfigError, match="'halve' is no loss. Did you mean 'half'"):
        settings(loss="halve")


def test_the_config_chooses_and_a_wrong_pair_is_refused():
    labels = [EMOTIONS[i] for i in HARD]
    for name, head in (("focal", "linear"), ("ldam", "cosine"), ("cross_entropy", "mlp")):
        made = objectives.Classification.of(settings(loss=name, head=head, class_weight_power=0.0), EMOTIONS, labels)
        assert made.loss(LOGITS, HARD) == pytest.approx(losses.of(settings(loss=name, head=head), EMOTIONS, labels)(
            LOGITS, HARD).mean().item())  # fmt: skip
    with pytest.raises(ValueError, match="needs head='cosine', not 'linear'"):
        losses.of(settings(loss="ldam", head="linear"), EMOTIONS, labels)

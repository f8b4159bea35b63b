import pytest
import torch
from torch import nn

from emohelpers import config, models
from emohelpers.config.faces import Baseline
from emohelpers.config.registry import HEADS
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.models import heads


def kinds(head):
    return [type(layer).__name__ for layer in head]


def test_the_deeper_head_of_seed_001():
    head = heads.build("layernorm", 2048, 8, 512, 0.3)
    assert kinds(head) == ["Linear", "ReLU", "LayerNorm", "Dropout", "Linear"]
    assert (head[0].in_features, head[0].out_features, head[4].out_features) == (2048, 512, 8) and head[3].p == 0.3


def test_the_classifier_of_seed_002_has_several_rates_and_xaviers_start():
    torch.manual_seed(0)
    head = heads.build("batchnorm", 2048, 8, 512, 0.5)
    assert kinds(head) == ["BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"]
    assert (head[1].p, head[5].p) == (0.5, 0.25)
    for layer in (head[2], head[6]):
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound and (layer.bias == 0).all()


def test_a_cosine_head_sees_directions_alone():
    torch.manual_seed(0)
    head, x = heads.build("cosine", 16, 8, 1, 0.0), torch.randn(4, 16)
    assert torch.allclose(head(x), head(7 * x), atol=1e-5) and head(1e3 * x).abs().max() <= heads.COSINE_SCALE
    along = head(head.weight.detach())
    assert torch.allclose(along.diagonal(), torch.full((8,), heads.COSINE_SCALE), atol=1e-4)


def test_a_linear_head_starts_with_small_logits():
    torch.manual_seed(0)
    assert heads.build("linear", 512, 8, 1, 0.0)(torch.randn(64, 512)).abs().max() < 2


def test_an_unknown_head_names_the_known_ones():
    with pytest.raises(
        KeyError, match="'deep' is no head. There are 'mlp', 'linear', 'layernorm', 'batchnorm', 'cosine'"
    ):
        heads.build("deep", 1, 1, 1, 0.0)
    with pytest.raises(config.ConfigError, match="'mlpp' is no head. Did you mean 'mlp'"):
        config.make(Baseline, "demo", head="mlpp")


def test_one_from_outside_is_used_by_its_name(tmp_path):
    @HEADS.register("doubled")
    def doubled(features, classes, width, dropout):
        return nn.Sequential(nn.Linear(features, classes), nn.Linear(classes, classes))

    cfg = config.make(Baseline, "demo", head="doubled", backbone="test_vit", weights="demo", img_size=32)
    model = models.build(cfg, EMOTIONS)
    assert kinds(model.head) == ["Linear", "Linear"] and model(torch.zeros(1, 3, 32, 32)).shape == (1, 8)
    again = models.load(models.save(tmp_path / "m.pth", model))
    assert torch.equal(again.head[1].weight, model.head[1].weight)


def test_dropout_is_off_in_eval_mode_and_batchnorm_too():
    head = heads.build("batchnorm", 16, 8, 12, 0.5).eval()
    x = torch.randn(5, 16)
    assert torch.equal(head(x), head(x)) and torch.allclose(head(x)[:2], head(x[:2]), atol=1e-6)
    assert isinstance(head, nn.Sequential)

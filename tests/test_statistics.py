import pytest
import torch

from emohelpers import config, models
from emohelpers.config.faces import Transfer
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.models import statistics


@pytest.fixture
def model():
    values = {"backbone": "test_resnet", "weights": "random", "trainable": "all", "unfreeze": {}, "img_size": 32}
    return models.build(config.make(Transfer, "demo", **values), EMOTIONS)


def test_figures_are_those_of_the_tensors(model):
    models.freeze(model, 0)
    models.training_mode(model)
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    table = statistics.statistics(model).set_index("name")
    assert list(table.index) == [name for name, _ in model.named_parameters()]
    row, live = table.loc["fc.0.weight"], model.fc[0].weight
    for figure, value in (("mean", live.mean()), ("std", live.std(correction=0)), ("l2", live.norm())):
        assert row[figure] == pytest.approx(value.item(), rel=1e-4, abs=1e-7)
    assert (row["min"], row["max"]) == pytest.approx((live.min().item(), live.max().item()))
    assert row["gradient_l2"] == pytest.approx(live.grad.norm().item(), rel=1e-4)
    assert table.loc["conv1.0.weight"].isna()["gradient_l2"] and not table.loc["conv1.0.weight"]["trained"]


def test_filters_and_the_file(model, tmp_path):
    assert set(statistics.statistics(model, "head")["name"]) == models.head_parameters(model)
    assert set(statistics.statistics(model, r"layer4.*conv1")["name"]) == {"layer4.0.conv1.weight"}
    with pytest.raises(ValueError, match=r"statistics='layer9' matches no parameter; there are conv1.0.weight \.\.\."):
        statistics.statistics(model, "layer9")
    lines = statistics.write(tmp_path / "final_weights.txt", model).read_text().splitlines()
    assert len(lines) == 1 + len(list(model.parameters())) and lines[0].split() == ["name", "n", "trained",
                                                                                    *statistics.FIGURES]  # fmt: skip

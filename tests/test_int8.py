import dataclasses
import json

import numpy as np
import onnx
import pictures
import pytest
import torch
from torch import nn

from emohelpers import config, models
from emohelpers.config.faces import Baseline, Transfer
from emohelpers.config.registry import INT8_RECIPES
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.export import int8, quantiser
from emohelpers.export.int8 import Budget
from emohelpers.export.onnx import agreement, write
from emohelpers.export.quantiser import Recipe
from emohelpers.export.runner import Runner, inputs
from emohelpers.images.preprocess import Preprocess

LOOK = dataclasses.asdict(Preprocess(32, 32, 1.0, (0.5,) * 3, (0.5,) * 3))


@pytest.fixture(scope="module")
def bars():
    """(320, 32, 32, 3) squares and their classes; the second half is the test part."""
    rng = np.random.default_rng(0)
    return np.stack([pictures.bar(i % 8, rng) for i in range(320)]), np.arange(320) % 8


@pytest.fixture(scope="module")
def source(tmp_path_factory, bars):
    """An ONNX file of a small net that has learned the bars."""
    own = {"backbone": "test_efficientnet", "img_size": 64, "head": "linear", "weights": "random", "trainable": "all"}
    model = models.build(config.make(Baseline, "demo", **own), EMOTIONS).train()
    look = models.preprocess(model, side=32, zoom=1.0)
    x, y = torch.from_numpy(inputs(bars[0][:160], look)), torch.from_numpy(bars[1][:160])
    step = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(40):
        step.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        step.step()
    place = tmp_path_factory.mktemp("int8") / "model.onnx"
    write(model.eval(), place, bars[0][160:], labels=bars[1][160:], temperature=1.5)
    return place


def weights(path):
    """Element type of each convolution's weights as the graph holds them."""
    graph = onnx.load(path).graph
    made = {node.output[0]: node for node in graph.node}
    held = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            feeds = made.get(node.input[1])
            found.append(held[feeds.input[0]] if feeds else held[node.input[1]])
    return found


def test_int8_is_per_channel_smaller_and_answers_nearly_alike(source, bars, tmp_path):
    made = quantiser.static(source, tmp_path / "q.onnx", bars[0][:96])
    graph = onnx.load(made).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    scales = [held[n.input[1]] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in held]
    assert all(tensor.data_type == onnx.TensorProto.INT8 for tensor in weights(made))
    assert sum(len(scale.dims) == 1 and scale.dims[0] > 1 for scale in scales) >= len(weights(made)), "per channel"
    zeros = [held[n.input[2]].data_type for n in graph.node if n.op_type == "QuantizeLinear"]
    assert set(zeros) == {onnx.TensorProto.UINT8}
    found = int8.judge(source, made, bars[0][160:], bars[1][160:], rounds=3, resamples=100)
    assert found["megabytes"] < 0.6 * found["megabytes_fp32"] and found["max_difference"] > 0
    assert found["accuracy_fp32"] > 0.6 and found["flips"] < 0.1 and abs(found["ece"] - found["ece_fp32"]) < 0.1
    low, value, high = (found["difference"][key] for key in ("low", "value", "high"))
    assert low <= value <= high and value == pytest.approx(found["accuracy"] - found["accuracy_fp32"])


def test_metadata_travel_and_say_how_it_was_made(source, bars, tmp_path, monkeypatch):
    monkeypatch.setattr(quantiser, "saturates", lambda: True)
    made = quantiser.static(source, tmp_path / "q.onnx", bars[0][:64], Recipe("percentile", stem=2))
    facts, before = Runner(made).facts, Runner(source).facts
    assert {key: facts[key] for key in before} == before
    assert facts["int8"]["method"] == "percentile" and facts["int8"]["stem"] == 2 and facts["int8"]["reduced"]
    assert facts["int8"]["pictures"] == quantiser.HISTOGRAM
    graph = onnx.load(made).graph
    largest = max(abs(onnx.numpy_helper.to_array(t).astype(int)).max() for t in weights(made) if t.data_type == 3)
    assert largest <= 64, "seven bits"
    assert sum(t.data_type == 1 for t in weights(made)) == 2, f"two in float of {len(graph.node)} nodes"


@pytest.mark.parametrize(
    "recipe", [Recipe(stem=3, classifier=False), Recipe(weighted=True), Recipe(gates=False), Recipe("entropy")], ids=str
)
def test_every_recipe_keeps_the_answers(source, bars, tmp_path, recipe, monkeypatch):
    """A node in float behind a quantised convolution once lost its ReLU: accuracy fell to chance."""
    monkeypatch.setattr(quantiser, "saturates", lambda: False)
    made = quantiser.static(source, tmp_path / "q.onnx", bars[0][:64], recipe)
    one, two = (Runner(path).logits(bars[0][160:]) for path in (source, made))
    assert agreement(one, two) > 0.9


def test_recipes_that_leave_all_in_float_or_say_the_same_are_not_tried(source):
    convolutions = len(weights(source))
    asked = [
        Recipe(stem=3),
        Recipe(stem=3 / convolutions),
        Recipe(stem=convolutions, classifier=False),
        Recipe(stem=0.5),
    ]
    assert quantiser.fitting(source, asked) == [asked[0], asked[3]]
    proto, half = onnx.load(source), convolutions // 2
    found = [n.name for n in proto.graph.node if n.op_type == "Conv"]
    assert set(quantiser.left_out(proto, asked[3])) & set(found) == set(found[:half])


def test_what_misses_the_budget_is_kept_aside_with_the_reason(source, bars, tmp_path):
    place = tmp_path / "models" / "model_int8.onnx"
    pictures = bars[0][:64], bars[0][160:], bars[1][160:]
    told = int8.sweep(source, place, *pictures, recipes=["all"], budget=Budget(speed=1000), rounds=2)
    aside = place.parent / "rejected" / place.name
    assert not place.exists() and aside.is_file() and "1000 asked" in told["reason"].item()
    assert "times fp32's speed" in json.loads(aside.with_suffix(".json").read_text())["reason"]
    recipes = ["all", "stem of 3 in float"]
    told = int8.sweep(source, place, *pictures, recipes=recipes, budget=Budget(0, 1), rounds=2)
    assert place.is_file() and not aside.exists() and not aside.with_suffix(".json").exists()
    best = told["flips"].idxmin()
    assert told["place"][best] == str(place) and (told["place"] != "").sum() == 1
    receipt = json.loads(place.with_suffix(".json").read_text())
    assert receipt["chosen"] == told["recipe"][best] and len(receipt["tried"]) == 2 and receipt["reason"] == ""


def test_gates_of_mobilenetv3_can_be_left_out(bars, tmp_path):
    """onnxruntime takes HardSwish apart into nodes without names."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.Hardswish(), nn.Conv2d(8, 8, 3, 2), nn.Hardswish(), nn.Flatten(), nn.Linear(392, 8)
    )
    net.spec = {"preprocess": LOOK, "classes": EMOTIONS}
    write(net.eval(), tmp_path / "h.onnx", bars[0][:8])
    made = quantiser.static(tmp_path / "h.onnx", tmp_path / "q.onnx", bars[0][:32], Recipe(gates=False))
    graph = onnx.load(made).graph
    back = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    products = [node for node in graph.node if node.op_type == "Mul"]
    assert len(products) == 2 and not [node for node in products if back.issuperset(node.input)], "of floats"
    one, two = (Runner(path).logits(bars[0][160:]) for path in (tmp_path / "h.onnx", made))
    assert agreement(one, two) > 0.9


class Score(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)
        )

    def forward(self, x):
        return self.body(x)


def test_a_score_is_judged_by_the_order_of_pairs(bars, tmp_path):
    torch.manual_seed(0)
    net = Score()
    net.spec = {"preprocess": LOOK}
    write(net.eval(), tmp_path / "s.onnx", bars[0][:8], output="score")
    quantiser.static(tmp_path / "s.onnx", tmp_path / "q.onnx", bars[0][:32])
    found = int8.judge(tmp_path / "s.onnx", tmp_path / "q.onnx", bars[0][160:], rounds=2)
    assert 0 <= found["flips"] < 0.2 and "accuracy" not in found


def test_a_recipe_from_outside_is_used_by_its_name(source, bars, tmp_path):
    INT8_RECIPES.register("two in float", Recipe(stem=2))
    cfg = config.make(Transfer, "demo", int8_recipes=["two in float"])
    pictures = bars[0][:64], bars[0][160:], bars[1][160:]
    trials = int8.sweep(source, tmp_path / "q.onnx", *pictures, recipes=cfg.int8_recipes, rounds=2)
    assert list(trials["recipe"]) == ["minmax; in float: 2 first convolutions"]
    with pytest.raises(config.ConfigError, match="'two in flot' is no int8 recipe. Did you mean 'two in float'"):
        config.make(Transfer, "demo", int8_recipes=["two in flot"])
    assert set(int8.OF_CLASSES) | set(int8.OF_SCORES) <= set(INT8_RECIPES)

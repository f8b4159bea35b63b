import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import hostile
import numpy as np
import onnxruntime
import pictures
import pytest
import torch
from PIL import Image
from torch import nn

from emohelpers import config, models
from emohelpers.config import files
from emohelpers.config.faces import Baseline
from emohelpers.datasets import pixels as store
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.export import hub, onnx, runner
from emohelpers.images.preprocess import Preprocess

HERE = Path(__file__).parent


def built(backbone="test_vit", img_size=96, head="mlp", zoom=1.0, side=32):
    """A model with random weights that says all that `onnx.write` asks, in eval mode."""
    own = {"backbone": backbone, "img_size": img_size, "head": head, "weights": "random", "trainable": "all"}
    model = models.build(config.make(Baseline, "demo", **own), EMOTIONS)
    models.preprocess(model, side=side, zoom=zoom)
    return model.eval()


@pytest.fixture(scope="module")
def squares():
    rng = np.random.default_rng(0)
    return np.stack([pictures.bar(i % 8, rng) for i in range(40)])


@pytest.fixture(scope="module")
def done(tmp_path_factory, squares):
    """(model, what `write` returned) of a net that enlarges and crops."""
    model = built("test_efficientnet", head="linear", zoom=1.14)
    place = tmp_path_factory.mktemp("export") / "models" / "model_fixed.onnx"
    return model, onnx.write(
        model, place, squares, labels=np.arange(40) % 8, temperature=1.7, data_sha256="abc", facts={"epoch": 3}
    )


def test_one_file_with_all_that_a_client_needs(done):
    model, made = done
    assert [p.name for p in made.path.parent.iterdir()] == ["model_fixed.onnx"], "external data, or a left part"
    assert made.opset == 18 and made.exporter == "dynamo, opset 18" and not made.failures
    facts = runner.Runner(made.path).facts
    assert facts["classes"] == list(EMOTIONS) and facts["temperature"] == 1.7 and facts["data_sha256"] == "abc"
    assert facts["preprocess"]["zoom"] == 1.14 and facts["preprocess"]["mean"] == model.spec["preprocess"]["mean"]
    assert facts["output"] == "classes" and facts["epoch"] == 3 and facts["trained"][:2] == "20"


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_batch_is_dynamic_and_the_file_answers_as_the_model(done, squares, batch):
    model, made = done
    ready = Preprocess.read(model.spec["preprocess"])
    x = ready.normalise(torch.from_numpy(ready.evaluate(squares[:batch])))
    with torch.inference_mode():
        theirs = model(x).numpy()
    ours = runner.Runner(made.path).logits(squares[:batch])
    assert abs(ours - theirs).max() < 1e-4
    assert made.parity.agreement == 1 and made.parity.accuracy_onnx == made.parity.accuracy_torch


def test_the_model_is_left_as_it_was(squares, tmp_path):
    model = built().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    seen = []
    model.register_forward_hook(lambda *_: seen.append(1))
    onnx.write(model, tmp_path / "m.onnx", squares[:8])
    assert model.training and not seen, "the hook was run by the exporter"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert len(model._forward_hooks) == 1 and all(p.requires_grad for p in model.parameters())


def test_in_place_operations_are_off_in_the_copy_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    assert not onnx.exportable(model).model[1].inplace and model[1].inplace


class Branching(nn.Module):
    """A net that dynamo cannot export: which way it goes depends on the numbers."""

    def forward(self, x):
        return x.mean((2, 3)) if float(x.sum()) > -1e9 else x.amax((2, 3))


LOOK = dataclasses.asdict(Preprocess(32, 32, 1.0, (0.5,) * 3, (0.5,) * 3))


def described(model, **spec):
    """The model with the spec that `onnx.write` reads."""
    model.spec = {"preprocess": LOOK, **spec}
    return model


def test_the_chain_falls_back_and_says_why(squares, tmp_path):
    made = onnx.write(described(Branching(), classes="abc"), tmp_path / "m.onnx", squares)
    assert made.exporter == "tracer, opset 17" and made.opset == 17
    assert len(made.failures) == 3 and all(made.failures.values()) and "failed:" in str(made)


class Wrong(nn.Module):
    """Answers otherwise while it is exported."""

    def forward(self, x):
        exporting = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
        return x.mean((2, 3)) + (0.01 if exporting else 0)


def test_a_file_that_differs_is_refused_and_the_old_one_stays(squares, tmp_path):
    place = files.write_text(tmp_path / "m.onnx", "the old file")
    with pytest.raises(runner.ExportError, match="differs by 1.00e-02") as raised:
        onnx.write(described(Wrong(), classes="abc"), place, squares)
    assert str(raised.value).count("\n  ") == 4, "each exporter is told"
    assert place.read_text() == "the old file" and len(list(tmp_path.iterdir())) == 1


def write_again_and_again(place: Path, most: int) -> None:
    for _ in range(most):
        onnx.write(described(Score(True)), place, np.zeros((8, 32, 32, 3), np.uint8), output="score")


@pytest.mark.slow
def test_killed_three_times_while_it_is_written_the_file_is_a_whole_one(squares, tmp_path):
    processes, place = hostile.context(), tmp_path / "m.onnx"
    for _ in range(3):
        hostile.kill(processes, place.is_file, 2.0, write_again_and_again, place, 10_000)
        assert runner.Runner(place).logits(squares).shape == (40,)
    write_again_and_again(place, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"], "a kill left half a file that was never swept"


class Score(nn.Module):
    """One number a picture, as a ranking gives."""

    def __init__(self, wide):
        super().__init__()
        self.wide = wide

    def forward(self, x):
        score = x.mean((1, 2, 3))
        return score[:, None] if self.wide else score


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("fold", [True, False])
def test_a_score_takes_the_same_way(squares, tmp_path, wide, fold):
    made = onnx.write(described(Score(wide)), tmp_path / "m.onnx", squares, output="score", fold=fold)
    file = runner.Runner(made.path)
    assert file.logits(squares).shape == (40,) and file.session.get_outputs()[0].name == "score"
    assert made.parity.agreement == 1 and made.parity.accuracy_torch is None


def test_what_is_missing_is_said(squares, tmp_path):
    with pytest.raises(runner.ExportError, match="models.preprocess"):
        onnx.write(Score(True), tmp_path / "m.onnx", squares)
    with pytest.raises(runner.ExportError, match="names of the classes"):
        onnx.write(described(Score(True)), tmp_path / "m.onnx", squares)
    (tmp_path / "x.onnx").write_bytes(foreign())
    with pytest.raises(runner.ExportError, match="not written by"):
        runner.Runner(tmp_path / "x.onnx")


def foreign() -> bytes:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return made.SerializeToString()


def test_orders_of_scores_are_compared_pair_by_pair():
    assert onnx.agreement(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(2 / 3)
    assert onnx.agreement(np.eye(4), np.eye(4)[[0, 1, 3, 2]]) == 0.5


NO_TORCH = "import sys; sys.modules['torch'] = None; import runpy; sys.argv = sys.argv[1:]; "
NO_TORCH += "runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """100 pictures of uneven sizes, as files, and the store's squares of them."""
    place, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(1)
    for i in range(100):
        drawn = pictures.bar(i % 8, rng, side=int(rng.integers(40, 90)))
        Image.fromarray(drawn[: len(drawn) - i % 7]).save(place / f"{i:03d}.png")
    decoded = [store.decode(path.read_bytes()) for path in sorted(place.iterdir())]
    return place, np.stack([store.fit_square(picture, 48) for picture in decoded])


@pytest.mark.parametrize("zoom", [1.0, 1.14])
def test_clients_without_torch_give_the_same_class_and_probabilities(faces, tmp_path, zoom):
    place, seen = faces
    model = built("test_efficientnet", img_size=64, head="linear", zoom=zoom, side=48)
    nn.init.normal_(model.get_classifier().weight, std=2.0)  # answers that are not all alike
    made = onnx.write(model, tmp_path / "m.onnx", seen, temperature=1.3)
    with torch.inference_mode():
        z = torch.cat([model(torch.from_numpy(runner.inputs(seen, models.prepared(model, 48))))])
    theirs = (z / 1.3).softmax(1).numpy()
    assert len(set(theirs.argmax(1))) > 2
    own = {**os.environ, "PYTHONPATH": ""}
    ask = [sys.executable, "-c", NO_TORCH, HERE / "torch_free.py", made.path, place, tmp_path / "p.npy"]
    subprocess.run(list(map(str, ask)), check=True, env=own, capture_output=True)
    ours = np.load(tmp_path / "p.npy")
    assert abs(ours - theirs).max() < 1e-3 and (ours.argmax(1) == theirs.argmax(1)).all()
    client = Path(hub.__file__).parent / "space" / "classify.py"
    ask = [sys.executable, "-c", NO_TORCH, client, made.path, *sorted(place.iterdir())]
    ran = subprocess.run(list(map(str, ask)), check=True, env=own, capture_output=True, text=True)
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [t["predicted"] for t in told] == [EMOTIONS[i] for i in theirs.argmax(1)]
    shares = np.array([list(t["probabilities"].values()) for t in told])
    assert abs(shares - theirs).max() < 1e-3  # the preprocessing of the suite, to the grey level


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone", ["resnet50", "convnext_base", "tf_efficientnet_b3_ns", "vit_base_patch16_224", "mobilenetv3_large_100",
                 "mobilenetv2_100"],
)  # fmt: skip
def test_full_size_backbones_agree_for_every_batch(backbone, squares, tmp_path):
    torch.manual_seed(0)
    model = built(backbone, img_size=224, head="layernorm" if backbone == "resnet50" else "mlp")
    for module in model.modules():  # statistics of BatchNorm that fit: else the signal of a random net dies on its way
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    x = torch.from_numpy(runner.inputs(squares[:16], models.prepared(model, 32)))
    with torch.inference_mode():
        model.train()(x)
        logits = model.eval()(x)
    assert logits.std(dim=0).min() > 1e-3, "pictures that get one answer show nothing"
    made = onnx.write(model, tmp_path / "m.onnx", squares[:16])
    print(backbone, f"logits spread by {logits.std(dim=0).mean():.2g}:", made)
    assert made.exporter == "dynamo, opset 18" and made.parity.max_difference < 1e-4 and made.parity.agreement == 1
    session = onnxruntime.InferenceSession(made.path)
    for batch in onnx.BATCHES:
        assert session.run(None, {"input": np.zeros((batch, 3, 224, 224), np.float32)})[0].shape == (batch, 8)

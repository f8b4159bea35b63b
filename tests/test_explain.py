"""Maps point where a planted model looks, agree with the libraries, and leave nothing behind in the model."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import shap
import torch
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from matplotlib.figure import Figure
from PIL import Image
from pytorch_grad_cam import EigenCAM, GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from emohelpers import config, explain, models
from emohelpers.config.explain import Explain
from emohelpers.config.faces import Baseline
from emohelpers.config.registry import METHODS
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.explain import Classifier, Explainer, ExplanationError, attributions, cams, charts, heatmaps
from emohelpers.explain.classifier import candidates
from emohelpers.explain.methods import Cam
from emohelpers.suite import cli

BIG = ("resnet50", "convnext_base", "tf_efficientnet_b3_ns", "vit_base_patch16_224", "mobilenetv2_100")
CORNERS = ("top left", "top right", "bottom left", "bottom right")


class Corners(nn.Module):
    """Four classes: how much contrast each quarter of the picture has. What it looks at is known."""

    def __init__(self):
        super().__init__()
        self.stage, self.gain = Quarters(), nn.Parameter(torch.full((4,), 3.0))
        self.feature_info = [{"module": "stage"}]
        self.spec = {
            "classes": list(CORNERS),
            "preprocess": {"side": 32, "img_size": 32, "zoom": 1.0, "mean": [0.5] * 3, "std": [0.5] * 3},
        }

    def forward(self, x):
        return self.stage(x).mean((2, 3)) * self.gain


class Quarters(nn.Module):
    def forward(self, x):
        light = nn.functional.avg_pool2d((x**2).mean(1, keepdim=True), 4)  # (n, 1, 8, 8)
        far = (torch.arange(light.shape[2], device=x.device) >= light.shape[2] // 2).float()
        y, x = far[:, None], far[None]
        return light * torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])


def settings(**values):
    return config.make(Explain, "demo", **values)


def net(backbone: str, size: int, seed: int = 0) -> nn.Module:
    cfg = config.make(
        Baseline, "demo", backbone=backbone, weights="random", trainable="all", head="linear", img_size=size,
        seed=seed,
    )  # fmt: skip
    model = models.build(cfg, EMOTIONS).eval()
    models.preprocess(model, side=size, zoom=1.0)
    return model


def faces(n: int, size: int, seed: int = 0) -> np.ndarray:
    """Pictures (n, size, size, 3) of soft blots."""
    coarse = np.random.default_rng(seed).integers(0, 255, (n, 5, 5, 3), np.uint8)
    return np.stack([cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in coarse])


def corner_masks(targets: np.ndarray) -> np.ndarray:
    masks = np.zeros((len(targets), 32, 32), bool)
    for mask, target in zip(masks, targets, strict=True):
        mask[16 * (target // 2) :, 16 * (target % 2) :][:16, :16] = True
    return masks


def lit(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey pictures with a checkerboard in the corner of their class, and the classes."""
    targets, board = np.arange(n) % 4, np.indices((32, 32)).sum(0) % 2
    squares = np.random.default_rng(0).integers(108, 148, (n, 32, 32, 3), np.uint8)
    own = corner_masks(targets)
    squares[own] = np.broadcast_to((30 + 195 * board)[None, ..., None], squares.shape)[own]
    return squares, targets


def state(model: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Outputs and gradients of a model, for a comparison to the bit."""
    model.zero_grad()
    out = model(inputs)
    out[:, 0].sum().backward()
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return [out.detach().clone(), *grads, *(buffer.clone() for buffer in model.buffers())]


def explained(backbone: str, size: int) -> None:
    """Every method on two faces of a random net: maps of the input's size, and the model as it was, to the bit."""
    model, squares = net(backbone, size), faces(2, size)
    one = Explainer(model, faces(3, size, 1), settings(shap_samples=4, lime_samples=12, steps=3, batch_size=4))
    inputs, targets = one.classifier.inputs(squares), np.array([1, 6])
    before = state(model, inputs.cpu())
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    assert ("rollout" in one.methods) == ("vit" in backbone)
    layers = one.choose_layers(squares, targets)
    assert set(layers.loc[layers["chosen"], "method"]) == set(one.layers)
    for method in one.methods:
        maps = one.maps(method, squares, targets).values
        assert maps.shape == (2, size, size) and np.isfinite(maps).all(), method
        assert (np.ptp(maps, axis=(1, 2)) > 0).all(), method
    assert all(torch.equal(a, b) for a, b in zip(before, state(model, inputs.cpu()), strict=True))
    assert trainable == [parameter.requires_grad for parameter in model.parameters()] and not model.training
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet", "test_byobnet"])
def test_every_method_on_a_small_net(backbone: str) -> None:
    explained(backbone, 96)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BIG)
def test_every_method_at_full_size(backbone: str) -> None:
    explained(backbone, 224)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp", "layer_cam", "shap", "lime"])
def test_maps_lie_where_the_model_looks(method: str) -> None:
    one = Explainer(Corners(), faces(4, 32, 1), settings(shap_samples=16, lime_samples=150, lime_segments=16))
    squares, targets = lit(4)
    maps = np.clip(one.maps(method, squares, targets).values, 0, None)
    for target, each, corner in zip(targets, maps, corner_masks(targets), strict=True):
        assert each[corner].sum() / each.sum() > 0.8, CORNERS[target]


def test_a_batch_gives_what_the_library_gives_one_by_one() -> None:
    model, squares, targets = net("test_resnet", 96), faces(3, 96), np.array([0, 3, 5])
    classifier = Classifier.of(model, layer="layer3", batch_size=2)
    inputs = classifier.inputs(squares)
    ours = cams.class_activation(GradCAM, classifier, inputs, targets)
    for i, target in enumerate(targets):
        with GradCAM(model, [model.layer3]) as cam:
            theirs = cam(inputs[i : i + 1], [ClassifierOutputTarget(int(target))])
        np.testing.assert_allclose(ours[i], theirs[0], atol=1e-4)


def test_lime_in_batches_draws_and_finds_what_lime_does() -> None:
    classifier, square = Classifier.of(Corners(), batch_size=7), faces(1, 32)

    def predict(pictures: np.ndarray) -> np.ndarray:
        return classifier.probabilities(classifier.normalise(torch.from_numpy(pictures))).double().numpy()

    cut = SegmentationAlgorithm("slic", n_segments=12, compactness=10, sigma=1, start_label=0)
    theirs = LimeImageExplainer(random_state=3).explain_instance(
        square[0], predict, labels=(2,), top_labels=None, num_samples=40, segmentation_fn=cut, random_seed=3
    )
    ours, fit = attributions.lime(classifier, square, np.array([2]), samples=40, segments=12, seed=3)
    weights = dict(theirs.local_exp[2])
    np.testing.assert_allclose(ours[0], np.vectorize(weights.get)(theirs.segments), atol=1e-5)
    assert fit[0] == pytest.approx(theirs.score, abs=1e-4)


def test_shap_adds_up_and_nears_the_library() -> None:
    classifier, squares = Classifier.of(net("test_resnet", 32)), faces(2, 32)
    inputs, background = classifier.inputs(squares), classifier.inputs(faces(4, 32, 1))
    theirs, said = shap.GradientExplainer(classifier.model, background).shap_values(
        inputs, nsamples=300, rseed=0, ranked_outputs=1
    )
    targets = said[:, 0].numpy()
    ours = attributions.expected_gradients(classifier, inputs, targets, background, samples=300, seed=0)
    for one, other in zip(ours, theirs[..., 0], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9
    assert attributions.unexplained(classifier, ours, inputs, targets, background).max() < 0.1
    wrong = attributions.unexplained(classifier, ours * 2, inputs, targets, background)
    assert wrong.min() > 0.8


def test_a_cam_from_outside_needs_one_edit_and_is_used_by_its_name() -> None:
    @METHODS.register("eigen_cam")
    class Eigen(Cam):
        title, colour, library = "Eigen-CAM", "#b08a3e", EigenCAM

    one = Explainer(net("test_resnet", 64), faces(2, 64, 1), settings(methods=("eigen_cam",), steps=3))
    table = one.choose_layers(faces(2, 64), np.array([0, 1]))
    assert one.layers == {"eigen_cam": table.loc[table["chosen"], "layer"].item()}
    assert one.maps("eigen_cam", faces(2, 64), np.array([0, 1])).values.shape == (2, 64, 64)
    figure = charts.layers(table.assign(model="net"))
    assert figure.axes[0].get_legend_handles_labels()[1] == ["Eigen-CAM"]


def test_a_frozen_trunk_is_no_obstacle() -> None:
    model = net("test_vit", 96)
    models.freeze(model, 0)
    classifier = Classifier.of(model)
    maps = cams.class_activation(GradCAM, classifier, classifier.inputs(faces(2, 96)), np.array([0, 1]))
    assert (maps.max((1, 2)) > 0).all()


def test_tokens_lose_their_prefix_and_take_the_grid_of_the_patches() -> None:
    classifier = Classifier.of(net("test_vit", 96))
    assert classifier.layer == "blocks.5.norm1" and candidates(classifier.model)[-1] == classifier.layer
    tokens = torch.arange(37.0).view(1, 37, 1)
    assert torch.equal(classifier.grid(tokens)[0, 0], torch.arange(1.0, 37.0).view(6, 6))


def test_the_whole_last_block_gives_an_empty_map_and_is_refused() -> None:
    one = Explainer(net("test_vit", 96), faces(2, 96, 1), settings(methods=("grad_cam",)), layer="blocks.5")
    with pytest.raises(ExplanationError, match=r"2 of 2 faces is empty.*layer blocks.5. .*blocks.5\.norm1"):
        one.maps("grad_cam", faces(2, 96), np.array([0, 1]))
    with pytest.raises(ExplanationError, match="Grad-CAM gives an empty map.*named by hand"):
        one.choose_layers(faces(2, 96), np.array([0, 1]))


def test_a_method_without_a_map_is_refused_and_the_others_go_on() -> None:
    one = Explainer(net("test_vit", 96), faces(2, 96, 1), settings(methods=("layer_cam", "rollout")))
    one.layers["layer_cam"] = "blocks.5"
    assert list(one.all_maps(faces(2, 96), np.array([0, 1]))) == one.methods == ["rollout"]
    assert one.refused == {"layer_cam": "an empty map of 2 of 2 faces"}


def test_bad_names_are_told_with_what_there_is() -> None:
    model = net("test_resnet", 64)
    with pytest.raises(ExplanationError, match=r"no module 'layer9'.*layer4"):
        Classifier.of(model, layer="layer9")
    with pytest.raises(config.ConfigError, match="'gradcam' is no method of explanation. Did you mean 'grad_cam'?"):
        settings(methods=("gradcam",))
    with pytest.raises(ExplanationError, match="no attention to roll out"):
        cams.rollout(Classifier.of(model), torch.zeros(1, 3, 64, 64))
    with pytest.raises(ExplanationError, match="which is no map"):
        classifier = Classifier.of(model, layer="fc")
        cams.class_activation(GradCAM, classifier, classifier.inputs(faces(1, 64)), np.zeros(1))
    del model.spec
    with pytest.raises(ExplanationError, match=r"classes and preprocess.*models.load"):
        Classifier.of(model)


def test_one_scale_for_all_maps() -> None:
    maps = np.zeros((3, 8, 8))
    maps[0, 0, 0], maps[1, 0, 0], maps[2, 0, 0] = 5, 0.5, -0.5
    seen = heatmaps.overlay(np.full((3, 8, 8, 3), 128, np.uint8), maps)
    np.testing.assert_allclose(seen[0], seen[1])
    assert seen[0, 0, 0, 0] > seen[0, 0, 0, 2] and seen[2, 0, 0, 2] > seen[2, 0, 0, 0]
    np.testing.assert_allclose(seen[0, 4, 4], seen[2, 4, 4])
    figure = heatmaps.grid([list(seen)], ["face"], ["a", "b", "c"], "Maps")
    assert isinstance(figure, Figure) and figure.get_suptitle() == "Maps"


def test_faces_that_all_models_name_right() -> None:
    one = pd.DataFrame({"path": list("abcd"), "label": ["sad", "sad", "fear", "fear"], "group": list("abcd")})
    said = {"x": one.assign(predicted=one["label"]), "y": one.assign(predicted=["sad", "fear", "fear", "fear"])}
    assert list(explain.named_right(said, 9, 0)["path"]) == ["c", "d", "a"]
    with pytest.raises(ExplanationError, match="no face is named right"):
        explain.named_right({"y": one.assign(predicted="happy")}, 9, 0)


def test_a_folder_from_the_command_line(tmp_path, capsys) -> None:
    place = models.save(tmp_path / "net.pth", net("test_resnet", 64), epoch=1)
    for i, square in enumerate(faces(3, 64)):
        name = tmp_path / "pictures" / ("joy" if i else "2024") / f"{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(square).save(name)
    given = ["--methods", "grad_cam,lime", "--layer", "layer2", "--out", str(tmp_path / "out")]
    assert cli.main(["explain", str(place), str(tmp_path / "pictures"), *given]) == 0
    said = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert said["path"].tolist() == ["2024/0.png", "joy/1.png", "joy/2.png"]
    assert said["label"].tolist()[1:] == ["happy", "happy"] and pd.isna(said["label"][0]), "no label is invented"
    assert len(list((tmp_path / "out").glob("0?_*.png"))) == 3
    maps = np.load(tmp_path / "out" / "maps.npz")
    assert maps["grad_cam"].shape == maps["lime"].shape == (3, 64, 64)
    assert cli.main(["explain", str(tmp_path / "absent.pth"), str(tmp_path)]) == 2
    assert "absent.pth" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert cli.main(["explain", str(place), str(tmp_path / "empty")]) == 2


def test_odd_names_and_a_broken_picture_cost_no_panel_of_the_others(tmp_path, capsys):
    place = models.save(tmp_path / "net.pth", net("test_resnet", 64), epoch=1)
    names = [
        "\u622a" * 80 + ".png",
        "a$_b$.png",
        "S1/joy/1.png",
        "S2/joy/1.png",
        b"\xc0\xee.png".decode(errors="surrogateescape"),
    ]
    for name, square in zip(names, faces(5, 64), strict=True):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(square).save(tmp_path / "in" / name)
    (tmp_path / "in" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "in" / "._a.png").write_bytes(b"x")
    given = ["explain", str(place), str(tmp_path / "in"), "--methods", "grad_cam", "--layer", "layer2"]
    assert cli.main([*given, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().err
    assert "torn.jpg (" in told and "1 hidden" in told
    assert pd.read_csv(tmp_path / "out" / "left_out.csv")["path"].tolist() == ["torn.jpg"]
    assert len(list((tmp_path / "out").glob("0?_*.png"))) == len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 5
    (tmp_path / "taken").write_text("a file")
    assert cli.main([*given, "--out", str(tmp_path / "taken")]) == 2


def test_a_model_of_another_split_is_refused(tmp_path: Path) -> None:
    cfg = config.make(Explain, "demo")
    model = net("test_resnet", 64)
    for seed in (cfg.split_seed, 7):
        models.save(tmp_path / f"{seed}.pth", model, config={**cfg.model_dump(mode="json"), "split_seed": seed})
    classes = model.spec["classes"]
    assert len(explain.load([tmp_path / f"{cfg.split_seed}.pth"], classes, cfg)) == 1
    with pytest.raises(explain.ExplanationError, match="split_seed = 7, here 42"):
        explain.load([tmp_path / "7.pth"], classes, cfg)

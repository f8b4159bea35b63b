"""The checks see what they should: a true map wins, a random one does not, and the verdict follows the intervals."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_explain import Corners, corner_masks, faces, lit, net, settings

from emohelpers.datasets.drawn import expressed
from emohelpers.datasets.drawn import faces as drawn
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.explain import Classifier, Explainer, Panel, evidence, faithfulness, localisation
from emohelpers.explain.methods import Maps
from emohelpers.explain.verdicts import verdict
from emohelpers.metrics import bootstrap


def test_deletion_and_insertion_know_a_true_map() -> None:
    classifier = Classifier.of(Corners())
    squares, targets = lit(8)
    inputs, truth = classifier.inputs(squares), corner_masks(targets).astype(np.float32)

    def areas(maps: np.ndarray) -> list[float]:
        curves = faithfulness.deletion_insertion(classifier, inputs, targets, maps, steps=8)
        return [float(area.mean()) for area in faithfulness.areas(curves).values()]

    curves = faithfulness.deletion_insertion(classifier, inputs, targets, truth, steps=8)
    gone, come = curves["deletion"], curves["insertion"]
    assert gone.shape == come.shape == (8, 9)
    np.testing.assert_allclose(gone[:, 0], come[:, -1], atol=1e-6)  # nothing gone is everything there
    np.testing.assert_allclose(gone[:, -1], come[:, 0], atol=1e-6)
    (low, high), (worse_low, worse_high) = areas(truth), areas(-truth)
    chance_low, chance_high = areas(faithfulness.random_maps((8, 32, 32), 0))
    assert low < chance_low < worse_low and high > chance_high > worse_high


def test_equal_pixels_are_taken_in_no_order_of_place() -> None:
    classifier, (squares, targets) = Classifier.of(Corners()), lit(1)
    flat = np.zeros((1, 32, 32), np.float32)
    gone = faithfulness.deletion_insertion(classifier, classifier.inputs(squares), targets, flat, steps=2)["deletion"]
    # Row by row, the whole upper half with all that the class lies in would be gone by now.
    assert gone[0, 0] - gone[0, 2] > 0.05 and gone[0, 1] - gone[0, 2] > 0.25 * (gone[0, 0] - gone[0, 2])


def test_random_weights_keep_the_scale_and_lose_the_maps() -> None:
    model = net("test_resnet", 64)
    classifier = Classifier.of(model)
    inputs = classifier.inputs(faces(8, 64))
    blank = faithfulness.randomised(classifier, inputs, 0)
    one, other = (dict(each.model.named_parameters()) for each in (classifier, blank))
    for name, tensor in one.items():
        assert not torch.equal(tensor, other[name]) or tensor.numel() == 1 or tensor.std() == 0, name
    assert other["layer4.0.conv1.weight"].std() == pytest.approx(float(one["layer4.0.conv1.weight"].std()), rel=0.1)
    assert torch.isfinite(blank.logits(inputs)).all() and not blank.model.training
    assert torch.equal(dict(model.named_parameters())["fc.weight"], one["fc.weight"])
    again = faithfulness.randomised(classifier, inputs, 0)
    assert torch.equal(again.logits(inputs), blank.logits(inputs))


def test_rank_correlation_is_signed_and_by_rank() -> None:
    maps = np.random.default_rng(0).random((3, 6, 6))
    np.testing.assert_allclose(faithfulness.rank_correlation(maps, np.exp(maps)), 1)
    np.testing.assert_allclose(faithfulness.rank_correlation(maps, -maps), -1)
    assert np.isnan(faithfulness.rank_correlation(maps, np.zeros_like(maps))).all()
    table = faithfulness.agreement({"a": maps, "b": -maps, "c": maps**3})
    assert table.loc["a", "b"] == pytest.approx(-1) and table.loc["a", "c"] == pytest.approx(1)


def test_means_leave_out_what_is_not_known() -> None:
    found = bootstrap.mean(np.array([1.0, 0.0, np.nan, 1.0]), np.arange(4))
    assert found["value"] == pytest.approx(2 / 3) and found["n"] == 3 and found["low"] < 2 / 3 < found["high"]
    assert bootstrap.mean(np.array([np.nan]), np.arange(1))["n"] == 0


def test_pointing_game_and_energy() -> None:
    masks = np.zeros((3, 40, 40), bool)
    masks[:2, 10:20, 10:20] = True  # the third is of a neutral face: nothing was drawn
    maps = np.zeros((3, 40, 40))
    maps[0, 23, 15], maps[1, 30, 15], maps[2, 5, 5] = 1, 1, 1
    np.testing.assert_array_equal(localisation.pointing(maps, masks), [1, 0, np.nan])  # 4 pixels off counts, 11 do not
    np.testing.assert_array_equal(localisation.pointing(maps, masks, tolerance=1), [0, 0, np.nan])
    maps[0, 15, 15], maps[0, 0, 0] = 3, -9
    np.testing.assert_allclose(localisation.energy(maps, masks), [0.75, 0, np.nan])
    np.testing.assert_allclose(localisation.area(masks), [100 / 1600, 100 / 1600, np.nan])
    flat = np.ones((1, 40, 40))
    share = localisation.grown(masks[:1]).mean()
    np.testing.assert_allclose(localisation.pointing(flat, masks[:1]), [share])  # a flat map is chance, not luck


def test_the_evidence_believes_a_true_method_and_no_other() -> None:
    one = Explainer(
        Corners(), lit(8)[0], settings(methods=("layer_cam", "shap"), random_weights=1, steps=6, shap_samples=16)
    )
    squares, targets = lit(16)
    made = {method: one.maps(method, squares, targets) for method in one.methods}
    blind = Maps(faithfulness.random_maps((16, 32, 32), 99))
    found = evidence.measure(
        one, squares, targets, np.arange(16), {**made, "lime": blind}, regions=corner_masks(targets), few=np.arange(8)
    )
    shap, guess = found.figures["shap"], found.figures["lime"]
    assert shap["pointing"]["value"] == 1 and shap["energy"]["value"] > 0.9 and shap["area"]["value"] == 0.25
    assert all(
        shap[f"{way}_{control}"]["low"] > 0 for way in ("deletion", "insertion") for control in ("random", "centre")
    )
    assert "no better than a control" in verdict(guess)
    assert found.best() in ("shap", "layer_cam")
    assert found.table().loc["SHAP", "pointing"] == "1.00 [1.00, 1.00]"
    without = evidence.measure(one, squares, targets, np.arange(16), made, few=np.arange(8))
    assert "pointing" not in without.figures["shap"]
    panel = object.__new__(Panel)
    panel.evidence = {"first": without, "second": found}
    headline, figure = next(iter(panel.figures().items()))
    assert headline.startswith("second, ") and headline.endswith(", pointing")
    assert figure["value"] == 1 == panel.values("pointing").max() > panel.values("pointing").min()


GOOD = {
    f"{way}_{control}": {"value": 0.2, "low": 0.1, "high": 0.3}
    for way in ("deletion", "insertion")
    for control in ("random", "centre")
}
GOOD |= {"random_weights": {"value": 0.05}, "other_class": {"value": 0.1}, "stability": {"value": 0.9}}
GOOD |= {"pointing": {"value": 0.8}, "pointing_centre": {"value": 0.2, "low": 0.1}}


@pytest.mark.parametrize(
    "name, figure, fault",
    [
        ("insertion_centre", {"value": 0.1, "low": -0.01}, "insertion no better than a control"),
        ("deletion_random", {"value": 0.1, "low": 0.0}, "deletion no better than a control"),
        ("random_weights", {"value": -0.2}, "random weights give related maps"),
        ("random_weights", {"value": float("nan")}, "random weights give related maps"),
        ("other_class", {"value": 1.0}, "the same map for every class"),
        ("stability", {"value": 0.5}, "another seed gives another map"),
        ("pointing_centre", {"value": 0.1, "low": -0.1}, "points no better than at the centre"),
    ],
)
def test_each_check_can_fail(name: str, figure: dict, fault: str) -> None:
    assert verdict(GOOD) == "believe"
    assert verdict(GOOD | {name: figure}) == f"not: {fault}"


def test_what_was_drawn_for_an_emotion(tmp_path) -> None:
    assert expressed.expressed("neutral") == () and expressed.expressed("sad") == ("brows", "mouth")
    assert all(set(expressed.expressed(emotion)) <= set(expressed.PARTS) for emotion in EMOTIONS)
    assert expressed.parts(tmp_path, []) is None  # not drawn faces
    root = drawn.write_faces(tmp_path / "faces", n=80, seed=1)
    rows = pd.read_csv(root / "faces.csv", keep_default_na=False).groupby("emotion").head(2)
    masks = expressed.parts(root, rows["pth"])
    for i, emotion in enumerate(rows["emotion"]):
        assert masks["expressed"][i].any() == (emotion != "neutral")
        assert not (masks["expressed"][i] & ~np.any([masks[part][i] for part in expressed.PARTS], axis=0)).any()

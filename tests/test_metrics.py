"""Figures against scikit-learn, intervals against simulation, tests against hand calculation."""

import io
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight

from emohelpers import metrics
from emohelpers.config import files
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.metrics import bootstrap, calibrate, compare, reliability

THREE = ("anger", "fear", "happy")


def sharpness(n, seed=0, strength=2.0, classes=EMOTIONS):
    """Predictions of a classifier of known strength; the same seed gives the same pictures and labels."""
    rng = np.random.default_rng(seed)
    true = rng.integers(len(classes), size=n)
    logits = rng.normal(size=(n, len(classes)))
    logits[np.arange(n), true] += strength
    p = np.exp(logits)
    return true, p / p.sum(axis=1, keepdims=True)


def table(n=300, seed=0, strength=2.0, classes=EMOTIONS, **extra):
    true, p = sharpness(n, seed, strength, classes)
    return metrics.predictions([f"{i}.png" for i in range(n)], true, p, classes, **extra)


def said(true, predicted, classes=THREE, sure=0.8):
    """A table with these names and this confidence everywhere."""
    rest = (1 - sure) / (len(classes) - 1)
    p = np.array([[sure if c == name else rest for c in classes] for name in predicted])
    return metrics.predictions([f"{i}.png" for i in range(len(true))], true, p, classes)


def test_table_has_the_contract_columns_and_takes_names_or_indices():
    true, p = sharpness(5)
    by_index = metrics.predictions(list("abcde"), true, p, EMOTIONS, group=["x"] * 5)
    by_name = metrics.predictions(list("abcde"), [EMOTIONS[i] for i in true], p, EMOTIONS, group=["x"] * 5)
    pd.testing.assert_frame_equal(by_index, by_name)
    assert list(by_index) == ["path", "label", "predicted", *(f"p_{c}" for c in EMOTIONS), "group"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probabilities": np.full((2, 3), 0.5)}, "2 rows are no probabilities .* first a"),
        ({"probabilities": np.array([[1, 0, 0], [np.nan, 0, 0]])}, "1 rows are no probabilities .* first b"),
        ({"probabilities": np.full((2, 4), 0.25)}, r"\(2, 4\), \(2, 3\) expected"),
        ({"labels": ["anger", "angry"]}, "label that is no class: .*angry.*; classes: anger, fear, happy"),
        ({"labels": np.array([0, 3])}, "reach from 0 to 3, there are 3"),
        ({"labels": ["anger"]}, "other lengths"),
        ({"paths": ["a", "a"]}, "there twice, first a"),
        ({"predicted": ["x", "y"]}, "names that the table needs"),
    ],
)
def test_bad_predictions_are_refused(change, words):
    good = {"paths": ["a", "b"], "labels": ["anger", "fear"], "probabilities": np.eye(3)[:2], "classes": THREE}
    with pytest.raises(metrics.PredictionError, match=words):
        metrics.predictions(**{**good, **change})


def test_figures_agree_with_scikit_learn():
    t = table()
    figures = metrics.classification(t, EMOTIONS, resamples=100)
    true, predicted = t["label"], t["predicted"]
    p = t[[f"p_{c}" for c in EMOTIONS]].to_numpy()
    expected = {
        "accuracy": sk.accuracy_score(true, predicted),
        "macro_f1": sk.f1_score(true, predicted, average="macro", labels=EMOTIONS),
        "weighted_f1": sk.f1_score(true, predicted, average="weighted", labels=EMOTIONS),
        "nll": sk.log_loss(true, p, labels=EMOTIONS),
        "brier": ((p - (true.to_numpy()[:, None] == np.array(EMOTIONS))) ** 2).sum(axis=1).mean(),
    }
    assert {k: figures[k]["value"] for k in expected} == pytest.approx(expected)
    assert all(
        figures[k]["low"] < figures[k]["value"] < figures[k]["high"] and figures[k]["n"] == 300 for k in expected
    )
    assert figures["absent"] == []
    assert (metrics.confusion(t, EMOTIONS) == sk.confusion_matrix(true, predicted, labels=EMOTIONS)).all()
    each = metrics.per_class(t, EMOTIONS, resamples=100)
    scores = sk.precision_recall_fscore_support(true, predicted, labels=EMOTIONS)
    for name, column in zip(("precision", "recall", "f1", "n"), scores, strict=True):
        assert each[name].to_numpy() == pytest.approx(column)
    assert (each["f1_low"] < each["f1"]).all() and (each["recall"] < each["recall_high"]).all()


def test_quick_agrees_with_the_full_figures():
    t = table()
    codes = {name: i for i, name in enumerate(EMOTIONS)}
    true, p = t["label"].map(codes).to_numpy(), t[[f"p_{c}" for c in EMOTIONS]].to_numpy()
    full = metrics.classification(t, EMOTIONS, resamples=100)
    for scores in (p, p.argmax(axis=1)):
        wanted = {k: full[k]["value"] for k in ("accuracy", "macro_f1", "weighted_f1")}
        assert metrics.quick(true, scores, 8) == pytest.approx(wanted)


def test_an_absent_class_counts_zero_and_is_named():
    t = said(["anger", "anger", "fear"], ["anger", "fear", "fear"])
    figures = metrics.classification(t, THREE, resamples=200)
    assert figures["absent"] == ["happy"]
    assert figures["macro_f1"]["value"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    each = metrics.per_class(t, THREE, resamples=200).set_index("class")
    assert each.loc["happy", "n"] == 0
    assert each.loc["happy", ["precision", "recall", "f1", "f1_low"]].isna().all()


def test_a_perfect_score_on_few_pictures_is_no_certainty():
    figures = metrics.classification(said(["anger"] * 10, ["anger"] * 10), THREE, resamples=100)
    assert figures["accuracy"]["low"] == pytest.approx(0.6915, abs=1e-4)  # exact binomial bound, 10 of 10
    assert figures["accuracy"]["high"] == 1


def test_calibration_error_of_a_constructed_case():
    right = ["anger"] * 6 + ["fear"] * 4  # says anger ten times, right six times, 0.8 sure: off by 0.2
    t = said(right, ["anger"] * 10, sure=0.8)
    ece = metrics.classification(t, THREE, resamples=500)["ece"]
    assert ece["value"] == pytest.approx(0.2)
    assert ece["low"] <= ece["value"] <= ece["high"]
    bins = reliability.table(t, THREE)
    assert bins["n"].sum() == 10 and len(bins) == 15
    filled = bins[bins["n"] > 0].squeeze()
    assert (filled["confidence"], filled["accuracy"]) == pytest.approx((0.8, 0.6))
    assert filled["low"] < 0.8 <= filled["high"]


def test_calibration_error_counts_every_bin():
    t = pd.concat([said(["anger"] * 5, ["anger"] * 5, sure=0.95), said(["anger"] * 5, ["fear"] * 5, sure=0.55)])
    t["path"] = [str(i) for i in range(10)]
    ece = metrics.classification(t, THREE, resamples=100)["ece"]
    assert ece["value"] == pytest.approx((5 * 0.05 + 5 * 0.55) / 10)


def test_a_calibrated_classifier_shows_its_floor():
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1.0] * 8, 1200)
    true = np.array([rng.choice(8, p=row) for row in p])
    ece = metrics.classification(metrics.predictions(range(1200), true, p, EMOTIONS), EMOTIONS)["ece"]
    assert abs(ece["value"] - ece["floor"]) < 0.02


def test_intervals_cover_the_truth_in_about_95_of_100_sets():
    truth = metrics.quick(*sharpness(200_000, seed=99), 8)
    hits = {"accuracy": 0, "macro_f1": 0}
    for seed in range(100):
        figures = metrics.classification(table(300, seed=seed), EMOTIONS, resamples=400)
        for name in hits:
            hits[name] += figures[name]["low"] <= truth[name] <= figures[name]["high"]
    assert all(88 <= n <= 100 for n in hits.values()), hits  # binomial(100, .95) is outside of 89..99 in 1 % of cases


def test_groups_are_drawn_whole():
    """Ten copies of each picture say no more than the pictures themselves."""
    single = table(100)
    tenfold = pd.concat([single.assign(path=single["path"] + f"#{i}", group=single["path"]) for i in range(10)])
    alone = tenfold.drop(columns="group")

    def width(t):
        figure = metrics.classification(t, EMOTIONS)["accuracy"]
        return figure["high"] - figure["low"]

    assert width(tenfold) == pytest.approx(width(single), rel=0.1)
    assert width(alone) < 0.5 * width(tenfold)
    assert width(single.assign(group="")) == pytest.approx(width(single))  # no group: each picture for itself
    assert width(single.assign(group=np.nan)) == pytest.approx(width(single))


def test_two_thousand_resamples_of_1200_pictures_are_quick():
    t = table(1200)
    start = time.process_time()
    metrics.classification(t, EMOTIONS)
    assert time.process_time() - start < 2  # about 0.06 s; loaded machines are slower


def test_resamples_are_the_same_for_the_same_seed():
    rows, groups = np.eye(50), np.arange(50)
    one, two, other = (bootstrap.resampled(rows, groups, 30, seed) for seed in (0, 0, 1))
    assert (one == two).all() and (one != other).any()
    assert (one.sum(axis=1) == 50).all()


def test_mcnemar_by_hand():
    a = np.array([1] * 10 + [0] * 2 + [1] * 5, bool)
    b = np.array([0] * 10 + [1] * 2 + [1] * 5, bool)
    test = compare.mcnemar(a, b)
    assert (test["only_a"], test["only_b"]) == (10, 2)
    assert test["p"] == pytest.approx(2 * sum(binom.pmf(k, 12, 0.5) for k in range(3)))  # 158 / 4096
    assert test["p"] == pytest.approx(158 / 4096)
    assert compare.mcnemar(a, a)["p"] == 1


def test_holm_by_hand():
    assert compare.holm(np.array([0.01, 0.04, 0.03, 0.5])) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert compare.holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])


def test_compare_finds_a_better_model_and_every_class():
    a, b = table(600, strength=1.0), table(600, strength=3.0)
    found = compare.compare(a, b, EMOTIONS).set_index(["class", "figure"])
    assert len(found) == 2 + 2 * 8
    overall = found.loc[("all", "accuracy")]
    difference = (b["predicted"] == b["label"]).mean() - (a["predicted"] == a["label"]).mean()
    assert overall["difference"] == pytest.approx(difference)
    assert overall["verdict"] == "better" and overall["low"] > 0 and overall["p"] < 1e-6
    assert overall["p_holm"] == overall["p"]
    recall = found.xs("recall", level="figure").loc[list(EMOTIONS)]
    assert (recall["p_holm"] >= recall["p"]).all() and recall["n"].sum() == 600
    assert (recall["only_b"] - recall["only_a"]).sum() == overall["only_b"] - overall["only_a"]
    assert recall["difference"].to_numpy() == pytest.approx((recall["only_b"] - recall["only_a"]) / recall["n"])
    back = compare.compare(b, a, EMOTIONS).set_index(["class", "figure"])
    assert back.loc[("all", "macro_f1"), "verdict"] == "worse"


def test_comparing_a_model_with_itself_shows_nothing():
    a = table()
    found = compare.compare(a, a.sample(frac=1, random_state=0), EMOTIONS, resamples=100)  # the order does not matter
    assert (found["difference"] == 0).all() and (found["verdict"] == "undecided").all()
    assert (found["p"].dropna() == 1).all()


def test_compare_refuses_other_pictures_or_labels():
    a = table(20)
    with pytest.raises(metrics.PredictionError, match=r"5 of 20 differ, first 15.png \(only in a\); 16.png .*; 17.png"):
        compare.compare(a, a.head(15), EMOTIONS)
    b = a.copy()
    b.loc[3, "label"] = next(c for c in EMOTIONS if c != a.loc[3, "label"])
    with pytest.raises(metrics.PredictionError, match=r"1 of 20 differ, first 3.png \(\w+ in a, \w+ in b\)"):
        compare.compare(a, b, EMOTIONS)


def test_weights_have_mean_one_over_the_training_rows():
    labels = ["anger"] * 8 + ["fear"] * 2 + ["happy"] * 1
    for power in (0, 0.6, 1):
        w = metrics.weights(labels, THREE, power)
        assert np.mean([w[THREE.index(name)] for name in labels]) == pytest.approx(1)
    assert (metrics.weights(labels, THREE, 0) == 1).all()
    assert metrics.weights(labels, THREE, 0.5)[1] / metrics.weights(labels, THREE, 0.5)[0] == pytest.approx(2)
    assert metrics.weights(labels, THREE, 1) == pytest.approx(sk_balanced(labels))
    with pytest.raises(metrics.PredictionError, match="no training picture of happy"):
        metrics.weights(labels[:-1], THREE, 1)


def sk_balanced(labels):
    return compute_class_weight("balanced", classes=np.array(THREE), y=labels)


def test_temperature_is_recovered_and_mends_the_calibration():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 8)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = (p.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    sharp = 3 * logits
    assert calibrate.temperature(sharp, true) == pytest.approx(3, rel=0.05)
    over = np.exp(sharp) / np.exp(sharp).sum(axis=1, keepdims=True)
    t = metrics.predictions(range(4000), true, over, EMOTIONS)
    mended = calibrate.rescale(t, EMOTIONS, calibrate.temperature(np.log(over), true))
    before, after = (metrics.classification(x, EMOTIONS, resamples=100)["ece"]["value"] for x in (t, mended))
    assert before > 0.15 and after < 0.03
    assert (mended["predicted"] == t["predicted"]).all()


def test_predictions_survive_a_csv(tmp_path):
    t = table(50, group=[f"g{i // 2}" for i in range(50)])
    back = pd.read_csv(files.write_csv(t, tmp_path / "predictions.csv"))
    one, two = (metrics.classification(x, EMOTIONS, resamples=100) for x in (t, back))
    assert one.pop("absent") == two.pop("absent")
    for name, figure in one.items():
        assert two[name] == pytest.approx(figure), name  # a reader may lose the last digit of a float


def test_a_table_that_is_no_predictions_is_refused_and_one_in_utf_16_is_read(tmp_path):
    path = files.write_csv(table(50), tmp_path / "predictions.csv")
    plain = path.read_bytes()
    path.write_bytes(plain.decode().encode("utf-16"))
    pd.testing.assert_frame_equal(metrics.read_predictions(path), pd.read_csv(io.BytesIO(plain), keep_default_na=False))
    for content in (
        b"",
        b"PK\x03\x04zip",
        plain.replace(b",", b";"),
        plain + b'"a,b',
        plain + b"\xff",
        plain + b"1,2\n" * 9 + b"," * 99,
    ):
        path.write_bytes(content)
        with pytest.raises(metrics.PredictionError, match="predictions.csv|no column path"):
            metrics.read_predictions(path)


def test_mending_fits_on_the_validation_part_and_is_judged_elsewhere():
    held, seen = sharpened(1), sharpened(2)
    found, mended, (before, after) = calibrate.mend(seen, held, EMOTIONS)
    assert found < 0.8 and after < before / 2 and (mended["predicted"] == held["predicted"]).all()
    assert found == calibrate.fit(seen, EMOTIONS)


def sharpened(seed, n=3000):
    """Predictions that are far less sure than they are right, as after MixUp."""
    rng = np.random.default_rng(seed)
    true = rng.integers(8, size=n)
    guess = np.where(rng.random(n) < 0.8, true, (true + 3) % 8)
    shares = 0.07 + 0.44 * np.eye(8)[guess]
    return metrics.predictions([f"{i}.png" for i in range(n)], true, shares / shares.sum(1, keepdims=True), EMOTIONS)

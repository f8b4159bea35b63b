import numpy as np
import pandas as pd
import pytest

from emohelpers import metrics
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.metrics import fairness


def predictions(right, seed=0):
    """A table in which row i is named right where `right[i]`."""
    rng = np.random.default_rng(seed)
    true = rng.integers(8, size=len(right))
    guess = np.where(right, true, (true + 1) % 8)
    shares = np.full((len(right), 8), 0.04) + 0.68 * np.eye(8)[guess]
    return metrics.predictions([f"{i}.png" for i in range(len(right))], true, shares, EMOTIONS)


def test_a_planted_gap_is_found_and_an_even_one_is_not():
    rng = np.random.default_rng(1)
    group = np.repeat(["light", "dark"], 600)
    uneven = fairness.audit(predictions(rng.random(1200) < np.where(group == "dark", 0.6, 0.8)), group, EMOTIONS)
    found = uneven.set_index("group")
    assert found.loc["dark", "verdict"] == "worse" and found.loc["light", "verdict"] == "better"
    assert found.loc["dark", "gap"] == pytest.approx(-found.loc["light", "gap"])
    assert found.loc["dark", "low"] < found.loc["dark", "accuracy"] < found.loc["dark", "high"] < 0.66
    even = fairness.audit(predictions(rng.random(1200) < 0.7), group, EMOTIONS)
    assert set(even["verdict"]) == {"undecided"}


def test_a_fair_model_is_rarely_called_unfair():
    """The interval holds zero in about 19 of 20 draws; in 40 draws more than 8 misses would be a broken interval."""
    rng, group = np.random.default_rng(2), np.repeat(["a", "b"], 150)
    misses = sum(
        fairness.audit(predictions(rng.random(300) < 0.7, s), group, EMOTIONS, resamples=300)["verdict"]
        .ne("undecided")
        .any()
        for s in range(40)
    )
    assert misses <= 8


def test_rows_without_a_group_are_left_out_and_missing_columns_give_an_empty_table():
    found = predictions(np.ones(30, bool))
    table = fairness.audit(found, ["a"] * 10 + ["b"] * 10 + [None] * 10, EMOTIONS)
    assert table["n"].tolist() == [10, 10] and (table["accuracy"] == 1).all() and (table["low"] < 1).all()
    faces = pd.DataFrame({"path": found["path"], "age_group": ["old", "young"] * 15})
    both = fairness.by_columns(found, faces, ("skin_group", "age_group"), EMOTIONS, resamples=100)
    assert set(both["by"]) == {"age_group"} and both["n"].sum() == 30
    assert fairness.by_columns(found, faces, ("skin_group",), EMOTIONS).empty

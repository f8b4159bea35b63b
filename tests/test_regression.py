"""CCC is Lin's, with population variance; intervals are over songs; comparisons are paired; the objective agrees."""

import numpy as np
import pandas as pd
import pytest
import torch

from emohelpers.metrics import PredictionError, regression
from emohelpers.train import objectives


def pair(n: int = 300, seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 0.4, (n, 2))
    return true, 0.7 * true + 0.1 + rng.normal(0, noise, (n, 2))


def table(true: np.ndarray, guess: np.ndarray, **extra) -> pd.DataFrame:
    return regression.predictions([str(i) for i in range(len(true))], true, guess, **extra)


def test_ccc_by_its_definition() -> None:
    true, guess = pair()
    for i in range(2):
        t, g = true[:, i], guess[:, i]
        with_ = np.mean((t - t.mean()) * (g - g.mean()))
        wanted = 2 * with_ / (t.var() + g.var() + (t.mean() - g.mean()) ** 2)
        assert regression.ccc(true, guess)[i] == pytest.approx(wanted, abs=1e-12)
    assert regression.ccc(true, true) == pytest.approx([1, 1])
    assert regression.ccc(true, np.tile(true.mean(0), (300, 1))) == pytest.approx([0, 0], abs=1e-9)


def test_figures_are_scikit_learns() -> None:
    from scipy.stats import pearsonr
    from sklearn.metrics import r2_score, root_mean_squared_error

    true, guess = pair()
    found = regression.scores(table(true, guess), resamples=200)
    for i, name in enumerate(("valence", "arousal")):
        assert found[f"rmse_{name}"]["value"] == pytest.approx(root_mean_squared_error(true[:, i], guess[:, i]))
        assert found[f"r2_{name}"]["value"] == pytest.approx(r2_score(true[:, i], guess[:, i]))
        assert found[f"pearson_{name}"]["value"] == pytest.approx(pearsonr(true[:, i], guess[:, i])[0])
    assert all(entry["low"] < entry["value"] < entry["high"] and entry["n"] == 300 for entry in found.values())


def test_intervals_cover_and_groups_widen_them() -> None:
    whole, _ = pair(20000, seed=9), None
    truth = regression.ccc(*whole)[0]
    inside = 0
    for seed in range(40):
        rows = np.random.default_rng(seed).integers(20000, size=150)
        entry = regression.scores(table(whole[0][rows], whole[1][rows]), resamples=300)["ccc_valence"]
        inside += entry["low"] <= truth <= entry["high"]
    assert 33 <= inside <= 40
    true, guess = (np.repeat(x, 6, axis=0) for x in pair(50))
    alone, grouped = (
        regression.scores(table(true, guess, **extra), resamples=500)["ccc_valence"]
        for extra in ({}, {"group": np.repeat(np.arange(50), 6)})
    )
    assert grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])


def test_comparison_is_paired_and_has_a_direction() -> None:
    true, good = pair(noise=0.15)
    _, bad = pair(noise=0.6)
    worse, better = table(true, bad), table(true, good)
    told = regression.compare(worse, better.sample(frac=1, random_state=0), resamples=500).set_index(
        ["figure", "target"]
    )
    assert set(told["verdict"]) == {"better"}
    assert told.loc[("ccc", "valence"), "difference"] > 0 > told.loc[("rmse", "valence"), "difference"]
    assert set(regression.compare(better, worse, resamples=500)["verdict"]) == {"worse"}
    assert set(regression.compare(worse, worse, resamples=200)["verdict"]) == {"undecided"}
    with pytest.raises(PredictionError, match="same songs"):
        regression.compare(worse, better.iloc[1:])
    with pytest.raises(PredictionError, match="same songs"):
        regression.compare(worse, better.assign(valence=0.5))


def test_tables_that_cannot_be_scored() -> None:
    true, guess = pair(10)
    good = table(true, guess)
    for wrong, message in (
        (good.drop(columns="valence_predicted"), "no column valence_predicted"),
        (pd.concat([good, good.iloc[:1]]), "twice, first 0"),
        (good.assign(arousal_predicted=np.nan), "10 rows are not finite"),
        (good.iloc[:1], "too few"),
    ):
        with pytest.raises(PredictionError, match=message):
            regression.scores(wrong)
    with pytest.raises(PredictionError, match="must agree"):
        regression.predictions(["a"], true, guess)


def test_the_objective_is_the_metric_and_falls_when_it_should() -> None:
    true, guess = pair()
    objective = objectives.Regression(1.0)
    loss = objective.loss(torch.tensor(guess), torch.tensor(true)).item()
    assert loss == pytest.approx(1 - regression.ccc(true, guess).mean(), abs=1e-4)
    squared = objectives.Regression(0.0).loss(torch.tensor(guess), torch.tensor(true)).item()
    assert squared == pytest.approx(((true - guess) ** 2).mean(), abs=1e-6)
    found = objectives.Regression().scores(guess.astype(np.float32), true.astype(np.float32))
    assert set(found) == set(objectives.Regression.figures)
    assert found["ccc"] == pytest.approx(regression.ccc(true, guess).mean(), abs=1e-5)
    output = torch.zeros(8, 2, requires_grad=True)  # a fresh head says the same for all: the gradient must be finite
    objective.loss(output, torch.rand(8, 2)).backward()
    assert output.grad.isfinite().all()

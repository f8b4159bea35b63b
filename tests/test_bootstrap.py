"""One core of all intervals: against the formula of a mean, against itself with copies, and paired against unpaired."""

import numpy as np
import pytest

from emohelpers.metrics import bootstrap


def counted(hits: np.ndarray) -> dict[str, np.ndarray]:
    return {"sum": hits, "n": np.ones(len(hits))}


def test_the_interval_of_a_mean_is_that_of_the_formula() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    figure = bootstrap.mean(values, np.arange(400), resamples=4000)
    arm = 1.96 * values.std() / np.sqrt(400)
    assert figure["value"] == values.mean() and figure["n"] == 400
    assert [figure["low"], figure["high"]] == pytest.approx([values.mean() - arm, values.mean() + arm], abs=0.02)
    assert bootstrap.mean(values, resamples=500)["low"] == bootstrap.mean(values, np.arange(400), resamples=500)["low"]


def test_groups_are_drawn_whole_and_not_their_rows() -> None:
    """Twenty copies of each row, drawn by row, look like twenty times the evidence."""
    hits = np.random.default_rng(1).random(60) < 0.5
    copies = np.repeat(hits, 20)

    def width(rows: np.ndarray, groups: np.ndarray) -> float:
        figure = bootstrap.figures(counted(rows), groups, bootstrap.share)["share"]
        return figure["high"] - figure["low"]

    alone = width(hits, np.arange(60))
    assert width(copies, np.repeat(np.arange(60), 20)) == pytest.approx(alone, rel=0.05)
    assert width(copies, np.arange(1200)) < 0.4 * alone


def test_figures_have_names_and_columns_of_any_width() -> None:
    columns = {"counts": np.eye(3)[[0, 1, 1, 2]], "weight": np.array([1.0, 2.0, 3.0, 4.0])}

    def of(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert sums["counts"].shape[1] == 3 and sums["weight"].ndim == 1
        return {"share": sums["counts"][:, 1] / sums["counts"].sum(axis=1), "weight": sums["weight"]}

    figures = bootstrap.figures(columns, np.arange(4), of, resamples=50)
    assert {name: figure["value"] for name, figure in figures.items()} == {"share": 0.5, "weight": 10.0}
    assert bootstrap.values(columns, of) == {"share": 0.5, "weight": 10.0}
    assert list(bootstrap.draws(columns, np.arange(4), of, 50, 0)["weight"].shape) == [51]


def test_a_share_of_one_has_the_exact_bound_of_its_units() -> None:
    columns, groups = counted(np.ones(10)), np.arange(10)
    plain = bootstrap.figures(columns, groups, bootstrap.share)["share"]
    bound = bootstrap.figures(columns, groups, bootstrap.share, units={"share": 10})["share"]
    assert (plain["low"], plain["high"]) == (1, 1)
    assert bound["low"] == pytest.approx(0.6915, abs=1e-4) and bound["high"] == 1


def test_the_noise_of_resampling_is_taken_off_where_it_counts_as_error() -> None:
    signs = np.tile([1.0, -1.0], 100)

    def of(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"distance": abs(sums["sum"]) / 200}

    raw = bootstrap.figures({"sum": signs}, np.arange(200), of)["distance"]
    mended = bootstrap.figures({"sum": signs}, np.arange(200), of, raised=["distance"])["distance"]
    assert raw["value"] == mended["value"] == 0 and raw["low"] >= 0
    assert mended["low"] == 0 and mended["high"] < raw["high"]


def test_paired_rows_show_what_two_intervals_hide() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.normal(0, 1, 300)
    a, b = counted(difficulty), counted(difficulty + rng.normal(0.1, 0.1, 300))
    difference = bootstrap.paired(a, b, np.arange(300), bootstrap.share)["share"]
    assert difference["difference"] == pytest.approx(0.1, abs=0.02) and difference["verdict"] == "better"
    assert difference["low"] < difference["difference"] < difference["high"]
    apart = [bootstrap.figures(side, np.arange(300), bootstrap.share)["share"] for side in (a, b)]
    assert apart[0]["high"] > apart[1]["low"], "each alone, the two overlap"
    assert bootstrap.paired(b, a, np.arange(300), bootstrap.share)["share"]["verdict"] == "worse"
    assert bootstrap.paired(a, a, np.arange(300), bootstrap.share)["share"]["verdict"] == "undecided"


def test_less_of_an_error_is_better() -> None:
    a, b = counted(np.full(50, 2.0)), counted(np.full(50, 1.0))
    judged = bootstrap.paired(a, b, np.arange(50), bootstrap.share, errors=["share"])["share"]
    assert judged["verdict"] == "better" and judged["difference"] == -1
    assert [bootstrap.verdict(*ends) for ends in ((0.1, 1), (-1, -0.1), (-1, 1), (0, 1))] == [
        "better",
        "worse",
        "undecided",
        "undecided",
    ]

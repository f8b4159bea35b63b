import numpy as np
import pandas as pd
import pytest

from emohelpers import targets

CLASSES = ("anger", "fear", "happy")


def rows(**votes):
    return pd.DataFrame({"label": ["anger", "happy", "fear"], **{f"votes_{name}": v for name, v in votes.items()}})


def test_votes_become_shares_and_other_votes_do_not_count():
    found = targets.votes(rows(anger=[6, 0, 0], fear=[2, 0, 0], happy=[0, 9, 0], unknown=[2, 1, 10]), CLASSES)
    assert found.dtype == np.float32 and np.allclose(found, [[0.75, 0.25, 0], [0, 0, 1], [0, 1, 0]])


def test_a_share_of_the_votes_leaves_the_rest_to_the_label():
    told = rows(anger=[4, 0, 0], fear=[6, 0, 0], happy=[0, 9, 0])  # the first row's raters mostly said fear
    found = targets.votes(told, CLASSES, 0.5)
    assert found.dtype == np.float32 and np.allclose(found, [[0.7, 0.3, 0], [0, 0, 1], [0, 1, 0]])


def test_a_table_without_votes_is_refused_by_name():
    with pytest.raises(targets.NoVotes, match="no column votes_fear, votes_happy"):
        targets.votes(rows(anger=[1, 1, 1]), CLASSES)


def test_odds_even_out_the_classes():
    answers = np.array([0] * 90 + [1] * 10)
    even = targets.odds(answers, 1.0)
    assert even.sum() == pytest.approx(1) and even[answers == 1].sum() == pytest.approx(0.5)
    assert targets.odds(answers, 0.5)[answers == 1].sum() == pytest.approx(0.25)
    assert targets.hard(rows(), CLASSES).tolist() == [0, 2, 1]

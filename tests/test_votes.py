import numpy as np
import pandas as pd
import pytest

from emohelpers.images import votes

CLASSES = ("anger", "fear", "happy")


def rows(**votes):
    return pd.DataFrame({"label": ["anger", "happy", "fear"], **{f"votes_{name}": v for name, v in votes.items()}})


def test_votes_become_shares_and_other_votes_do_not_count():
    found = votes.votes(rows(anger=[6, 0, 2], fear=[2, 0, 6], happy=[0, 9, 0], unknown=[2, 1, 10]), CLASSES)
    assert found.dtype == np.float32 and np.allclose(found, [[0.75, 0.25, 0], [0, 0, 1], [0.25, 0.75, 0]])
    told = rows(anger=[0, 0, 0], fear=[np.nan] * 3, happy=0)  # an edited face has none
    assert votes.votes(told, CLASSES).tolist() == np.eye(3)[[0, 2, 1]].tolist()


def test_a_class_without_a_label_gets_no_votes():
    told = rows(anger=[6, 0, 0], fear=[0, 0, 9], happy=[0, 9, 0], sad=[4, 0, 9])
    found = votes.votes(told, (*CLASSES, "sad"))
    assert np.allclose(found, np.eye(4)[[0, 2, 1]], atol=1e-6)


def test_votes_have_as_much_of_each_class_as_the_labels():
    """Raters' doubt goes to one class mostly, and is not to be learned as its frequency."""
    rng, label = np.random.default_rng(0), np.repeat([0, 1, 2], [60, 30, 10])
    counts = np.eye(3)[label] * 6 + rng.multinomial(4, [0.1, 0.8, 0.1], 100)  # the second is what doubt says
    told = pd.DataFrame(counts, columns=[f"votes_{name}" for name in CLASSES])
    told["label"] = np.array(CLASSES)[label]
    found = votes.votes(told, CLASSES)
    assert np.allclose(found.sum(1), 1) and np.allclose(found.sum(0), [60, 30, 10], atol=0.2)
    assert counts[:, 1].sum() / 10 > 45
    half = votes.votes(told, CLASSES, 0.5)
    assert (half.argmax(1) == label).all() and np.allclose(half, found / 2 + np.eye(3)[label] / 2, atol=1e-6)


def test_a_table_without_votes_is_refused_by_name():
    with pytest.raises(votes.NoVotes, match="no column votes_fear, votes_happy"):
        votes.votes(rows(anger=[1, 1, 1]), CLASSES)


def test_odds_even_out_the_classes():
    answers = np.array([0] * 90 + [1] * 10)
    even = votes.odds(answers, 1.0)
    assert even.sum() == pytest.approx(1) and even[answers == 1].sum() == pytest.approx(0.5)
    assert votes.odds(answers, 0.5)[answers == 1].sum() == pytest.approx(0.25)
    assert votes.hard(rows(), CLASSES).tolist() == [0, 2, 1]

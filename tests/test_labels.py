import numpy as np
import pytest

from emohelpers.datasets import labels
from emohelpers.datasets.labels import ALIASES, EMOTIONS, ORDERS, UnknownLabel, canonical, from_index


def test_the_index_is_the_alphabetical_order_and_every_alias_and_order_leads_into_it():
    assert list(EMOTIONS) == sorted(EMOTIONS) and len(set(EMOTIONS)) == 8
    assert set(ALIASES.values()) <= set(EMOTIONS) and not set(ALIASES) & set(EMOTIONS)
    for name, order in ORDERS.items():
        named = [emotion for emotion in order if emotion]
        assert len(set(named)) == len(named) and set(named) <= set(EMOTIONS), name


@pytest.mark.parametrize("spelling", [*EMOTIONS, *ALIASES])
def test_case_and_blanks_do_not_matter(spelling):
    emotion = ALIASES.get(spelling, spelling)
    spellings = (spelling, spelling.upper(), spelling.title(), f"\t{spelling} \r\n")
    assert {canonical(text) for text in spellings} == {emotion}


@pytest.mark.parametrize("name", ["", "happpy", "3", 3, None, float("nan"), "fear,sad"])
def test_an_unknown_name_is_an_error_with_the_known_ones(name):
    with pytest.raises(UnknownLabel) as caught:
        canonical(name)
    text = str(caught.value)
    assert repr(name) in text and all(known in text for known in (*EMOTIONS, *ALIASES))


@pytest.mark.parametrize(
    "order, index, emotion",
    [
        ("affectnet", 0, "neutral"),
        ("affectnet", "7", "contempt"),
        ("alphabetical", " 7 ", "surprise"),
        ("fer2013", np.int64(6), "neutral"),
        ("ckplus", 6, "neutral"),
        ("rafdb", "1", "surprise"),
        ("rafdb", 7, "neutral"),
        ("ann_visual_emotion", 5, "surprise"),
    ],
)
def test_an_integer_means_what_its_order_says(order, index, emotion):
    assert from_index(index, ORDERS[order]) == emotion


@pytest.mark.parametrize("index", [8, -1, "-1", "1.0", 1.5, "", "happy", None, True, "²"])
def test_what_is_no_position_of_the_order_is_an_error_with_the_order(index):
    with pytest.raises(UnknownLabel, match=r"not in the declared order: 0=neutral, 1=happy.*7=contempt") as caught:
        from_index(index, ORDERS["affectnet"])
    assert repr(index) in str(caught.value)


def test_an_order_that_counts_from_one_has_no_zero():
    with pytest.raises(UnknownLabel, match=r"label 0 .* order: 1=surprise"):
        from_index(0, ORDERS["rafdb"])


def test_one_error_type_covers_both():
    assert issubclass(labels.UnknownLabel, ValueError)

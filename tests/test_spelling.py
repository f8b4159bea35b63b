"""What counts as one word, one person, one folder, and what counts as nobody."""

import unicodedata

import pytest

from emohelpers.datasets.spelling import NOBODY, is_nobody, key, matched, unified


@pytest.mark.parametrize(
    "spellings",
    [
        ["José", unicodedata.normalize("NFD", "José"), " josé ", "JOSÉ"],
        ["Anna Lee", "anna  lee", "Anna\u00a0Lee"],
        ["7", "7.0", "007", " 7 ", "+7"],
        ["0", "0.0", "000"],
    ],
)
def test_spellings_of_one_person_are_one(spellings):
    assert unified(spellings) == [spellings[0]] * len(spellings)


def test_numbers_are_one_only_where_all_are_numbers():
    assert unified(["1", "01", "2", "unknown"]) == ["1", "1", "2", ""]
    assert unified(["1", "01", "a1"]) == ["1", "01", "a1"]
    assert unified(["1.5", "1.50", "-2"]) == ["1.5", "1.50", "-2"]
    assert unified(["9" * 6000, "0" + "9" * 6000]) == ["9" * 6000] * 2


def test_placeholders_are_nobody():
    assert all(is_nobody(text) for text in [*NOBODY, " Unknown ", "NaN", "-1.0", "N/A", "NONE"])
    assert not any(is_nobody(text) for text in ("0", "1", "Nan Goldin", "nobody@home", "-2", "S01"))


def test_names_are_matched_to_what_there_is():
    nfd = unicodedata.normalize("NFD", "é")
    assert matched(["1", "0002", "3.0", "7"], ["0001", "0002", "0003"]) == ["0001", "0002", "0003", "7"]
    assert matched(["É", "a"], [nfd, "A", "a"]) == [nfd, "a"]
    assert matched(["B"], ["b", "B "]) == ["B"]  # two fit: neither
    assert matched(["1"], ["01", "x"]) == ["1"] and key("01") == key("1.0") == "1"

import pytest

from emohelpers.config.registry import Registry


@pytest.fixture
def sounds() -> Registry:
    registry = Registry("sound", "json")  # any module will do as a home
    registry.register("bark", "wau")
    return registry


def test_an_entry_is_found_by_its_name(sounds):
    @sounds.register("meow")
    def meow():
        return "miau"

    assert sounds["bark"] == "wau" and sounds["meow"]() == "miau"
    assert list(sounds) == ["bark", "meow"] and "moo" not in sounds


def test_an_unknown_name_is_told_with_what_there_is(sounds):
    with pytest.raises(KeyError, match=r"'barc' is no sound. Did you mean .bark.\? There are 'bark'"):
        sounds["barc"]


def test_a_name_is_given_once_and_a_cell_may_run_again(sounds):
    def moo():
        return "muh"

    sounds.register("moo", moo)
    sounds.register("moo", moo)
    with pytest.raises(ValueError, match="there is a sound 'bark' already"):
        sounds.register("bark", moo)

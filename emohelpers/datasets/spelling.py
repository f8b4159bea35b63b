"""Words that mean the same although they are written differently, and words that mean nobody."""

import re
from collections.abc import Callable, Iterable

from emohelpers.datasets.locate import fold

WHOLE = re.compile(r"([+-]?)0*([0-9]+)(\.0*)?")  # pandas writes 3 as 3.0 where a column has gaps, Excel 0003 as 3
NOBODY = frozenset(
    ("", "-", "--", "?", "-1", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "none", "null", "nil", "unk", "unknown")
    + ("missing", "undefined", "unspecified", "not available")
)


def whole(text: str) -> str:
    """One spelling of a whole number: 1 for `1`, `1.0` and `001`; "" for anything else."""
    number = WHOLE.fullmatch(text.strip())
    return "" if number is None else (number[1] if number[1] == "-" else "") + number[2]


def word(text: str) -> str:
    """One spelling of a word: blanks, case and the two ways to encode an accent do not matter."""
    return fold(" ".join(text.split()))


def key(text: str) -> str:
    """One spelling of a label or of the name of a split, a word or a whole number."""
    return whole(text) or word(text)


def is_nobody(text: str) -> bool:
    """Whether a value stands for a person, scene or clip that is not known."""
    return key(text) in NOBODY


def _spelling(values: Iterable[str]) -> Callable[[str], str]:
    """`key` where every value is a whole number, else `word`: 1 and 01 may be two of a1, 1 and 01."""
    return key if all(whole(value) for value in values if not is_nobody(value)) else word


def unified(values: Iterable[str]) -> list[str]:
    """Values that mean the same in the spelling of the first of them; "" for nobody."""
    values = list(values)
    spelling = _spelling(values)
    first: dict[str, str] = {}
    return ["" if is_nobody(value) else first.setdefault(spelling(value), value.strip()) for value in values]


def matched(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names in the spelling of `known`: the equal one, else the only one that means the same, else as they are."""
    known = dict.fromkeys(known)
    spelling = _spelling(known)
    alike: dict[str, list[str]] = {}
    for name in known:
        alike.setdefault(spelling(name), []).append(name)
    fitting = ((name, [name] if name in known else alike.get(spelling(name), [])) for name in names)
    return [options[0] if len(options) == 1 else name for name, options in fitting]

"""Sentences follow from figures alone; a file of templates is a set of functions."""

from pathlib import Path

import pandas as pd
import pytest
from jinja2 import UndefinedError

from emohelpers.report import sentences, templates

FIGURES = {
    "accuracy": {"value": 0.81, "low": 0.78, "high": 0.84, "n": 600},
    "macro_f1": {"value": 0.7, "low": 0.65, "high": 0.75, "n": 600},
    "ece": {"value": 0.05, "low": 0.04, "high": 0.06, "n": 600, "floor": 0.02},
}


def classes(low: float) -> pd.DataFrame:
    f1 = {"f1": [0.5, None, 0.9], "f1_low": [0.4, None, low], "f1_high": [0.6, None, 0.95]}
    return pd.DataFrame({"class": ["fear", "contempt", "happy"], "n": [150, 0, 450], **f1})


def test_a_run_says_what_it_showed_line_by_line() -> None:
    lines = sentences.learned(FIGURES, classes(0.8), demo=False).splitlines()
    assert lines == [
        "Of 600 faces 81.0% are named right (95 % interval 78.0% to 84.0%); always naming the commonest class would "
        "give 75.0%.",
        "Macro F1, which counts every class alike, is 0.700 (0.650 to 0.750).",
        "Easiest: happy (F1 0.90); hardest: fear (F1 0.50); their intervals do not overlap.",
        "Confidence and truth differ by 0.050 on average (ECE); a perfectly calibrated model would show about 0.020 on "
        "a set of this size.",
    ]
    paused = sentences.learned(FIGURES, classes(0.55), demo=True, status="paused").splitlines()
    assert paused[0].startswith("Training is paused") and "drawn faces" in paused[-1] and len(paused) == 6
    assert "overlap, so the order is not established" in paused[3]


def test_a_room_says_its_own_sentences(tmp_path: Path) -> None:
    file = tmp_path / "sentences.jinja"
    file.write_text('{% macro sizes(n, share) %}\n{{ n }} songs, {{ share|number(".0%") }} of all.\n{% endmacro %}\n')
    texts = templates.sentences(file)
    assert texts.sizes(3, share=0.25) == "3 songs, 25% of all."
    with pytest.raises(AttributeError):
        texts.unknown()
    with pytest.raises(UndefinedError):
        texts.sizes(share=0.1)


def test_a_page_escapes_what_is_not_marked_safe(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<b>{{ title }}</b>{{ rows|safe }}")
    assert templates.page(tmp_path / "page.html", title="<i>", rows="[<]") == "<b>&lt;i&gt;</b>[<]"

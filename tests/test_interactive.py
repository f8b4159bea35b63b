import json
import re

from test_limits import history

from emohelpers.report import interactive


def test_the_page_is_whole_and_holds_the_figures():
    page = interactive.page(history(), "05 <b> · demo data (drawn faces)")
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "it must work without a network"
    rows = json.loads(re.search(r"const rows = (\[.*?\]),", page)[1])
    assert [row["val_loss"] for row in rows] == [1.9, 1.6, 1.3, 1.2] and rows[0]["phase"] == "head"
    assert "05 &lt;b&gt; · demo data (drawn faces)" in page
    assert not re.search(r"\b(ROWS|COLOURS|TITLE|INK)\b", page)

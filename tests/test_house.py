"""How thin and readable the package is, as limits that may be lowered: whoever passes one writes less or moves it."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "emohelpers"
TEXTS = {path.relative_to(PACKAGE): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
LONGEST = 260  # lines of a file
COMMENTS = 0.006  # share of the lines, at least
VAGUE = {
    "found",
    "made",
    "told",
    "kept",
    "shown",
    "seen",
    "given",
    "asked",
    "wanted",
    "said",
    "own",
    "one",
    "other",
    "others",
    "place",
    "about",
    "way",
    "lacks",
}
VAGUE_NAMES = 45  # variables that say nothing of their value
EXPRESSIONS = ast.Call | ast.Attribute | ast.Subscript | ast.BinOp | ast.Compare | ast.BoolOp | ast.comprehension
DENSITY = 1.7  # expressions of these kinds on a line of code


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_no_file_is_long():
    long = {str(path): len(lines(text)) for path, text in TEXTS.items() if len(lines(text)) > LONGEST}
    assert not long, f"more than {LONGEST} lines: {long}; one idea a file"


def test_the_formatter_is_not_fought():
    assert [str(path) for path, text in TEXTS.items() if "fmt: skip" in text or "fmt: off" in text] == []


def test_comments_stand_where_a_reader_must_stop():
    every = [line.strip() for text in TEXTS.values() for line in lines(text)]
    assert sum(line.startswith("#") for line in every) / len(every) >= COMMENTS


def test_names_say_what_a_value_is():
    bound = [
        f"{path}: {node.id}"
        for path, text in TEXTS.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE
    ]
    assert len(bound) <= VAGUE_NAMES, "\n".join(bound)


def test_lines_are_not_dense():
    expressions = sum(isinstance(node, EXPRESSIONS) for text in TEXTS.values() for node in ast.walk(ast.parse(text)))
    code = [line for text in TEXTS.values() for line in lines(text) if re.match(r"\s*[^\s#]", line)]
    assert expressions / len(code) <= DENSITY

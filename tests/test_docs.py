"""What README, docs and notebooks tell a reader to type or to click works."""

import re
import shlex
from pathlib import Path

import nbformat
import pytest

from emohelpers.suite import arguments, cli

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("notebooks/*.ipynb"))]
PAGES += [ROOT / folder / "README.md" for folder in ("benchmarks", "data_manifests", "kaggle")]
OURS = r"(?:\.venv/bin/)?python -m emohelpers [^`#\n]+"
TYPED = re.compile(rf"^\s*({OURS})", re.M)  # a line of a block: a whole command
MENTIONED = re.compile(rf"`({OURS})`")  # in a sentence: it may leave out what it works on
MAKE = re.compile(r"(?:^\s*|`)make ([a-z-]+)", re.M)
LINK = re.compile(r"\]\((?!https?:|mailto:|attachment:)([^)\s]+)\)")


def text(page: Path) -> str:
    """The prose of a page or of a notebook."""
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def matches(pattern: re.Pattern[str]) -> list[str]:
    """What a pattern finds in all pages, each once."""
    return sorted({match.strip() for page in PAGES for match in pattern.findall(text(page))})


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_pages_name_commands():
    assert len(matches(TYPED)) >= 8 and len(matches(MENTIONED)) >= 3 and len(matches(MAKE)) >= 7


@pytest.mark.parametrize("command", matches(TYPED))
def test_a_command_is_understood(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path))
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)[3:]
    options = arguments.parser().parse_args(words)
    if options.command == "run" and options.engine == "local":
        assert cli.main([*words, "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", matches(MENTIONED))
def test_a_command_that_is_mentioned_exists(command, capsys):
    words = [word for word in shlex.split(command)[3:] if re.fullmatch(r"[a-z|]+", word)]
    for name in words[0].split("|"):
        with pytest.raises(SystemExit) as left:
            arguments.parser().parse_args([name, *words[1:], "--help"])
        assert left.value.code == 0, capsys.readouterr().err


def test_every_target_of_make_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(matches(MAKE)) <= {*targets, "sure", "it"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for link in LINK.findall(text(page)):
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}; headings: {sorted(anchors(target))}"


def test_the_minutes_on_a_t4_of_the_readme_are_those_of_the_notebooks():
    for name, cell in re.findall(
        r"\(notebooks/(\w+)\.ipynb\) \|[^|]*\|([^|]*)\|", (ROOT / "README.md").read_text("utf-8")
    ):
        source = (ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8")
        row = re.search(r"\*\*minutes on a T4\*\* \|([^|]*)\|", source)[1]
        assert set(re.findall(r"\d+", cell)) <= set(re.findall(r"\d+", row)), name

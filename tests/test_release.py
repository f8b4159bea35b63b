"""A release: kaggle/ holds what the version's heading says, and `make release` does all of its work or none."""

import ast
import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mounts
import nbformat
import pytest

import emohelpers
from emohelpers.suite import notebooks
from emohelpers.suite.bundle import build
from emohelpers.suite.notebooks import tags

HOME = Path(__file__).parents[1]
FOLDER = HOME / "kaggle"
STEMS = [path.stem for path in sorted((HOME / "notebooks").glob("*.ipynb"))]
VERSION = emohelpers.__version__
PACKAGE = re.compile(r"# emohelpers (\S+), \d+ of its files, sha256 [0-9a-f]{16}")


def headings() -> list[str]:
    return re.findall(r"^## (\d\S*)", (HOME / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)


def test_every_notebook_lies_ready_and_nothing_else() -> None:
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    expected = {f"{stem}/{name}" for stem in STEMS for name in (f"{stem}.ipynb", "kernel-metadata.json")}
    assert files == {"README.md", *expected}


@pytest.mark.parametrize("stem", STEMS)
def test_a_ready_notebook_is_small_and_says_its_version(stem: str) -> None:
    path = FOLDER / stem / f"{stem}.ipynb"
    assert path.stat().st_size <= build.ROOM == 400_000
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    (cell,) = [cell for cell in book.cells if "package" in tags(cell)]
    version = PACKAGE.match(cell.source)[1]
    assert version in headings()
    assert f"Version {version}." in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not any(cell.get("outputs") for cell in book.cells)
    ast.parse(cell.source)
    metadata = json.loads((path.parent / "kernel-metadata.json").read_text())
    assert metadata["code_file"] == path.name


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ready notebooks as they come out of a clone that a plain web server shows, each in a folder of its own."""
    clone, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("downloads")
    git(HOME, "clone", "--quiet", "--depth", "1", f"file://{HOME}", str(clone))
    with served(clone) as address:
        for stem in STEMS:
            (folder / stem).mkdir()
            urllib.request.urlretrieve(f"{address}/kaggle/{stem}/{stem}.ipynb", folder / stem / f"{stem}.ipynb")
    return folder


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on the loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attached")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stem", STEMS)
def test_a_download_runs_with_kaggles_versions_and_nothing_else(stem: str, downloads: Path, attached: Path) -> None:
    try:
        home = mounts.done(stem, mounts.environment(), attached, downloads)
    except mounts.NoNameSpaces as error:
        pytest.skip(f"no name spaces here: {error}")
    book = nbformat.read(home / "kept" / "done.ipynb", 4)
    (receipt,) = [cell for cell in book.cells if notebooks.RECEIPT in tags(cell)]
    assert "leaks: 0" in receipt.outputs[0].text and "False" not in receipt.outputs[0].text


# ---------------------------------------------------------------- make release, in a repository of its own


def git(home: Path, *words: str) -> str:
    ran = subprocess.run(["git", "-C", str(home), *words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def write_book(home: Path, stem: str, code: str = "from emohelpers.config import paths") -> None:
    cells = [nbformat.v4.new_markdown_cell("## Set-up", id="prose")]
    cells.append(nbformat.v4.new_code_cell(code, id="code", metadata={"tags": ["setup"]}))
    (home / "notebooks" / f"{stem}.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A committed copy of the package with one notebook; releases of it take seconds."""
    for name in ("emohelpers", "data_manifests", "scripts"):
        shutil.copytree(HOME / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    write_book(tmp_path, "01_a")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## Unreleased\n\n## {VERSION} - 2026-01-01\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "config", "user.name", "someone")
    git(tmp_path, "config", "user.email", "someone@example.org")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def release(home: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(home / "scripts" / "release.py"), *words]
    return subprocess.run(command, cwd=home, capture_output=True, text=True)


def state(home: Path) -> tuple[str, ...]:
    """All that a release changes."""
    files = "\n".join(sorted(str(path) for path in home.rglob("*") if "kaggle" in path.parts))
    return git(home, "rev-parse", "HEAD"), git(home, "tag"), git(home, "status", "--porcelain"), files


def test_a_release_is_a_commit_and_a_tag(home: Path) -> None:
    ran = release(home)
    assert ran.returncode == 0 and "without badges" in ran.stdout, ran.stderr
    assert git(home, "tag", "--points-at", "HEAD") == f"v{VERSION}"
    assert git(home, "status", "--porcelain") == ""
    changed = git(home, "diff", "--name-only", "HEAD~1").splitlines()
    assert changed == ["kaggle/01_a/01_a.ipynb", "kaggle/01_a/kernel-metadata.json", "kaggle/README.md"]
    assert "[01_a](01_a/01_a.ipynb)" in (home / "kaggle" / "README.md").read_text()


def test_the_tag_may_come_later_and_another_time_changes_nothing(home: Path) -> None:
    assert release(home, "--no-tag").returncode == 0
    commit = git(home, "rev-parse", "HEAD")
    assert git(home, "tag") == ""
    assert release(home).returncode == 0
    assert git(home, "rev-parse", "HEAD", f"v{VERSION}^{{commit}}").split() == [commit, commit]


def test_badges_and_no_other_line_name_the_repository(home: Path) -> None:
    git(home, "remote", "add", "origin", "git@github.com:someone/emotions.git")
    assert release(home, "--no-tag").returncode == 0
    page = (home / "kaggle" / "README.md").read_text()
    path = f"someone/emotions/blob/v{VERSION}/kaggle/01_a/01_a.ipynb"
    assert f"https://colab.research.google.com/github/{path})" in page
    assert f"https://kaggle.com/kernels/welcome?src=https://github.com/{path})" in page
    assert "someone" not in (home / "kaggle" / "01_a" / "01_a.ipynb").read_text()


def test_a_notebook_that_is_gone_leaves_the_folder(home: Path) -> None:
    write_book(home, "02_b")
    git(home, "add", "--all")
    git(home, "commit", "--quiet", "-m", "second")
    assert release(home, "--no-tag").returncode == 0
    git(home, "rm", "--quiet", "notebooks/02_b.ipynb")
    git(home, "commit", "--quiet", "-m", "third")
    assert release(home, "--no-tag").returncode == 0
    assert [path.name for path in sorted((home / "kaggle").iterdir())] == ["01_a", "README.md"]


def spoil(home: Path, how: str) -> None:
    """What stops a release; committed, but for the dirty tree."""
    if how == "dirty":
        (home / "notebooks" / "note.txt").write_text("forgotten")
        return
    if how == "tag":
        git(home, "tag", f"v{VERSION}")
        return
    if how == "heading":
        (home / "CHANGELOG.md").write_text(f"# Changelog\n\n## Unreleased\n\n{VERSION}\n")
    elif how == "large":
        write_book(home, "01_a", "from emohelpers.config import paths\n" + f"# {'0123456789' * 50_000}")
    elif how == "hook":
        hook = home / ".git" / "hooks" / "pre-commit"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
        hook.chmod(0o755)
        return
    git(home, "commit", "--quiet", "--all", "-m", "spoilt")


@pytest.mark.parametrize(
    "how, sentence",
    [
        ("dirty", "the tree has changes that are not committed (notebooks/note.txt)"),
        ("tag", f"the tag v{VERSION} exists: raise __version__"),
        ("heading", f"CHANGELOG.md has no heading `## {VERSION}`"),
        ("large", "the bundle of 01_a has 5"),
        ("hook", "git commit failed: not today"),
    ],
)
def test_a_release_that_cannot_be_says_why_and_changes_nothing(home: Path, how: str, sentence: str) -> None:
    spoil(home, how)
    before = state(home)
    ran = release(home)
    assert ran.returncode == 1 and ran.stderr.startswith(f"no release: {sentence}"), ran.stderr
    assert ran.stderr.count("\n") == 1 and state(home) == before

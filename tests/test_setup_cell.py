"""The set-up cell: it finds the package where people put it, and says in one sentence what to do where they did not."""

import functools
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import mounts
import pytest

from emohelpers.suite import notebooks
from emohelpers.suite.bundle import contents

HOME = Path(__file__).parents[1]
STEM = "01_baseline_training"
_spec = importlib.util.spec_from_file_location("setup_cell", HOME / "scripts" / "setup_cell.py")
setup_cell = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(setup_cell)

ASK = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
if shell.run_cell(open(sys.argv[1]).read(), store_history=True).success:
    shell.run_cell("%load_ext emohelpers.suite.session\\nfrom emohelpers.datasets import manifest", store_history=True)
    shell.run_cell("import subprocess\\nprint(manifest.names(manifest.Description)[0], manifest.__file__)")
    child = "import emohelpers; print(emohelpers.__path__[0])"
    shell.run_cell(f"print(subprocess.check_output([sys.executable, '-S', '-c', {child!r}], text=True, cwd='/'))")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel, alone in its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=HOME, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture
def address(wheel: Path) -> Iterator[str]:
    """Where the wheel is served on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(wheel.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{wheel.name}"
        server.shutdown()


def repository(folder: Path) -> Path:
    """What Kaggle makes of the repository's ZIP: one folder, in it the tree."""
    for name in ("emohelpers", "data_manifests"):
        shutil.copytree(HOME / name, folder / "emotion-notebooks-main" / name)
    return folder


def others(folder: Path) -> Path:
    """All installed packages but ours, of which an editable install leaves a folder too."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("emohelpers"):
            (folder / entry.name).symlink_to(entry)
    return folder


def answer(place: Path, cell: str) -> str:
    """What the cell and its successor print in a fresh interpreter without the package; inputs lie in `place`/input."""
    (place / "working").mkdir(parents=True)
    (place / "site").mkdir()
    script = place / "cell.py"
    script.write_text(cell.replace("/kaggle/input/", f"{place}/input/"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMOHELPERS_")}
    environment |= {"PIP_TARGET": str(place / "site"), "HOME": str(place)}
    environment |= {"PYTHONPATH": f"{place / 'site'}:{others(place / 'others')}"}  # -S: no .pth file is followed
    program = [sys.executable, "-S", "-c", ASK, str(script)]
    ran = subprocess.run(program, cwd=place / "working", env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout)


def attach(way: str, place: Path, wheel: Path) -> str:
    """Puts the package where a user puts it, and returns where it must come from."""
    layouts = {
        "zip": "emotion-notebooks",
        "owner": "datasets/me/emotion-notebooks",
        "output": "notebooks/me/a-notebook",
    }
    if way in layouts:
        return str(repository(place / "input" / layouts[way]) / "emotion-notebooks-main")
    if way == "checkout":
        (place / "working").mkdir()
        shutil.copytree(HOME / "emohelpers", place / "emohelpers")
        shutil.copytree(HOME / "data_manifests", place / "data_manifests")
        (place / "working").rmdir()
        return str(place)
    folder = place / ("working" if way == "beside" else "input/datasets/me/my-wheel")
    folder.mkdir(parents=True)
    shutil.copy(wheel, folder)
    return "emohelpers-wheel-"


@pytest.mark.parametrize("way", ["zip", "owner", "checkout", "wheel"])
def test_the_package_is_found_where_people_put_it(way: str, wheel: Path, tmp_path: Path) -> None:
    source = attach(way, tmp_path, wheel)
    told = answer(tmp_path, setup_cell.cell(""))
    assert told.startswith("affectnet") and told.count(source) == 2, told  # this process and one that it starts


def test_pip_takes_it_from_the_address_of_the_release(address: str, tmp_path: Path) -> None:
    told = answer(tmp_path, setup_cell.cell(address))
    assert told.count(str(tmp_path / "site" / "emohelpers")) == 2, told


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:9/emohelpers-0.1.0-py3-none-any.whl"])
def test_without_the_package_one_sentence_says_what_to_do(address: str, tmp_path: Path) -> None:
    told = answer(tmp_path, setup_cell.cell(address))
    assert "SystemExit: emohelpers is missing: attach its wheel or repository" in told and "Traceback" not in told
    assert ("internet on" in told) == bool(address)


def test_the_cell_is_the_scripts_and_short() -> None:
    books = [notebooks.load(book.path) for book in mounts.BOOKS.values()]
    cells = [cell.source for book in books for cell in book.cells if "setup" in notebooks.tags(cell)]
    assert len(cells) == len(books) and set(cells) == {setup_cell.cell()}
    assert len(setup_cell.cell("git+https://github.com/owner/name@v1").splitlines()) <= 8


@pytest.mark.parametrize("stem", mounts.BOOKS)
def test_the_cell_of_imports_asks_for_all_extras_of_its_notebook(stem: str) -> None:
    """That cell alone is seen when what it lacks is installed."""
    book = notebooks.load(mounts.BOOKS[stem].path)
    (cell,) = [cell.source for cell in book.cells if cell.source.startswith("%load_ext emohelpers.suite.session\n")]
    assert contents.extras(cell) == contents.used(book).extras


# ---------------------------------------------------------------- whole notebooks, as Kaggle runs them


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["zip", "wheel", "address"])
def test_a_source_notebook_runs_as_it_is(way: str, wheel: Path, tmp_path: Path) -> None:
    before, path = "", mounts.BOOKS[STEM].path
    if way == "address":
        before = f"{sys.executable} -m http.server --directory {wheel.parent} 8765 > /dev/null 2>&1 & sleep 2;"
        book = notebooks.load(path)
        for cell in book.cells:
            if "setup" in notebooks.tags(cell):
                cell.source = setup_cell.cell(f"http://127.0.0.1:8765/{wheel.name}")
        path = tmp_path / path.name
        path.write_text(notebooks.canonical(book))
    else:
        attach(way, tmp_path, wheel)
    try:
        error = mounts.run(mounts.environment(), tmp_path, path, before=before, PRESET="demo")
    except mounts.NoNameSpaces as refusal:
        pytest.skip(f"no name spaces here: {refusal}")
    assert not error
    assert mounts.metrics(tmp_path)["demo"] is True

"""The runner against real kernels: order, parameters, failures, kills and time limits, on notebooks of a few lines."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from tiny import status, write

from emohelpers.suite import notebooks, records, runs
from emohelpers.suite.cli import main
from emohelpers.suite.notebooks import NotebookError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with {braces} and a space in its name, as papermill fills names into paths."""
    folder = tmp_path / "a {run} of mine"
    (folder / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(folder / "outputs"))
    monkeypatch.delenv("EMOHELPERS_CACHE", raising=False)
    return folder


def gone(pid: int) -> bool:
    """Whether a process ended (a zombie that nobody waited for counts), within half a minute."""
    for _ in range(300):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def test_prerequisites_parameters_and_reuse(place: Path, capsys: pytest.CaptureFixture) -> None:
    write(
        place,
        "01_first",
        "import os\nrun = os.environ['EMOHELPERS_RUN']\nopen('seen', 'a').write(f'1 {run} {RATE!r};')",
    )
    write(place, "02_second", "open('seen', 'a').write(f'2 {RATE!r} {NAMES!r};')", needs=("01_first",))
    command = ["run", "2", "--run", "mine", "--param", "RATE=1e-05", "--param", 'NAMES=["a", 1]']
    assert main(command) == 0
    assert (place / "seen").read_text() == "1 mine 1e-05;2 1e-05 ['a', 1];"
    folder = place / "outputs" / "mine" / "02_second"
    assert sorted(p.name for p in folder.iterdir()) == ["02_second.ipynb", "run.log", "status.json"]
    assert status(place, "02_second", "mine")["status"] == "done"
    table = capsys.readouterr().out.split("\n\n")[-1]
    assert "outputs/mine/01_first/01_first.ipynb" in table and "2 of 2 done" in table

    assert main(command) == 0  # both are there already
    assert (place / "seen").read_text().count("1 mine") == 1 and (place / "seen").read_text().count("2 1e-05") == 1
    assert "done before" in capsys.readouterr().out
    assert main([*command, "--force"]) == 0  # 02 was asked for, 01 was not
    assert (place / "seen").read_text().count("1 mine") == 1 and (place / "seen").read_text().count("2 1e-05") == 2


def test_source_hash_ignores_outputs(place: Path) -> None:
    path = write(place, "01_a", "1")
    before = notebooks.read(path).sha256
    book = nbformat.read(path, 4)
    book.cells[1].execution_count = 7
    nbformat.write(book, path)
    assert notebooks.read(path).sha256 == before
    book.cells[1].source = "2"
    nbformat.write(book, path)
    assert notebooks.read(path).sha256 != before


def test_a_failure_is_shown_and_others_go_on(place: Path, capsys: pytest.CaptureFixture) -> None:
    write(place, "01_breaks", "x = 1", "raise ValueError('the folder is empty')", "open('never', 'w')")
    write(place, "02_needs_it", "open('never', 'w')", needs=("01_breaks",))
    write(place, "03_stops", "import sys\nsys.exit(0)", "open('never', 'w')")
    write(place, "04_does_not", "print('fine')")
    assert main(["run"]) == 1
    out = capsys.readouterr().out
    assert "ValueError: the folder is empty" in out and "in cell [3]" in out and "skipped: needs 01_breaks" in out
    assert [status(place, stem)["status"] for stem in ("01_breaks", "03_stops", "04_does_not")] == [
        "failed",
        "failed",
        "done",
    ]
    assert "SystemExit" in status(place, "03_stops")["error"]  # papermill itself takes it for success
    assert "1 of 4 done" in out and not (place / "never").exists()
    folder = place / "outputs" / "demo" / "01_breaks"
    assert (folder / "01_breaks.part.ipynb").exists() and not (folder / "01_breaks.ipynb").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "--param", "SEDE=1"], "01_a has no parameter SEDE; it has SEED, RATE, NAMES, DATASET_ROOT, OVERRIDES"),
        (["run", "--param", "SEED=one"], "SEED = 'one' is not of the type of its default 1"),
        (["run", "--param", "DATASET_ROOT=2024"], "for a text"),
        (["run", "--param", "NAMES=[1"], "is not JSON"),
        (["run", "--param", "SEED"], "is not NAME=VALUE"),
        (["run", "07"], "'07' names 0 notebooks; there are: 01_a"),
        (["run", "--notebooks", "nowhere"], "no notebooks in"),
    ],
)
def test_wrong_requests_run_nothing(
    place: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    write(place, "01_a", "open('never', 'w')")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (place / "never").exists() and not (place / "outputs").exists()


def test_circles_and_missing_needs_are_named(place: Path) -> None:
    write(place, "01_a", needs=("02_b",))
    write(place, "02_b", needs=("01_a",))
    books = notebooks.find(place / "notebooks")
    with pytest.raises(NotebookError, match="01_a -> 02_b -> 01_a"):
        notebooks.order(books, books)
    write(place, "02_b", needs=("09_z",))
    with pytest.raises(NotebookError, match="02_b needs 09_z"):
        notebooks.find(place / "notebooks")


def test_order_puts_prerequisites_first(place: Path) -> None:
    write(place, "01_a", needs=("03_c",))
    write(place, "02_b")
    write(place, "03_c")
    books = notebooks.find(place / "notebooks")
    assert notebooks.order(books, books) == ["03_c", "01_a", "02_b"]
    assert notebooks.order(books, notebooks.choose(books, ["1"])) == ["03_c", "01_a"]


@pytest.mark.parametrize("given", ["DATASET_ROOT=faces", 'OVERRIDES={"manifest": "my.yaml"}'])
def test_own_data_never_goes_to_the_demo_run(place: Path, given: str) -> None:
    write(place, "01_a", "1")
    assert main(["run", "--param", given]) == 0
    assert [p.name for p in (place / "outputs").iterdir() if p.is_dir()] == ["full"]


def test_a_killed_kernel_is_a_failure(place: Path, capsys: pytest.CaptureFixture) -> None:
    write(place, "01_a", "import os\nos.kill(os.getpid(), 9)", "1")
    assert main(["run"]) == 1
    assert status(place, "01_a")["status"] == "failed" and "Kernel died" in status(place, "01_a")["error"]
    assert "memory ran out" in capsys.readouterr().out
    assert not (place / "outputs" / "demo" / "01_a" / "01_a.ipynb").exists()


FAMILY = """import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
open("pids.new", "w").write(f"{os.getppid()} {os.getpid()} {child.pid}")
os.rename("pids.new", "pids")
time.sleep(300)"""


def test_a_timeout_ends_the_whole_tree(place: Path, capsys: pytest.CaptureFixture) -> None:
    write(place, "01_a", FAMILY)
    for limit in ("4", "20", "80"):  # a busy machine may not have started the kernel after the first
        assert main(["run", "--timeout", limit]) == 1
        if (place / "pids").exists():
            break
    assert all(gone(int(pid)) for pid in (place / "pids").read_text().split())
    assert status(place, "01_a")["status"] == "timeout" and f"after {limit} s" in capsys.readouterr().out


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_runner_ends_the_whole_tree(place: Path, number: int, code: int) -> None:
    write(place, "01_a", FAMILY)
    home = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": home}
    runner = subprocess.Popen(
        [sys.executable, "-m", "emohelpers", "run"], env=environment, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored where tests run behind &
    )  # fmt: skip
    for _ in range(600):
        if (place / "pids").exists():
            break
        time.sleep(0.1)
    runner.send_signal(number)
    assert runner.wait(timeout=120) == code
    assert all(gone(int(pid)) for pid in (place / "pids").read_text().split())
    assert status(place, "01_a")["status"] == "interrupted"


def test_receipts_are_renewed_and_nbval_compares_them(place: Path, capsys: pytest.CaptureFixture) -> None:
    path = write(place, "01_a", "print('noise', object())", "print('leak =', SEED - 1)", receipt=True)
    assert main(["receipts"]) == 0
    assert main(["receipts", "--check"]) == 0
    cells = nbformat.read(path, 4).cells
    assert cells[-1].outputs[0].text == "leak = 0\n" and cells[-1].execution_count == 3
    assert not cells[1].outputs and cells[1].execution_count is None
    assert not (place / "outputs").exists()

    before = path.read_bytes()
    assert main(["receipts"]) == 0
    assert path.read_bytes() == before

    check = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-current-env",
        str(path),
    ]
    assert subprocess.run(check, cwd=place, capture_output=True).returncode == 0
    path.write_text(path.read_text().replace("leak = 0", "leak = 3"))
    compared = subprocess.run(check, cwd=place, capture_output=True, text=True)
    assert compared.returncode == 1 and "leak = 3" in compared.stdout

    path.write_text(
        path.read_text().replace(
            '"outputs": []', '"outputs": [{"name": "stdout", "output_type": "stream", "text": "a"}]'
        )
    )
    capsys.readouterr()
    assert main(["receipts", "--check"]) == 1
    assert "notebooks/01_a.ipynb: holds outputs" in capsys.readouterr().out


DAMAGED = ["", "[]", '{"cells": [', '{"nbformat": 4}', '{"nbformat": 3, "worksheets": []}', "[" * 100_000, "\xff"]


def test_one_damaged_notebook_ends_no_other(place: Path, capsys: pytest.CaptureFixture) -> None:
    write(place, "01_a", "open('seen', 'a').write('1')")
    write(place, "02_b", parameters="SEED = = 1")
    names = ["02_b"]
    for number, content in enumerate(DAMAGED):
        names.append(f"03_{number}")
        (place / "notebooks" / f"03_{number}.ipynb").write_text(content, encoding="latin-1")
    assert main(["run"]) == 1
    out = capsys.readouterr().out
    assert (place / "seen").read_text() == "1" and f"1 of {len(names) + 1} done" in out and "no Python" in out
    assert out.count("is not a readable notebook") == len(DAMAGED) and "fault" not in out
    assert main(["run", "1", "--param", "SEED=2"]) == 0
    assert main(["receipts", "--check"]) == 1
    assert capsys.readouterr().out.count("is not a readable notebook") == len(DAMAGED)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"status": "running", "host": ', '{"status": 3}', '{"status": "done", "made_of": 7}']
)
def test_a_run_with_a_damaged_status_is_done_again(place: Path, capsys: pytest.CaptureFixture, content: str) -> None:
    write(place, "01_a", "open('seen', 'a').write('1')")
    write(place, "02_b", "open('seen', 'a').write('2')", needs=("01_a",))
    folder = place / "outputs" / "demo" / "01_a"
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(content)
    assert main(["run", "2", "--dry-run"]) == 0
    assert "status.json cannot be read" in capsys.readouterr().out
    assert main(["run", "--only-failed"]) == 0 and (place / "seen").read_text() == "1"
    assert main(["run", "2"]) == 0 and (place / "seen").read_text() == "12"


def test_a_dead_run_elsewhere_is_not_waited_for_by_its_clock(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BEAT", 0.1)
    monkeypatch.setattr(records, "SILENT", 1.0)
    write(place, "01_a", "open('seen', 'a').write('1')")
    folder = place / "outputs" / "demo" / "01_a"
    folder.mkdir(parents=True)
    ahead = {"status": "running", "host": "elsewhere", "heartbeat": time.time() + 5 * 3600}
    (folder / "status.json").write_text(json.dumps(ahead))
    assert main(["run"]) == 0 and (place / "seen").read_text() == "1"


def test_ray_that_is_not_there_is_named_with_a_remedy(place: Path, capsys, monkeypatch) -> None:
    write(place, "01_a", "1")
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "emohelpers.suite.cluster", raising=False)
    assert main(["run", "--engine", "ray"]) == 2
    assert "needs Ray" in capsys.readouterr().err

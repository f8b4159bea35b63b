"""Grids of runs against real kernels: what is done once, done again and why, killed, resumed, shared and planned."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from tiny import status, write

from emohelpers.suite import notebooks, plan, runs, stamps
from emohelpers.suite.cli import main

HOME = Path(__file__).parents[1]
SEEN = "open('seen', 'a').write(f'{STEM} {SEED} {RATE};')"
FIRST = "import os\nfrom pathlib import Path\nSTEM = '01'\nfolder = Path(os.environ['EMOHELPERS_OUTPUTS'])"
RESULT = "(folder / os.environ['EMOHELPERS_RUN'] / '01_a' / 'result').write_text(str(SEED))"
READ = "STEM = '02'\nimport os\nfrom emohelpers.config import paths\nrun = os.environ['EMOHELPERS_RUN']"
FOUND = "assert paths.find_result('01_a', 'result', run=run).read_text() == str(SEED), SEED"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("PYTHONPATH", str(HOME))
    return tmp_path


def seen(place: Path) -> list[str]:
    """What the notebooks did, in any order."""
    return sorted(filter(None, (place / "seen").read_text().split(";")))


def pair(place: Path) -> None:
    write(place, "01_a", FIRST, SEEN, RESULT)
    write(place, "02_b", READ, SEEN, FOUND, needs=("01_a",))


def test_a_grid_has_a_folder_for_each_point_and_finds_its_prerequisites_there(place: Path, capsys) -> None:
    pair(place)
    assert main(["run", "2", "--grid", "SEED=1,2", "--workers", "2"]) == 0
    assert seen(place) == ["01 1 0.5", "01 2 0.5", "02 1 0.5", "02 2 0.5"]
    assert sorted(p.name for p in (place / "outputs").iterdir() if p.is_dir()) == ["demo@SEED=1", "demo@SEED=2"]
    found = status(place, "02_b", "demo@SEED=2")
    assert found["status"] == "done" and found["parameters"] == {"SEED": 2} and found["cell"] == found["cells"] == 5
    assert main(["run", "2", "--grid", "SEED=1,2,3"]) == 0
    assert seen(place).count("02 1 0.5") == 1 and "02 3 0.5" in seen(place)
    assert "6 of 6 done" in capsys.readouterr().out


def test_a_prerequisite_without_the_axis_is_done_once_and_shown_in_each_folder(place: Path) -> None:
    write(place, "01_a", FIRST, SEEN, RESULT)
    more = "SEED = 1\nRATE = 0.5\nNET = 'a'\nOVERRIDES = {}"
    write(place, "02_b", READ, "open('seen', 'a').write(f'02 {NET};')", FOUND, needs=("01_a",), parameters=more)
    assert main(["run", "2", "--grid", "NET=a,b/c", "--grid", "SEED=1"]) == 0
    assert seen(place) == ["01 1 0.5", "02 a", "02 b/c"]
    names = sorted(p.name for p in (place / "outputs").iterdir() if p.is_dir())
    assert names[0] == "demo@NET=a,SEED=1" and names[1].startswith("demo@NET=b_c~") and names[2] == "demo@SEED=1"
    assert (place / "outputs" / names[1] / "01_a").resolve() == (place / "outputs" / "demo@SEED=1" / "01_a").resolve()


def test_a_folder_in_the_way_of_a_link_is_told(place: Path, capsys) -> None:
    write(place, "01_a", FIRST, SEEN, RESULT)
    more = "SEED = 1\nRATE = 0.5\nNET = 'a'\nOVERRIDES = {}"
    write(place, "02_b", "1", needs=("01_a",), parameters=more)
    (place / "outputs" / "demo@NET=x" / "01_a").mkdir(parents=True)
    assert main(["run", "2", "--grid", "NET=x"]) == 1
    assert "is in the way of a link" in capsys.readouterr().out and seen(place) == ["01 1 0.5"]


def test_done_again_when_it_is_made_of_something_else_and_only_then(place: Path, monkeypatch) -> None:
    pair(place)
    (place / "faces").mkdir()
    command = ["run", "2", "--run", "r", "--param", "DATASET_ROOT=faces"]
    chain = plan.chains(notebooks.find(place / "notebooks"), ["02_b"], {"DATASET_ROOT": "faces"}, [{}], "r")[0]

    def reasons() -> list[str]:
        return [runs.changed(run, runs.made_of(run)) for run in chain]

    assert reasons() == ["new", "new"]
    assert main(command) == 0
    assert reasons() == ["", ""]
    assert main(command) == 0 and len(seen(place)) == 2

    (place / "faces" / "a.png").write_text("new")
    assert reasons() == ["changed: inputs", "changed: inputs"]
    with monkeypatch.context() as patch:
        patch.setattr(stamps, "code", lambda: "other")
        assert reasons()[0] == "changed: inputs, code"
    assert main(command) == 0 and len(seen(place)) == 4
    write(place, "01_a", FIRST, SEEN, RESULT, "'a new line'")
    assert main(command) == 0 and len(seen(place)) == 6  # 02 is done again, as what it reads is new
    (place / "outputs" / "r" / "01_a" / "01_a.ipynb").unlink()
    assert main([*command, "--param", "SEED=1"]) == 0  # the default, and so no change
    assert seen(place).count("01 1 0.5") == 4 == seen(place).count("02 1 0.5")


def behind_a_manifest(place: Path) -> dict[str, str]:
    """Stamps of a manifest whose data lie at its `root`, one of their folders by a link."""
    return stamps.stamps({"OVERRIDES": {"manifest": str(place / "mine.yaml")}})


@pytest.mark.parametrize("change", ["new content", "older time", "swapped by rename", "behind a link", "table outside"])
def test_data_behind_a_manifest_that_changed_are_seen(tmp_path: Path, change: str) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nroot: data\nlayout: {kind: table, file: ../labels.csv}\n")
    (tmp_path / "labels.csv").write_text("path,label\n")
    for folder in ("data/happy", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        for name in "ab":
            (tmp_path / folder / name).write_text(name)
            os.utime(tmp_path / folder / name, (10, 10))
    (tmp_path / "data" / "sad").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    before = behind_a_manifest(tmp_path)
    assert before == behind_a_manifest(tmp_path)
    first, second = tmp_path / "data/happy/a", tmp_path / "data/happy/b"
    if change == "new content":
        first.write_text("c")
        os.utime(first, (10, 10))
    elif change == "older time":
        os.utime(first, (5, 5))
    elif change == "swapped by rename":
        first.rename(tmp_path / "c")
        second.rename(first)
        (tmp_path / "c").rename(second)
    elif change == "behind a link":
        (tmp_path / "elsewhere/a").write_text("c")
    else:
        (tmp_path / "labels.csv").write_text("path,label\na,happy\n")
    assert behind_a_manifest(tmp_path) != before


def test_parameters_of_another_run_are_not_taken_for_ours(place: Path) -> None:
    pair(place)
    assert main(["run", "1", "--param", "SEED=3"]) == 0
    assert main(["run", "2"]) == 0  # 01 with SEED=3 is there, and not what 02 needs
    assert seen(place) == ["01 1 0.5", "01 3 0.5", "02 1 0.5"]


def test_only_failed_and_resume(place: Path, capsys) -> None:
    write(place, "01_a", FIRST, SEEN, "assert SEED != 2 or Path('mended').exists(), 'broken'")
    write(place, "02_b", "STEM = '02'", SEEN, needs=("01_a",))
    grid = ["run", "--grid", "SEED=1,2"]
    assert main(grid) == 1
    assert seen(place) == ["01 1 0.5", "01 2 0.5", "02 1 0.5"]
    capsys.readouterr()
    assert main([*grid, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "was failed" in told and "new" in told and "2 of 4 to run" in told and "--index 0 ... 1" in told
    (place / "mended").touch()
    assert main([*grid, "--only-failed"]) == 0
    assert seen(place) == ["01 1 0.5", "01 2 0.5", "01 2 0.5", "02 1 0.5"]
    assert main(grid) == 0
    assert seen(place)[-1] == "02 2 0.5" and len(seen(place)) == 5
    assert main([*grid, "--only-failed"]) == 0 and "nothing began" in capsys.readouterr().out


def test_kernels_that_start_at_once_share_no_port(place: Path) -> None:
    asked = "from ipykernel.connect import get_connection_info\nopen('seen', 'a').write(get_connection_info() + ';')"
    write(place, "01_a", asked)
    assert main(["run", "--grid", "SEED=1,2,3", "--workers", "2"]) == 0
    kernels = [json.loads(text) for text in seen(place)]
    assert {kernel["transport"] for kernel in kernels} == {"ipc"}
    assert len({kernel["ip"] for kernel in kernels}) == 3 and not any(Path(k["ip"]).parent.exists() for k in kernels)


CARD = """import os, time
card = os.environ['CUDA_VISIBLE_DEVICES']
open(f'busy{card}', 'x').close()  # fails where another run has this card
time.sleep(1)
os.remove(f'busy{card}')
open('seen', 'a').write(f'{card};')"""


def test_each_card_has_one_run_at_a_time(place: Path, monkeypatch) -> None:
    write(place, "01_a", CARD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert main(["run", "--grid", "SEED=1,2,3"]) == 0
    assert len(seen(place)) == 3 and set(seen(place)) == {"3", "5"}


def test_index_does_one_point(place: Path, capsys) -> None:
    pair(place)
    grid = ["run", "2", "--grid", "SEED=5,6"]
    assert main([*grid, "--index", "1"]) == 0
    assert seen(place) == ["01 6 0.5", "02 6 0.5"]
    assert main([*grid, "--index", "2"]) == 2 and "0 ... 1" in capsys.readouterr().err


def test_overrides_are_merged_setting_by_setting() -> None:
    points = plan.axes(["OVERRIDES.epochs=1,2", "SEED=3"])
    assert points == [{"OVERRIDES.epochs": 1, "SEED": 3}, {"OVERRIDES.epochs": 2, "SEED": 3}]
    whole = plan.merged({"OVERRIDES": {"lr": 0.1}, **points[1]})
    assert whole == {"OVERRIDES": {"lr": 0.1, "epochs": 2}, "SEED": 3}
    assert plan.axes(['OVERRIDES={"epochs": 1},{"epochs": 2}'])[1] == {"OVERRIDES": {"epochs": 2}}
    assert plan.axes(["NET=resnet50,vit"]) == [{"NET": "resnet50"}, {"NET": "vit"}]
    assert plan.label({"NET": "a/b", "LR": 1e-05}).endswith(",LR=1e-05")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--grid", "SEDE=1,2"], "has no parameter SEDE"),
        (["--grid", "SEED=1,one"], "'one' is not of the type"),
        (["--grid", "SEED=1,1"], "names a value twice"),
        (["--grid", "SEED=1", "--grid", "SEED=2"], "given twice"),
        (["--grid", "SEED"], "is not NAME=VALUE"),
        (["--param", "OVERRIDES=3"], "not of the type"),
        (["--param", "SEED.x=3"], "no parameter SEED.x"),
        (["--run", "a/b"], "a plain name"),
        (["--grid", "SEED=1,2", "--param", "OUTPUT_DIR=x"], "2 runs would write to it"),
    ],
)
def test_wrong_grids_run_nothing(place: Path, capsys, arguments: list[str], message: str) -> None:
    write(place, "01_a", "open('never', 'w')", parameters="SEED = 1\nOUTPUT_DIR = ''\nOVERRIDES = {}")
    assert main(["run", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (place / "never").exists() and not (place / "outputs").exists()


def test_dry_run_tells_time_by_earlier_runs(place: Path, capsys) -> None:
    write(place, "01_a", "1")
    folder = place / "outputs" / "demo" / "01_a"
    folder.mkdir(parents=True)
    for seconds in (100.0,):
        content = {"stem": "01_a", "run": "demo", "status": "done", "seconds": seconds}
        (folder / "status.json").write_text(json.dumps(content))
    assert main(["run", "--grid", "SEED=1,2,3", "--workers", "2", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "3 of 3 to run; about 2 min with 2 side by side" in told and not list(place.glob("outputs/demo@*"))


def begin(place: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "emohelpers", "run", *arguments]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(ready, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)


def test_two_runners_share_a_folder(place: Path) -> None:
    write(place, "01_a", FIRST, "import time; time.sleep(2)", SEEN)
    both = [begin(place, "--grid", "SEED=1,2") for _ in range(2)]
    told = [runner.communicate(timeout=200)[0] for runner in both]
    assert [runner.returncode for runner in both] == [0, 0], told
    assert seen(place) == ["01 1 0.5", "01 2 0.5"]
    assert sum(text.count("done before") for text in told) >= 2


STEPS = """import os, time
from pathlib import Path
done = Path(os.environ['EMOHELPERS_OUTPUTS']) / os.environ['EMOHELPERS_RUN'] / '01_a' / 'steps'
Path(f'pid{SEED}').write_text(str(os.getpid()))
for step in range(int(done.read_text()) if done.exists() else 0, 4):
    time.sleep(0.5)
    done.with_name('next').write_text(str(step + 1))
    done.with_name('next').replace(done)  # a full disk or a kill never leaves it empty
    open('seen', 'a').write(f'{SEED} {step};')"""


@pytest.mark.slow
def test_six_runs_with_a_killed_kernel_a_killed_runner_and_a_full_disk(place: Path, tmp_path: Path) -> None:
    """Resumed to completion, no step done twice, and the page tells of all six."""
    write(place, "01_a", STEPS, "Path('big').exists() and (done.parent / 'big').write_bytes(bytes(40 << 20))")
    grid = ["--grid", "SEED=1,2,3,4,5,6", "--workers", "2"]

    runner = begin(place, *grid)
    until(lambda: (place / "pid1").exists() and (place / "pid1").read_text())
    os.kill(int((place / "pid1").read_text()), signal.SIGKILL)
    until(lambda: (place / "pid3").exists() and (place / "pid3").read_text())
    family = psutil.Process(runner.pid).children(recursive=True)
    runner.kill()
    runner.wait()
    psutil.wait_procs(family, timeout=20)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "left at work"
    assert not [place for p in family for place in Path(tempfile.gettempdir()).glob(f"kernel-{p.pid}-*")]
    assert status(place, "01_a", "demo@SEED=1")["status"] == "failed"

    (place / "big").touch()  # each run now writes more than the disk holds
    command = f"mount -t tmpfs -o size=6m none outputs && cp -a kept/. outputs && {sys.executable} -m emohelpers run "
    (place / "outputs").rename(place / "kept")
    (place / "outputs").mkdir()
    inside = command + " ".join(grid) + "; code=$?; rm -rf kept; cp -a outputs kept; exit $code"
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", inside],
        cwd=place,
        capture_output=True,
        text=True,
    )
    if "mount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip(f"no name spaces here: {ran.stderr}")
    assert ran.returncode == 1 and "The disk is full" in ran.stdout, ran.stdout + ran.stderr
    (place / "outputs").rmdir()
    (place / "kept").rename(place / "outputs")

    (place / "big").unlink()
    last = begin(place, *grid)
    told, _ = last.communicate(timeout=300)
    assert last.returncode == 0 and "6 of 6 done" in told, told
    assert seen(place) == [f"{seed} {step}" for seed in range(1, 7) for step in range(4)]
    text = (place / "outputs" / "index.html").read_text()
    assert all(f"SEED={seed}" in text for seed in range(1, 7))


def test_a_text_that_is_no_path_is_none_for_the_stamps() -> None:
    assert stamps.stamps({"OVERRIDES": {"prompt": "x" * 300, "name": "a\0b"}, "NET": "vit"}) == {}

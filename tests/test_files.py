"""Files and folders that are whole or not there, and what they say when they cannot be written."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emohelpers.config import files

MARKER, STAMP = "set.json", {"n": 3, "seed": 1}


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = files.write_text(tmp_path / "a" / "metrics.json", "old")
    with pytest.raises(ValueError, match="half"), files.replace(path) as temp:
        temp.write_text("new, but only ha")
        raise ValueError("stopped half way")
    assert path.read_text() == "old"
    with pytest.raises(TypeError):
        files.write_json(path, {"x": object()})
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.bin"), files.replace(tmp_path / "x.bin"):
        pass
    assert not list(tmp_path.iterdir())


def test_the_temporary_file_keeps_suffix_and_folder(tmp_path):
    with files.replace(tmp_path / "figure.png") as temp:
        assert temp.parent == tmp_path and temp.suffix == ".png" and temp.name.startswith(".")
        temp.write_bytes(b"x")
    assert (tmp_path / "figure.png").read_bytes() == b"x"


def test_what_a_killed_writer_left_is_removed(tmp_path, gone):
    dead = tmp_path / f".best.{files.HOST}-{gone}-0123abcd.part.pth"
    live = tmp_path / f".best.{files.HOST}-{os.getpid()}-0123abcd.part.pth"
    other = tmp_path / f".last.{files.HOST}-{gone}-0123abcd.part.pth"
    for path in (dead, live, other):
        path.touch()
    files.write_bytes(tmp_path / "best.pth", b"weights")
    assert sorted(tmp_path.iterdir()) == sorted([live, other, tmp_path / "best.pth"])


def test_an_unwritable_place_is_named_with_its_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*x\.json.*OUTPUT_DIR"):
        files.write_json(tmp_path / "file" / "x.json", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write .*folder.*rename it.*OUTPUT_DIR"):
        files.write_text(tmp_path / "folder", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_an_error_about_another_file_is_not_relabelled(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, files.replace(tmp_path / "copy.txt") as temp:
        temp.write_text((tmp_path / "source.txt").read_text())
    assert caught.value.filename == str(tmp_path / "source.txt")


def test_json_knows_numpy_and_has_no_nan(tmp_path):
    content = {
        "a": np.float32(0.5),
        "b": [np.int64(3), float("nan")],
        "c": np.array([1, 2]),
        "é": tmp_path / "x",
        1: True,
    }
    text = files.write_json(tmp_path / "x.json", content).read_text(encoding="utf-8")
    assert json.loads(text) == {"a": 0.5, "b": [3, None], "c": [1, 2], "é": (tmp_path / "x").as_posix(), "1": True}
    assert text.endswith("}\n")


def test_csv_has_unix_line_ends_and_no_index(tmp_path):
    path = files.write_csv(pd.DataFrame({"path": ["é.png"], "n": [1]}), tmp_path / "t.csv")
    assert path.read_bytes() == "path,n\né.png,1\n".encode()


# ---------------------------------------------------------------- folders


def fill(folder: Path, text: str = "whole", stamp: dict | None = STAMP) -> bool:
    """Makes the folder with one file, unless it is there; returns whether it was made."""
    with files.new_folder(folder, MARKER, stamp) as new:
        if new:
            (new / "a.txt").write_text(text)
    return new is not None


def test_a_folder_is_made_once_and_known_by_its_stamp(tmp_path):
    folder = tmp_path / "deep" / "set_0.5"
    assert fill(folder) and not fill(folder, "again")
    assert (folder / "a.txt").read_text() == "whole" and json.loads((folder / MARKER).read_text()) == STAMP
    assert fill(folder, "more", {**STAMP, "n": 4}) and (folder / "a.txt").read_text() == "more"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["set_0.5"], "no lock, no old folder"


def test_without_a_stamp_the_block_writes_the_marker(tmp_path):
    for made in (True, False):
        with files.new_folder(tmp_path / "store", "index.json", replace=True) as new:
            assert (new is not None) == made
            if new:
                files.write_json(new / "index.json", {})


def test_a_failing_block_leaves_the_old_folder_and_nothing_else(tmp_path):
    fill(tmp_path / "set")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), files.new_folder(tmp_path / "set", replace=True) as new:
            (new / "a.txt").write_text("new, but only ha")
            raise error
    assert (tmp_path / "set" / "a.txt").read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_folder_of_something_else_is_left_alone_unless_it_may_be_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match=r"mine holds something .*\(no set.json\): name another folder"):
        fill(tmp_path / "mine")
    with pytest.raises(FileExistsError, match="mine holds something already"), files.new_folder(tmp_path / "mine"):
        pass
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with files.new_folder(tmp_path / "mine", replace=True) as new:
        (new / "a.txt").touch()
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["a.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "set").mkdir()
    assert fill(tmp_path / "set")


def test_what_a_killed_maker_of_a_folder_left_is_removed(tmp_path, gone):
    dead, other = (
        tmp_path / f".set.{files.HOST}-{gone}-0123abcd.part",
        tmp_path / f".sets.{files.HOST}-{gone}-0123abcd.part",
    )
    for folder in (dead, other):
        (folder / "faces").mkdir(parents=True)
    fill(tmp_path / "set")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([other.name, "set"])


def test_an_unwritable_folder_is_named_with_its_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*file/set\. .*rename it.*EMOHELPERS_OUTPUTS"):
        fill(tmp_path / "file" / "set")
    with pytest.raises(OSError, match=r"cannot write .*file\. A file is where the folder should be"):
        fill(tmp_path / "file")
    with pytest.raises(FileNotFoundError) as caught, files.new_folder(tmp_path / "copy") as new:
        shutil.copyfile(tmp_path / "source.txt", new / "source.txt")
    assert caught.value.filename == str(tmp_path / "source.txt"), "an error about another file is not relabelled"


def test_of_several_processes_one_makes_the_folder_even_after_a_kill(tmp_path):
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from emohelpers.config import files
        with files.new_folder("set", "set.json", {"n": 1}) as new:
            if new:
                Path(sys.argv[1]).touch()
                time.sleep(float(sys.argv[2]))
        """
    )

    def start(name: str, seconds: float) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.Popen([sys.executable, "-c", program, name, str(seconds)], cwd=tmp_path, env=environment)

    first = start("first", 600)
    deadline = time.monotonic() + 60
    while not (tmp_path / "first").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    waiting = [start("second", 0.2), start("third", 0.2)]
    time.sleep(0.5)
    assert not (tmp_path / "second").exists() and not (tmp_path / "third").exists(), "they wait"
    first.kill()
    first.wait()  # until then its number is taken
    assert [process.wait(60) for process in waiting] == [0, 0]
    assert (tmp_path / "second").exists() != (tmp_path / "third").exists(), "one made it"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name not in ("second", "third")) == ["first", "set"]

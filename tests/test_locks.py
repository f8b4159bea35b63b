"""Folders and caches that one process uses at a time, on file systems with locks and without."""

import errno
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import Timeout

from emohelpers.config import files, locks, paths

HOLD = """
import sys, time
from pathlib import Path
from emohelpers.config import locks
if sys.argv[2] == "owner":
    locks._flock_works = lambda path: False
locks.claim(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["flock", "owner"])
def kind(request, monkeypatch) -> str:
    """A file system with locks, or one that says it has none."""
    if request.param == "owner":
        import fcntl

        def missing(*_):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", missing)
    return request.param


def hold(folder: Path, kind: str) -> subprocess.Popen:
    """Another process that keeps the folder until it is killed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", HOLD, str(folder), kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_in_use_is_refused_until_its_process_ends_even_by_a_kill(tmp_path, kind) -> None:
    process = hold(tmp_path, kind)
    try:
        with pytest.raises(locks.Busy, match=r"in use by another run.*OUTPUT_DIR, or --out"):
            locks.claim(tmp_path)
    finally:
        process.kill()
        process.wait()
    assert locks.claim(tmp_path), "a dead process keeps it"
    assert not locks.claim(tmp_path), "the same process may come again, as a cell does that is run twice"
    locks.release(tmp_path)


def test_of_several_processes_of_a_training_the_first_keeps_the_folder(tmp_path, monkeypatch) -> None:
    process = hold(tmp_path, "flock")
    monkeypatch.setenv("RANK", "1")
    assert paths.claimed(tmp_path) == tmp_path
    process.kill()
    process.wait()


def test_without_flock_one_waits_for_the_other(tmp_path, kind) -> None:
    with locks.lock(tmp_path / "lock"):
        second = locks.lock(tmp_path / "lock")
        with pytest.raises(Timeout):
            second.acquire(timeout=0.2)
    second.acquire(timeout=5)
    second.release()


@pytest.mark.parametrize("host", ["another-host", f"{socket.gethostname()}?pidns-f0"], ids=["host", "container"])
@pytest.mark.parametrize("timeout", [None, 0.2])
def test_an_owner_that_nobody_here_can_ask_is_told_and_not_waited_for(tmp_path, host, timeout, monkeypatch) -> None:
    monkeypatch.setattr(locks, "LOOK", 0.2)
    owner = tmp_path / "lock.owner"
    number = os.getpid() if host == "another-host" else 2**30  # no process here has that number
    owner.write_text(f"{number}\n{host}\n")
    for written in (0, time.time() + 1e6):  # by another machine's clock
        os.utime(owner, (written, written))
        with pytest.raises(
            locks.Busy, match=f"process {number} on {re.escape(host)} has .*If it has ended, remove {owner}"
        ):
            locks.Owner(owner).acquire(timeout=timeout)


def test_an_owner_that_died_before_it_wrote_its_name_is_not_waited_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "LOOK", 0.2)
    (tmp_path / "lock.owner").touch()
    with pytest.raises(locks.Busy, match=r"process \(without a name\) .*If it has ended, remove"):
        locks.Owner(tmp_path / "lock.owner").acquire()


def test_temporary_files_of_another_host_are_left_alone(tmp_path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    foreign = tmp_path / f".best.0123abcd-{dead.pid}-0123abcd.part.pth"
    folder = tmp_path / f".set.0123abcd-{dead.pid}-0123abcd.part"
    ours = tmp_path / f".set.{files.HOST}-{dead.pid}-0123abcd.part"
    foreign.touch()
    files.write_bytes(tmp_path / "best.pth", b"weights")
    with files.new_folder(tmp_path / "set", "set.json", {}) as new:
        assert new
    folder.mkdir()
    ours.mkdir()
    with files.new_folder(tmp_path / "set", "set.json", {}) as new:
        assert new is None
    assert foreign.exists() and folder.exists() and not ours.exists(), "litter beside a folder that is whole stays"


def test_a_name_of_243_bytes_can_be_written(tmp_path) -> None:
    path = tmp_path / ("ü" * 119 + ".json")
    assert files.write_json(path, {}).is_file()

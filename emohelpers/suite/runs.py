"""One notebook's run: done once, in a folder of its own, with a time limit and a status file that tells the truth."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from emohelpers import config
from emohelpers.config import files, paths, versions
from emohelpers.suite import execution, stamps
from emohelpers.suite.notebooks import Notebook, NotebookError

BEAT = 5.0  # seconds between two signs of life in status.json
SILENT = 120.0  # seconds without one after which a run on another machine counts as dead
DONE = ("done", "done before")


@dataclass(frozen=True)
class Run:
    """A notebook with its parameters and its place; `needs` are the runs whose results it reads."""

    book: Notebook
    values: Mapping[str, Any]
    name: str  # the pass of the suite that it belongs to: its folder below outputs/
    folder: Path
    needs: tuple["Run", ...] = ()

    @property
    def title(self) -> str:
        """The stem, with the point of the grid where there is one."""
        return self.book.stem + "".join(self.name.partition("@")[1:])


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its status, seconds, the place to look, and the last lines of its error."""

    status: str
    seconds: float
    place: Path
    error: str = ""


def shown(place: Path) -> str:
    """A path as short as it can be clicked on."""
    return str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)


def status(folder: Path) -> dict[str, Any]:
    """What the status file in `folder` says; empty where there is none."""
    try:
        found = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def made_of(run: Run) -> dict[str, Any]:
    """All that the results follow from; a run with the same is not done again."""
    before = {need.book.stem: status(need.folder) for need in run.needs}
    defaults = {name: value for name, value in run.book.parameters.items() if value is not ...}
    return {
        "notebook": run.book.sha256,
        "parameters": {**defaults, **run.values},
        "inputs": stamps.stamps({**defaults, **run.values}) | stamps.mounted(),
        "needs": {stem: [found.get("key"), found.get("started")] for stem, found in before.items()},
        "code": stamps.code(),
        "versions": versions.versions(),
    }


def changed(run: Run, content: Mapping[str, Any]) -> str:
    """Why a run has to be done, in words; empty if it is there, finished, and `made_of` the same."""
    found = status(run.folder)
    if found.get("status") != "done":
        return f"was {found['status']}" if "status" in found else "new"
    if not (run.folder / f"{run.book.stem}.ipynb").is_file():
        return "its notebook is gone"
    if found.get("key") == config.digest(content):
        return ""
    before = found.get("made_of", {})
    return "changed: " + ", ".join(
        part for part in content if config.digest(content[part]) != config.digest(before.get(part))
    )


def execute(
    run: Run, *, timeout: float, again: bool = False, stop: threading.Event | None = None, **environment: str
) -> Outcome:
    """Does one run in its folder, unless it is there already, and keeps its status file; returns how it ended.

    A lock lets several runners share the folders: whoever comes second waits and then finds the run done. Only a run
    that reached the end becomes `<stem>.ipynb`; anything else stays `<stem>.part.ipynb`. `status.json` is ours because
    papermill's metadata call a killed run completed.

    Args:
        timeout: seconds.
        again: do it even if it is finished and nothing changed.
        stop: ends the run from another thread.
        environment: variables for the notebook's processes.
    """
    paths.run_folder(run.book.stem, output_dir=str(run.folder))
    lock = FileLock(run.folder.parent / f".{run.book.stem}.lock")
    stop = stop or threading.Event()
    if not _held(lock, stop):
        return Outcome("interrupted", 0.0, run.folder, "while another runner was at it")
    try:
        _clear(run, stop)
        content = made_of(run)
        if not again and not changed(run, content):
            return Outcome("done before", 0.0, run.folder / f"{run.book.stem}.ipynb")
        for need in run.needs:
            _link(run, need)
        return _start(run, content, timeout, stop, environment)
    finally:
        lock.release()


def _held(lock: FileLock, stop: threading.Event) -> bool:
    """Waits until the lock is ours; False if `stop` is set before."""
    while not stop.is_set():
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0.5)
            return True
    return False


def _clear(run: Run, stop: threading.Event) -> None:
    """Ends what a dead runner left at work here; waits for a live one on another machine, whose locks may not reach."""
    while (found := status(run.folder)).get("status") == "running":
        if found.get("host") == socket.gethostname():
            with contextlib.suppress(psutil.NoSuchProcess):
                left = psutil.Process(found["pid"])
                if abs(left.create_time() - found["born"]) < 1:  # else the number belongs to somebody else now
                    execution.end_tree(left)
            return
        if time.time() - found.get("heartbeat", 0) > SILENT or stop.wait(BEAT):
            return


def _link(run: Run, need: Run) -> None:
    """Shows a prerequisite of another point of the grid in this run's own folder, where the notebook looks for it."""
    for deeper in need.needs:
        _link(run, deeper)
    place = paths.results(need.book.stem, run.name)
    target = os.path.relpath(need.folder, place.parent)
    if place == need.folder or (place.is_symlink() and os.readlink(place) == target):
        return
    if place.exists() and not place.is_symlink():
        raise NotebookError(
            f"{place} is in the way of a link to {need.folder}: remove it, or give this pass another name by --run"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}")
    fresh.symlink_to(target, target_is_directory=True)
    fresh.replace(place)  # at once, since a run beside this one may need the same


def _start(
    run: Run, content: dict[str, Any], timeout: float, stop: threading.Event, environment: Mapping[str, str]
) -> Outcome:
    book = run.book
    folder = run.folder
    final = folder / f"{book.stem}.ipynb"
    part = folder / f"{book.stem}.part.ipynb"
    log = folder / "run.log"
    about = {
        "stem": book.stem,
        "run": run.name,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "began": time.time(),
        "host": socket.gethostname(),
        "key": config.digest(content),
        "cells": book.cells + bool(run.values),  # papermill adds one for the parameters
        "parameters": dict(run.values),
        "made_of": content,
    }
    part.unlink(missing_ok=True)
    start = time.monotonic()
    state = "interrupted"
    error = "ended from outside"
    papermill = execution.start(book.path, part, run.values, log, {"EMOHELPERS_RUN": run.name, **environment})
    try:
        about |= {"pid": papermill.pid, "born": psutil.Process(papermill.pid).create_time()}
        if watch(papermill, folder, about, start + timeout, stop):
            error = execution.outcome(part, log, papermill.returncode)
            state = "failed" if error else "done"
        elif not stop.is_set():
            state = "timeout"
            error = f"not finished after {timeout:g} s; all its processes were ended"
    finally:
        execution.end_tree(papermill)
        seconds = round(time.monotonic() - start, 1)
        if state == "done":
            about["cell"] = about["cells"]
            part.replace(final)
        last = {"status": state, "seconds": seconds, "error": error, "heartbeat": time.time()}
        files.write_json(folder / "status.json", about | last)
    return Outcome(state, seconds, final if state == "done" else part if part.exists() else log, error)


def watch(
    papermill: subprocess.Popen, folder: Path, about: dict[str, Any], deadline: float, stop: threading.Event
) -> bool:
    """Waits for the end, writing signs of life; False when the time is up or `stop` is set."""
    cell = 0
    beat = -BEAT
    with (folder / "run.log").open(encoding="utf-8", errors="replace") as tail:
        while papermill.poll() is None:
            if time.monotonic() > deadline or stop.is_set():
                return False
            if time.monotonic() - beat >= BEAT:
                beat = time.monotonic()
                cell += tail.read().count("Executing Cell ")
                about |= {"cell": cell, "heartbeat": time.time()}
                with contextlib.suppress(OSError):  # of a full disk the last word tells, not a sign of life
                    files.write_json(folder / "status.json", about)
            with contextlib.suppress(subprocess.TimeoutExpired):
                papermill.wait(0.2)
    return True

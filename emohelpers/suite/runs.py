"""One notebook's run: done once, in a folder of its own, with a time limit and a status file that tells the truth."""

import contextlib
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
from filelock import Timeout

from emohelpers import config
from emohelpers.config import files, locks, paths, versions
from emohelpers.config.redaction import redacted
from emohelpers.suite import execution, records, stamps
from emohelpers.suite.notebooks import Notebook, NotebookError

BEAT = 5.0  # seconds between two signs of life in status.json
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


def made_of(run: Run) -> dict[str, Any]:
    """All that the results follow from; a run with the same is not done again."""
    before = {need.book.stem: records.status(need.folder) for need in run.needs}
    defaults = {name: value for name, value in run.book.parameters.items() if value is not ...}
    values = {**defaults, **run.values}
    return {
        "notebook": run.book.sha256,
        "parameters": values,
        "inputs": stamps.stamps(values) | stamps.mounted(),
        "needs": {stem: [status.key or None, status.started or None] for stem, status in before.items()},
        "code": stamps.code(),
        "versions": versions.versions(),
    }


def changed(run: Run, content: Mapping[str, Any]) -> str:
    """Why a run has to be done, in words; empty if it is there, finished, and `made_of` the same."""
    status = records.status(run.folder)
    if run.book.damaged or status.damaged:
        return run.book.damaged or status.damaged
    if status.status != "done":
        return f"was {status.status}" if status.status else "new"
    if not (run.folder / f"{run.book.stem}.ipynb").is_file():
        return "its notebook is gone"
    if status.key == config.digest(content):
        return ""
    before = status.made_of.model_dump()
    parts = [part for part in content if config.digest(content[part]) != config.digest(before.get(part))]
    return "changed: " + ", ".join(parts)


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
    if run.book.damaged:
        return Outcome("failed", 0.0, run.book.path, run.book.damaged)
    paths.run_folder(run.book.stem, output_dir=str(run.folder))
    lock = locks.lock(run.folder.parent / f".{run.book.stem}.lock")
    stop = stop or threading.Event()
    if not _held(lock, stop):
        return Outcome("interrupted", 0.0, run.folder, "while another runner was at it")
    try:
        _clear(run, stop)
        # Under the lock: another runner may have done this run, or what it needs, while we waited.
        content = made_of(run)
        if not again and not changed(run, content):
            return Outcome("done before", 0.0, run.folder / f"{run.book.stem}.ipynb")
        for need in run.needs:
            _link(run, need)
        return _start(run, content, timeout, stop, environment)
    finally:
        lock.release()


def _held(lock, stop: threading.Event) -> bool:
    """Waits until the lock is ours; False if `stop` is set before."""
    while not stop.is_set():
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0.5)
            return True
    return False


def _clear(run: Run, stop: threading.Event) -> None:
    """Ends what a dead runner left at work here; waits for a live one on another machine, whose locks may not reach."""
    heartbeat = None
    start = time.monotonic()
    while (status := records.status(run.folder)).status == "running":
        if status.host == socket.gethostname():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(status.pid)
                if abs(process.create_time() - status.born) < 1:  # else the number belongs to somebody else now
                    execution.end_tree(process)
            return
        # The other machine's clock may be hours off. What counts is whether the heartbeat goes on while we look.
        if status.heartbeat != heartbeat:
            heartbeat = status.heartbeat
            start = time.monotonic()
        patience = 3 * BEAT if time.time() - heartbeat > records.SILENT else records.SILENT
        if time.monotonic() - start > patience or stop.wait(BEAT):
            return


def _link(run: Run, need: Run) -> None:
    """Shows a prerequisite of another point of the grid in this run's own folder, where the notebook looks for it."""
    for deeper in need.needs:
        _link(run, deeper)
    link = paths.results(need.book.stem, run.name)
    target = os.path.relpath(need.folder, link.parent)
    if link == need.folder or (link.is_symlink() and os.readlink(link) == target):
        return
    if link.exists() and not link.is_symlink():
        remedy = "remove it, or give this pass another name by --run"
        raise NotebookError(f"{link} is in the way of a link to {need.folder}: {remedy}")
    link.parent.mkdir(parents=True, exist_ok=True)
    # Put there at once, since a run beside this one may need the same.
    fresh = link.with_name(f".{link.name}.{os.getpid()}-{threading.get_ident()}")
    fresh.symlink_to(target, target_is_directory=True)
    fresh.replace(link)


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
    # An old part would be read as this run's if papermill ended before it wrote one.
    part.unlink(missing_ok=True)
    start = time.monotonic()
    # What the status says where an exception such as Ctrl-C ends the block below.
    state = "interrupted"
    error = "ended from outside"
    papermill = execution.start(book.path, part, run.values, log, {"EMOHELPERS_RUN": run.name, **environment})
    try:
        about |= {"pid": papermill.pid, "born": psutil.Process(papermill.pid).create_time()}
        if watch(papermill, folder, about, start + timeout, stop):
            error = execution.outcome(part, log, papermill.wait())
            state = "failed" if error else "done"
        elif not stop.is_set():
            state = "timeout"
            error = f"not finished after {timeout:g} s; all its processes were ended"
    finally:
        execution.end_tree(papermill)
        seconds = round(time.monotonic() - start, 1)
        if state == "done":
            about["cell"] = about["cells"]
            # Before the status says done, so that nobody finds it done without its notebook.
            part.replace(final)
        last = {"status": state, "seconds": seconds, "error": error, "heartbeat": time.time()}
        files.write_json(folder / "status.json", redacted(about | last))
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
                    files.write_json(folder / "status.json", redacted(about))
            with contextlib.suppress(subprocess.TimeoutExpired):
                papermill.wait(0.2)
    return True

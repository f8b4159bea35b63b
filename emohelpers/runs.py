"""One notebook's run: papermill in a process tree of its own, a time limit, and a status file that tells the truth."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import psutil

from emohelpers import files, notebooks
from emohelpers.notebooks import Notebook, NotebookError

# papermill in a process of its own: its `cwd` is not safe beside threads, and a hung kernel must be ended from outside.
# Parameters go as JSON to the API, because papermill's own command line reads them as YAML, where 1e-05 is a string.
CHILD = """
import json, logging, sys, papermill
logging.basicConfig(level="INFO", format="%(message)s")
papermill.execute_notebook(**json.loads(sys.argv[1]), kernel_name="python3", progress_bar=False, log_output=True)
"""
HINTS = {"DeadKernelError": "the kernel was killed from outside: on most machines because memory ran out"}


def shown(place: Path) -> str:
    """A path as short as it can be clicked on."""
    return str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)


def finished(book: Notebook, folder: Path, values: Mapping[str, Any]) -> bool:
    """Whether `folder` holds this notebook's completed run, with these parameters where any are given."""
    try:
        status = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return False
    same = status.get("status") == "done" and status.get("notebook_sha256") == book.sha256
    used = status.get("parameters", {})
    return same and all(used.get(name, book.parameters[name]) == value for name, value in values.items())


def execute(
    book: Notebook, folder: Path, values: Mapping[str, Any], *, run: str, timeout: float
) -> tuple[str, float, Path]:
    """Executes one notebook into `folder`; returns its status, seconds and the place to look.

    Only a run that reached the end becomes `<stem>.ipynb`; anything else stays `<stem>.part.ipynb`. `status.json` is
    ours because papermill's metadata call a killed run completed.
    """
    final, part, log = folder / f"{book.stem}.ipynb", folder / f"{book.stem}.part.ipynb", folder / "run.log"
    status = {
        "stem": book.stem,
        "run": run,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "notebook_sha256": book.sha256,
        "parameters": dict(values),
    }
    part.unlink(missing_ok=True)
    # papermill fills {names} into paths; ours are meant as they are.
    source, target = (str(path).replace("{", "{{").replace("}", "}}") for path in (book.path, part))
    job = {"input_path": source, "output_path": target, "parameters": dict(values)}
    own = {"EMOHELPERS_RUN": run, "JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    print(f"{book.stem}: running, log in {shown(log)}", flush=True)
    start, state, error = time.monotonic(), "interrupted", "ended from outside"
    with log.open("w", encoding="utf-8") as sink, log.open(encoding="utf-8", errors="replace") as tail:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(job)],
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # ctrl-c reaches us alone, and we end the whole tree
        )
        try:
            files.write_json(folder / "status.json", status | {"pid": process.pid})
            if watch(process, tail, start + timeout):
                error = outcome(part, log, process.returncode)
                state = "failed" if error else "done"
            else:
                state, error = "timeout", f"not finished after {timeout:g} s; all its processes were ended"
        finally:
            end_tree(process)
            seconds = round(time.monotonic() - start, 1)
            if state == "done":
                part.replace(final)
            files.write_json(folder / "status.json", status | {"status": state, "seconds": seconds, "error": error})
    print("\n  | ".join([f"{book.stem}: {state} after {seconds} s", *error.splitlines()]), flush=True)
    return state, seconds, final if state == "done" else part if part.exists() else log


def watch(process: subprocess.Popen, tail: TextIO, deadline: float) -> bool:
    """Waits for the end, showing the cell at work on a terminal; False when the time is up."""
    cells, start = 0, time.monotonic()
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        if sys.stdout.isatty():
            cells += tail.read().count("Executing Cell ")
            print(f"  cell {cells}, {time.monotonic() - start:.0f} s\x1b[K\r", end="", flush=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    return True


def end_tree(process: subprocess.Popen) -> None:
    """Ends a process and all it started. By descent, not by group: Jupyter gives each kernel a session of its own."""
    if process.poll() is not None:
        return
    found: set[psutil.Process] = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        while new := {root, *root.children(recursive=True)} - found:
            for member in new:  # stopped first, so that nothing is started between the search and the end
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.suspend()
            found |= new
    for member in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def outcome(part: Path, log: Path, code: int) -> str:
    """The last lines of a run's error; nothing for one that reached its end."""
    try:
        cells = [cell for cell in notebooks.load(part).cells if cell.cell_type == "code" and cell.source.strip()]
    except (OSError, NotebookError):  # papermill ended before it wrote the notebook, or while it wrote
        cells = []
    for cell in cells:
        for output in cell.outputs:
            if output.output_type == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback)).splitlines()
                text = "\n".join([line for line in trace if line.strip()][-8:])
                return f"in cell [{cell.execution_count}]:\n{text or output.evalue}"
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "without a word")
        hints = [hint for name, hint in HINTS.items() if name in last]
        return "\n".join([f"papermill ended with code {code}: {last}", *hints])
    return ""

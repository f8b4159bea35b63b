"""papermill in a process tree of its own: started, ended with all that it started, and asked what went wrong."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from emohelpers.config import paths
from emohelpers.config.redaction import redact
from emohelpers.suite import notebooks
from emohelpers.suite.notebooks import NotebookError

# papermill in a process of its own: its `cwd` is not safe beside threads, and a hung kernel must be ended from outside.
# Parameters go as JSON to the API, because papermill's own command line reads them as YAML, where 1e-05 is a string.
# A runner that is killed takes its runs with it: nothing works on, unseen, in a folder that the next runner writes to.
# The kernel is spoken to by files, not by TCP ports: of those, two kernels that start at once may be given the same.
# Who kills a run removes the files' folder, which is named after the process.
CHILD = """
import json, logging, os, shutil, sys, tempfile, threading, time
import papermill, psutil
from traitlets.config import Config
def follow(runner, place):
    while os.getppid() == runner:
        time.sleep(0.5)
    for process in psutil.Process().children(recursive=True):
        process.kill()
    shutil.rmtree(place, ignore_errors=True)
    os._exit(1)
logging.basicConfig(level="INFO", format="%(message)s")
with tempfile.TemporaryDirectory(prefix=f"kernel-{os.getpid()}-") as place:
    if len(sys.argv) > 2:
        threading.Thread(target=follow, args=(int(sys.argv[2]), place), daemon=True).start()
    kernel = Config(KernelManager=dict(transport="ipc", connection_file=os.path.join(place, "kernel.json")))
    job = dict(json.loads(sys.argv[1]), kernel_name="python3", config=kernel)
    papermill.execute_notebook(**job, progress_bar=False, log_output=True)
"""
# Secrets are hidden before a notebook is written, its parameters and outputs alike.
REDACTING = """
import json, sys
from papermill.iorw import LocalHandler
sys.path.append(sys.argv[3])
from emohelpers.config import paths
from emohelpers.config.redaction import redacted
def write(handler, text, path, write=LocalHandler.write):
    write(handler, json.dumps(redacted(json.loads(text)), indent=1, ensure_ascii=False) + chr(10), path)
LocalHandler.write = write
paths.remember_secrets()
"""
HOME = Path(__file__).parents[2]  # of the package
HINTS = {"DeadKernelError": "the kernel was killed from outside: on most machines because memory ran out"}


def start(
    source: Path, target: Path, parameters: Mapping[str, Any], log: Path, environment: Mapping[str, str]
) -> "Papermill":
    """Begins to execute the notebook `source` into `target`; what it prints goes to `log`."""
    # papermill fills {names} into paths; ours are meant as they are.
    whole = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, target)]
    job = dict(zip(("input_path", "output_path"), whole, strict=True), parameters=dict(parameters))
    own = {"JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    paths.remember_secrets()
    process = Papermill(
        [sys.executable, "-c", REDACTING + CHILD, json.dumps(job), str(os.getpid()), str(HOME)],
        env=os.environ | own | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # ctrl-c reaches us alone, and we end the whole tree
    )
    process.copy = threading.Thread(target=_copy, args=(process.stdout, log.open("w", encoding="utf-8")), daemon=True)
    process.copy.start()
    return process


class Papermill(subprocess.Popen):
    """papermill, with the thread that writes its log."""

    copy: threading.Thread

    def wait(self, timeout: float | None = None) -> int:
        """As that of any process; after it the log is whole."""
        code = super().wait(timeout)
        self.copy.join(5.0)  # a process that papermill left behind could hold the pipe for ever
        return code


def _copy(lines: IO[bytes], log: IO[str]) -> None:
    """Writes what a process prints, without secrets."""
    for line in lines:
        with contextlib.suppress(OSError):  # a full disk; who no longer reads would stop the process
            log.write(redact(line.decode("utf-8", "replace")))
            log.flush()
    with contextlib.suppress(OSError):
        log.close()


def end_tree(process: subprocess.Popen | psutil.Process) -> None:
    """Ends a process and all it started. By descent, not by group: Jupyter gives each kernel a session of its own."""
    if isinstance(process, subprocess.Popen) and process.poll() is not None:
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
    for place in Path(tempfile.gettempdir()).glob(f"kernel-{process.pid}-*"):
        shutil.rmtree(place, ignore_errors=True)


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

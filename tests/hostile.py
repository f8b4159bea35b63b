"""Runs commands of the suite in processes of their own, watched from outside: on hostile inputs, or until a kill."""

import multiprocessing
import os
import random
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PRELOADED = [
    "hostile",
    "emohelpers.suite.cli",
    "emohelpers.suite.headless",
    "emohelpers.music",
    "emohelpers.explain.folder",
    "emohelpers.export.predict",
    "emohelpers.ranking",
    "emohelpers.report",
]
TOO_LONG = 60.0  # seconds after which a process that waits is ended; tests may share the cores with others
PROCESSOR_SECONDS = 10  # of a command on one input; the kernel ends what takes more
FAULT = 99  # exit code of an exception that reached the user


@dataclass(frozen=True)
class Outcome:
    """What a user would see of one command.

    Attributes:
        code: exit code; 99: an exception came through; None: it had to be killed; -24: it took too long to compute.
        text: standard output and error.
        gigabytes: peak resident memory above that of the imports.
    """

    code: int | None
    text: str
    gigabytes: float


def context() -> multiprocessing.context.BaseContext:
    """Processes that are forked from a clean one, which has imported the suite and computed nothing."""
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(PRELOADED)
    return forkserver


def command(arguments: Sequence[str]) -> int:
    """The command line in this process."""
    from emohelpers.suite.cli import main

    return main(list(arguments))


def attack(processes, folder: Path, act: Callable[..., int | None], *arguments) -> Outcome:
    """Calls `act(*arguments)` with `folder` as working directory, home and place of results."""
    log = folder.parent / "log.txt"
    log.touch()
    process = processes.Process(target=_inside, args=(str(folder), str(log), PROCESSOR_SECONDS, act, arguments))
    process.start()
    process.join(TOO_LONG)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    text = log.read_text(encoding="utf-8", errors="replace")
    memory = folder.parent / "memory"
    gigabytes = float(memory.read_text()) if memory.is_file() else 0.0
    return Outcome(code, text, gigabytes)


def kill(processes, ready: Callable[[], bool], later: float, act: Callable[..., None], *arguments) -> None:
    """SIGKILL to `act(*arguments)` at a random moment of the `later` seconds that follow `ready`."""
    process = processes.Process(target=act, args=arguments)
    process.start()
    while process.is_alive() and not ready():
        time.sleep(0.005)
    time.sleep(random.uniform(0, later))
    assert process.is_alive(), "it was over before it could be killed"
    process.kill()
    process.join()


def _inside(folder: str, log: str, limit: int, act: Callable[..., int | None], arguments: Sequence) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    os.chdir(folder)
    os.environ |= {"HOME": folder, "EMOHELPERS_OUTPUTS": f"{folder}/outputs", "TMPDIR": folder, "TQDM_DISABLE": "1"}
    try:
        code = act(*arguments)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = FAULT
    sys.stdout.flush()
    sys.stderr.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (Path(log).parent / "memory").write_text(str((peak - before) / 1e6))
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)

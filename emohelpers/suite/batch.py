"""Many runs: side by side where there are cards or cores for it, each once, and a table that says how far they are."""

import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from emohelpers.config import paths
from emohelpers.suite import console, plan, records, runs
from emohelpers.suite.runs import DONE, Outcome, Run


class Engine(Protocol):
    """Where runs are done: takes `runs.execute`'s arguments, gives a future, and can end what is going on."""

    places: int  # runs side by side

    def submit(self, run: Run, **options: Any) -> "Future[Outcome]": ...

    def close(self) -> None: ...


class Local:
    """This machine: one run a card, or `places` runs that share the processor."""

    def __init__(self, places: int = 0, threads: int = 0):
        cards = paths.cards()
        self.places = places or max(len(cards), 1)
        self.slots: queue.Queue[str] = queue.Queue()
        for slot in range(self.places):
            self.slots.put(cards[slot % len(cards)] if cards else "")
        # Runs side by side share the cores; one alone keeps the libraries' own choice.
        if not threads and self.places > 1:
            threads = max((os.cpu_count() or 1) // self.places, 1)
        self.environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        self.stop = threading.Event()
        self.pool = ThreadPoolExecutor(self.places)

    def submit(self, run: Run, **options: Any) -> "Future[Outcome]":
        return self.pool.submit(self._work, run, options)

    def _work(self, run: Run, options: dict[str, Any]) -> Outcome:
        card = self.slots.get()
        visible = {"CUDA_VISIBLE_DEVICES": card} if card else {}
        try:
            return runs.execute(run, stop=self.stop, **options, **self.environment, **visible)
        finally:
            self.slots.put(card)

    def close(self) -> None:
        self.stop.set()
        self.pool.shutdown(cancel_futures=True)


def carry_out(
    todo: Sequence[Run], engine: Engine, *, timeout: float, again: Callable[[Run], bool] = lambda run: False
) -> list[tuple[Run, Outcome]]:
    """Does the runs as soon as what they need is done; what needs a failed one is skipped, all else goes on."""
    ended: dict[Path, Outcome] = {}
    waiting = {run.folder: run for run in todo}
    going: dict[Future[Outcome], Run] = {}
    before = plan.earlier(paths.outputs_root())
    table = _Table(len(waiting), engine.places)
    try:
        while waiting or going:
            # Whatever has all it needs goes to the engine; what needs a failed run is not tried.
            for folder, run in list(waiting.items()):
                unfinished = [need for need in run.needs if need.folder in waiting or need in going.values()]
                failed = [need for need in run.needs if need.folder in ended and ended[need.folder].status not in DONE]
                if failed:
                    skipped = f"skipped: needs {', '.join(need.book.stem for need in failed)}"
                    ended[folder] = Outcome(skipped, 0.0, folder)
                elif unfinished:
                    continue
                else:
                    going[engine.submit(run, timeout=timeout, again=again(run))] = run
                waiting.pop(folder)
            # A second at most, so that the table moves while nothing ends.
            finished, _ = wait(going, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                run = going.pop(future)
                ended[run.folder] = _result(future, run)
                table.say(run, ended[run.folder])
            table.draw(list(going.values()), [*going.values(), *waiting.values()], before)
    finally:
        table.clear()
        engine.close()
        # After an interruption: what ended while the engine closed is still told.
        for future, run in going.items():
            if future.done() and not future.cancelled():
                table.say(run, _result(future, run))
    return [(run, ended[run.folder]) for run in {run.folder: run for run in todo}.values()]


def _result(future: "Future[Outcome]", run: Run) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # whatever ends one run, a full disk or a lost machine: the others go on
        return Outcome("failed", 0.0, run.folder, console.sentence(error))


class _Table:
    """What goes on now: redrawn in place on a terminal; elsewhere a line for each beginning and end."""

    def __init__(self, total: int, places: int):
        self.total = total
        self.places = places
        self.done = 0
        self.lines = 0
        self.begun: set[Path] = set()
        self.live = sys.stdout.isatty()

    def say(self, run: Run, outcome: Outcome) -> None:
        self.clear()
        self.done += 1
        if outcome.status != "done before":
            text = f"{run.title}: {outcome.status} after {outcome.seconds} s"
            print("\n  | ".join([text, *outcome.error.splitlines()]), flush=True)

    def draw(self, going: Sequence[Run], left: Sequence[Run], before: dict) -> None:
        rows = []
        for run in going:
            status = records.status(run.folder)
            if status.status != "running":
                continue
            if run.folder not in self.begun and not self.live:
                print(f"{run.title}: running, log in {runs.shown(run.folder / 'run.log')}", flush=True)
            self.begun.add(run.folder)
            seconds = time.time() - status.began
            expected = plan.expected(run, before)
            of = f" of about {expected:.0f}" if expected else ""
            rows.append(f"  {run.title:<44} cell {status.cell:>2}/{status.cells}  {seconds:5.0f} s{of}")
        if self.live:
            times = [plan.expected(run, before) for run in left]
            end = "" if None in times else f", at most {duration(sum(times) / self.places)} left"
            self.clear()
            rows = [*rows, f"  {self.done} of {self.total} done{end}"]
            width = shutil.get_terminal_size().columns - 1
            print("\n".join(row[:width] for row in rows), flush=True)
            self.lines = len(rows)

    def clear(self) -> None:
        if self.lines:
            print(f"\x1b[{self.lines}A\x1b[J", end="", flush=True)
            self.lines = 0


def duration(seconds: float) -> str:
    """`50 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def close(results: Sequence[tuple[Run, Outcome]], when: str) -> int:
    """Prints the closing table; returns the exit code, 0 if all is done."""
    width = max(len(run.title) for run, _ in results)
    state = max(len(outcome.status) for _, outcome in results)
    print(f"\n{'notebook':<{width}}  {'status':<{state}}  seconds  where to look")
    for run, end in results:
        print(f"{run.title:<{width}}  {end.status:<{state}}  {end.seconds:7.1f}  {runs.shown(end.place)}")
    done = sum(outcome.status in DONE for _, outcome in results)
    print(f"{done} of {len(results)} done {when}")
    return 0 if done == len(results) else 1


def preview(chains: Sequence[Sequence[Run]], places: int, asked_again: Callable[[Run], bool]) -> None:
    """Prints what would be done and why, and about how long it takes by earlier runs."""
    before = plan.earlier(paths.outputs_root())
    listed = set()
    dirty = set()
    total = 0.0
    unknown = []
    for number, chain in enumerate(chains):
        for run in chain:
            if run.folder in listed:
                continue
            listed.add(run.folder)
            reason = "asked for again" if asked_again(run) else runs.changed(run, runs.made_of(run))
            # What needs a run that is done again follows it, although nothing of its own changed.
            reason = reason or ", ".join(f"after {need.book.stem}" for need in run.needs if need.folder in dirty)
            seconds = plan.expected(run, before)
            time_needed = f"about {duration(seconds)}" if seconds is not None else "never timed"
            print(f"{number:>3}  {run.title:<40}  " + (f"{time_needed:<14}  {reason}" if reason else "done before"))
            if reason:
                dirty.add(run.folder)
                total += seconds or 0.0
                unknown += [run.title] if seconds is None else []
    more = f", and {len(unknown)} never timed" if unknown else ""
    print(f"{len(dirty)} of {len(listed)} to run; about {duration(total / places)} with {places} side by side{more}")
    print(f"{len(chains)} points: a SLURM array goes over --index 0 ... {len(chains) - 1}")

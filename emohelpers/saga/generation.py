"""The loop: ask for edits, keep every answer, judge it, fill slots; killed and started again it goes on where it was.

Answers that cost something are written whole, under a name that everything in the request decides, before anything
else happens. A second run finds them and asks for what is missing only; all the rest is computed again, alike.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers import config
from emohelpers.config import files
from emohelpers.datasets import edits as combined
from emohelpers.datasets.decoding import UnreadableImage, decode, fit_square
from emohelpers.saga import balance, editors
from emohelpers.saga.answers import Answers
from emohelpers.saga.balance import Plan
from emohelpers.saga.editors import Editor, Exhausted, Job
from emohelpers.saga.guard import Guard

ROUND = 64  # edits asked for and judged at once


@dataclass(frozen=True)
class Edits:
    """Every edit that was tried (`path` below `root` or `refused`), and how it ended."""

    table: DataFrame  # path, label (target), parent, original_label, accepted, reason, scores, sha256, prompt_sha256
    root: Path  # of the accepted ones
    refused: Path
    editor: str
    state: str  # "done", or "paused: <why>"
    calls: int  # answers that this process asked for itself
    seconds: float

    def __str__(self) -> str:
        return f"{self.state}: {len(self.table):,} edits tried, {len(self.accepted):,} accepted, {self.seconds:.0f} s"

    @property
    def accepted(self) -> DataFrame:
        """`path, label, parent` of what passed the guard."""
        return self.table.loc[self.table["accepted"], ["path", "label", "parent"]].reset_index(drop=True)

    @property
    def pictures(self) -> DataFrame:
        """The rows that are pictures and whose face is known."""
        return self.table[(self.table["path"] != "") & (self.table["parent"] != "")]

    def squares(self, rows: DataFrame, side: int) -> ndarray:
        """(n, side, side, 3) uint8 of some rows of `table`."""
        squares = []
        for row in rows.itertuples():
            folder = self.root if row.accepted else self.refused
            squares.append(_square(folder / row.path, side))
        return np.stack(squares)


def make_edits(plan: Plan, guard: Guard, faces, cfg, folder: str | Path) -> Edits:
    """Fills the plan's slots by the editor of a config, see `run`."""
    editor = editors.make(cfg, faces.dataset, plan.ready)
    return run(plan, editor, guard, faces.dataset, faces.pixels.side, cfg, folder)


def run(plan: Plan, editor: Editor, guard: Guard, dataset, side: int, cfg, folder: str | Path) -> Edits:
    """Fills the plan's slots with edits that pass the guard; a refused one gives its slot to the next face.

    Args:
        dataset: the photographs; `side` of the squares that are judged.
        cfg: `prompt`, `attempts` (tries a slot, at most), `max_calls`.
        folder: gets `augmented_affectnet/` and `saga/` with answers and status.

    Raises:
        Exhausted: the editor gave not one picture.
        ConfigError: a ready set lies where the accepted edits go.
    """
    return _Run(plan, editor, guard, dataset, side, cfg, Path(folder)).go()


def square(dataset, path: str, side: int) -> ndarray:
    """(side, side, 3) uint8 of one photograph."""
    return _square(dataset.root / path, side)


def _square(file: Path, side: int) -> ndarray:
    return fit_square(decode(file.read_bytes()), side)


class _Picture(NamedTuple):
    """An answer that is a picture."""

    job: Job
    content: bytes
    edit: ndarray  # (side, side, 3) uint8
    face: ndarray


class _Run:
    def __init__(self, plan, editor, guard, dataset, side, cfg, folder):
        self.plan = plan
        self.slots = plan.slots["slots"].to_dict()
        self.editor = editor
        self.guard = guard
        self.dataset = dataset
        self.side = side
        self.cfg = cfg
        self.root = folder / combined.FOLDER
        self.home = folder / "saga"
        self.refused = self.home / "refused"
        ready = getattr(editor, "root", None)
        if ready is not None and self.root.resolve() in (ready.resolve(), *ready.resolve().parents):
            raise config.ConfigError(
                f"AUGMENTED_ROOT lies in {self.root}, where this notebook keeps the edits that pass and removes the "
                "others: move the set, or give another OUTPUT_DIR"
            )
        self.rows: list[dict] = []
        self.answers = Answers(editor, dataset.root, self.home / "answers", cfg.max_calls)
        self.started = time.monotonic()

    def go(self) -> Edits:
        waiting = {target: self._jobs(target) for target in self.plan.jobs}
        with ThreadPoolExecutor(self.editor.workers) as pool:
            while not self.answers.paused and (batch := self._next(waiting)):
                # In the order of the batch, so that rows are the same however fast answers come.
                answers = pool.map(self.answers.get, batch)
                self._judge(batch, answers)
                self._status("running")
        state = self.answers.paused or "done"
        self._status(state)
        if not any(row["path"] for row in self.rows):
            raise Exhausted(f"no edit was made, {state}; {len(self.rows)} answers were no pictures")
        table = DataFrame(self.rows)
        self._tidy(table)
        seconds = time.monotonic() - self.started
        return Edits(table, self.root, self.refused, self.editor.name, state, self.answers.calls, seconds)

    def _jobs(self, target: str) -> Iterator[Job]:
        for path, label, *file in self.plan.jobs[target].itertuples(index=False):
            prompt = self.cfg.prompt.format(target=target, current=label)
            yield Job(path, label, target, prompt, *file)

    def _next(self, waiting: dict[str, Iterator[Job]]) -> list[Job]:
        """Up to a round of jobs, one for each class with an open slot in turn."""
        tried = Counter(row["label"] for row in self.rows)
        full = Counter(row["label"] for row in self.rows if row["accepted"])
        batch: list[Job] = []
        targets = list(waiting)
        while targets and len(batch) < ROUND:
            # Over a copy: a class without an open slot or another face leaves `targets` meanwhile.
            for target in list(targets):
                slots = self.slots[target]
                job = None
                if full[target] < slots and tried[target] < self.cfg.attempts * slots:
                    job = next(waiting[target], None)
                if job is None:
                    targets.remove(target)
                    continue
                batch.append(job)
                full[target] += 1  # if it passes; what does not is counted anew next round
                tried[target] += 1
        return batch

    def _judge(self, batch: list[Job], answers: Iterator[bytes | str | None]) -> None:
        """Adds a row for each answer: what is no picture first, then the pictures with their scores."""
        pictures = []
        for job, content in zip(batch, answers, strict=True):
            reason = content
            if isinstance(content, bytes):
                try:
                    pictures.append(self._picture(job, content))
                    continue
                except UnreadableImage:
                    reason = "not a picture"
            # None was not asked for, since the run is paused: it is no try and gets no row.
            if reason is not None:
                self.rows.append({**_row(job), "reason": f"editor: {reason}"})
        if not pictures:
            return
        faces = np.stack([picture.face for picture in pictures])
        edits = np.stack([picture.edit for picture in pictures])
        judged = self.guard.judge(faces, edits, [picture.job.target for picture in pictures])
        for picture, scores in zip(pictures, judged.to_dict("records"), strict=True):
            job = picture.job
            content = picture.content
            name = balance.name(job.path or job.file, job.label, job.target, content)
            folder = self.root if scores["accepted"] else self.refused
            files.write_bytes(folder / name, content)
            self.rows.append({**_row(job), **scores, "path": name, "sha256": hashlib.sha256(content).hexdigest()})

    def _picture(self, job: Job, content: bytes) -> _Picture:
        edit = fit_square(decode(content), self.side)
        # Of an edit in a ready set the face may be unknown: a black square stands in for it.
        face = square(self.dataset, job.path, self.side) if job.path else np.zeros_like(edit)
        return _Picture(job, content, edit, face)

    def _tidy(self, table: DataFrame) -> None:
        """Removes the pictures of an earlier run with other settings."""
        for folder, rows in ((self.root, table[table["accepted"]]), (self.refused, table[~table["accepted"]])):
            names = set(rows["path"])
            for file in sorted(folder.glob("aug_*/*")):
                if file.relative_to(folder).as_posix() not in names:
                    file.unlink()

    def _status(self, state: str) -> None:
        accepted = sum(row["accepted"] for row in self.rows)
        status = {
            "state": state,
            "editor": self.editor.name,
            "slots": self.plan.total,
            "tried": len(self.rows),
            "accepted": accepted,
            "refused": len(self.rows) - accepted,
            "calls": self.answers.calls,
            "seconds": round(time.monotonic() - self.started, 1),
        }
        files.write_json(self.home / "status.json", status)


def _row(job: Job) -> dict:
    return {
        "path": "",
        "label": job.target,
        "parent": job.path,
        "original_label": job.label,
        "accepted": False,
        "prompt_sha256": hashlib.sha256(job.prompt.encode()).hexdigest(),
    }

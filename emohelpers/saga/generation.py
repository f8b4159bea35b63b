"""The loop: ask for edits, keep every answer, judge it, fill slots; killed and started again it goes on where it was.

Answers that cost something are written whole, under a name that everything in the request decides, before anything
else happens. A second run finds them and asks for what is missing only; all the rest is computed again, alike.
"""

import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emohelpers import config
from emohelpers.config import files
from emohelpers.datasets import decoding, edits
from emohelpers.saga import balance, editors, lineage
from emohelpers.saga.balance import Plan
from emohelpers.saga.editors import Declined, Editor, Exhausted, Job
from emohelpers.saga.guard import Guard

ZIP = "augmented_affectnet_dataset.zip"  # seed 000
ROUND = 64  # edits asked for and judged at once


@dataclass(frozen=True)
class Made:
    """Every edit that was tried (`path` below `root` or `refused`), and how it ended."""

    table: pd.DataFrame  # path, label (target), parent, original_label, accepted, reason, scores, sha256, prompt_sha256
    root: Path  # of the accepted ones
    refused: Path
    editor: str
    state: str  # "done", or "paused: <why>"
    calls: int  # answers that this process asked for itself
    seconds: float

    def __str__(self) -> str:
        return f"{self.state}: {len(self.table):,} edits tried, {len(self.accepted):,} accepted, {self.seconds:.0f} s"

    @property
    def accepted(self) -> pd.DataFrame:
        """`path, label, parent` of what passed the guard."""
        return self.table.loc[self.table["accepted"], ["path", "label", "parent"]].reset_index(drop=True)

    def squares(self, rows: pd.DataFrame, side: int) -> np.ndarray:
        """(n, side, side, 3) uint8 of some rows of `table`."""
        places = (
            (self.root if ok else self.refused) / path for path, ok in zip(rows["path"], rows["accepted"], strict=True)
        )
        return np.stack([decoding.fit_square(decoding.decode(place.read_bytes()), side) for place in places])


def run(plan: Plan, editor: Editor, guard: Guard, dataset, side: int, cfg, folder: str | Path) -> Made:
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


def square(dataset, path: str, side: int) -> np.ndarray:
    """(side, side, 3) uint8 of one photograph."""
    return decoding.fit_square(decoding.decode((dataset.root / path).read_bytes()), side)


def publish(made: Made, paths: Collection[str], folder: str | Path) -> Path:
    """Writes `augmented_labels.csv`, beside the pictures and in `folder`, and the zip of accepted edits; returns that.

    Args:
        paths: those that may be trained on: what `combine.combine` kept, no children of golden and validation faces.
    """
    kept = made.table[made.table["accepted"].astype(bool) & made.table["path"].isin(set(paths))]
    told = pd.DataFrame(index=kept.index)
    for column, name in zip(lineage.COLUMNS, ("parent", "original_label", "label", "path"), strict=False):
        told[column] = kept[name]
    told["augmentation_type"] = made.editor
    extra = ("prompt_sha256", "sha256", "ssim", "clip", "p_target", "identity")
    told = told.join(kept[[name for name in extra if name in kept]])
    files.write_csv(told, made.root / lineage.TABLE)
    files.write_csv(told, Path(folder) / lineage.TABLE)
    with files.replace(Path(folder) / ZIP) as temp, zipfile.ZipFile(temp, "w") as out:  # pictures are packed already
        for file in (lineage.TABLE, *sorted(kept["path"])):
            out.write(made.root / file, f"{edits.FOLDER}/{file}")
    return Path(folder) / ZIP


class _Run:
    def __init__(self, plan, editor, guard, dataset, side, cfg, folder):
        self.plan, self.editor, self.guard, self.dataset = plan, editor, guard, dataset
        self.side, self.cfg, self.folder = side, cfg, folder
        self.root, self.home = folder / edits.FOLDER, folder / "saga"
        ready = getattr(editor, "root", None)
        if ready is not None and self.root.resolve() in (ready.resolve(), *ready.resolve().parents):
            raise config.ConfigError(
                f"AUGMENTED_ROOT lies in {self.root}, where this notebook keeps the edits that pass and removes the "
                "others: move the set, or give another OUTPUT_DIR"
            )
        self.rows: list[dict] = []
        self.calls, self.state, self.started, self.lock = 0, "running", time.monotonic(), threading.Lock()

    def go(self) -> Made:
        waiting = {target: self._jobs(target) for target in self.plan.jobs}
        with ThreadPoolExecutor(self.editor.workers) as pool:
            while self.state == "running" and (batch := self._next(waiting)):
                answers = list(pool.map(self._answer, batch))
                self._judge(batch, answers)
                self._status()
        self.state = "done" if self.state == "running" else self.state
        self._status()
        if not any(row["path"] for row in self.rows):
            raise Exhausted(f"no edit was made, {self.state}; {len(self.rows)} answers were no pictures")
        table, spent = pd.DataFrame(self.rows), time.monotonic() - self.started
        self._tidy(table)
        return Made(table, self.root, self.home / "refused", self.editor.name, self.state, self.calls, spent)

    def _jobs(self, target: str) -> Iterator[Job]:
        faces = self.plan.jobs[target]
        for path, label, *file in faces.itertuples(index=False):
            yield Job(path, label, target, self.cfg.prompt.format(target=target, current=label), *file)

    def _next(self, waiting: dict[str, Iterator[Job]]) -> list[Job]:
        """Up to a round of jobs, one for each class with an open slot in turn."""
        slots = self.plan.slots["slots"]
        tried, full = dict.fromkeys(waiting, 0), dict.fromkeys(waiting, 0)
        for row in self.rows:
            tried[row["label"]] += 1
            full[row["label"]] += row["accepted"]
        batch: list[Job] = []
        open_classes = [t for t in waiting if slots[t] > 0]
        while open_classes and len(batch) < ROUND:
            for target in list(open_classes):
                job = None
                if full[target] < slots[target] and tried[target] < self.cfg.attempts * slots[target]:
                    job = next(waiting[target], None)
                if job is None:
                    open_classes.remove(target)
                else:
                    batch.append(job)
                    full[target] += 1  # if it passes; what does not is counted anew next round
                    tried[target] += 1
        return batch

    def _answer(self, job: Job) -> bytes | str | None:
        """The edit; why there is none; None where it was not asked for."""
        face = (self.dataset.root / job.path).read_bytes() if job.path else b""
        request = [
            self.editor.name,
            self.editor.settings,
            job.prompt,
            job.target,
            job.path,
            hashlib.sha256(face).hexdigest(),
        ]
        place = self.home / "answers" / f"{config.digest(*request)}.bin"
        if self.editor.kept:
            if place.is_file():
                return place.read_bytes()
            if place.with_suffix(".json").is_file():
                return json.loads(place.with_suffix(".json").read_text())["declined"]
        with self.lock:
            if self.state == "running" and self.cfg.max_calls and self.calls >= self.cfg.max_calls:
                self.state = f"paused: max_calls = {self.cfg.max_calls}"
            if self.state != "running":
                return None
            self.calls += 1
        try:
            made = self.editor.edit(job, face)
        except Declined as error:
            if self.editor.kept:
                files.write_json(place.with_suffix(".json"), {"declined": str(error)})
            return str(error)
        except Exhausted as error:
            self.state = f"paused: {error}"
            return None
        if self.editor.kept:
            files.write_bytes(place, made)
        return made

    def _judge(self, batch: list[Job], answers: list) -> None:
        rows, faces, edits = [], [], []
        for job, content in zip(batch, answers, strict=True):
            if content is None:
                continue
            row = {"path": "", "label": job.target, "parent": job.path, "original_label": job.label, "accepted": False}
            row["prompt_sha256"] = hashlib.sha256(job.prompt.encode()).hexdigest()
            picture = editors.decoded(content, decoding.decode) if isinstance(content, bytes) else None
            if picture is None:
                why = "not a picture" if isinstance(content, bytes) else content
                self.rows.append({**row, "reason": f"editor: {why}"})
                continue
            edits.append(decoding.fit_square(picture, self.side))
            faces.append(square(self.dataset, job.path, self.side) if job.path else np.zeros_like(edits[-1]))
            rows.append((row, job, content))
        if not rows:
            return
        told = self.guard.judge(np.stack(faces), np.stack(edits), [job.target for _, job, _ in rows])
        for (row, job, content), judged in zip(rows, told.to_dict("records"), strict=True):
            name = balance.name(job.path or job.file, job.label, job.target, content)
            files.write_bytes((self.root if judged["accepted"] else self.home / "refused") / name, content)
            self.rows.append({**row, **judged, "path": name, "sha256": hashlib.sha256(content).hexdigest()})

    def _tidy(self, table: pd.DataFrame) -> None:
        """Removes the pictures of an earlier run with other settings."""
        passed = table["accepted"].astype(bool)
        for place, rows in ((self.root, passed), (self.home / "refused", ~passed)):
            wanted = set(table["path"][rows])
            for file in sorted(place.glob("aug_*/*")):
                if file.relative_to(place).as_posix() not in wanted:
                    file.unlink()

    def _status(self) -> None:
        passed = sum(row["accepted"] for row in self.rows)
        told = {"state": self.state, "editor": self.editor.name, "slots": int(self.plan.slots["slots"].sum())}
        told |= {"tried": len(self.rows), "accepted": passed, "refused": len(self.rows) - passed, "calls": self.calls}
        files.write_json(self.home / "status.json", told | {"seconds": round(time.monotonic() - self.started, 1)})

"""Augmented views of pictures as a trunk's activations: computed once each, kept in a mapped file, and shown again.

A view is one drawn augmentation: view k is what pass k of the training would show. So the first passes are those of a
training without a cache, bit for bit where the model computes in fp32, and fill the file as they go; later passes show
each picture's views again, in an order of its own. A share of their batches may be augmented and computed anew.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import Module

from emohelpers import config
from emohelpers.config import files, locks
from emohelpers.images.augment import Draws
from emohelpers.images.batches import Batch, Batches, Job, pinned, prefetch
from emohelpers.models import cut, devices

CHECKED = 64  # rows that are compared with their checksums at a time


class Shelf:
    """Rows of activations by number, in one mapped file, and the checksums of those that are done."""

    def __init__(self, file: Path, rows: int, shape: tuple[int, ...], dtype: torch.dtype):
        """Takes up the file, or makes it anew where its size is another or the machine was started since.

        Raises:
            OSError: the disk has no room for it.
        """
        self.maps = len(shape) == 3
        if self.maps:  # channels-last, as convolutions leave them
            shape = (*shape[1:], shape[0])
        numbers = rows * prod(shape)
        done = file.with_suffix(".done")
        file.parent.mkdir(parents=True, exist_ok=True)
        with locks.lock(file.with_suffix(".lock")):  # another process of the same run waits, then finds it
            if not _whole(file, numbers * dtype.itemsize) or not _whole(done, 8 * rows):
                # First the marks: a kill in between must not leave old marks beside new rows.
                for path, size in ((done, 8 * rows), (file, numbers * dtype.itemsize)):
                    path.unlink(missing_ok=True)
                    files.reserve(path, size)
        self.rows = torch.from_file(str(file), shared=True, size=numbers, dtype=dtype).view(rows, *shape)
        self.done = np.memmap(done, np.int64, "r+")  # (rows,) odd checksums; 0: not done
        self.proved = np.zeros(rows, bool)  # rows that this process wrote, or compared with their checksums

    def holds(self, numbers: ndarray) -> bool:
        """Whether all these rows are done; one that does not hold what was written counts as not done."""
        unproved = numbers[~self.proved[numbers] & (self.done[numbers] != 0)]
        for start in range(0, len(unproved), CHECKED):
            part = unproved[start : start + CHECKED]
            whole = _sums(self.take(part)) == self.done[part]
            self.proved[part[whole]] = True
            self.done[part[~whole]] = 0
            if not whole.all():
                print(f"{(~whole).sum()} kept activations were damaged on the disk: they are computed again.")
        return bool(self.proved[numbers].all())

    def put(self, numbers: ndarray, rows: Tensor) -> None:
        """Keeps rows of `pack` under their numbers; a kill before the last line costs these rows alone."""
        self.rows.index_copy_(0, torch.from_numpy(numbers), rows.cpu())
        self.done[numbers] = _sums(rows)
        self.proved[numbers] = True

    def take(self, numbers: ndarray) -> Tensor:
        """The rows of these numbers, for `unpack`."""
        return self.rows.index_select(0, torch.from_numpy(numbers))

    def pack(self, inner: Tensor) -> Tensor:
        """Activations (n, *shape) -> rows (n, ...) as they are kept."""
        inner = inner.movedim(1, -1) if self.maps else inner
        return inner.to(self.rows.dtype).contiguous()

    def unpack(self, rows: Tensor) -> Tensor:
        """Rows of `pack` -> activations (n, *shape) float32."""
        return (rows.movedim(-1, 1) if self.maps else rows).float()


def _sums(rows: Tensor) -> ndarray:
    """(n,) odd numbers that a change of any row's bits changes: fast enough to go unnoticed on either device."""
    words = rows.flatten(1).view(torch.int16 if rows.dtype.itemsize == 2 else torch.int32)
    return (words.sum(1, dtype=torch.int64) * 2 + 1).cpu().numpy()


def _whole(file: Path, size: int) -> bool:
    """Whether a file of that size is there from since the machine was started: a power cut may leave rows unwritten."""
    return file.is_file() and file.stat().st_size == size and file.stat().st_mtime >= psutil.boot_time()


class Showing(NamedTuple):
    """What a batch shows, and where it is kept."""

    job: Job
    slots: ndarray | None  # (n,) numbers of its rows; None: it is augmented anew and not kept
    held: bool  # all of its rows are done


class Views(Batches):
    """Batches whose inputs are a trunk's activations (n, *cut.form): computed when first needed, and kept."""

    def __init__(self, source: Batches, model: Module, shelf: Shelf, views: int, key: str, precision: str, cfg):
        vars(self).update(vars(source))
        self.source = source  # pictures or spectrograms: it alone knows how its batches are made
        self.model = model
        self.shelf = shelf
        self.views = views
        self.key = key
        self.half = devices.HALF.get(precision)
        self.fresh = cfg.cache_fresh if source.augmentation else 0.0  # share of the later batches

    def on(self, device: torch.device, rank: int = 0, world: int = 1) -> "Views":
        """See `Batches`."""
        placed = super().on(device, rank, world)
        placed.source = self.source.on(device, rank, world)
        return placed

    def digest(self) -> str:
        """Names the content, and how it is kept."""
        return config.digest(self.source.digest(), self.key, self.fresh)

    def load(self, plan: list[Job]) -> Iterator[Batch]:
        """The batches of a plan, of pictures."""
        return self.source.load(plan)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """One pass; a batch of which one picture is not yet kept is computed whole, as an undisturbed run does it."""
        showings = self._showings(epoch)
        pictures = self.load([showing.job for showing in showings if not showing.held])
        # Two streams in the order of the pass, each prepared ahead: pictures to compute, rows to read.
        slots_held = [showing.slots for showing in showings if showing.held]
        kept_rows = prefetch(lambda slots: pinned(self.shelf.take(slots), self.device), slots_held)
        for (positions, _), slots, held in showings:
            if held:
                rows = next(kept_rows)
            else:
                rows = self._compute(next(pictures)[0])
                if slots is not None:
                    self.shelf.put(slots, rows)
            inner = self.shelf.unpack(rows.to(self.device, non_blocking=True))
            inputs = inner.view(-1, *self.model.cut.form)
            yield inputs, self.targets[positions].to(self.device, non_blocking=True), positions
        if epoch < self.views and self.rank == 0:
            self._keep_leftovers(epoch)

    def _showings(self, epoch: int) -> list[Showing]:
        """What the batches of a pass show."""
        plan = self.plan(epoch)
        view = self.view(epoch)
        later = epoch >= self.views
        rng = np.random.default_rng([self.seed, epoch, len(self.rows)])
        anew = rng.random(len(plan)) < (self.fresh if later else 0)
        # The first passes augment as they would without a cache; what a later one misses is drawn as its view was.
        lost = later and not self.shelf.holds(np.arange(len(self.shelf.done)))
        draws = self._draws_of(view) if lost else None
        showings = []
        for job, fresh in zip(plan, anew, strict=True):
            if fresh:
                showings.append(Showing(job, None, False))
                continue
            # The file holds view after view, and in each the pictures by their position.
            slots = view[job.positions] * len(self.rows) + job.positions
            held = self.shelf.holds(slots)
            if draws is not None and not held:
                job = Job(job.positions, draws[job.positions])
            showings.append(Showing(job, slots, held))
        return showings

    def view(self, epoch: int) -> ndarray:
        """(n,) which of its views a pass shows of each picture: every cycle of passes shows each view once."""
        n = len(self.rows)
        cycle, step = divmod(epoch, self.views)
        if cycle == 0 or self.views == 1:
            return np.full(n, step)
        # All passes of a cycle draw the same permutation and take another column of it: no view comes twice.
        rng = np.random.default_rng([self.seed, cycle, n])
        return rng.permuted(np.tile(np.arange(self.views), (n, 1)), axis=1)[:, step]

    def _keep_leftovers(self, epoch: int) -> None:
        """Keeps what the incomplete last batch of a pass would have held: a later pass shows it."""
        order, draws = self.draw(epoch)
        positions = order[len(self) * self.batch_size :]
        slots = epoch * len(self.rows) + positions
        if len(positions) and not self.shelf.holds(slots):
            job = Job(positions, None if draws is None else draws[positions])
            pictures, *_ = next(self.load([job]))
            self.shelf.put(slots, self._compute(pictures))

    def _draws_of(self, view: ndarray) -> Draws | None:
        """The random numbers behind the views of all pictures."""
        passes = [self.draw(k)[1] for k in range(self.views)]
        if passes[0] is None:
            return None
        kind = type(passes[0])  # pictures and spectrograms draw different numbers
        pictures = np.arange(len(view))
        columns = []
        for name in vars(passes[0]):
            values = np.stack([getattr(draws, name) for draws in passes])
            columns.append(values[view, pictures])
        return kind(*columns)

    def _compute(self, pictures: Tensor) -> Tensor:
        """Rows as they are kept: so a picture looks the same from its first time on."""
        with torch.no_grad(), torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            inner = cut.activations(self.model, self.model.cut, pictures)
        return self.shelf.pack(inner)

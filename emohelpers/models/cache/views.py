"""Augmented views of pictures as a trunk's activations: computed once each, and shown again in later passes.

A view is one drawn augmentation: view k is what pass k of the training would show. So the first passes are those of a
training without a cache, bit for bit where activations are kept as fp32, and fill it as they go; later passes show each
picture's views again, in an order of its own. A share of their batches may be augmented and computed anew.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from emohelpers import config
from emohelpers.images import batches
from emohelpers.images.augment import Draws
from emohelpers.images.batches import Batches, Job
from emohelpers.models.cache import memory, storage

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Views(Batches):
    """Batches whose inputs are a trunk's activations (n, *cut.form): computed when first needed, and kept."""

    def __init__(self, source: Batches, model: nn.Module, shelf, kind: str, views: int, key: str, precision: str, cfg):
        vars(self).update(vars(source))
        self.source = source  # pictures or spectrograms: it alone knows how its batches are made
        self.model, self.shelf, self.kind, self.views, self.key = model, shelf, kind, views, key
        self.half, self.fresh = DTYPES.get(precision), cfg.cache_fresh if source.augmentation else 0.0

    def on(self, device: torch.device, rank: int = 0, world: int = 1) -> "Views":
        """See `images.Batches`."""
        placed = super().on(device, rank, world)
        placed.source = self.source.on(device, rank, world)
        return placed

    def digest(self) -> str:
        """Names the content, and how it is kept."""
        return config.digest(self.source.digest(), self.key, self.fresh)

    def load(self, plan: list[Job]) -> Iterator[tuple]:
        """The batches of a plan, of pictures."""
        return self.source.load(plan)

    def epoch(self, epoch: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
        """One pass; a batch of which one picture is not yet kept is computed whole, as an undisturbed run does it."""
        plan, view = self.plan(epoch), self.view(epoch)
        rng = np.random.default_rng([self.seed, epoch, len(self.rows)])
        fresh = rng.random(len(plan)) < (self.fresh if epoch >= self.views else 0)
        numbers = [view[at] * len(self.rows) + at for at, _ in plan]
        lacks = [new or not self.shelf.holds(slots) for new, slots in zip(fresh, numbers, strict=True)]
        if epoch >= self.views and any(lacks):
            looks = self._looks(view)
            plan = [Job(at, own if new else looks and looks[at]) for (at, own), new in zip(plan, fresh, strict=True)]
        made = self.load([job for job, lack in zip(plan, lacks, strict=True) if lack])
        kept = batches.prefetch(
            self.shelf.take, [slots for slots, lack in zip(numbers, lacks, strict=True) if not lack]
        )
        for job, slots, lack, new in zip(plan, numbers, lacks, fresh, strict=True):
            at, rows = job[0], None if lack else next(kept)
            if rows is None:  # not there, or damaged
                again = [job] if lack or epoch < self.views else [Job(at, (looks := self._looks(view)) and looks[at])]
                pictures, *_ = next(made if lack else self.load(again))
                rows = self._computed(pictures, None if new else slots)
            rows = rows.to(self.device, non_blocking=True)
            inputs = storage.unpack(rows, self.model.cut.shape, self.kind)
            yield inputs.view(len(at), *self.model.cut.form), self.targets[at].to(self.device, non_blocking=True), at
        if epoch < self.views and self.rank == 0:
            self._leftovers(epoch)

    def view(self, epoch: int) -> np.ndarray:
        """(n,) which of its views a pass shows of each picture: every cycle of passes shows each view once."""
        n, (cycle, step) = len(self.rows), divmod(epoch, self.views)
        if not cycle or self.views == 1:
            return np.full(n, step % self.views)
        rng = np.random.default_rng([self.seed, cycle, n])
        return rng.permuted(np.tile(np.arange(self.views), (n, 1)), axis=1)[:, step]

    def _leftovers(self, epoch: int) -> None:
        """Keeps what the incomplete last batch of a pass would have held: a later pass shows it."""
        order, draws = self.draw(epoch)
        at = order[len(self) * self.batch_size :]
        if len(at) and not self.shelf.holds(slots := epoch * len(self.rows) + at):
            self._computed(next(self.load([Job(at, draws and draws[at])]))[0], slots)

    def _looks(self, view: np.ndarray) -> Draws | None:
        """The random numbers behind the views of all pictures."""
        passes = [self.draw(k)[1] for k in range(self.views)]
        if passes[0] is None:
            return None
        every = np.arange(len(view))
        kind = type(passes[0])  # pictures and spectrograms draw different numbers
        return kind(*(np.stack([vars(draws)[name] for draws in passes])[view, every] for name in vars(passes[0])))

    def _computed(self, pictures: torch.Tensor, slots: np.ndarray | None) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            inner = memory.activations(self.model, self.model.cut, pictures)
        rows = storage.pack(inner.float(), self.kind)
        if slots is not None:
            self.shelf.put(slots, rows)
        return rows

"""Batches of pictures: gathered from the uint8 store, augmented whole, on the CPU or on the card.

Every random number of an epoch is drawn at once from (seed, epoch), one row a picture, so a batch looks the same
whether one process makes it or two, and a resumed run sees what the undisturbed one saw.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from emohelpers import config
from emohelpers.datasets.pixels import Pixels
from emohelpers.images import render, votes
from emohelpers.images.augment import Augmentation, Draws
from emohelpers.images.preprocess import Preprocess

AHEAD = 3  # batches that are prepared while one is computed on
RESIDENT = 1 / 4  # of the card's free memory may hold the training pictures

Batch = tuple[Tensor, Tensor, ndarray]  # inputs, targets, positions


class Job(NamedTuple):
    """What one batch will show."""

    positions: ndarray  # (n,) into the rows of the batches
    draws: Draws | None  # random numbers of these n pictures; None: as they are


@dataclass(eq=False, repr=False)
class Batches:
    """Passes over some rows of a store as (inputs, targets, positions) on one device.

    inputs (n, 3, img_size, img_size) float32 normalised; targets (n, ...) as given; positions (n,) into `rows`.
    With `augmentation`, a pass is shuffled and augmented from (seed, epoch) and drops the incomplete last batch;
    without, it is in order and complete. Of each batch a process sees its share (rank of world). With `odds` (n,), the
    chances of each picture to be the next, a pass is drawn with replacement.
    """

    pixels: Pixels
    rows: ndarray  # (n,) of the store
    targets: Tensor  # (n, ...)
    preprocess: Preprocess
    _: KW_ONLY
    batch_size: int
    augmentation: Augmentation | None = None
    seed: int = 0
    odds: ndarray | None = None  # (n,), together 1
    device: torch.device = torch.device("cpu")
    rank: int = 0
    world: int = 1
    _resident: Tensor | None = None  # the pictures, where they stay on the card

    def __post_init__(self):
        self.rows = np.asarray(self.rows)
        self.targets = torch.tensor(np.asarray(self.targets))
        # A batch larger than the part would be its incomplete last one, which training drops.
        self.batch_size = min(self.batch_size, len(self.rows))

    def on(self, device: torch.device, rank: int = 0, world: int = 1) -> "Batches":
        """The same passes on a device, as one process of several sees them."""
        placed = copy.copy(self)
        placed.device = device
        placed.rank = rank
        placed.world = world
        return placed

    def digest(self) -> str:
        """Names the content: which pictures with which targets, prepared and augmented how."""
        content = [self.pixels.sha256[row] for row in self.rows]
        recipe = [self.preprocess, self.augmentation, self.batch_size, self.seed]
        if self.odds is not None:
            recipe.append(self.odds.tolist())
        # The repr leaves these out, so that a digest without any is what it was before there were some.
        if self.augmentation and self.augmentation.extra_augmentations:
            recipe.append(self.augmentation.extra_augmentations)
        return config.digest(content, self.targets.tolist(), [repr(part) for part in recipe])

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return full if self.augmentation or not rest else full + 1

    def plan(self, epoch: int) -> list[Job]:
        """Of each batch of this process the positions, and the random numbers of its pictures."""
        order, draws = self.draw(epoch)
        jobs = []
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            slots = np.arange(start, min(start + self.batch_size, len(order)))
            # All processes walk one order and split each batch: its content does not depend on their number.
            share = np.array_split(slots, self.world)[self.rank]
            positions = order[share]
            if draws is None:
                jobs.append(Job(positions, None))
            elif self.odds is None:
                jobs.append(Job(positions, draws[positions]))
            else:  # a picture drawn twice looks different each time
                jobs.append(Job(positions, draws[share]))
        return jobs

    def draw(self, epoch: int) -> tuple[ndarray, Draws | None]:
        """Order (n,) of a pass, and the random numbers of its n pictures (with `odds`: of its n drawings)."""
        n = len(self.rows)
        if not self.augmentation:
            return np.arange(n), None
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(n) if self.odds is None else rng.choice(n, n, p=self.odds)
        return order, self.augmentation.at(epoch).draw(n, rng)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """One pass, see the class."""
        return self.load(self.plan(epoch))

    def load(self, plan: list[Job]) -> Iterator[Batch]:
        """The batches of a plan; the next ones are prepared by a thread while this one is computed on."""
        if self._stays_on_card():
            yield from self._from_card(plan)
            return
        for (positions, draws), pixels in prefetch(self._ready, plan):
            yield self._batch(positions, pixels.to(self.device, non_blocking=True), draws)

    def preview(self, n: int, epoch: int = 0) -> ndarray:
        """The first pictures of a pass as the model gets them: (n, img_size, img_size, 3) uint8."""
        size = (self.preprocess.img_size, self.preprocess.img_size)
        pictures: list[ndarray] = []
        for positions, draws in self.plan(epoch):
            pictures += [cv2.resize(picture, size) for picture in self._prepare(positions, draws)]
            if len(pictures) >= n:
                break
        return np.stack(pictures[:n])

    def _ready(self, job: Job) -> tuple[Job, Tensor]:
        """What the thread does for a batch."""
        job, pixels = self._gather(job)
        return job, pinned(torch.from_numpy(pixels), self.device)

    def _gather(self, job: Job) -> tuple[Job, ndarray]:
        """(n, h, w, 3) uint8, and the draws that are left for the card."""
        # A card augments whole batches itself; what is not augmented is resized on the CPU, on any machine.
        if job.draws is not None and self.device.type == "cuda":
            return job, self.pixels.take(self.rows[job.positions])
        return Job(job.positions, None), self._prepare(*job)

    def _prepare(self, positions: ndarray, draws: Draws | None) -> ndarray:
        squares = self.pixels.take(self.rows[positions])
        if draws is None:
            return self.preprocess.evaluate(squares)
        return render.on_cpu(squares, draws, self.preprocess)

    def _batch(self, positions: ndarray, pixels: Tensor, draws: Draws | None) -> Batch:
        if draws is None:
            inputs = self.preprocess.enlarge(self.preprocess.normalise(pixels))
        else:
            inputs = render.on_device(pixels, draws, self.preprocess)
        return inputs, self.targets[positions].to(self.device, non_blocking=True), positions

    def _stays_on_card(self) -> bool:
        # Evaluation resizes on the CPU, exactly as prediction will.
        if self.device.type != "cuda" or self.augmentation is None:
            return False
        if self._resident is not None:
            return True
        free, _ = torch.cuda.mem_get_info(self.device)
        # What PyTorch keeps of ended computations is free for the next.
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return len(self.rows) * self.pixels.side**2 * 3 < RESIDENT * free

    def _from_card(self, plan: list[Job]) -> Iterator[Batch]:
        if self._resident is None:
            self._resident = torch.from_numpy(self.pixels.take(self.rows)).to(self.device)
        # All indices of a pass at once: the CPU waits for a copy.
        order = torch.from_numpy(np.concatenate([job.positions for job in plan])).to(self.device)
        batches = order.split([len(job.positions) for job in plan])
        for (positions, draws), rows in zip(plan, batches, strict=True):
            yield self._batch(positions, self._resident[rows], draws)


def by_split(table, pixels: Pixels, preprocess: Preprocess, classes: Sequence[str], cfg) -> dict[str, Batches]:
    """Batches of each part of a split table: "train" augmented and shuffled, the others as they are."""
    parts = {}
    for part, rows in table.groupby("split"):
        targets = votes.hard(rows, classes)
        options = {"batch_size": cfg.batch_size, "seed": cfg.seed}
        if part == "train":
            options["augmentation"] = Augmentation.of(cfg)
            # The odds come from hard labels, so before votes may take the place of these.
            if cfg.sampler_power:
                options["odds"] = votes.odds(targets, cfg.sampler_power)
            if cfg.soft_labels:
                targets = votes.votes(rows, classes, cfg.soft_labels)
        parts[part] = Batches(pixels, pixels.rows(rows["path"]), targets, preprocess, **options)
    return parts


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """In memory that a card reads while the CPU goes on, if that is where it goes."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def prefetch(work: Callable, jobs: Sequence, depth: int = AHEAD) -> Iterator:
    """Results of `work(job)` in order, made by one thread up to `depth` ahead; its errors are raised here."""
    pool = ThreadPoolExecutor(1, "batches")
    try:
        waiting = deque(pool.submit(work, job) for job in jobs[:depth])
        # The next job is submitted before a result is handed out: the thread works while the caller does.
        for job in jobs[depth:]:
            result = waiting.popleft().result()
            waiting.append(pool.submit(work, job))
            yield result
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also where the caller leaves its loop early: jobs that have not begun are dropped.
        pool.shutdown(cancel_futures=True)

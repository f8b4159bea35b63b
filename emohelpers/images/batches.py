"""Batches of pictures: gathered from the uint8 store, augmented whole, in one colour pass and one affine warp.

Every random number of an epoch is drawn at once from (seed, epoch), one row a picture, so a batch looks the same
whether one process makes it or two, and a resumed run sees what the undisturbed one saw.
"""

import copy
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from emohelpers import config
from emohelpers.datasets.pixels import Pixels
from emohelpers.images import votes as targets

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as OpenCV and torchvision
ERASED_AREA = (0.02, 0.2)  # share of the picture that one erased rectangle covers
ERASED_RATIO = (0.3, 3.3)


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the model's input; stored in every checkpoint and export."""

    side: int  # pixels of the decoded square, see store.fit_square
    img_size: int  # pixels of the model's input
    zoom: float  # the square is resized to img_size * zoom and its centre cut out
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = (
        "bilinear"  # when evaluation enlarges, as the model's weights expect; training warps bilinearly
    )
    grey: bool = False  # colour is taken away, in training too

    def evaluate(self, squares: np.ndarray) -> np.ndarray:
        """(n, side, side, 3) -> (n, img_size, img_size, 3) uint8: the one resize of evaluation, export, prediction."""
        large = round(self.img_size * self.zoom)
        if self.grey:
            squares = np.repeat((squares @ LUMA).round().astype(np.uint8)[..., None], 3, axis=3)
        if large == squares.shape[1] == self.img_size:
            return squares
        enlarge = cv2.INTER_CUBIC if self.interpolation == "bicubic" else cv2.INTER_LINEAR
        kind = cv2.INTER_AREA if large < squares.shape[1] else enlarge
        low = (large - self.img_size) // 2
        out = np.empty((len(squares), self.img_size, self.img_size, 3), np.uint8)
        for i, square in enumerate(squares):
            resized = square if large == squares.shape[1] else cv2.resize(square, (large, large), interpolation=kind)
            out[i] = resized[low : low + self.img_size, low : low + self.img_size]
        return out

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, h, w, 3) uint8 or float in 0..255 -> (n, 3, h, w) float32, channels-last in memory."""
        n, height, width, _ = pixels.shape
        scale, shift = (torch.from_numpy(row).to(pixels.device).repeat(width) for row in self.affine())
        flat = pixels.reshape(n, height, width * 3)  # three channels alone would be too short a row to be fast
        made = torch.addcmul(shift, flat.float(), scale)
        return made.view(n, height, width, 3).permute(0, 3, 1, 2)

    @property
    def warped(self) -> int:
        """Pixels of the square that augmentation warps to: a third more than decoded holds what there is to see."""
        return min(self.img_size, round(self.side * 4 / 3))

    def enlarge(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, 3, warped, warped), channels-last in memory -> (n, 3, img_size, img_size), bilinear."""
        out = self.img_size
        if inputs.shape[-1] == out:
            return inputs
        if inputs.device.type != "cpu":
            return F.interpolate(inputs, (out, out), mode="bilinear").contiguous(memory_format=torch.channels_last)
        small, large = inputs.permute(0, 2, 3, 1).numpy(), torch.empty(len(inputs), out, out, 3)
        for source, target in zip(small, large.numpy(), strict=True):
            cv2.resize(source, (out, out), dst=target, interpolation=cv2.INTER_LINEAR)
        return large.permute(0, 3, 1, 2)

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(3,) scale and shift that take 0..255 to the model's input."""
        std = np.array(self.std, np.float32)
        return 1 / (255 * std), -np.array(self.mean, np.float32) / std


@dataclass(frozen=True)
class Augmentation:
    """Strengths of what happens to a training picture; the names are those of `config.Training`."""

    crop_scale: tuple[float, float] = (0.8, 1.0)
    crop_ratio: tuple[float, float] = (0.9, 1.11)
    flip: float = 0.5
    rotation: float = 10.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    erasing: float = 0.25
    strength: Mapping[int, float] = field(default_factory=dict)  # epoch -> factor on the others from then on

    @classmethod
    def of(cls, cfg) -> "Augmentation":
        """The augmentation that a config describes."""
        return cls(**{name: getattr(cfg, name) for name in cls.__dataclass_fields__})

    def at(self, epoch: int) -> "Augmentation":
        """The augmentation of one epoch: with a strength of .5 half of everything but the mirroring."""
        begun = [start for start in self.strength if start <= epoch]
        if not begun:
            return replace(self, strength={})
        f = self.strength[max(begun)]
        low, high = (1 - f * (1 - share) for share in self.crop_scale)
        narrow, wide = (ratio**f for ratio in self.crop_ratio)
        colour = {name: min(f * getattr(self, name), 1.0) for name in ("brightness", "contrast", "saturation")}
        colour["erasing"] = min(f * self.erasing, 1.0)
        scale, ratio = (max(low, 0.05), max(high, 0.05)), (narrow, wide)
        return replace(self, crop_scale=scale, crop_ratio=ratio, rotation=f * self.rotation, strength={}, **colour)

    def draw(self, n: int, rng: np.random.Generator) -> "Draws":
        """The random numbers of `n` pictures; fixed order of draws, whatever is switched off."""
        area = rng.uniform(*self.crop_scale, n)
        ratio = np.exp(rng.uniform(*np.log(self.crop_ratio), n))
        width, height = np.minimum(np.sqrt(area * ratio), 1), np.minimum(np.sqrt(area / ratio), 1)
        centre = np.stack([(1 - width), (1 - height)], 1) * rng.uniform(-0.5, 0.5, (n, 2))
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation, n))
        mirror = np.where(rng.random(n) < self.flip, -1.0, 1.0)
        cos, sin = np.cos(angle), np.sin(angle)
        warp = np.empty((n, 2, 3))
        warp[:, 0, 0], warp[:, 0, 1] = cos * width * mirror, -sin * height
        warp[:, 1, 0], warp[:, 1, 1] = sin * width * mirror, cos * height
        warp[:, :, 2] = centre
        gain, contrast, saturation = (
            1 + rng.uniform(-s, s, n) for s in (self.brightness, self.contrast, self.saturation)
        )
        box_area = rng.uniform(*ERASED_AREA, n)
        box_ratio = np.exp(rng.uniform(*np.log(ERASED_RATIO), n))
        size = np.minimum(np.stack([np.sqrt(box_area * box_ratio), np.sqrt(box_area / box_ratio)], 1), 1)
        corner = rng.random((n, 2)) * (1 - size)
        size[rng.random(n) >= self.erasing] = 0
        colour = np.stack([gain, contrast, saturation], 1)
        box = np.concatenate([corner, corner + size], 1)
        return Draws(warp.astype(np.float32), colour.astype(np.float32), box.astype(np.float32))


@dataclass(frozen=True)
class Draws:
    """Random numbers of n pictures, in units of the picture's side, from its centre (box: from its corner)."""

    warp: np.ndarray  # (n, 2, 3) output position -> source position, both in -0.5 .. 0.5
    colour: np.ndarray  # (n, 3) brightness, contrast and saturation factors
    box: np.ndarray  # (n, 4) erased left, top, right, bottom in 0 .. 1; empty where left == right

    def __getitem__(self, rows: np.ndarray) -> "Draws":
        return Draws(self.warp[rows], self.colour[rows], self.box[rows])


def augment(squares: np.ndarray, draws: Draws, preprocess: Preprocess) -> np.ndarray:
    """(n, s, s, 3) -> (n, warped, warped, 3) uint8 by OpenCV, the CPU's fastest way: one colour matrix and one affine
    warp a picture; erased rectangles get the model's mean, which is zero after normalisation. Where the model wants
    more pixels, `Preprocess.enlarge` comes after normalisation.
    """
    n, side = squares.shape[:2]
    out = preprocess.warped
    linear = draws.warp[:, :, :2] * (side / out)
    # Pixel centres lie at +0.5: p_source = L (p_out + 0.5 - out/2) + shift*side + side/2 - 0.5.
    shift = draws.warp[:, :, 2] * side + (side - 1) / 2 - (linear * ((out - 1) / 2)).sum(2)
    warps = np.concatenate([linear, shift[:, :, None]], 2)
    gain, contrast, saturation = draws.colour.T[:, :, None, None]
    saturation = saturation * (not preprocess.grey)
    colours = np.empty((n, 3, 4), np.float32)
    colours[:, :, :3] = gain * contrast * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * LUMA)
    offset = (gain * (1 - contrast)).ravel()
    boxes = np.rint(draws.box * out).astype(int)
    fill = [round(255 * mean) for mean in preprocess.mean]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    result, wide = np.empty((n, out, out, 3), np.uint8), np.empty((out, out, 4), np.uint8)
    for i in range(n):
        colours[i, :, 3] = offset[i] * (LUMA @ cv2.mean(squares[i])[:3])
        four = cv2.cvtColor(cv2.transform(squares[i], colours[i]), cv2.COLOR_RGB2RGBA)  # warped twice as fast as three
        cv2.warpAffine(four, warps[i], (out, out), dst=wide, flags=flags, borderMode=cv2.BORDER_REFLECT)
        cv2.cvtColor(wide, cv2.COLOR_RGBA2RGB, dst=result[i])
        left, top, right, bottom = boxes[i]
        if right > left:
            result[i, top:bottom, left:right] = fill
    return result


def augment_on_device(squares: torch.Tensor, draws: Draws, preprocess: Preprocess) -> torch.Tensor:
    """(n, s, s, 3) uint8 -> (n, 3, img_size, img_size): the same pictures as `augment`, a whole batch at once."""
    device, n, out = squares.device, len(squares), preprocess.warped
    warp, colour, box = (
        torch.from_numpy(a).to(device, non_blocking=True) for a in (draws.warp, draws.colour, draws.box)
    )
    x = squares.permute(0, 3, 1, 2).float()
    luma = torch.from_numpy(LUMA).to(device)
    gain, contrast, saturation = (colour[:, i].view(n, 1, 1, 1) for i in range(3))
    saturation = saturation * (not preprocess.grey)
    mean = torch.einsum("nchw,c->n", x, luma).view(n, 1, 1, 1) / (x.shape[2] * x.shape[3])
    grey = torch.einsum("nchw,c->nhw", x, luma).unsqueeze(1)
    x = gain * contrast * (saturation * x + (1 - saturation) * grey) + gain * mean * (1 - contrast)
    x = preprocess.normalise(x.clamp_(0, 255).permute(0, 2, 3, 1))
    theta = torch.cat([warp[:, :, :2], 2 * warp[:, :, 2:]], 2)  # grid_sample counts from -1 to 1
    grid = F.affine_grid(theta, [n, 3, out, out], align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    edge = torch.arange(out, device=device)
    left, top, right, bottom = (box * out).round().T.unsqueeze(2)
    inside = ((edge >= left) & (edge < right)).unsqueeze(1) & ((edge >= top) & (edge < bottom)).unsqueeze(2)
    x = x.masked_fill(inside.unsqueeze(1), 0).contiguous(memory_format=torch.channels_last)
    return preprocess.enlarge(x)


class Batches:
    """Passes over some rows of a store as (inputs, targets, positions) on one device.

    inputs (n, 3, img_size, img_size) float32 normalised; targets (n, ...) as given; positions (n,) into `rows`.
    With `augmentation`, a pass is shuffled and augmented from (seed, epoch) and drops the incomplete last batch;
    without, it is in order and complete. Of each batch a process sees its share (rank of world). With `odds` (n,), the
    chances of each picture to be the next, a pass is drawn with replacement.
    """

    def __init__(
        self, pixels: Pixels, rows: np.ndarray, targets: np.ndarray, preprocess: Preprocess, *, batch_size: int,
        augmentation: Augmentation | None = None, seed: int = 0, odds: np.ndarray | None = None,
    ):  # fmt: skip
        self.odds = odds
        self.pixels, self.rows, self.preprocess = pixels, np.asarray(rows), preprocess
        self.targets, self.augmentation, self.seed = torch.tensor(np.asarray(targets)), augmentation, seed
        self.batch_size = min(batch_size, len(self.rows))
        self.device, self.rank, self.world = torch.device("cpu"), 0, 1
        self._resident: torch.Tensor | None = None

    def on(self, device: torch.device, rank: int = 0, world: int = 1) -> "Batches":
        """The same passes on a device, as one process of several sees them."""
        placed = copy.copy(self)
        placed.device, placed.rank, placed.world = device, rank, world
        return placed

    def digest(self) -> str:
        """Names the content: which pictures with which targets, prepared and augmented how."""
        content = [self.pixels.sha256[row] for row in self.rows]
        how = (self.preprocess, self.augmentation, self.batch_size, self.seed)
        how += () if self.odds is None else (self.odds.tolist(),)
        return config.digest(content, self.targets.tolist(), [repr(part) for part in how])

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return full if self.augmentation or not rest else full + 1

    def plan(self, epoch: int) -> list[tuple[np.ndarray, Draws | None]]:
        """Of each batch of this process the positions, and the random numbers of its pictures."""
        n, (order, draws) = len(self.rows), self.drawn(epoch)
        number = order if self.odds is None else np.arange(n)  # a picture drawn twice looks different each time
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        slots = [np.arange(start, min(start + self.batch_size, n)) for start in starts]
        own = [np.array_split(batch, self.world)[self.rank] for batch in slots]
        return [(order[batch], draws and draws[number[batch]]) for batch in own]

    def drawn(self, epoch: int) -> tuple[np.ndarray, Draws | None]:
        """Order (n,) of a pass, and the random numbers of its n pictures (with `odds`: of its n drawings)."""
        n = len(self.rows)
        if not self.augmentation:
            return np.arange(n), None
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(n) if self.odds is None else rng.choice(n, n, p=self.odds)
        return order, self.augmentation.at(epoch).draw(n, rng)

    def epoch(self, epoch: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
        """One pass, see the class."""
        return self.made(self.plan(epoch))

    def made(
        self, plan: list[tuple[np.ndarray, Draws | None]]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
        """The batches of a plan; the next one is made by a thread while this one is computed on."""
        if self.device.type == "cuda" and self._fits():
            if self._resident is None:
                self._resident = torch.from_numpy(self.pixels.take(self.rows)).to(self.device)
            for at, draws in plan:
                squares = self._resident[torch.from_numpy(at).to(self.device)]
                yield self._finish(squares, draws, at)
            return
        for squares, at, draws in ahead(lambda job: (self._gather(*job), *job), plan):
            on_device = torch.from_numpy(squares).to(self.device, non_blocking=True)
            yield self._finish(on_device, draws if self.device.type == "cuda" else None, at)

    def preview(self, n: int, epoch: int = 0) -> np.ndarray:
        """The first pictures of a pass as the model gets them: (n, img_size, img_size, 3) uint8."""
        made, size = [], (self.preprocess.img_size,) * 2
        for at, draws in self.plan(epoch)[: -(-n // max(self.batch_size // self.world, 1))]:
            squares = self.pixels.take(self.rows[at])
            made += list(augment(squares, draws, self.preprocess) if draws else self.preprocess.evaluate(squares))
        return np.stack([cv2.resize(picture, size) for picture in made[:n]])

    def _gather(self, at: np.ndarray, draws: Draws | None) -> np.ndarray:
        squares = self.pixels.take(self.rows[at])
        if draws is None:
            return self.preprocess.evaluate(squares)
        if self.device.type == "cuda":
            return squares  # the card does the rest
        return augment(squares, draws, self.preprocess)

    def _finish(self, made: torch.Tensor, draws: Draws | None, at: np.ndarray):
        if draws is not None:
            inputs = augment_on_device(made, draws, self.preprocess)
        else:
            inputs = self.preprocess.enlarge(self.preprocess.normalise(made))
        return inputs, self.targets[at].to(self.device, non_blocking=True), at

    def _fits(self) -> bool:
        """Training pictures stay on the card when they take less than a quarter of what is free."""
        if self._resident is not None:
            return True
        if self.augmentation is None:  # evaluation resizes on the CPU, exactly as prediction will
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return len(self.rows) * self.pixels.side**2 * 3 < free / 4


def by_split(table, pixels: Pixels, preprocess: Preprocess, classes: Sequence[str], cfg) -> dict[str, Batches]:
    """Batches of each part of a split table: "train" augmented and shuffled, the others as they are."""
    made = {}
    for part, rows in table.groupby("split"):
        answers, learns = targets.hard(rows, classes), {}
        if part == "train":
            learns["odds"] = targets.odds(answers, cfg.sampler_power) if cfg.sampler_power else None
            learns["augmentation"] = Augmentation.of(cfg)
            answers = targets.votes(rows, classes, cfg.soft_labels) if cfg.soft_labels else answers
        at = pixels.rows(rows["path"])
        made[part] = Batches(pixels, at, answers, preprocess, batch_size=cfg.batch_size, seed=cfg.seed, **learns)
    return made


def ahead(make: Callable, jobs: list, depth: int = 2) -> Iterator:
    """Results of `make(job)` in order, made by one thread up to `depth` ahead; its errors are raised here."""
    made: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        for job in jobs:
            try:
                item = (make(job), None)
            except BaseException as error:  # handed to the consumer, which raises it
                item = (None, error)
            while not stop.is_set():
                try:
                    made.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or item[1]:
                return

    thread = threading.Thread(target=work, daemon=True, name="batches")
    thread.start()
    try:
        for _ in jobs:
            item, error = made.get()
            if error:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()

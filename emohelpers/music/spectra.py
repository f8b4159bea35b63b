"""Batches of spectrograms as pictures: shifted in time, made louder or softer, and masked as SpecAugment does.

They are `images.Batches` in all but what a picture is, so that training, evaluation and kept activations take them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from numpy.random import Generator
from torch import Tensor, from_numpy

from emohelpers import config
from emohelpers.images.batches import Batches, Job, pinned
from emohelpers.music.sound import RANGE_DB


@dataclass(frozen=True)
class Scale:
    """What a model takes: one (value - mean) / std for each of its channels; `images.Preprocess` will do as well."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Draws:
    """Random numbers of n clips."""

    shift: ndarray  # (n,) share of the clip that moves from its end to its start
    gain: ndarray  # (n,) dB
    masks: ndarray  # (n, 4) first mel, mels, first frame, frames that are blanked, as shares

    def __getitem__(self, rows: ndarray) -> "Draws":
        return Draws(self.shift[rows], self.gain[rows], self.masks[rows])


@dataclass(frozen=True)
class Augmentation:
    """Strengths of what happens to a training clip; the names are those of `config.Music`."""

    time_shift: bool = True
    gain_db: float = 3.0  # dB to either side
    mel_mask: float = 0.15  # of the bands, at most
    time_mask: float = 0.15  # of the frames, at most

    @classmethod
    def of(cls, cfg) -> "Augmentation":
        """The augmentation that a config describes."""
        return cls(**{name: getattr(cfg, name) for name in cls.__dataclass_fields__})

    def at(self, epoch: int) -> "Augmentation":
        """The augmentation of one epoch: always the same."""
        return self

    def draw(self, n: int, rng: Generator) -> Draws:
        """The random numbers of `n` clips; fixed order of draws, whatever is switched off."""
        shift = rng.random(n) * self.time_shift
        gain = rng.uniform(-self.gain_db, self.gain_db, n)
        size = rng.random((n, 2)) * (self.mel_mask, self.time_mask)
        first = rng.random((n, 2)) * (1 - size)
        masks = np.stack([first, size], axis=2).reshape(n, 4)
        return Draws(shift.astype(np.float32), gain.astype(np.float32), masks.astype(np.float32))


class Spectra(Batches):
    """Passes over pictures of spectrograms, see `images.Batches`: (B, channels, h, w), (B, 2) ratings, positions (B,).

    Args:
        pictures: (n, h, w) float16 in 0..1, of `sound.pictures`.
        targets: (n, 2) valence and arousal, -1..1.
        scale: mean and std of each channel that the model takes; a single picture fills all of them.
        options: of `images.Batches`: batch_size, augmentation, seed.
        width: of the section that a training pass shows of each picture; 0: all of it.
    """

    def __init__(self, pictures: ndarray, targets: ndarray, scale, *, width: int = 0, **options):
        super().__init__(None, np.arange(len(pictures)), np.asarray(targets, np.float32), scale, **options)
        self.pictures = pictures
        self.width = width or pictures.shape[-1]
        first = pictures[: 4 * self.batch_size]
        self.fill = float(np.mean(first, dtype=np.float64)) if len(first) else 0.0  # what masks show

    def digest(self) -> str:
        """Names the content: which clips with which ratings, scaled and augmented how."""
        content = hashlib.sha256(np.ascontiguousarray(self.pictures).tobytes()).hexdigest()
        scale = self.preprocess
        settings = (scale.mean, scale.std, self.augmentation, self.batch_size, self.seed, self.width)
        return config.digest(content, self.targets.tolist(), list(map(repr, settings)))

    def load(self, plan: list[Job]) -> Iterator[tuple]:
        """The batches of a plan."""
        mean = self._channels(self.preprocess.mean)
        std = self._channels(self.preprocess.std)
        for rows, draws in plan:
            clips = pinned(from_numpy(np.asarray(self.pictures[rows])), self.device)
            clips = clips.to(self.device, non_blocking=True).float()
            if draws is not None:
                clips = augment(clips, draws, self.fill, self.width)
            targets = self.targets[rows].to(self.device, non_blocking=True)
            yield (clips.unsqueeze(1) - mean) / std, targets, rows

    def _channels(self, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, device=self.device).view(1, -1, 1, 1)


def augment(clips: Tensor, draws: Draws, fill: float, width: int) -> Tensor:
    """(n, h, w) in 0..1 -> (n, h, width): turned in time and cut, louder or softer, and masked with `fill`.

    Masks: Park et al., arXiv 1904.08779. What is silent stays silent, whatever the gain.
    """
    n, height, frames = clips.shape
    device = clips.device
    sizes = np.array([height, height, width, width], np.float32)
    values = (draws.shift, draws.gain, draws.masks * sizes)
    shift, gain, masks = (from_numpy(value).to(device, non_blocking=True) for value in values)

    # Turned in time: the clip begins at its own frame and goes on from its start.
    frame = torch.arange(width, device=device)
    source = (frame + (shift.unsqueeze(1) * frames).long()) % frames
    clips = clips.gather(2, source.unsqueeze(1).expand(n, height, width))

    # In dB a gain is added; 0..1 of the picture spans RANGE_DB.
    clips = torch.where(clips > 0, (clips + gain.view(n, 1, 1) / RANGE_DB).clamp(0, 1), clips)

    # One band of tones and one stretch of time are blanked.
    # Each (n, 1), to be compared with all bands or frames of a clip at once.
    low, bands, start, length = masks.round().T.unsqueeze(2)
    band = torch.arange(height, device=device)
    in_band = (band >= low) & (band < low + bands)
    in_time = (frame >= start) & (frame < start + length)
    return clips.masked_fill(in_band.unsqueeze(2) | in_time.unsqueeze(1), fill)

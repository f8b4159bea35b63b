"""Batches of spectrograms as pictures: shifted in time, made louder or softer, and masked as SpecAugment does.

They are `images.Batches` in all but what a picture is, so that training, evaluation and kept activations take them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from emohelpers import config
from emohelpers.images.batches import Batches, Job
from emohelpers.music.sound import RANGE_DB


@dataclass(frozen=True)
class Scale:
    """What a model takes: one (value - mean) / std for each of its channels; `images.Preprocess` will do as well."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Draws:
    """Random numbers of n clips."""

    shift: np.ndarray  # (n,) share of the clip that moves from its end to its start
    gain: np.ndarray  # (n,) dB
    masks: np.ndarray  # (n, 4) first mel, mels, first frame, frames that are blanked, as shares

    def __getitem__(self, rows: np.ndarray) -> "Draws":
        return Draws(self.shift[rows], self.gain[rows], self.masks[rows])


@dataclass(frozen=True)
class Augmentation:
    """Strengths of what happens to a training clip; the names are those of `recipes.Music`."""

    time_shift: bool = True
    gain_db: float = 3.0
    mel_mask: float = 0.15
    time_mask: float = 0.15

    @classmethod
    def of(cls, cfg) -> "Augmentation":
        """The augmentation that a config describes."""
        return cls(**{name: getattr(cfg, name) for name in cls.__dataclass_fields__})

    def at(self, epoch: int) -> "Augmentation":
        """The augmentation of one epoch: always the same."""
        return self

    def draw(self, n: int, rng: np.random.Generator) -> Draws:
        """The random numbers of `n` clips; fixed order of draws, whatever is switched off."""
        shift = rng.random(n) * self.time_shift
        gain = rng.uniform(-self.gain_db, self.gain_db, n)
        size = rng.random((n, 2)) * (self.mel_mask, self.time_mask)
        first = rng.random((n, 2)) * (1 - size)
        masks = np.stack([first[:, 0], size[:, 0], first[:, 1], size[:, 1]], 1)
        return Draws(*(a.astype(np.float32) for a in (shift, gain, masks)))


class Spectra(Batches):
    """Passes over pictures of spectrograms, see `images.Batches`: (B, channels, h, w), (B, 2) ratings, positions (B,).

    Args:
        pictures: (n, h, w) float16 in 0..1, of `audio.pictures`.
        targets: (n, 2) valence and arousal, -1..1.
        scale: mean and std of each channel that the model takes; a single picture fills all of them.
        width: of the section that a training pass shows of each picture; 0: all of it.
    """

    def __init__(
        self, pictures: np.ndarray, targets: np.ndarray, scale, *, batch_size: int,
        augmentation: Augmentation | None = None, seed: int = 0, width: int = 0,
    ):  # fmt: skip
        targets = np.asarray(targets, np.float32)
        super().__init__(
            None, np.arange(len(pictures)), targets, scale, batch_size=batch_size, augmentation=augmentation, seed=seed
        )
        self.pictures, self.width = pictures, width or pictures.shape[-1]
        self.fill = float(np.mean(pictures[: 4 * batch_size], dtype=np.float64)) if len(pictures) else 0.0

    def digest(self) -> str:
        """Names the content: which clips with which ratings, scaled and augmented how."""
        content = hashlib.sha256(np.ascontiguousarray(self.pictures).tobytes()).hexdigest()
        how = (self.preprocess.mean, self.preprocess.std, self.augmentation, self.batch_size, self.seed, self.width)
        return config.digest(content, self.targets.tolist(), [repr(part) for part in how])

    def load(self, plan: list[Job]) -> Iterator[tuple]:
        """The batches of a plan."""
        look = (self.preprocess.mean, self.preprocess.std)
        mean, std = (torch.tensor(row, device=self.device).view(1, -1, 1, 1) for row in look)
        for at, draws in plan:
            clips = torch.from_numpy(np.asarray(self.pictures[at])).to(self.device, non_blocking=True).float()
            if draws is not None:
                clips = augment(clips, draws, self.fill, self.width)
            yield (clips.unsqueeze(1) - mean) / std, self.targets[at].to(self.device, non_blocking=True), at


def augment(clips: torch.Tensor, draws: Draws, fill: float, width: int) -> torch.Tensor:
    """(n, h, w) in 0..1 -> (n, h, width): turned in time and cut, louder or softer, and masked with `fill`.

    Masks: Park et al., arXiv 1904.08779. What is silent stays silent, whatever the gain.
    """
    n, height, whole = clips.shape
    shift, gain, masks = (torch.from_numpy(a).to(clips.device) for a in (draws.shift, draws.gain, draws.masks))
    frame = torch.arange(width, device=clips.device)
    source = (frame + (shift.unsqueeze(1) * whole).long()) % whole
    clips = clips.gather(2, source.unsqueeze(1).expand(n, height, width))
    clips = torch.where(clips > 0, (clips + gain.view(n, 1, 1) / RANGE_DB).clamp(0, 1), clips)
    band = torch.arange(height, device=clips.device)
    first, size, start, length = (masks * masks.new_tensor([height, height, width, width])).round().T.unsqueeze(2)
    low = ((band >= first) & (band < first + size)).unsqueeze(2)
    late = ((frame >= start) & (frame < start + length)).unsqueeze(1)
    return clips.masked_fill(low | late, fill)

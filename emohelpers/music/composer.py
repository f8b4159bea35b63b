"""What the trained generator composes: clips in half-precision files, each with its condition."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import Audio, display
from numpy import ndarray
from numpy.random import default_rng
from pandas import DataFrame
from torch import from_numpy, no_grad

from emohelpers.config import files
from emohelpers.datasets.labels import TARGETS
from emohelpers.music import sound
from emohelpers.music.collection import typical
from emohelpers.music.nets import Generator
from emohelpers.music.sound import Spectrum
from emohelpers.report.run import Run

JITTER = 0.05  # standard deviation added to a drawn training rating, on -1..1
SHARD = 1024  # clips a file
BATCH = 64  # clips in one pass


@dataclass(frozen=True)
class Composed:
    """Synthetic clips in half-precision shards, each with its condition."""

    table: DataFrame  # clip, file, row, valence, arousal
    folder: Path

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ratings(self) -> ndarray:
        """(n, 2) the conditions, float32."""
        return self.table[list(TARGETS)].to_numpy(np.float32)

    def take(self, rows: ndarray) -> ndarray:
        """(n, h, w) float16 dB of some clips, from the memory-mapped files."""
        clips = self.table.iloc[rows]
        shards = {name: np.load(self.folder / name, mmap_mode="r") for name in clips["file"].unique()}
        return np.stack([shards[name][row] for name, row in zip(clips["file"], clips["row"], strict=True)])

    def examples(self) -> tuple[ndarray, ndarray]:
        """Four clips, the nearest to the middle of each quadrant: (4, h, w) dB and their conditions (4, 2)."""
        rows = typical(self.ratings)
        return self.take(rows), self.ratings[rows]


def conditions(ratings: ndarray, n: int, rng: np.random.Generator) -> ndarray:
    """(n, 2) float32 conditions: training ratings, each a little moved, none outside of their range.

    Most of the square of valence and arousal holds no song: a uniform draw, as in seed 004, asks for music that nothing
    was learned about.
    """
    drawn = ratings[rng.integers(len(ratings), size=n)] + rng.normal(0, JITTER, (n, 2))
    return np.clip(drawn, ratings.min(0), ratings.max(0)).astype(np.float32)


@no_grad()
def compose(generator: Generator, ratings: ndarray, cfg, folder: str | Path) -> Composed:
    """Exactly `cfg.n_synthetic` clips into `folder`, the same for the same seed.

    Args:
        ratings: (songs, 2) of the training songs, from which conditions are drawn.
        folder: gets synthetic-<k>.npy (float16 dB) and synthetic.csv.
    """
    folder = Path(folder)
    latent = generator.settings["latent"]
    device = generator.scale.device
    rng = default_rng([cfg.seed, 3])
    moods = conditions(np.asarray(ratings), cfg.n_synthetic, rng)
    tables = []
    for start in range(0, len(moods), SHARD):
        shard = moods[start : start + SHARD]
        # Drawn on the CPU for a whole shard: neither the device nor BATCH changes what is composed.
        noise = from_numpy(rng.standard_normal((len(shard), latent), np.float32))
        batches = zip(noise.split(BATCH), from_numpy(shard).split(BATCH), strict=True)
        clips = [generator.clips(z.to(device), mood.to(device)).cpu() for z, mood in batches]
        name = f"synthetic-{start // SHARD:03d}.npy"
        with files.replace(folder / name) as temp:
            np.save(temp, torch.cat(clips).half().numpy())
        table = DataFrame(shard, columns=list(TARGETS))
        table.insert(0, "row", range(len(shard)))
        table.insert(0, "file", name)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "clip", table.index.map("synthetic_{:05d}".format))
    files.write_csv(table, folder / "synthetic.csv")
    return Composed(table, folder)


def listen(composed: Composed, run: Run, *, count: int = 3) -> None:
    """Plays the first of the examples, and keeps them as synthetic_<number>.wav."""
    rows = typical(composed.ratings)[:count]
    for clip, row in zip(composed.take(rows), composed.table.iloc[rows].itertuples(), strict=True):
        samples = sound.play(clip, Spectrum.of(run.cfg), seed=run.cfg.seed)
        sound.write(run / f"{row.clip}.wav", samples, run.cfg.sample_rate)
        print(f"valence {row.valence:+.2f}, arousal {row.arousal:+.2f}")
        display(Audio(samples, rate=run.cfg.sample_rate))

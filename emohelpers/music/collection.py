"""The songs of a run as every step of notebook 07 takes them: rated, made into spectrograms and split."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from pandas import DataFrame

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.datasets import songs as rated
from emohelpers.datasets.labels import TARGETS
from emohelpers.music import sound
from emohelpers.music.sound import Spectrum
from emohelpers.music.spectrograms import Spectrograms, build
from emohelpers.report.run import Run

PARTS = ("train", "val", "test")
COLUMNS = list(TARGETS)
QUADRANTS = {"tense": (-1, 1), "happy": (1, 1), "sad": (-1, -1), "calm": (1, -1)}  # signs of valence and arousal
EXAMPLES = 0.5 * np.array(list(QUADRANTS.values()))  # the middle of each quadrant


@dataclass(frozen=True)
class Collection:
    """Rated songs with their spectrograms, split by song: "train", "val" and "test"."""

    name: str
    demo: str  # what the songs are where code plays them, "" for real ones
    table: DataFrame  # song, path, valence, arousal (-1..1), group, split
    spectrograms: Spectrograms

    def ratings(self, *parts: str) -> ndarray:
        """(n, 2) valence and arousal of one part or several, float32, in the order of the table."""
        return self.part(*parts)[COLUMNS].to_numpy(np.float32)

    def clips(self, shape: tuple[int, int], *parts: str) -> ndarray:
        """(n, *shape) float16 in 0..1, in the order of the table."""
        return sound.pictures(self.spectrograms.of(self.part(*parts)["path"]), shape)

    @property
    def descriptors(self) -> ndarray:
        """(n, 119) in the order of the table, see `descriptors.describe`."""
        rows = self.spectrograms.rows(self.table["path"])
        return self.spectrograms.descriptors.iloc[rows].to_numpy(np.float64)

    def examples(self, part: str, shape: tuple[int, int] | None = None) -> tuple[ndarray, ndarray]:
        """Four songs of a part, see `typical`: (4, h, w) dB, as pictures of a `shape` if one is named, and (4, 2)."""
        chosen = self.part(part).iloc[typical(self.ratings(part))]
        clips = self.spectrograms.of(chosen["path"])
        if shape:
            clips = sound.decibels(sound.pictures(clips, shape))
        return clips, chosen[COLUMNS].to_numpy()

    @property
    def counts(self) -> dict[str, int]:
        """Songs of each part."""
        return self.table["split"].value_counts().sort_index().to_dict()

    @property
    def leaks(self) -> int:
        """Songs that parts share, looked up again."""
        return rated.leaks(self.table)

    @property
    def digest(self) -> str:
        """Names the split."""
        return config.digest(self.table[["song", "split"]].to_dict())

    def part(self, *names: str) -> DataFrame:
        """The rows of one part or several."""
        return self.table[self.table["split"].isin(names)]


def songs(run: Run) -> Collection:
    """The songs that a run's config names: read, decoded, checked, split and kept in splits.csv; prints what it did.

    Raises:
        ManifestError: with all problems at once, before any training.
    """
    cfg = run.cfg
    dataset = rated.load(cfg.manifest, cfg.dataset_root, cfg.labels_csv)
    spectrograms = build(dataset, Spectrum.of(cfg), paths.cache_folder() / "spectrograms")
    dataset = rated.check(dataset, spectrograms, cfg.max_unreadable)
    demo = "synthesised songs" if dataset.demo else ""
    collection = Collection(dataset.name, demo, rated.split(dataset.table, cfg), spectrograms)
    run.data = collection
    files.write_csv(collection.table, run / "splits.csv")
    test = f"test: fold {cfg.fold + 1} of {cfg.folds}; songs that parts share: {collection.leaks}"
    print(dataset.title, *dataset.notes, *spectrograms.notes(), *dataset.traps, test, sep="\n- ")
    return collection


def typical(ratings: ndarray) -> ndarray:
    """(4,) the clip nearest to each quadrant's middle, in the order of `QUADRANTS`: what a figure shows of a set."""
    return np.array([np.linalg.norm(ratings - middle, axis=1).argmin() for middle in EXAMPLES])

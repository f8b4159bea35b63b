"""Songs made into spectrograms once, several at a time, in a memory-mapped array, with what was heard of each."""

import functools
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from numpy import ndarray
from pandas import DataFrame
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from emohelpers import config
from emohelpers.config import files, sealed
from emohelpers.datasets import pixel_store
from emohelpers.datasets.audit import joined
from emohelpers.datasets.pixels import ByPath
from emohelpers.music import descriptors, landmarks, sound
from emohelpers.music.sound import Spectrum, UnreadableSong

MUCH = 3600.0  # seconds of sound from which processes save more than their start costs
MARKER = "made_of.json"
BAR = {"desc": "listen", "unit": "song", "mininterval": 2}  # of progress
_VERSION = 3  # raise when decoding, the transform or the search for repeats changes: an old store is then made again


class BrokenWorker(RuntimeError):
    """A process that makes spectrograms ended before its time; with the song, and the remedy."""


@dataclass(frozen=True)
class Spectrograms(ByPath):
    """Spectrograms in the order of the table they were built from, and what was heard of each song."""

    paths: list[str]
    array: ndarray  # (n, mels, frames) float32 dB below each clip's loudest point, -80..0, memory-mapped
    sha256: list[str]  # of the file's bytes; "" if unreadable
    heard: DataFrame  # a row a song: duration (s), sample_rate (Hz), channels, filled (s of silence added)
    descriptors: DataFrame  # a row a song, see `descriptors.describe`; no columns if they were not asked for
    spectrum: Spectrum
    recordings: list[str]  # the first path of each song's recording, see `landmarks`; its own if not described
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason

    def of(self, paths: Sequence[str]) -> list[ndarray]:
        """(mels, frames) of each of some songs, read from the disk when it is used."""
        return [self.array[row] for row in self.rows(paths)]

    def notes(self) -> list[str]:
        """What the clips are, worth saying: which seconds, how many songs are longer, which were filled up."""
        length = self.heard["duration"].dropna()
        seconds = self.spectrum.seconds
        long = (length > 2 * seconds).sum()
        filled = (self.heard["filled"] > 0).sum()
        notes = [
            f"of each song the first {seconds:g} s are used; songs last {length.min():.0f} to {length.max():.0f} s"
        ]
        if long:
            longer = f"{long} songs last more than {2 * seconds:g} s"
            notes.append(f"{longer}: their rating is of the whole song, the clip is its first {seconds:g} s")
        if filled:
            notes.append(f"{filled} songs are up to a tenth too short and end in silence")
        return notes


def build(
    songs, spectrum: Spectrum, folder: str | os.PathLike, *, describe: bool = True, workers: int | None = None
) -> Spectrograms:
    """The spectrogram of every song of `songs.table` below `songs.root`; at once if it was made before.

    Songs that cannot be read are listed in `unreadable` with their reason: `songs.check` decides.

    Args:
        folder: the store is made in a folder of it named by spectrum and songs; their contents decide whether it is
            used, and what is damaged is made again.
        describe: also computes the descriptors and looks for repeated recordings, while the song is at hand.
        workers: songs made at a time, all cores if none is named; from `MUCH` sound on each by a process of its own.

    Raises:
        OSError: the folder cannot be written.
        BrokenWorker: a process died; there is no store then, and the next call begins anew.
    """
    paths = list(songs.table["path"])
    key = config.digest(_VERSION, descriptors.VERSION, asdict(spectrum), describe, str(songs.root), paths)
    home = Path(folder) / f"{songs.name}-{key}"
    # A song that was exchanged under the same name makes the store anew.
    contents = _contents(home.with_name(f"{home.name}.json"), songs.root, paths)
    with files.new_folder(home, MARKER, {"sha256": contents}, replace=True) as new:
        if new:
            _fill(new, songs.root, paths, contents, spectrum, describe, workers or os.cpu_count() or 1)
    try:
        index = sealed.read(home / "index.json")
        for name, checksum in index["checksums"].items():
            if _checksum(home / name) != checksum:
                raise sealed.Damaged(f"{name} does not hold what was written to it")
    except (OSError, ValueError) as error:
        if new:
            raise  # the disk does not keep what was written a moment ago
        print(f"The store {home} is damaged ({error}): its spectrograms are made again.")
        # Without its marker a folder counts as unfinished, so that the next call replaces it.
        (home / MARKER).unlink(missing_ok=True)
        return build(songs, spectrum, folder, describe=describe, workers=workers)
    heard = DataFrame(index["heard"], columns=["duration", "sample_rate", "channels", "filled"])
    numbers = pd.read_csv(home / "descriptors.csv") if describe else DataFrame(index=range(len(paths)))
    array = np.load(home / "spectrograms.npy", mmap_mode="r")
    known = index["sha256"], heard, numbers, spectrum, index["recordings"], index["unreadable"]
    return Spectrograms(paths, array, *known)


def _contents(table: Path, root: Path, paths: list[str]) -> list[str]:
    """SHA-256 of each song, "" if unreadable; of those that look unchanged from the table of the last time."""
    stamps = pixel_store.stamps(root, paths)
    try:
        earlier = sealed.read(table)["sha256"]
    except FileNotFoundError:
        earlier = {}
    except sealed.Damaged as error:
        print(f"{error}: all songs are hashed again.")
        earlier = {}
    keys = [f"{path} {stamp}" for path, stamp in zip(paths, stamps, strict=True)]
    sha256 = {key: earlier.get(key) or _hashed(root / path) for path, key in zip(paths, keys, strict=True)}
    if sha256 != earlier:
        sealed.write(table, {"sha256": sha256})
    return [sha256[key] for key in keys]


def _hashed(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _checksum(file: Path) -> int:
    return zlib.crc32(np.memmap(file, np.uint8, "r"))


@dataclass(frozen=True)
class _Song:
    """What one song gave besides its spectrogram."""

    heard: dict = field(default_factory=dict)
    descriptors: dict = field(default_factory=dict)
    landmarks: ndarray = field(default_factory=landmarks.NONE.copy)
    reason: str = ""  # why it cannot be read


def _fill(
    home: Path, root: Path, paths: list[str], contents: list[str], spectrum: Spectrum, describe: bool, workers: int
) -> None:
    """Fills a store: spectrograms.npy, descriptors.csv and index.json."""
    store = home / "spectrograms.npy"
    array = np.lib.format.open_memmap(store, "w+", np.float32, (len(paths), *spectrum.shape))
    # Workers get the array's path: each opens the file and writes its own rows.
    hear = functools.partial(_hear, store, spectrum, describe)
    jobs = [(row, root / path) for row, path in enumerate(paths)]
    much = len(paths) * spectrum.seconds >= MUCH
    run = _by_processes if much and workers > 1 else _by_threads
    songs = list(run(hear, jobs, workers))
    array.flush()
    if describe:
        files.write_csv(DataFrame([song.descriptors for song in songs]), home / "descriptors.csv")
    reasons = {path: song.reason for path, song in zip(paths, songs, strict=True) if song.reason}
    index = {
        "heard": [song.heard for song in songs],
        "sha256": ["" if path in reasons else sha256 for path, sha256 in zip(paths, contents, strict=True)],
        "recordings": joined(paths, [], landmarks.repeats([song.landmarks for song in songs])),
        "unreadable": dict(sorted(reasons.items())),
        "checksums": {file.name: _checksum(file) for file in sorted(home.iterdir())},
    }
    sealed.write(home / "index.json", index)


def _by_threads(hear: Callable, jobs: list[tuple[int, Path]], workers: int) -> Iterator[_Song]:
    """`hear(job)` of all jobs in order, with progress, by threads, each of which computes alone."""
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        yield from tqdm(pool.map(hear, jobs), total=len(jobs), **BAR)


def _by_processes(hear: Callable, jobs: list[tuple[int, Path]], workers: int) -> Iterator[_Song]:
    """The same by processes: threads would wait for each other most of the descriptors' and librosa's time."""
    done = 0
    try:
        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(workers, return_as="generator", batch_size=4)
        for song in tqdm(pool(delayed(hear)(job) for job in jobs), total=len(jobs), **BAR):
            yield song
            done += 1
    except BrokenProcessPool as error:
        raise BrokenWorker(
            f"a process that makes spectrograms died after {done:,} of {len(jobs):,} songs, at {jobs[done][1].name} or "
            "shortly after it. None of them is kept: run it again. If memory is short, free some, or pass workers=1."
        ) from error
    finally:
        get_reusable_executor().shutdown()  # else the processes wait with their memory for five minutes


def _hear(store: Path, spectrum: Spectrum, describe: bool, job: tuple[int, Path]) -> _Song:
    """Makes a row of the store from the song at a path."""
    row, path = job
    try:
        samples, heard = sound.decode(path, spectrum)
        peaks = landmarks.of(path) if describe else landmarks.NONE
    except (UnreadableSong, OSError) as error:
        return _Song(reason=str(error))
    powers = sound.power(samples, spectrum)
    spectrogram = sound.mel(powers, spectrum)
    np.lib.format.open_memmap(store, "r+")[row] = spectrogram
    numbers = descriptors.describe(samples, powers, spectrogram, spectrum) if describe else {}
    return _Song(heard, numbers, peaks)

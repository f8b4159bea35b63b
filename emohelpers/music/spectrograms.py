"""Songs made into spectrograms once, several at a time, in a memory-mapped array, with what was heard of each."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from emohelpers import config
from emohelpers.config import files
from emohelpers.datasets.pixels import ByPath
from emohelpers.music import descriptors, sound
from emohelpers.music.sound import Spectrum, UnreadableSong

MUCH = 3600.0  # seconds of sound from which processes save more than their start costs
_VERSION = 1  # raise when decoding or the transform changes: an old store is then made again


class BrokenWorker(RuntimeError):
    """A process that makes spectrograms ended before its time; with the song, and the remedy."""


@dataclass(frozen=True)
class Spectrograms(ByPath):
    """Spectrograms in the order of the table they were built from, and what was heard of each song."""

    paths: list[str]
    array: np.ndarray  # (n, mels, frames) float32 dB below each clip's loudest point, -80..0, memory-mapped
    sha256: list[str]  # of the file's bytes; "" if unreadable
    heard: pd.DataFrame  # a row a song: duration (s), sample_rate (Hz), channels, filled (s of silence added)
    descriptors: pd.DataFrame  # a row a song, see `descriptors.describe`; no columns if they were not asked for
    spectrum: Spectrum
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason

    def notes(self) -> list[str]:
        """What the clips are, worth saying: which seconds, how many songs are longer, which were filled up."""
        length, wanted = self.heard["duration"].dropna(), self.spectrum.seconds
        long, filled = int((length > 2 * wanted).sum()), int((self.heard["filled"] > 0).sum())
        place = "the first" if self.spectrum.clip_from == "start" else "the middle"
        told = [f"of each song {place} {wanted:g} s are used; songs last {length.min():.0f} to {length.max():.0f} s"]
        if long:
            told.append(
                f"{long} songs last more than {2 * wanted:g} s: their rating is of the whole song, the clip is {place} "
                f"{wanted:g} s of it (clip_from)"
            )
        return told + ([f"{filled} songs are up to a tenth too short and end in silence"] if filled else [])


def build(
    songs, spectrum: Spectrum, folder: str | os.PathLike, *, describe: bool = True, workers: int | None = None
) -> Spectrograms:
    """The spectrogram of every song of `songs.table` below `songs.root`; at once if it was made before.

    Songs that cannot be read are listed in `unreadable` with their reason: `songs.check` decides.

    Args:
        folder: the store is made in a folder of it named by the spectrum, the songs, their sizes and times.
        describe: also computes the descriptors, while the song is at hand.
        workers: songs made at a time, all cores if none is named; from `MUCH` sound on each by a process of its own.

    Raises:
        OSError: the folder cannot be written.
        BrokenWorker: a process died; there is no store then, and the next call begins anew.
    """
    paths = list(songs.table["path"])
    stamps = [_stamp(songs.root / path) for path in paths]
    key = config.digest(_VERSION, descriptors.VERSION, asdict(spectrum), describe, str(songs.root), paths, stamps)
    home = Path(folder) / f"{songs.name}-{key}"
    with files.new_folder(home, "index.json", replace=True) as new:
        if new:
            _make(songs.root, paths, spectrum, new, describe, workers or os.cpu_count() or 1)
    index = json.loads((home / "index.json").read_text(encoding="utf-8"))
    heard = pd.DataFrame(index["heard"], columns=["duration", "sample_rate", "channels", "filled"])
    described = pd.read_csv(home / "descriptors.csv") if describe else pd.DataFrame(index=range(len(paths)))
    array = np.load(home / "spectrograms.npy", mmap_mode="r")
    return Spectrograms(paths, array, index["sha256"], heard, described, spectrum, index["unreadable"])


@dataclass(frozen=True)
class _Heard:
    """What one song gave besides its spectrogram."""

    about: dict = field(default_factory=dict)
    described: dict = field(default_factory=dict)
    sha256: str = ""
    reason: str = ""  # why it cannot be read


def _make(root: Path, paths: list[str], spectrum: Spectrum, home: Path, describe: bool, workers: int) -> None:
    """Fills a store: spectrograms.npy, descriptors.csv and index.json."""
    file = home / "spectrograms.npy"
    array = np.lib.format.open_memmap(file, "w+", np.float32, (len(paths), *spectrum.shape))
    one = functools.partial(_hear, str(file), spectrum, describe)
    jobs = list(enumerate(root / path for path in paths))
    found = list(_each(one, jobs, workers, many=len(paths) * spectrum.seconds >= MUCH))
    array.flush()
    if describe:
        files.write_csv(pd.DataFrame([song.described for song in found]), home / "descriptors.csv")
    reasons = {path: song.reason for path, song in zip(paths, found, strict=True) if song.reason}
    index = {"heard": [song.about for song in found], "sha256": [song.sha256 for song in found]}
    files.write_json(home / "index.json", index | {"unreadable": dict(sorted(reasons.items()))})


def _each(one, jobs: list[tuple[int, Path]], workers: int, *, many: bool) -> Iterable[_Heard]:
    """`one(job)` of all jobs in order, with progress, by as many workers, each of which computes with one thread."""
    bar = functools.partial(tqdm, total=len(jobs), desc="listen", unit="song", mininterval=2)
    if workers < 2 or not many:
        with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
            yield from bar(pool.map(one, jobs))
        return
    done = 0
    try:  # not threads: most of the descriptors' and a good part of librosa's time they would wait for each other
        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(workers, return_as="generator", batch_size=4)
        for song in bar(pool(delayed(one)(job) for job in jobs)):
            yield song
            done += 1
    except BrokenProcessPool as error:
        raise BrokenWorker(
            f"a process that makes spectrograms died after {done:,} of {len(jobs):,} songs, at {jobs[done][1].name} or "
            "shortly after it. None of them is kept: run it again. If memory is short, free some, or pass workers=1."
        ) from error
    finally:
        get_reusable_executor().shutdown()  # else the processes wait with their memory for five minutes


def _hear(store: str, spectrum: Spectrum, describe: bool, job: tuple[int, Path]) -> _Heard:
    """Makes row i of the store from the song at a path."""
    i, path = job
    try:
        samples, about = sound.decode(path, spectrum)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except (UnreadableSong, OSError) as error:
        return _Heard(reason=str(error))
    powers = sound.power(samples, spectrum)
    made = sound.mel(powers, spectrum)
    np.lib.format.open_memmap(store, "r+")[i] = made
    return _Heard(about, descriptors.describe(samples, powers, made, spectrum) if describe else {}, sha256)


def _stamp(path: Path) -> str:
    try:
        return f"{path.stat().st_size}:{path.stat().st_mtime_ns}"
    except OSError:
        return "missing"

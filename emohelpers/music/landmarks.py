"""One recording under two names, known by the peaks of its spectrum (Wang, An industrial-strength audio search, 2003).

Encoded anew, resampled, louder, cut, begun later: not faster or slower. How many are found is measured by
benchmarks/trials/repeated_songs.py.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
from numpy import ndarray
from pandas import DataFrame
from scipy.ndimage import maximum_filter
from soundfile import SoundFileError

from emohelpers.music import sound

RATE, WINDOW, HOP = 8000, 1024, 256  # Hz and samples of the spectrum that is searched
BLOCK, LONGEST = 30, 600  # seconds decoded at a time, and of a song at most
SIZE = (31, 15)  # bins and frames in which a peak is the strongest
FLOOR = 1e-3  # of the strongest peak, below which nothing is one (-60 dB)
NEXT, SPAN = 11, 64  # a peak is paired with so many after it, if they are fewer frames and bins apart
CROWD = 20  # places with one pair of peaks, beyond which it says nothing
VOTES = 12  # equal pairs at one delay, from which two songs are laid on each other
OVERLAP = 5.0  # seconds that two songs have in common at least
MEETING = 0.3  # of the peaks in each third of it
NONE = np.empty((0, 2), np.int32)


def of(path: str | Path) -> ndarray:
    """(n, 2) int32 frame and bin of each peak of a song, in the order of time."""
    blocks = [np.zeros(WINDOW, np.float32)]  # of every song, so that there is one
    # What cannot be decoded behind the clip is not compared.
    with sound.opened(path) as file, contextlib.suppress(SoundFileError):
        size = BLOCK * file.samplerate
        while len(blocks) * BLOCK <= LONGEST and len(block := file.read(size, "float32", always_2d=True)):
            blocks.append(librosa.resample(np.nan_to_num(sound.mixed(block)), orig_sr=file.samplerate, target_sr=RATE))
    spectrum = np.abs(librosa.stft(np.concatenate(blocks), n_fft=WINDOW, hop_length=HOP))
    peak = (spectrum == maximum_filter(spectrum, SIZE)) & (spectrum > FLOOR * spectrum.max())
    return np.argwhere(peak.T).astype(np.int32)


def repeats(songs: Sequence[ndarray]) -> ndarray:
    """(k, 2) positions of songs that hold one recording, by the peaks that `of` gives."""
    song = np.repeat(np.arange(len(songs), dtype=np.int32), [len(peaks) for peaks in songs])
    frame, bin_ = np.concatenate([NONE, *songs]).T
    hashes = np.concatenate([_hashes(song, frame, bin_, step) for step in range(1, NEXT + 1)], axis=1)
    hashes = DataFrame(hashes.T, columns=["code", "song", "frame"])
    hashes = hashes[hashes.groupby("code")["song"].transform("size") <= CROWD]
    equal = hashes.merge(hashes, on="code").query("song_x < song_y")
    votes = equal.assign(delay=equal["frame_y"] - equal["frame_x"]).value_counts(["song_x", "song_y", "delay"])
    best = votes[votes >= VOTES].reset_index().drop_duplicates(["song_x", "song_y"]).to_numpy()
    return best[np.array([_meet(songs[a], songs[b], delay) for a, b, delay, _ in best], bool), :2]


def _hashes(song: ndarray, frame: ndarray, bin_: ndarray, step: int) -> ndarray:
    """(3, m): code, song and frame of the hashes of each peak with the one `step` places after it."""
    later = frame[step:] - frame[:-step]
    higher = bin_[step:] - bin_[:-step]
    near = (song[step:] == song[:-step]) & (later > 0) & (later < SPAN) & (np.abs(higher) < SPAN)
    return np.stack([((2 * bin_[:-step] + 1) * SPAN + higher) * SPAN + later, song[:-step], frame[:-step]])[:, near]


def _meet(ours: ndarray, theirs: ndarray, delay: int) -> bool:
    """Whether most peaks of two songs meet where both sound, if the second begins `delay` frames later."""
    ours = ours + [delay, 0]
    start, end = max(ours[0, 0], theirs[0, 0]), min(ours[-1, 0], theirs[-1, 0])
    ours, theirs = (peaks[(peaks[:, 0] >= start) & (peaks[:, 0] <= end)] for peaks in (ours, theirs))
    few, many = sorted((peaks @ [WINDOW, 1] for peaks in (ours, theirs)), key=len)
    near = np.add.outer([-WINDOW, 0, WINDOW], [-1, 0, 1]).ravel()  # a frame and a bin more or less
    thirds = np.array_split(np.isin(few, np.add.outer(many, near)), 3)  # another tempo meets in one of them
    return (end - start) * HOP >= OVERLAP * RATE and min(third.mean() for third in thirds) >= MEETING

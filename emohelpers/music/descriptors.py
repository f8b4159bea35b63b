"""What a song sounds like, in 119 numbers: the plain rival of every network. Computed from one spectrum.

Timbre (MFCC, contrast, centroid, bandwidth, roll-off, flatness), harmony (chroma, mode), loudness and rhythm (onsets,
tempo), each as mean and standard deviation over the clip. By librosa, but for what it does slowly to a spectrum that is
there already: roll-off, centroid and bandwidth take it more than 25 times as long, for the same numbers to rounding.
"""

import functools

import librosa
import numpy as np
from librosa import feature
from numpy import ndarray

VERSION = 1  # raise when a number would change: stores are then made again
# How well each of the twelve tones fits a key of C: Krumhansl and Kessler, Psychological Review 89(4), 1982.
MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
# coefficients; power that counts as none
MFCC = 20
LOWEST = 1e-10


def describe(samples: ndarray, powers: ndarray, mel_db: ndarray, spectrum) -> dict[str, float]:
    """Named numbers of one clip.

    Args:
        samples: (samples,) mono. powers: (1 + n_fft/2, frames). mel_db: (mels, frames) dB below the loudest point.
    """
    rate = spectrum.sample_rate
    size = spectrum.n_fft
    hop = spectrum.hop
    magnitude = np.sqrt(powers)

    mfcc = feature.mfcc(S=mel_db, n_mfcc=MFCC)
    changes = np.abs(np.diff(mfcc))
    # In each frame the strongest tone becomes 1: loud frames count no more than quiet ones.
    chroma = librosa.util.normalize(_chroma_filters(rate, size) @ powers, norm=np.inf, axis=0)
    contrast = feature.spectral_contrast(S=magnitude, sr=rate, n_fft=size, hop_length=hop)
    flatness = feature.spectral_flatness(S=powers, power=1.0)
    onset = librosa.onset.onset_strength(S=mel_db, sr=rate, hop_length=hop)
    return {
        **_moments("mfcc", mfcc),
        **{f"mfcc_change_{i}": float(change.mean()) for i, change in enumerate(changes)},
        **_moments("chroma", np.sort(chroma, axis=0)),  # sorted: how tonal, whatever the key
        **_moments("contrast", contrast),
        **_shape(magnitude, librosa.fft_frequencies(sr=rate, n_fft=size)),
        **_moments("flatness", np.log10(flatness)),
        **_moments("loudness", librosa.power_to_db(powers.mean(axis=0), top_db=None)),
        **_moments("zero_crossings", _crossings(samples, hop)),
        **_moments("onset", onset),
        **_rhythm(onset, rate / hop),
        **_mode(chroma),
    }


@functools.lru_cache(maxsize=8)
def _chroma_filters(sample_rate: int, n_fft: int) -> ndarray:
    return librosa.filters.chroma(sr=sample_rate, n_fft=n_fft)


def _moments(name: str, values: ndarray) -> dict[str, float]:
    """Mean and standard deviation over time of (frames,) or of each row of (rows, frames)."""
    rows = np.atleast_2d(values)
    numbers = {}
    for i, row in enumerate(rows):
        label = f"{name}_{i}" if len(rows) > 1 else name
        numbers[f"{label}_mean"] = float(row.mean())
        numbers[f"{label}_std"] = float(row.std())
    return numbers


def _shape(magnitude: ndarray, frequencies: ndarray) -> dict[str, float]:
    """Where the spectrum's weight lies, how wide it is, and below which frequency a share of it lies; in Hz."""
    total = np.maximum(magnitude.sum(axis=0), LOWEST)
    centroid = frequencies @ magnitude / total
    # E[f^2] - E[f]^2, which rounding can make a little negative: hence the maximum below.
    variance = frequencies**2 @ magnitude / total - centroid**2
    numbers = _moments("centroid", centroid) | _moments("bandwidth", np.sqrt(np.maximum(variance, 0)))
    rising = np.cumsum(magnitude, axis=0)
    for share in (0.5, 0.85):
        first = (rising >= share * total).argmax(axis=0)
        numbers |= _moments(f"rolloff_{share:g}", frequencies[first])
    return numbers


def _crossings(samples: ndarray, hop: int) -> ndarray:
    """Share of samples at which the sign changes, a value a hop."""
    flips = np.abs(np.diff(np.signbit(samples).astype(np.float32)))
    hops = len(flips) // hop
    return flips[: hops * hop].reshape(hops, hop).mean(axis=1)


def _rhythm(onset: ndarray, frames_a_second: float) -> dict[str, float]:
    """Tempo (log2 of beats a minute), how clear it is, and how many onsets a second stand out."""
    centred = onset - onset.mean()
    if not centred.any():
        return {"tempo": 0.0, "pulse": 0.0, "onsets": 0.0}
    likeness = np.correlate(centred, centred, "full")[len(onset) - 1 :]  # of the clip and itself, by frames of delay
    # Index i of `pulse` and `bpm` stands for a delay of i + 1 frames.
    pulse = likeness[1:] / likeness[0]
    bpm = 60 * frames_a_second / np.arange(1, len(likeness))
    # Of equally good periods the one near 120 beats a minute, as people tap: Ellis, J. New Music Research 36(1), 2007.
    liking = np.exp(-0.5 * np.log2(bpm / 120) ** 2)
    audible = (bpm >= 40) & (bpm <= 240)
    best = (pulse * (liking * audible)).argmax()

    before = onset[:-2]
    here = onset[1:-1]
    after = onset[2:]
    peaks = (here > before) & (here >= after) & (centred[1:-1] > onset.std())
    rate = peaks.sum() * frames_a_second / len(onset)
    return {"tempo": float(np.log2(bpm[best])), "pulse": float(pulse[best]), "onsets": float(rate)}


def _mode(chroma: ndarray) -> dict[str, float]:
    """How much better the best major key fits the clip's tones than the best minor key, by correlation."""
    tones = chroma.mean(axis=1)
    major = _best_key(MAJOR, tones)
    minor = _best_key(MINOR, tones)
    return {"major": major, "major_minus_minor": major - minor}


def _best_key(profile: ndarray, tones: ndarray) -> float:
    return float(max(np.corrcoef(np.roll(profile, key), tones)[0, 1] for key in range(12)))

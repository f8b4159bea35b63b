"""What a song sounds like, in 119 numbers: the plain rival of every network. Computed by librosa from one spectrum.

Timbre (MFCC, contrast, centroid, bandwidth, roll-off, flatness), harmony (chroma, mode), loudness and rhythm (onsets,
tempo), each as mean and standard deviation over the clip. What librosa would compute anew for every song is kept.
"""

import functools

import librosa
import numpy as np

VERSION = 1  # raise when a number would change: stores are then made again
# How well each of the twelve tones fits a key of C: Krumhansl and Kessler, Psychological Review 89(4), 1982.
MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
MFCC, LOWEST = 20, 1e-10  # coefficients; power that counts as none


@functools.lru_cache(maxsize=8)
def _chroma_filters(sample_rate: int, n_fft: int) -> np.ndarray:
    return librosa.filters.chroma(sr=sample_rate, n_fft=n_fft)


def describe(samples: np.ndarray, powers: np.ndarray, mel_db: np.ndarray, spectrum) -> dict[str, float]:
    """Named numbers of one clip.

    Args:
        samples: (samples,) mono. powers: (1 + n_fft/2, frames). mel_db: (mels, frames) dB below the loudest point.
    """
    rate, hop = spectrum.sample_rate, spectrum.hop
    magnitude = np.sqrt(powers)
    frequencies = librosa.fft_frequencies(sr=rate, n_fft=spectrum.n_fft)
    found: dict[str, float] = {}

    def keep(name: str, values: np.ndarray) -> None:
        """Mean and standard deviation over time of (frames,) or of each row of (rows, frames)."""
        rows = np.atleast_2d(values)
        for i, row in enumerate(rows):
            label = f"{name}_{i}" if len(rows) > 1 else name
            found[f"{label}_mean"], found[f"{label}_std"] = float(row.mean()), float(row.std())

    mfcc = librosa.feature.mfcc(S=mel_db, n_mfcc=MFCC)
    keep("mfcc", mfcc)
    found |= {f"mfcc_change_{i}": float(np.abs(np.diff(row)).mean()) for i, row in enumerate(mfcc)}
    chroma = librosa.util.normalize(_chroma_filters(rate, spectrum.n_fft) @ powers, norm=np.inf, axis=0)
    keep("chroma", np.sort(chroma, axis=0))  # sorted: how tonal, whatever the key
    keep("contrast", librosa.feature.spectral_contrast(S=magnitude, sr=rate, n_fft=spectrum.n_fft, hop_length=hop))
    total = np.maximum(magnitude.sum(axis=0), LOWEST)
    centroid = frequencies @ magnitude / total
    keep("centroid", centroid)
    keep("bandwidth", np.sqrt(np.maximum((frequencies**2) @ magnitude / total - centroid**2, 0)))
    rising = np.cumsum(magnitude, axis=0)
    for share in (0.5, 0.85):
        keep(f"rolloff_{share:g}", frequencies[(rising >= share * total).argmax(axis=0)])
    keep("flatness", np.log10(librosa.feature.spectral_flatness(S=powers, power=1.0)[0]))
    keep("loudness", librosa.power_to_db(powers.mean(axis=0), top_db=None))
    keep("zero_crossings", _crossings(samples, spectrum))
    onset = librosa.onset.onset_strength(S=mel_db, sr=rate, hop_length=hop)
    keep("onset", onset)
    return found | _rhythm(onset, rate / hop) | _mode(chroma)


def _crossings(samples: np.ndarray, spectrum) -> np.ndarray:
    """Share of samples at which the sign changes, a value a hop."""
    flips = np.abs(np.diff(np.signbit(samples).astype(np.float32)))
    whole = len(flips) // spectrum.hop * spectrum.hop
    return flips[:whole].reshape(-1, spectrum.hop).mean(axis=1)


def _rhythm(onset: np.ndarray, frames_a_second: float) -> dict[str, float]:
    """Tempo (log2 of beats a minute), how clear it is, and how many onsets a second stand out."""
    centred = onset - onset.mean()
    if not centred.any():
        return {"tempo": 0.0, "pulse": 0.0, "onsets": 0.0}
    again = np.correlate(centred, centred, "full")[len(onset) - 1 :]
    lags = np.arange(1, len(again))
    bpm = 60 * frames_a_second / lags
    # Of equally good periods the one near 120 beats a minute, as people tap: Ellis, J. New Music Research 36(1), 2007.
    liking = np.exp(-0.5 * np.log2(bpm / 120) ** 2) * ((bpm >= 40) & (bpm <= 240))
    best = int((again[1:] / again[0] * liking).argmax())
    peaks = (onset[1:-1] > onset[:-2]) & (onset[1:-1] >= onset[2:]) & (centred[1:-1] > onset.std())
    rate = float(peaks.sum() * frames_a_second / len(onset))
    return {"tempo": float(np.log2(bpm[best])), "pulse": float(again[1 + best] / again[0]), "onsets": rate}


def _mode(chroma: np.ndarray) -> dict[str, float]:
    """How much better the best major key fits the clip's tones than the best minor key, by correlation."""
    profile = chroma.mean(axis=1)
    fits = [max(np.corrcoef(np.roll(key, turn), profile)[0, 1] for turn in range(12)) for key in (MAJOR, MINOR)]
    return {"major": float(fits[0]), "major_minus_minor": float(fits[0] - fits[1])}

"""A song's sound: the part that is used decoded, its mel spectrogram, that as a picture, and the way back to sound.

The transform is librosa's; only the mel filters are kept between songs, which librosa computes again for each.
"""

import contextlib
import functools
import math
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import librosa
import numpy as np
import soundfile
from numpy import ndarray

from emohelpers.config import files
from emohelpers.config.errors import SuiteError

SILENCE = 1e-4  # peak of the samples (full scale 1) below which nothing is heard: -80 dB
CANCELLED = 0.1  # of the strongest channel's level: less is left of a mixture whose channels cancel (-20 dB)
OFFSET = 1e-3  # mean of the samples (full scale 1) from which it is taken away: -60 dB, far above a codec's rounding
SHORTEST = 0.9  # of the seconds of a clip; what lacks up to a tenth is filled with silence, less is refused
UNKNOWN = 2**63 - 1  # samples of a file that does not say its length, in libsndfile's words
RANGE_DB = 80.0  # below a clip's loudest point; librosa.power_to_db's top_db


class UnreadableSong(SuiteError, ValueError):
    """A file that is not a whole, audible piece of music."""


@dataclass(frozen=True)
class Spectrum:
    """How the start of a song becomes a spectrogram; the defaults are seed 004's, the names those of `config.Music`."""

    sample_rate: int = 22050  # Hz
    seconds: float = 30.0
    n_fft: int = 2048  # samples of one window
    hop: int = 512  # samples between windows
    mels: int = 128
    fmin: float = 20.0  # Hz
    fmax: float = 8000.0

    @classmethod
    def of(cls, cfg) -> "Spectrum":
        """The spectrum that a config describes."""
        return cls(**{name: getattr(cfg, name) for name in cls.__dataclass_fields__})

    @property
    def samples(self) -> int:
        """Samples of one clip."""
        return round(self.sample_rate * self.seconds)

    @property
    def shape(self) -> tuple[int, int]:
        """Mel bands and frames, (128, 1292) for the seed's settings."""
        return self.mels, 1 + self.samples // self.hop


def decode(path: str | Path, spectrum: Spectrum) -> tuple[ndarray, dict[str, float]]:
    """(samples,) float32 mono at `sample_rate`, exactly `seconds` long, and what was heard of the file.

    Only the part that is used is decoded. Channels are averaged and resampled as `librosa.load` does.

    Raises:
        UnreadableSong: not audio, cut off, too short, or silent; says which.
    """
    try:
        with opened(path) as file:
            rate = file.samplerate
            channels = file.channels
            sound = file.read(math.ceil(spectrum.seconds * rate), dtype="float32", always_2d=True)
            length = file.frames if file.frames < UNKNOWN else len(sound)
            with contextlib.suppress(soundfile.SoundFileError):  # behind the music there may be anything
                while file.frames == UNKNOWN and (more := len(file.read(1 << 16))):
                    length += more
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise UnreadableSong(f"is not audio that can be decoded ({reason})") from error

    # A header tells the length before a cut, give or take what an encoder adds.
    seconds = len(sound) / rate
    promised = min(spectrum.seconds, length / rate)
    if seconds < promised - 0.5:
        raise UnreadableSong(f"is cut off: {seconds:.1f} s can be decoded where its header promises {promised:.1f} s")
    if seconds < SHORTEST * spectrum.seconds:
        raise UnreadableSong(f"lasts {seconds:.1f} s, {spectrum.seconds:g} s are needed: too short, or cut off")

    mono = mixed(sound)
    if not np.isfinite(mono).all() or np.abs(mono).max() < SILENCE:
        raise UnreadableSong("is silent, or holds no finite sound")
    if rate != spectrum.sample_rate:
        mono = librosa.resample(mono, orig_sr=rate, target_sr=spectrum.sample_rate)
    clip = librosa.util.fix_length(mono, size=spectrum.samples)
    filled = max(spectrum.seconds - seconds, 0.0)
    return clip, {"duration": length / rate, "sample_rate": rate, "channels": channels, "filled": filled}


def opened(path: str | Path) -> soundfile.SoundFile:
    """A song's file at its start; its `frames` are `UNKNOWN` unless the file counts them itself.

    libsndfile guesses them for such an MP3 by its first frame, and reads no further. By a pipe it reads to the end.
    """
    file = soundfile.SoundFile(path)
    if file.format != "MP3":
        return file
    content = Path(path).read_bytes()
    while content[:3] == b"ID3":  # tags, whose sizes have seven bits a byte
        content = content[10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(content[6:10])) :]
    content = content.lstrip(b"\0")
    if b"Xing" in content[:64] or b"Info" in content[:64]:
        file.seek(0)  # without it an MP3 decoder's samples differ in their last bits
        return file
    file.close()
    out, into = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(into, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=feed, daemon=True).start()
    return soundfile.SoundFile(out)


def mixed(sound: ndarray) -> ndarray:
    """(samples, channels) -> (samples,): their mean, without an offset that carries no sound.

    Where channels cancel (one of them is turned over), the strongest is heard instead.
    """
    channels = sound.shape[1]
    mono = sound @ np.full(channels, 1 / channels, np.float32)  # over so short an axis `mean` takes 40 times as long
    offsets = sound.mean(0, dtype=np.float64)
    strength = sound.std(0, dtype=np.float64)
    if channels > 1 and mono.std(dtype=np.float64) < CANCELLED * strength.max():
        strongest = int(strength.argmax())
        mono, offsets = sound[:, strongest], offsets[[strongest]]
    offset = offsets.mean()
    return mono - np.float32(offset) if abs(offset) > OFFSET else mono


@functools.lru_cache(maxsize=8)
def filters(spectrum: Spectrum) -> ndarray:
    """(mels, 1 + n_fft/2) float32: librosa's (Slaney's) mel filters."""
    sizes = {"sr": spectrum.sample_rate, "n_fft": spectrum.n_fft, "n_mels": spectrum.mels}
    return librosa.filters.mel(**sizes, fmin=spectrum.fmin, fmax=spectrum.fmax)


def power(samples: ndarray, spectrum: Spectrum) -> ndarray:
    """(samples,) -> (1 + n_fft/2, frames) float32 power of the short-time Fourier transform."""
    waves = librosa.stft(samples, n_fft=spectrum.n_fft, hop_length=spectrum.hop)
    return waves.real**2 + waves.imag**2


def mel(powers: ndarray, spectrum: Spectrum) -> ndarray:
    """(1 + n_fft/2, frames) power -> (mels, frames) float32 dB below the clip's loudest point, at least -80."""
    return librosa.power_to_db(filters(spectrum) @ powers, ref=np.max, top_db=RANGE_DB)


def pictures(spectrograms: ndarray, shape: tuple[int, int]) -> ndarray:
    """(n, mels, frames) dB -> (n, *shape) float16 in 0..1 (loudest 1): averaged where it shrinks, else bilinear."""
    height, width = shape
    scaled = np.empty((len(spectrograms), height, width), np.float16)
    for i, spectrogram in enumerate(spectrograms):
        picture = np.asarray(spectrogram, np.float32)
        # One axis at a time, since OpenCV averages only what shrinks along both.
        picture = _resize(picture, width, len(picture))
        picture = _resize(picture, width, height)
        scaled[i] = np.clip(1 + picture / RANGE_DB, 0, 1)
    return scaled


def decibels(pictures: ndarray) -> ndarray:
    """The way back from `pictures`: 0..1 -> float32 dB below the loudest point."""
    return (pictures.astype(np.float32) - 1) * RANGE_DB


def sections(pictures: ndarray, count: int) -> ndarray:
    """(n, h, count * w) -> (n * count, h, w): every picture cut in time, its sections after each other."""
    n, height, width = pictures.shape
    # A plain reshape would cut across the mel bands: the axis of sections has to move to the front.
    cut = pictures.reshape(n, height, count, width // count)
    return cut.swapaxes(1, 2).reshape(n * count, height, -1)


def play(spectrogram: ndarray, spectrum: Spectrum, *, rounds: int = 32, seed: int = 0) -> ndarray:
    """(h, w) dB of any resolution -> (samples,) float32 by Griffin and Lim's phases (1984), for listening.

    The mel filters are undone by their pseudo-inverse; what they and a coarse spectrogram threw away stays lost.
    """
    bands, frames = spectrum.shape
    full = cv2.resize(np.asarray(spectrogram, np.float32), (frames, bands), interpolation=cv2.INTER_LINEAR)
    powers = np.maximum(np.linalg.pinv(filters(spectrum)) @ librosa.db_to_power(full), 0)
    sizes = {"hop_length": spectrum.hop, "n_fft": spectrum.n_fft}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # its momentum is "unstable" by a hair at the default
        samples = librosa.griffinlim(np.sqrt(powers), n_iter=rounds, random_state=seed, **sizes)
    # dB below the loudest point say nothing of loudness: the peak is set to 0.9 of full scale.
    peak = max(float(np.abs(samples).max()), 1e-6)
    return (0.9 * samples / peak).astype(np.float32)


def write(path: str | Path, samples: ndarray, sample_rate: int) -> Path:
    """Writes samples as a WAV file, whole or not at all; returns the path."""
    with files.replace(path) as temp:
        soundfile.write(temp, samples, sample_rate, format="WAV")
    return Path(path)


def _resize(picture: ndarray, width: int, height: int) -> ndarray:
    shrinks = width <= picture.shape[1] and height <= picture.shape[0]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

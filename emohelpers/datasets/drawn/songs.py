"""The embedded songs: short pieces synthesised by code, in DEAM's layout with its quirks.

How a piece is played follows its valence and arousal as listeners hear them (Gabrielsson and Lindstrom 2010; Juslin
and Laukka, J. New Music Research 33(3), 2004; Eerola, Friberg and Bresin, Frontiers in Psychology 4, 2013): arousal
makes it fast, loud, bright, detached and dense, valence major, consonant, higher and a little faster.
"""

import csv
import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from emohelpers.config import files

PLAYING_VERSION = 1  # raise it whenever a sample or a rating would change
RATE = 22050  # Hz
RATERS = 10  # a song; DEAM
RATER_NOISE = 1.3  # standard deviation of one rating, on 1..9; DEAM 1.5
# of the two ratings on -1..1: deviation, correlation, cut off
SPREAD = 0.42
TOGETHER = 0.15
FURTHEST = 0.9
WHOLE_SONGS = 0.04  # of the songs are whole ones with ids above 2000, three times as long
AS_MP3 = 16  # one song in so many is an mp3, since encoding all of them would take longer than composing
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
CHORDS = {"major": (0, 4, 5, 3, 0, 3, 4, 0), "minor": (0, 5, 3, 4, 0, 3, 6, 0)}  # degrees of the scale
CUES = ("bpm", "mode", "level_db", "register", "brightness", "legato", "density", "roughness", "drums")
AUDIO = "DEAM_audio/MEMD_audio"
RATINGS = "DEAM_Annotations/annotations/annotations averaged per song/song_level"
FIRST = ("song_id", "valence_mean", "valence_std", "arousal_mean", "arousal_std")
SECOND = (
    "song_id",
    "valence_mean",
    "valence_std",
    "valence_ max_mean",
    "valence_max_std",
    "valence_min_mean",
    "valence_min_std",
    "arousal_mean",
    "arousal_std",
    "arousal_max_mean",
    "arousal_max_std",
    "arousal_min_mean",
    "arousal_min_std",
)


def write_songs(folder: str | Path, *, n: int = 360, seed: int = 2024, seconds: float = 8.2, workers: int = 2) -> Path:
    """Plays the data set into `folder` unless it is there already: audio, DEAM's two tables, songs.csv with the truth.

    The same arguments give the same samples. It appears whole or not at all; a folder that holds anything else is left
    alone and named in the `FileExistsError`.
    """
    stamp = {"playing": PLAYING_VERSION, "n": n, "seed": seed, "seconds": seconds}
    if n < 10 or seconds < 2:
        raise ValueError(f"cannot play n={n}, seconds={seconds}: n is at least 10, seconds at least 2")
    folder = Path(folder).expanduser().resolve()
    with files.new_folder(folder, "songs.json", stamp) as new:
        if new:
            rows = plan(n, seed, seconds)
            (new / AUDIO).mkdir(parents=True)
            _play_all(new / AUDIO, rows)
            _write_tables(new, rows)
    return folder


def plan(n: int, seed: int, seconds: float) -> list[dict]:
    """A row of songs.csv for every song, nothing played yet: id, valence, arousal (-1..1), cues, ratings (1..9)."""
    rng = np.random.default_rng([seed, 0])
    whole = max(1, round(WHOLE_SONGS * n))
    ids = np.sort(2 + rng.permutation(1999)[: n - whole]).tolist() + (2001 + np.arange(whole)).tolist()
    rows = []
    for song in ids:
        rng = np.random.default_rng([seed, 1, song])
        valence, arousal = felt(rng)
        rows.append({"song_id": song, "seed": seed, "valence": valence, "arousal": arousal})
        rows[-1] |= cues(valence, arousal, rng)
        rows[-1]["seconds"] = seconds * (3 if song > 2000 else 1)
        rows[-1]["file"] = f"{song}.{'mp3' if song % AS_MP3 == 0 else 'wav'}"
        for name, value in (("valence", valence), ("arousal", arousal)):
            # Raters answer in whole numbers of 1..9, of which 5 is neutral.
            votes = np.clip(np.rint(5 + 4 * value + rng.normal(0, RATER_NOISE, RATERS)), 1, 9)
            rows[-1][f"{name}_mean"], rows[-1][f"{name}_std"] = round(votes.mean(), 1), round(votes.std(), 2)
    return rows


def felt(rng: Generator) -> tuple[float, float]:
    """Valence and arousal of one piece, -1..1: concentrated as DEAM's, a little correlated."""
    across = np.array([[1, TOGETHER], [TOGETHER, 1]]) * SPREAD**2
    while True:
        drawn = rng.multivariate_normal([0, 0], across)
        if np.abs(drawn).max() <= FURTHEST:
            return float(drawn[0]), float(drawn[1])


def cues(valence: float, arousal: float, rng: Generator) -> dict:
    """How a piece of this valence and arousal is played; every cue has a spread of its own, as between performers."""
    major = rng.random() < 1 / (1 + np.exp(-5 * valence))
    return {
        "bpm": float(np.clip(106 + 46 * arousal + 8 * valence + rng.normal(0, 9), 48, 190)),
        "mode": "major" if major else "minor",
        "level_db": float(-20 + 9 * arousal + rng.normal(0, 1.5)),
        "register": float(60 + 7 * valence + 3 * arousal + rng.normal(0, 2)),  # MIDI number of the melody's centre
        "brightness": float(np.clip(2.1 - 0.9 * arousal - 0.3 * valence + rng.normal(0, 0.15), 0.6, 3.5)),  # dB slope
        "legato": float(np.clip(0.72 - 0.35 * arousal + rng.normal(0, 0.06), 0.2, 1.1)),  # share of a note that sounds
        "density": float(np.clip(0.45 + 0.4 * arousal + rng.normal(0, 0.08), 0.05, 1)),  # how often a beat is divided
        "roughness": float(np.clip(0.25 - 0.35 * valence + 0.1 * arousal + rng.normal(0, 0.06), 0, 0.8)),
        "drums": float(np.clip(0.35 + 0.7 * arousal + rng.normal(0, 0.1), 0, 1)),
    }


def play(row: Mapping) -> ndarray:
    """(samples,) float32 mono at 22,050 Hz of a row of songs.csv."""
    rng = np.random.default_rng([int(row["seed"]), 2, int(row["song_id"])])
    seconds = float(row["seconds"])
    beat = 60 / float(row["bpm"])
    out = np.zeros(int((seconds + 2) * RATE), np.float32)
    scale = MAJOR if row["mode"] == "major" else MINOR
    tonic = int(rng.integers(-5, 7))
    slope = float(row["brightness"])
    legato = float(row["legato"])
    wave = _wave(slope, rng)
    soft = _wave(slope + 0.8, rng)
    attack = 0.012 + 0.06 * max(legato - 0.5, 0)
    step = int(rng.integers(0, 7))
    beats = int(seconds / beat) + 1
    # `at` counts beats, four to a bar; each bar has one chord.
    for at in range(beats):
        degree = CHORDS[row["mode"]][at // 4 % 8]
        chord = [tonic + _tone(scale, degree + third) for third in (0, 2, 4)]
        if at % 4 == 0:
            for pitch in chord:
                _note(out, soft, 48 + pitch, at * beat, 4 * beat * min(legato + 0.2, 1), 0.10, 0.05)
            if rng.random() < row["roughness"]:  # a semitone against the chord
                _note(out, soft, 49 + chord[0], at * beat, 3 * beat, 0.09, 0.05)
        if at % 2 == 0:
            _note(out, soft, 36 + chord[0] % 12, at * beat, 2 * beat * legato, 0.22, attack)
        # The melody has one, two or four notes a beat.
        parts = 2 if rng.random() < row["density"] else 1
        parts = 4 if parts == 2 and rng.random() < row["density"] - 0.5 else parts
        for part in range(parts):
            step = int(np.clip(step + rng.integers(-2, 3), -4, 9))
            # On every second beat it returns to a note of the chord.
            if part == 0 and at % 2 == 0:
                step = degree + 2 * int(rng.integers(0, 3)) - 7 * int(degree > 3)
            pitch = float(row["register"]) + tonic + _tone(scale, step)
            length = beat / parts
            _note(out, wave, round(pitch), (at + part / parts) * beat, length * legato, 0.26, attack)
        if rng.random() < row["drums"]:
            _hit(out, at * beat, rng, float(row["drums"]), low=at % 2 == 0)
    out = out[: int(seconds * RATE)]
    out += rng.normal(0, 10 ** (rng.uniform(-75, -60) / 20), len(out)).astype(np.float32)
    # Loudness is that of the whole piece: its root mean square in dB of full scale.
    level = 10 ** (float(row["level_db"]) / 20) / max(float(np.sqrt(np.mean(out**2))), 1e-9)
    return np.tanh(out * level).astype(np.float32)  # a peak is rounded off, as an amplifier does


def _tone(scale: tuple[int, ...], degree: int) -> int:
    """Semitones above the tonic of a degree of the scale, over any number of octaves."""
    return 12 * (degree // 7) + scale[degree % 7]


@functools.lru_cache(maxsize=1)
def _phase() -> ndarray:
    return np.arange(1, 25)[:, None] * np.linspace(0, 2 * np.pi, 2048, endpoint=False)


def _wave(slope: float, rng: Generator) -> ndarray:
    """(2048,) one period of an instrument: 24 harmonics that fall as h**-slope, each a little off."""
    strength = np.arange(1, 25) ** -slope * rng.uniform(0.6, 1.4, 24)
    return (strength @ np.sin(_phase()) / strength.sum()).astype(np.float32)


def _note(out: ndarray, wave: ndarray, midi: float, start: float, length: float, loud: float, attack: float) -> None:
    """Adds one note: `start` and `length` in seconds, a linear attack and an exponential release."""
    first = int(start * RATE)
    n = int((max(length, 0.04) + 0.08) * RATE)
    n = min(n, len(out) - first)
    if n <= 0:
        return
    time = np.arange(n, dtype=np.float32) / RATE
    frequency = 440 * 2 ** ((midi - 69) / 12)
    shape = np.minimum(time / attack, 1) * np.exp(-np.maximum(time - length, 0) / 0.03) * np.exp(-0.8 * time)
    # The table holds one period of 2048 samples; & 2047 wraps the position around it.
    out[first : first + n] += loud * shape * wave[(time * (frequency * 2048)).astype(np.int64) & 2047]


def _hit(out: ndarray, start: float, rng: Generator, loud: float, *, low: bool) -> None:
    """Adds a drum: a falling sine if `low`, else a burst of noise."""
    first = int(start * RATE)
    n = min(int((0.18 if low else 0.07) * RATE), len(out) - first)
    time = np.arange(max(n, 0), dtype=np.float32) / RATE
    sound = np.sin(2 * np.pi * (45 * time + 6 * (1 - np.exp(-time / 0.03)))) if low else rng.normal(0, 0.35, len(time))
    out[first : first + len(time)] += (0.5 * loud * sound * np.exp(-time / (0.06 if low else 0.02))).astype(np.float32)


def _play_all(folder: Path, rows: list[dict]) -> None:
    import soundfile  # an extra of notebook 07 alone

    for row in rows:
        soundfile.write(folder / row["file"], play(row), RATE)


def _write_tables(folder: Path, rows: list[dict]) -> None:
    home = folder / RATINGS
    home.mkdir(parents=True)
    first = [[row[name] for name in FIRST] for row in rows if row["song_id"] <= 2000]
    second = []
    for row in rows:
        if row["song_id"] > 2000:
            extra = {f"{name}_{end}_std": 1.0 for name in ("valence", "arousal") for end in ("max", "min")}
            for name in ("valence", "arousal"):
                extra[f"{name}_max_mean"] = round(min(row[f"{name}_mean"] + 1.5, 9), 1)
                extra[f"{name}_min_mean"] = round(max(row[f"{name}_mean"] - 1.5, 1), 1)
            extra["valence_ max_mean"] = extra["valence_max_mean"]
            second.append([(row | extra)[name] for name in SECOND])
    _write_csv(home / "static_annotations_averaged_songs_1_2000.csv", FIRST, first, ", ")
    _write_csv(home / "static_annotations_averaged_songs_2000_2058.csv", SECOND, second, ", ")
    known = ("song_id", "file", "valence", "arousal", *CUES)
    _write_csv(folder / "songs.csv", known, [[row[name] for name in known] for row in rows], ",")


def _write_csv(path: Path, head: tuple[str, ...], rows: list[list], between: str) -> None:
    """DEAM writes a space after the commas of its header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(between.join(head) + "\n")
        csv.writer(file, lineterminator="\n").writerows(rows)

"""Recordings under two names: how often a changed copy of a song is found among all others, and how often others are.

python benchmarks/trials/repeated_songs.py SONGS --out JSON [--half first|second] [--copies N] [--drawn N]

All songs below SONGS are in the gallery; of N of one half of them, by name, a changed copy of each kind is looked for.
Pairs among the songs themselves are listed: whoever reads the figure listens to them, because real collections repeat
songs.
--drawn N: pairs among N pieces played by code on one synthesiser, and how many of their covers (the same notes, 3 %
faster or with another sound) are joined to them.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import librosa
import numpy as np
import soundfile

from emohelpers.datasets.drawn import songs as played
from emohelpers.music import landmarks

LOW = {"suffix": "mp3", "bitrate_mode": "CONSTANT", "compression_level": 0.9}
OGG = {"suffix": "ogg", "compression_level": 0.9}


def part(samples, rate, rng, seconds):
    start = rng.integers(0, max(len(samples) - int(seconds * rate), 1))
    return samples[start : start + int(seconds * rate)]


def noisy(samples, rng):
    return (samples + 0.1 * samples.std() * rng.standard_normal(len(samples))).astype(np.float32)


# samples, their rate and a random generator -> samples; then the rate and how they are saved
KINDS = {
    "mp3 of a low bit rate": (lambda x, rate, rng: x, 0, LOW),
    "the same at 16 kHz": (lambda x, rate, rng: x, 16000, LOW),
    "ogg of a low quality": (lambda x, rate, rng: x, 0, OGG),
    "flac at 16 kHz": (lambda x, rate, rng: x, 16000, {"suffix": "flac"}),
    "resampled to 44.1 kHz": (lambda x, rate, rng: x, 44100, {}),
    "12 dB softer": (lambda x, rate, rng: 0.25 * x, 0, {}),
    "9 dB louder, clipped": (lambda x, rate, rng: np.clip(2.8 * x / max(np.abs(x).max(), 0.3), -1, 1), 0, {}),
    "noise at -20 dB": (lambda x, rate, rng: noisy(x, rng), 0, {}),
    "first 3 to 4 s missing": (lambda x, rate, rng: x[int((3 + rng.random()) * rate) :], 0, {}),
    "last 5 s missing": (lambda x, rate, rng: x[: -5 * rate], 0, {}),
    "2 to 3 s of silence before": (lambda x, rate, rng: np.pad(x, (int((2 + rng.random()) * rate), 0)), 0, {}),
    "15 s of it": (lambda x, rate, rng: part(x, rate, rng, 15), 0, {}),
    "8 s of it": (lambda x, rate, rng: part(x, rate, rng, 8), 0, {}),
    "15 s, 8 dB softer, ogg": (lambda x, rate, rng: 0.4 * part(x, rate, rng, 15), 0, OGG),
    "10 s, mp3 of a low bit rate at 16 kHz": (lambda x, rate, rng: part(x, rate, rng, 10), 16000, LOW),
    "1 % slower": (lambda x, rate, rng: librosa.resample(x, orig_sr=rate, target_sr=1.01 * rate), 0, {}),
}


def heard(samples, rate, folder, suffix="wav", **options):
    """Landmarks of samples that were saved as a file."""
    path = folder / f"song.{suffix}"
    soundfile.write(path, samples, rate, **options)
    return landmarks.of(path)


def copies(songs, kind, folder):
    change, target, saving = KINDS[kind]
    rng = np.random.default_rng(0)
    for song in songs:
        samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
        copy = change(samples.mean(1), rate, rng)
        if target:
            copy = librosa.resample(copy, orig_sr=rate, target_sr=target)
        yield heard(copy, target or rate, folder, **saving)


def drawn(count, folder):
    rows = played.plan(count, 7, 8.2)
    pieces = [heard(played.play(row), played.RATE, folder) for row in rows]
    result = {"pieces": count, "pairs among them": len(landmarks.repeats(pieces))}
    changes = {"3 % faster": lambda row: {"bpm": 1.03 * row["bpm"]}, "another sound": lambda row: {"brightness": 1.2}}
    for name, change in changes.items():
        covers = [heard(played.play(row | change(row)), played.RATE, folder) for row in rows[:50]]
        pairs = landmarks.repeats([*pieces, *covers])
        result[f"of 50 covers, {name}, joined"] = int((pairs[:, 1] - pairs[:, 0] == count).sum())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("first", "second"), default="second")
    parser.add_argument("--copies", type=int, default=1000)
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    songs = sorted(options.folder.rglob("*.mp3"), key=lambda path: (len(path.stem), path.stem))
    start = time.process_time()
    gallery = [landmarks.of(song) for song in songs]
    result = {"songs": len(songs), "CPU seconds a song": (time.process_time() - start) / len(songs)}
    start = time.process_time()
    known = {tuple(pair) for pair in landmarks.repeats(gallery).tolist()}
    result |= {"CPU seconds of the search": time.process_time() - start}
    result["pairs among them"] = [f"{songs[a].stem} and {songs[b].stem}" for a, b in sorted(known)]
    middle = len(songs) // 2
    half = np.arange(middle) if options.half == "first" else np.arange(middle, len(songs))
    chosen = sorted(np.random.default_rng(1).permutation(half)[: options.copies].tolist())
    with tempfile.TemporaryDirectory() as place:
        result[f"copies of the {options.half} half"] = len(chosen)
        for kind in KINDS:
            changed = list(copies([songs[i] for i in chosen], kind, Path(place)))
            pairs = {tuple(pair) for pair in landmarks.repeats([*gallery, *changed]).tolist()}
            # A copy may be joined to its original and to what the gallery repeats of it.
            number = {len(songs) + k: i for k, i in enumerate(chosen)}
            originals = {tuple(sorted((number.get(a, a), number.get(b, b)))) for a, b in pairs}
            false = {pair for pair in originals - known if pair[0] != pair[1]}
            found = np.mean([(i, copy) in pairs for copy, i in number.items()])
            result[kind] = {"found": float(found), "false joins": len(false)}
            print(kind, result[kind], flush=True)
        if options.drawn:
            result["drawn"] = drawn(options.drawn, Path(place))
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Small sets of songs made by code, for tests: a tone whose pitch and loudness follow its ratings."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 22050


def tone(seconds: float, *, rate: int = RATE, pitch: float = 440.0, channels: int = 1, loud: float = 0.3) -> np.ndarray:
    """(samples, channels) float32: three harmonics with a beat."""
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * pitch * h * time) / h for h in (1, 2, 3)) * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * time))
    return np.tile((loud * wave / 1.8).astype(np.float32)[:, None], (1, channels))


def folder(
    place: Path, *, ids: tuple[int, ...] = tuple(range(2, 42)), later: tuple[int, ...] = (2001, 2002),
    seconds: float = 2.2,
) -> Path:  # fmt: skip
    """A data set in DEAM's layout: `ids` in the first table, `later` in the second, and a tone for each."""
    rng = np.random.default_rng(0)
    audio = place / "DEAM_audio" / "MEMD_audio"
    tables = place / "DEAM_Annotations" / "annotations" / "annotations averaged per song" / "song_level"
    audio.mkdir(parents=True)
    tables.mkdir(parents=True)
    first = ["song_id, valence_mean, valence_std, arousal_mean, arousal_std"]
    second = [
        "song_id, valence_mean, valence_std, valence_ max_mean, valence_max_std, valence_min_mean, valence_min_std, "
        "arousal_mean, arousal_std, arousal_max_mean, arousal_max_std, arousal_min_mean, arousal_min_std"
    ]
    for song in (*ids, *later):
        valence, arousal = np.round(rng.uniform(1.5, 8.5, 2), 1)
        if song in ids:
            first.append(f"{song},{valence},1.1,{arousal},0.9")
        else:
            second.append(f"{song},{valence},1,{min(valence + 1, 9)},1,{max(valence - 1, 1)},1,{arousal},1,9,1,1,1")
        wave = tone(seconds, pitch=110 * 2 ** (valence / 3), loud=0.1 + 0.08 * arousal)
        soundfile.write(audio / f"{song}.wav", wave, RATE)
    (tables / "static_annotations_averaged_songs_1_2000.csv").write_text("\n".join(first) + "\n")
    if later:
        (tables / "static_annotations_averaged_songs_2000_2058.csv").write_text("\n".join(second) + "\n")
    return place

"""One recording under two ids is one song, however it was saved or cut; no two pieces of one synthesiser are."""

from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import soundfile

from emohelpers.datasets import songs
from emohelpers.datasets.drawn import songs as played
from emohelpers.music import landmarks, spectrograms
from emohelpers.music.sound import Spectrum

RATE = played.RATE
ROWS = played.plan(16, 3, 8.2)
LOW = {"bitrate_mode": "CONSTANT", "compression_level": 0.9}
SECOND = RATE + 77  # no whole frame


def at_16_khz(wave: np.ndarray) -> np.ndarray:
    return librosa.resample(wave, orig_sr=RATE, target_sr=16000)


# samples, rate, suffix, how they are saved
COPIES = {
    "low bit rate": lambda wave: (wave, RATE, "mp3", LOW),
    "softer ogg": lambda wave: (0.3 * wave, RATE, "ogg", {}),
    "16 kHz": lambda wave: (at_16_khz(wave), 16000, "flac", {}),
    "first second missing": lambda wave: (wave[SECOND:], RATE, "wav", {}),
    "last second missing": lambda wave: (wave[:-SECOND], RATE, "mp3", {}),
    "six seconds of it": lambda wave: (at_16_khz(wave)[16123:-16123], 16000, "ogg", {}),
    "silence before": lambda wave: (np.pad(wave, (2 * SECOND, 0)), RATE, "wav", {}),
    "stereo": lambda wave: (np.stack([wave, 0.5 * wave], 1), RATE, "wav", {}),
}


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    return [played.play(row) for row in ROWS]


@pytest.fixture(scope="module")
def gallery(waves: list[np.ndarray], tmp_path_factory) -> list[np.ndarray]:
    return [heard(tmp_path_factory.mktemp("songs"), wave, RATE, "wav", {}) for wave in waves]


def heard(folder: Path, wave: np.ndarray, rate: int, suffix: str, options: dict) -> np.ndarray:
    soundfile.write(folder / f"song.{suffix}", wave, rate, **options)
    return landmarks.of(folder / f"song.{suffix}")


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_known_again_and_no_other_piece_is_taken_for_it(kind, waves, gallery, tmp_path: Path) -> None:
    copies = [heard(tmp_path, *COPIES[kind](wave)) for wave in waves[:3]]
    assert sorted(landmarks.repeats([*gallery, *copies]).tolist()) == [[0, 16], [1, 17], [2, 18]]


def test_a_cover_is_another_song(gallery, tmp_path: Path) -> None:
    covers = [played.play(row | {"bpm": 1.03 * row["bpm"], "brightness": row["brightness"] + 0.3}) for row in ROWS[:3]]
    covers = [heard(tmp_path, cover, RATE, "wav", {}) for cover in covers]
    assert not len(landmarks.repeats([*gallery, *covers]))


def test_a_short_common_part_and_songs_without_peaks_join_nothing(waves, gallery, tmp_path: Path) -> None:
    short = heard(tmp_path, waves[0][: 4 * RATE], RATE, "wav", {})
    assert not len(landmarks.repeats([*gallery, short, landmarks.NONE]))
    assert not len(landmarks.repeats([]))


def test_one_recording_is_in_one_part_and_said(tmp_path: Path) -> None:
    root = played.write_songs(tmp_path / "songs", n=24, seconds=6.2)
    data = songs.load("demo_songs", root)
    first, second = data.table["path"][0], data.table["path"][11]
    wave, rate = soundfile.read(root / first)
    (root / second).unlink()
    second = Path(second).with_suffix(".ogg")
    soundfile.write(root / second, 0.5 * wave[RATE // 2 :], rate)
    data = songs.load("demo_songs", root)
    heard = spectrograms.build(data, Spectrum(seconds=5.0), tmp_path / "store", workers=1)
    data = songs.check(data, heard)
    names = list(data.table["song"][[0, 11]])
    assert f"1 recordings stand under several ids, e.g. {names[0]} and {names[1]}" in " ".join(data.notes)
    assert data.table["group"].nunique() == 23
    cfg = SimpleNamespace(folds=2, fold=0, val_share=0.5, split_seed=1)
    for seed in range(5):
        cfg.split_seed = seed
        table = songs.split(data.table, cfg)
        assert table["split"][0] == table["split"][11] and songs.leaks(table) == 0
    # The guard looks at the recordings, whatever the groups say.
    torn = data.table.assign(group=data.table["song"], split=["train"] * 11 + ["test"] + ["val"] * 12)
    assert songs.leaks(torn) == 1

"""Songs are made into spectrograms once; what cannot be read is listed; by threads or by processes, all the same."""

import contextlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import tones

from emohelpers.datasets import songs
from emohelpers.music import sound, spectrograms
from emohelpers.music.sound import Spectrum

SHORT = Spectrum(seconds=2.0)


def alone(path: Path) -> np.ndarray:
    """The spectrogram of one song; test_audio.py compares it with librosa."""
    samples, _ = sound.decode(path, SHORT)
    return sound.mel(sound.power(samples, SHORT), SHORT)


@pytest.fixture
def data(tmp_path: Path) -> songs.Songs:
    root = tones.folder(tmp_path / "deam", ids=tuple(range(2, 10)), later=(2001,))
    soundfile.write(root / "DEAM_audio" / "MEMD_audio" / "4.wav", np.zeros(3 * tones.RATE), tones.RATE)
    soundfile.write(root / "DEAM_audio" / "MEMD_audio" / "2001.wav", tones.tone(9.0), tones.RATE)
    return songs.load("deam", root)


def test_the_store_is_made_once_and_lists_what_it_could_not_read(data: songs.Songs, tmp_path: Path) -> None:
    heard = spectrograms.build(data, SHORT, tmp_path / "store")
    assert heard.array.shape == (9, *SHORT.shape)
    assert list(heard.unreadable) == ["DEAM_audio/MEMD_audio/4.wav"] and "silent" in next(
        iter(heard.unreadable.values())
    )
    row = heard.rows(["DEAM_audio/MEMD_audio/7.wav"])[0]
    np.testing.assert_allclose(heard.array[row], alone(data.root / heard.paths[row]), atol=1e-3)
    told = " ".join(heard.notes())
    assert "the first 2 s" in told and "1 songs last more than 4 s" in told
    made = next((tmp_path / "store").glob("*/spectrograms.npy"))
    stamp = made.stat().st_mtime_ns
    again = spectrograms.build(data, SHORT, tmp_path / "store")
    assert made.stat().st_mtime_ns == stamp and again.unreadable == heard.unreadable
    assert again.descriptors.equals(heard.descriptors)
    spectrograms.build(data, Spectrum(seconds=2.0, mels=64), tmp_path / "store", describe=False)
    assert len(list((tmp_path / "store").glob("*/spectrograms.npy"))) == 2, "other parameters, another store"


def test_unreadable_songs_stop_the_run_or_are_left_out_by_name(data: songs.Songs, tmp_path: Path) -> None:
    heard = spectrograms.build(data, SHORT, tmp_path / "store", describe=False)
    with pytest.raises(songs.ManifestError, match=r"(?s)1 of 9 songs.*4: is silent.*max_unreadable"):
        songs.check(data, heard)
    kept = songs.check(data, heard, max_unreadable=0.2)
    assert len(kept.table) == 8 and list(kept.left_out) == ["4"]


def test_a_store_that_was_interrupted_is_made_again(data: songs.Songs, tmp_path: Path) -> None:
    spectrograms.build(data, SHORT, tmp_path / "store", describe=False)
    home = next((tmp_path / "store").glob("*/index.json")).parent
    (home / "made_of.json").unlink()
    (home / "spectrograms.npy").write_bytes(b"half")
    heard = spectrograms.build(data, SHORT, tmp_path / "store", describe=False)
    assert heard.array.shape[0] == 9 and json.loads((home / "index.json").read_text())["unreadable"]


def test_processes_make_the_same_store_as_threads(data: songs.Songs, tmp_path: Path, monkeypatch) -> None:
    few = spectrograms.build(data, SHORT, tmp_path / "threads")
    monkeypatch.setattr(spectrograms, "MUCH", 0.0)
    many = spectrograms.build(data, SHORT, tmp_path / "processes", workers=2)
    assert np.array_equal(few.array, many.array) and few.descriptors.equals(many.descriptors)
    assert few.heard.equals(many.heard) and few.sha256 == many.sha256 and few.unreadable == many.unreadable


def test_a_process_that_dies_is_told_and_leaves_no_store(data: songs.Songs, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(spectrograms, "MUCH", 0.0)
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):  # another test's child that is ending
                    if "LokyProcess" in " ".join(child.cmdline()):
                        child.kill()
                        return
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(spectrograms.BrokenWorker, match=r"died after 0 of 9 songs, at 2\.wav .*workers=1"):
            spectrograms.build(data, SHORT, tmp_path / "store", describe=False, workers=2)
    finally:
        over.set()
        killer.join()
    assert not list((tmp_path / "store").glob("*/spectrograms.npy*"))
    again = spectrograms.build(data, SHORT, tmp_path / "store", describe=False, workers=1)
    assert len(again.array) == 9 and list(again.unreadable) == ["DEAM_audio/MEMD_audio/4.wav"]

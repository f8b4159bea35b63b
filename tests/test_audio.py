"""Spectrograms are librosa's; a song that is none is named with its reason; pictures and sounds of them."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import tones

from emohelpers.music import descriptors, sound
from emohelpers.music.sound import Spectrum, UnreadableSong

SHORT = Spectrum(seconds=2.0)


def plain(path: Path, spectrum: Spectrum) -> np.ndarray:
    """The way of librosa's own documentation."""
    samples, rate = librosa.load(path, sr=spectrum.sample_rate, duration=spectrum.seconds)
    powers = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=spectrum.n_fft, hop_length=spectrum.hop, n_mels=spectrum.mels, fmin=spectrum.fmin,
        fmax=spectrum.fmax,
    )  # fmt: skip
    return librosa.power_to_db(powers, ref=np.max)


@pytest.mark.parametrize(
    "suffix, rate, channels", [("wav", 48000, 2), ("flac", 48000, 2), ("mp3", 44100, 2), ("wav", 22050, 1)]
)
def test_equal_to_plain_librosa(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tones.tone(3.0, rate=rate, channels=channels), rate)
    samples, heard = sound.decode(path, SHORT)
    made = sound.mel(sound.power(samples, SHORT), SHORT)
    assert made.shape == SHORT.shape and made.dtype == np.float32
    assert (
        heard["channels"] == channels
        and heard["sample_rate"] == rate
        and heard["duration"] == pytest.approx(3, abs=0.1)
    )
    assert np.abs(made - plain(path, SHORT)).max() < 1e-3


def test_the_seeds_shape() -> None:
    assert Spectrum().shape == (128, 1292)


def refused(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableSong) as caught:
        sound.decode(path, SHORT)
    return str(caught.value)


def test_what_is_no_song(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.mp3", tones.tone(2.5), tones.RATE)
    whole = (tmp_path / "whole.mp3").read_bytes()
    assert "is cut off" in refused(tmp_path / "cut.mp3", whole[: len(whole) // 2])
    soundfile.write(tmp_path / "silence.wav", np.zeros(3 * tones.RATE), tones.RATE)
    assert "is silent" in refused(tmp_path / "silence.wav")
    soundfile.write(tmp_path / "short.wav", tones.tone(1.0), tones.RATE)
    assert "lasts 1.0 s, 2 s are needed" in refused(tmp_path / "short.wav")
    assert "not audio" in refused(tmp_path / "text.mp3", b"no music at all" * 50)
    assert "not audio" in refused(tmp_path / "empty.wav", b"")


def test_a_clip_a_little_short_ends_in_silence_and_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tones.tone(1.9), tones.RATE)
    samples, heard = sound.decode(tmp_path / "a.wav", SHORT)
    assert len(samples) == 2 * tones.RATE and not samples[int(1.91 * tones.RATE) :].any()
    assert heard["filled"] == pytest.approx(0.1, abs=1e-3)


def test_the_start_of_a_long_song(tmp_path: Path) -> None:
    wave = np.concatenate([tones.tone(4.0, pitch=220), tones.tone(2.0, pitch=1760), tones.tone(4.0, pitch=220)])
    soundfile.write(tmp_path / "a.wav", wave, tones.RATE)
    first, _ = sound.decode(tmp_path / "a.wav", SHORT)
    np.testing.assert_allclose(first, wave[: len(first), 0], atol=1e-4)  # 16 bits in the file


def test_pictures_keep_the_scale_and_average() -> None:
    clips = np.full((2, 64, 200), -80.0, np.float32)
    clips[0, :, 100:] = 0
    made = sound.pictures(clips, (96, 50))
    assert made.shape == (2, 96, 50) and made.dtype == np.float16
    assert made[1].max() == 0 and made[0, :, 30:].min() == 1 and made[0].mean(dtype=np.float64) == pytest.approx(0.5)
    assert np.array_equal(sound.pictures(clips, (64, 200))[0], (1 + clips[0] / 80).astype(np.float16))


def test_a_spectrogram_can_be_listened_to(tmp_path: Path) -> None:
    samples = tones.tone(2.0, pitch=660)[:, 0]
    made = sound.play(sound.mel(sound.power(samples, SHORT), SHORT), SHORT, rounds=8)
    assert len(made) == pytest.approx(len(samples), abs=SHORT.hop) and np.abs(made).max() <= 1
    spectrum = np.abs(np.fft.rfft(made))
    assert np.fft.rfftfreq(len(made), 1 / tones.RATE)[spectrum.argmax()] == pytest.approx(660, rel=0.03)
    sound.write(tmp_path / "a.wav", made, tones.RATE)
    assert soundfile.info(tmp_path / "a.wav").samplerate == tones.RATE


def described(samples: np.ndarray, spectrum: Spectrum) -> dict[str, float]:
    powers = sound.power(samples, spectrum)
    return descriptors.describe(samples, powers, sound.mel(powers, spectrum), spectrum)


def test_descriptors_say_what_is_heard() -> None:
    spectrum = Spectrum(seconds=8.0)
    time = np.arange(spectrum.samples) / spectrum.sample_rate
    rng = np.random.default_rng(0)
    found = {}
    for name, bpm, pitch, chord in (("slow", 60, 220, (0, 3, 7)), ("fast", 120, 880, (0, 4, 7))):
        wave = sum(np.sin(2 * np.pi * pitch * 2 ** (s / 12) * time) for s in chord)
        wave *= np.exp(-((time * bpm / 60) % 1) * 6)
        found[name] = described((0.2 * wave + 1e-4 * rng.standard_normal(len(time))).astype(np.float32), spectrum)
    slow, fast = found["slow"], found["fast"]
    assert all(np.isfinite(value) for made in found.values() for value in made.values()) and list(slow) == list(fast)
    assert slow["tempo"] == pytest.approx(np.log2(60), abs=0.1) and fast["tempo"] == pytest.approx(
        np.log2(120), abs=0.1
    )
    assert fast["centroid_mean"] > slow["centroid_mean"] and fast["onsets"] > slow["onsets"]
    assert slow["major_minus_minor"] < 0 < fast["major_minus_minor"]


def test_channels_that_cancel_and_an_offset_are_heard(tmp_path: Path) -> None:
    tone = tones.tone(3.0)[:, 0]
    soundfile.write(tmp_path / "turned.wav", np.stack([tone, -tone], 1), tones.RATE)
    soundfile.write(tmp_path / "lifted.wav", 0.5 * tone + 0.3, tones.RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "lift.wav", np.full(len(tone), 0.3), tones.RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "plain.wav", tone, tones.RATE)
    spectrum = Spectrum(sample_rate=tones.RATE, seconds=2.0)
    plain, _ = sound.decode(tmp_path / "plain.wav", spectrum)
    turned, _ = sound.decode(tmp_path / "turned.wav", spectrum)
    lifted, _ = sound.decode(tmp_path / "lifted.wav", spectrum)
    assert np.abs(turned - plain).max() < 1e-3
    assert np.abs(lifted - 0.5 * plain).max() < 1e-2 and abs(lifted.mean()) < 1e-2
    with pytest.raises(UnreadableSong, match="silent"):  # a constant is no sound
        sound.decode(tmp_path / "lift.wav", spectrum)


def test_an_mp3_that_does_not_count_its_frames_is_read_to_its_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    loud, quiet = rng.uniform(-0.5, 0.5, 4 * 44100), 1e-3 * rng.uniform(-0.5, 0.5, 8 * 44100)
    wave = np.concatenate([loud, quiet, loud])
    soundfile.write(tmp_path / "a.mp3", wave, 44100, bitrate_mode="VARIABLE", compression_level=0.3)
    content = (tmp_path / "a.mp3").read_bytes()
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # kbit/s, of MPEG-1's layer III
    header = 144000 * rates[content[2] >> 4] // 44100 + (content[2] >> 1 & 1)
    assert b"Xing" in content[:header]
    tag = b"ID3\3\0\0\0\2\0\0" + bytes(2 << 14)  # 32 kB, as a cover picture has them
    (tmp_path / "bare.mp3").write_bytes(tag + content[header:])
    assert soundfile.info(tmp_path / "bare.mp3").duration < 12, "libsndfile's guess"
    spectrum = Spectrum(sample_rate=44100, seconds=15.0)
    samples, heard = sound.decode(tmp_path / "bare.mp3", spectrum)
    assert heard["duration"] == pytest.approx(16, abs=0.1)
    levels = [samples[44100 * s : 44100 * (s + 1)].std() for s in (2, 8, 14)]
    assert levels[0] == pytest.approx(levels[2], rel=0.1) and levels[1] < 0.01 * levels[0]
    _, whole = sound.decode(tmp_path / "a.mp3", spectrum)
    assert whole["duration"] == pytest.approx(16, abs=0.01)


def test_a_flac_that_does_not_say_its_length_is_counted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tones.tone(5.0), tones.RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # the last 36 bits of what precedes the MD5: as an encoder writes them into a pipe
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    assert sound.decode(tmp_path / "a.flac", SHORT)[1]["duration"] == pytest.approx(5, abs=0.1)

"""Caches and checkpoints that rot on the disk: each damage is found, said, and mended or refused; none is used."""

import os
import shutil
from pathlib import Path

import numpy as np
import pictures
import pytest
import tones
import torch
import training_job
from PIL import Image

from emohelpers import models, train
from emohelpers.config import sealed
from emohelpers.datasets import pixels, songs
from emohelpers.export import onnx
from emohelpers.export.runner import Runner
from emohelpers.models.views import Shelf
from emohelpers.music import spectrograms
from emohelpers.music.sound import Spectrum

FIXED = 315532800 * 10**9  # ns; 1980-01-01, the time that reproducible archives give every file


def flip(file: Path, where: float, bits: int = 1) -> None:
    """Flips bits of the byte at a share of the file."""
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= bits
    file.write_bytes(content)


def zero(file: Path, where: float, size: int = 512) -> None:
    """Zeroes a block, as a disk that lost a sector does."""
    content = bytearray(file.read_bytes())
    start = int(where * len(content))
    content[start : start + size] = bytes(len(content[start : start + size]))
    file.write_bytes(content)


def cut(file: Path, share: float) -> None:
    """Leaves the first part of a file."""
    os.truncate(file, int(share * file.stat().st_size))


def alter(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new, 1))


# ------------------------------------------------------------- the store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> tuple[pictures.Folder, Path]:
    """A data set and the folder of its decoded pictures."""
    place = tmp_path_factory.mktemp("store")
    data = pictures.write(place / "in", each=4)
    pixels.build(data, 32, place / "cache")
    return data, place / "cache"


def only(cache: Path, pattern: str) -> Path:
    (file,) = cache.rglob(pattern)
    return file


STORE = {
    **{f"bit {bit} at {at}": ("pixels-*.npy", lambda f, at=at, bit=bit: flip(f, at, 1 << bit))
       for at, bit in ((0.01, 0), (0.2, 3), (0.4, 7), (0.6, 1), (0.8, 5), (0.999, 2))},
    **{f"zeroed block at {at}": ("pixels-*.npy", lambda f, at=at: zero(f, at, 4096)) for at in (0.0, 0.3, 0.7)},
    "all pixels zero": ("pixels-*.npy", lambda f: zero(f, 0.002, f.stat().st_size)),
    "pixels cut": ("pixels-*.npy", lambda f: cut(f, 0.5)),
    "pixels empty": ("pixels-*.npy", lambda f: cut(f, 0)),
    "pixels gone": ("pixels-*.npy", Path.unlink),
    "bit in the thumbnails": ("thumbs-*.npy", lambda f: flip(f, 0.5)),
    "thumbnails cut": ("thumbs-*.npy", lambda f: cut(f, 0.9)),
    "thumbnails zeroed": ("thumbs-*.npy", lambda f: zero(f, 0.4, 2048)),
    "index cut": ("index.json", lambda f: cut(f, 0.7)),
    "index empty": ("index.json", lambda f: cut(f, 0)),
    "bit in the index": ("index.json", lambda f: flip(f, 0.5)),
    "index zeroed": ("index.json", lambda f: zero(f, 0.2)),
}  # fmt: skip


@pytest.mark.parametrize("name", STORE)
def test_a_damaged_store_is_found_said_and_decoded_again(store, tmp_path, capsys, name) -> None:
    data, cache = store
    right = pixels.build(data, 32, cache)
    shutil.copytree(cache, tmp_path / "cache")
    pattern, damage = STORE[name]
    damage(only(tmp_path / "cache", pattern))
    built = pixels.build(data, 32, tmp_path / "cache")
    assert np.array_equal(built.take(np.arange(32)), right.array)
    assert built.sha256 == right.sha256 and np.array_equal(built.thumbs, right.thumbs) and not built.unreadable
    assert "damaged" in capsys.readouterr().out, "without a word"
    again = pixels.build(data, 32, tmp_path / "cache")
    assert np.array_equal(again.array, right.array) and not capsys.readouterr().out, "the damage stayed"


def test_an_altered_hash_is_found(store, tmp_path, capsys) -> None:
    data, cache = store
    right = pixels.build(data, 32, cache)
    shutil.copytree(cache, tmp_path / "cache")
    alter(only(tmp_path / "cache", "index.json"), right.sha256[3].encode(), b"0" * 64)
    assert pixels.build(data, 32, tmp_path / "cache").sha256 == right.sha256
    assert "damaged" in capsys.readouterr().out


def test_damage_beside_changed_pictures_brings_the_new_ones_and_leaves_a_readers_pixels(store, tmp_path) -> None:
    data, cache = store
    folder = shutil.copytree(data.root, tmp_path / "in")
    data = pictures.Folder(folder, data.table)
    reader = pixels.build(data, 32, tmp_path / "cache")
    zero(only(tmp_path / "cache", "pixels-*.npy"), 0.3, 4096)
    before = reader.take(np.arange(32))
    first = (folder / data.table["path"][0]).read_bytes()
    for path in data.table["path"]:
        (folder / path).write_bytes(first)
    after = pixels.build(data, 32, tmp_path / "cache")
    assert np.array_equal(after.array, before[[0] * 32]) and after.sha256 == reader.sha256[:1] * 32
    assert np.array_equal(reader.array, before)


# ------------------------------------------------------------- spectrograms

SPECTRUM = Spectrum(seconds=2.0, mels=32)


@pytest.fixture(scope="module")
def sung(tmp_path_factory) -> tuple[songs.Songs, Path]:
    place = tmp_path_factory.mktemp("sung")
    data = songs.load("deam", tones.folder(place / "deam", ids=(2, 3, 4), later=(2001,)))
    spectrograms.build(data, SPECTRUM, place / "cache", workers=1)
    return data, place / "cache"


SONGS = {
    "bit in a spectrogram": ("spectrograms.npy", lambda f: flip(f, 0.5)),
    "bit in the header": ("spectrograms.npy", lambda f: flip(f, 0.0)),
    "zeroed block of spectrograms": ("spectrograms.npy", lambda f: zero(f, 0.7, 4096)),
    "spectrograms cut": ("spectrograms.npy", lambda f: cut(f, 0.6)),
    "a descriptor altered": ("descriptors.csv", lambda f: alter(f, b".1", b".2")),
    "descriptors cut": ("descriptors.csv", lambda f: cut(f, 0.5)),
    "index cut": ("index.json", lambda f: cut(f, 0.5)),
    "an altered hash": ("index.json", lambda f: flip(f, 0.5)),
    "table of hashes altered": ("deam-*.json", lambda f: flip(f, 0.9)),
    "table of hashes zeroed": ("deam-*.json", lambda f: zero(f, 0.5)),
}


@pytest.mark.parametrize("name", SONGS)
def test_damaged_spectrograms_are_found_said_and_made_again(sung, tmp_path, capsys, name) -> None:
    data, cache = sung
    right = spectrograms.build(data, SPECTRUM, cache, workers=1)
    shutil.copytree(cache, tmp_path / "cache")
    pattern, damage = SONGS[name]
    damage(only(tmp_path / "cache", pattern))
    built = spectrograms.build(data, SPECTRUM, tmp_path / "cache", workers=1)
    told = capsys.readouterr().out
    assert "does not hold what was written" in told or "damaged" in told, "without a word"
    assert np.array_equal(built.array, right.array) and built.sha256 == right.sha256
    assert built.descriptors.equals(right.descriptors) and built.heard.equals(right.heard)
    spectrograms.build(data, SPECTRUM, tmp_path / "cache", workers=1)
    assert not capsys.readouterr().out, "the damage stayed"


def test_songs_that_changed_places_are_heard_again_and_those_that_were_touched_are_not(tmp_path, monkeypatch) -> None:
    data = songs.load("deam", tones.folder(tmp_path / "deam", ids=(2, 3), later=()))
    two, three = (data.root / path for path in data.table["path"])
    for file in (two, three):
        os.utime(file, ns=(FIXED, FIXED))
    before = spectrograms.build(data, SPECTRUM, tmp_path / "cache", describe=False, workers=1)
    first, second = np.array(before.array)
    two.rename(tmp_path / "aside.wav")
    three.rename(two)
    (tmp_path / "aside.wav").rename(three)
    after = spectrograms.build(data, SPECTRUM, tmp_path / "cache", describe=False, workers=1)
    assert np.array_equal(after.array, [second, first]) and after.sha256 == before.sha256[::-1]
    assert np.array_equal(before.array, [first, second]), "a reader's spectrograms were changed under it"
    two.touch()
    monkeypatch.setattr(spectrograms, "_fill", None)
    assert spectrograms.build(data, SPECTRUM, tmp_path / "cache", describe=False, workers=1).sha256 == after.sha256


# ------------------------------------------------------ checkpoints, ONNX files, activations


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a small training that was paused after two epochs, and an ONNX file of its model."""
    place = tmp_path_factory.mktemp("trained")
    parts = training_job.job(place, epochs=2)
    train.fit(*parts, place / "out", name="best.pth", quiet=True)
    model = models.load(place / "out" / "best.pth")
    onnx.write(model, place / "out" / "model.onnx", np.zeros((8, 32, 32, 3), np.uint8))
    return place


SPOTS = (0.001, 0.13, 0.37, 0.71, 0.9999)
CHECKPOINTS = {
    **{f"{name}, bit at {at}": (name, lambda f, at=at: flip(f, at)) for at in SPOTS for name in ("last", "best")},
    **{f"{name}, block zeroed": (name, lambda f: zero(f, 0.5, 4096)) for name in ("last", "best-", "best", "onnx")},
    **{f"{name}, cut at {at}": (name, lambda f, at=at: cut(f, at)) for at in (0, 0.6, 0.9999)
       for name in ("last", "best-", "best")},
    "onnx, bit flipped": ("onnx", lambda f: flip(f, 0.6)),
    "best-, bit flipped": ("best-", lambda f: flip(f, 0.6)),
    "best-, gone": ("best-", Path.unlink),
}  # fmt: skip
FILES = {"last": "last.pth", "best-": "best-*.pth", "best": "best.pth", "onnx": "model.onnx"}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_damaged_checkpoint_is_refused_with_the_remedy(trained, tmp_path, name) -> None:
    kind, damage = CHECKPOINTS[name]
    shutil.copytree(trained, tmp_path / "again")
    out = tmp_path / "again" / "out"
    damage(only(out, FILES[kind]))
    if kind == "onnx":
        with pytest.raises(sealed.Damaged, match="does not hold what was written to it"):
            Runner(out / "model.onnx")
    elif kind == "best":
        with pytest.raises(models.WeightsError, match=r"best\.pth is not a checkpoint.* or damaged.*Restore it"):
            models.load(out / "best.pth")
    else:
        with pytest.raises(train.TrainingError, match=r"last\.pth cannot be resumed.*Restore it, or remove"):
            train.fit(*training_job.job(tmp_path / "again", epochs=2), out, name="best.pth", quiet=True)


def test_what_was_written_without_a_checksum_is_read(trained, tmp_path) -> None:
    whole = (trained / "out" / "best.pth").read_bytes()
    ending = len(sealed.ZIP % 0)
    earlier = tmp_path / "best.pth"
    earlier.write_bytes(whole[: -ending - 2] + b"\0\0")
    assert models.load(earlier).facts["epoch"] >= 1
    flip(earlier, 0.5)
    with pytest.raises(models.WeightsError, match="or damaged"):
        models.load(earlier)
    bare = tmp_path / "model.onnx"
    bare.write_bytes((trained / "out" / "model.onnx").read_bytes()[: -len(sealed.ONNX % 0)])
    assert len(Runner(bare).classes) == 8


@pytest.mark.parametrize("damage", [lambda f: flip(f, 0.4), lambda f: zero(f, 0.1, 64)], ids=["bit", "block"])
def test_damaged_activations_are_computed_again(tmp_path, capsys, damage) -> None:
    shelf = Shelf(tmp_path / "train.rows", 8, (4, 5), torch.float16)
    rows = torch.arange(160).view(8, 4, 5).half()
    shelf.put(np.arange(8), rows)
    assert shelf.holds(np.arange(8))
    damage(tmp_path / "train.rows")
    again = Shelf(tmp_path / "train.rows", 8, (4, 5), torch.float16)
    assert not again.holds(np.arange(8)) and "damaged" in capsys.readouterr().out
    assert again.holds(np.arange(7, 8)) and (again.done == 0).sum() == (~again.proved).sum() >= 1


# ------------------------------------------------------ files that were replaced


def bitmaps(folder: Path, seed: int) -> None:
    """Writes pictures whose files have one size and one time, whatever they show."""
    rng = np.random.default_rng(seed)
    for path in pictures.known(folder, each=2).table["path"]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / path, "BMP")
        os.utime(folder / path, ns=(FIXED, FIXED))


@pytest.mark.parametrize("how", ["written over", "renamed onto", "copied with times", "folder swapped"])
def test_a_picture_of_the_same_size_and_time_is_decoded_again(tmp_path, how) -> None:
    bitmaps(tmp_path / "in", 0)
    bitmaps(tmp_path / "new", 1)
    data = pictures.known(tmp_path / "in", each=2)
    before = pixels.build(data, 32, tmp_path / "cache")
    old = before.take(np.arange(16))
    if how == "written over":
        bitmaps(tmp_path / "in", 1)
    elif how == "folder swapped":
        (tmp_path / "in").rename(tmp_path / "old")
        (tmp_path / "new").rename(tmp_path / "in")
    else:
        for path in data.table["path"]:
            (os.replace if how == "renamed onto" else shutil.copy2)(tmp_path / "new" / path, tmp_path / "in" / path)
    after = pixels.build(data, 32, tmp_path / "cache")
    files = [np.asarray(Image.open(tmp_path / "in" / path)) for path in data.table["path"]]
    assert np.array_equal(after.array, files) and not set(after.sha256) & set(before.sha256)
    assert np.array_equal(before.take(np.arange(16)), old), "a reader's pixels were changed under it"


def test_what_only_looks_changed_is_hashed_and_not_decoded(tmp_path, monkeypatch) -> None:
    data = pictures.write(tmp_path / "in", each=2)
    before = pixels.build(data, 32, tmp_path / "cache")
    for path in data.table["path"]:
        (tmp_path / "in" / path).touch()
    monkeypatch.setattr(pixels, "decode", None)
    after = pixels.build(data, 32, tmp_path / "cache")
    assert after.sha256 == before.sha256 and np.array_equal(after.array, before.array)
    assert len(list((tmp_path / "cache").rglob("pixels-*.npy"))) == 1, "a copy for nothing"

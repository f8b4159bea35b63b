"""Batches of spectrograms, and the contenders on real songs alone."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tones
import torch

from emohelpers import config, models, music
from emohelpers.config.music import Music
from emohelpers.datasets import songs as rated
from emohelpers.metrics import regression
from emohelpers.music import contenders, nets, results, sound, spectra, spectrograms
from emohelpers.music.collection import Collection
from emohelpers.music.composer import Composed
from emohelpers.music.spectra import Augmentation, Scale, Spectra
from emohelpers.report.run import Run
from emohelpers.train import objectives

SPECTRUM = sound.Spectrum(seconds=2.0, mels=32)


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Collection:
    place = tmp_path_factory.mktemp("music")
    data = rated.load("deam", tones.folder(place / "deam", ids=tuple(range(2, 62))))
    store = spectrograms.build(data, SPECTRUM, place / "store")
    return Collection("deam", "", rated.split(rated.check(data, store).table, settings()), store)


def settings(**values):
    small = {
        "seconds": 2.0, "mels": 32, "img_size": 32, "epochs": 2, "batch_size": 16, "ast_shape": (32, 48),
        "ast_width": 48, "ast_layers": 2, "ast_epochs": 2, "unfreeze": {}, "trainable": 1, "ema": 0.0, "bootstrap": 200,
    }  # fmt: skip
    return config.make(Music, "demo", **(small | values))


def run(cfg, folder: Path) -> Run:
    return Run("07_deam_gan_vit", cfg, folder)


def ids_of_test_songs(songs: Collection) -> list[str]:
    return list(songs.table.loc[songs.table["split"] == "test", "song"])


def composed(place: Path, n: int = 200) -> Composed:
    place.mkdir(exist_ok=True)
    np.save(place / "synthetic-000.npy", np.full((n, 16, 16), -40, np.float16))
    table = pd.DataFrame({"file": "synthetic-000.npy", "row": range(n), "valence": 0.5, "arousal": -0.5})
    return Composed(table, place)


def clips(n: int = 10) -> np.ndarray:
    return np.random.default_rng(0).random((n, 8, 12)).astype(np.float16)


def test_batches_fill_every_channel_and_keep_the_order() -> None:
    made = Spectra(clips(), np.zeros((10, 2)), Scale((0.5, 0.5, 0.5), (0.5, 0.25, 1.0)), batch_size=4)
    inputs, targets, at = zip(*made.epoch(), strict=True)
    assert np.concatenate(at).tolist() == list(range(10)) and targets[0].dtype == torch.float32
    one = torch.from_numpy(clips()[:4]).float()
    for channel, std in enumerate((0.5, 0.25, 1.0)):
        torch.testing.assert_close(inputs[0][:, channel], (one - 0.5) / std)


def test_augmentation_is_drawn_by_seed_and_epoch_and_shared_by_processes() -> None:
    look = Augmentation()
    targets = np.arange(20).reshape(10, 2)
    made = Spectra(clips(), targets, Scale((0.0,), (1.0,)), batch_size=4, augmentation=look, seed=3)
    first = [x for x, *_ in made.epoch(0)]
    assert len(first) == 2 and all(torch.equal(a, b[0]) for a, b in zip(first, made.epoch(0), strict=True))
    assert not torch.equal(first[0], next(made.epoch(1))[0])
    halves = [[x for x, *_ in made.on(torch.device("cpu"), rank, 2).epoch(0)] for rank in range(2)]
    for k, whole in enumerate(first):
        assert torch.equal(torch.cat([halves[0][k], halves[1][k]]), whole)
    other = Spectra(clips() + np.float16(0.01), np.arange(20).reshape(10, 2), Scale((0.0,), (1.0,)), batch_size=4)
    assert made.digest() != other.digest()


def test_augment_shifts_masks_and_keeps_silence() -> None:
    still = spectra.Draws(np.zeros(1, np.float32), np.zeros(1, np.float32), np.zeros((1, 4), np.float32))
    one = torch.from_numpy(clips(1)).float()
    torch.testing.assert_close(spectra.augment(one, still, 0.5, 12), one)
    turned = spectra.augment(one, spectra.Draws(np.full(1, 0.5, np.float32), *list(vars(still).values())[1:]), 0.5, 12)
    torch.testing.assert_close(turned, torch.roll(one, 6, dims=2))
    masks = np.array([[0.25, 0.25, 0, 0.5]], np.float32)
    masked = spectra.augment(one, spectra.Draws(still.shift, still.gain, masks), 0.5, 12)[0]
    assert (masked[2:4] == 0.5).all() and (masked[:, :6] == 0.5).all()
    torch.testing.assert_close(masked[4:, 6:], one[0, 4:, 6:])
    louder = spectra.augment(
        torch.zeros(1, 8, 12), spectra.Draws(still.shift, np.full(1, 8, np.float32), still.masks), 0.5, 12
    )
    assert not louder.any()


def test_sections_are_shown_one_at_a_time_and_judged_together() -> None:
    strip = np.arange(2 * 8 * 36, dtype=np.float32).reshape(2, 8, 36)
    cut = sound.sections(strip, 3)
    assert cut.shape == (6, 8, 12)
    np.testing.assert_array_equal(cut[4], strip[1, :, 12:24])
    look = Augmentation(gain_db=0.0, mel_mask=0.0, time_mask=0.0)
    made = Spectra(
        strip / strip.size, np.zeros((2, 2)), Scale((0.0,), (1.0,)), batch_size=2, augmentation=look, width=12
    )
    begun = set()
    for epoch in range(40):
        ((inputs, _, at),) = made.epoch(epoch)
        assert inputs.shape == (2, 1, 8, 12)
        begun |= {round(float(one[0, 0, 0]) * strip.size) % 36 for one, i in zip(inputs, at, strict=True) if i == 0}
    assert len(begun) > 15, "a section begins anywhere"
    outputs = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    wanted = np.random.default_rng(1).normal(size=(10, 2)).astype(np.float32)
    apart = objectives.Regression(sections=3).scores(outputs, np.repeat(wanted, 3, axis=0))
    assert apart == pytest.approx(objectives.Regression().scores(outputs.reshape(10, 3, 2).mean(1), wanted), rel=1e-5)


@pytest.mark.parametrize("cache", ["off", "on"])
def test_a_vision_transformer_learns_from_sections(songs: Collection, tmp_path: Path, capsys, cache: str) -> None:
    cfg = settings(sections=3, img_size=16, cache=cache)
    parts = contenders.batches(contenders.vision(cfg), songs, (16, 16), cfg)
    assert len(parts["test"].rows) == 3 * songs.counts["test"]
    vit = music.vision_transformer(songs, run(cfg, tmp_path))
    assert ("are kept as" in capsys.readouterr().out) == (cache == "on")
    assert list(vit.predictions["song"]) == ids_of_test_songs(songs) and (tmp_path / "vit_real.pth").is_file()


def test_synthetic_rows_are_training_rows_up_to_the_cap(songs: Collection, tmp_path: Path) -> None:
    cfg, real = settings(synthetic_cap=0.4), songs.counts["train"]
    clips = composed(tmp_path / "s")
    net = contenders.transformer(contenders.from_scratch(cfg), songs.clips(cfg.ast_shape, "train"))
    plain = contenders.batches(net, songs, (32, 48), cfg)
    mixed = contenders.batches(net, songs, (32, 48), cfg, clips)
    again = contenders.batches(net, songs, (32, 48), cfg, again=len(clips))
    extra = len(mixed["train"].rows) - real
    assert len(plain["train"].rows) == real and extra == int(real * 0.4 / 0.6 + 1e-9)
    assert len(again["train"].rows) == len(mixed["train"].rows), "as many steps"
    assert (mixed["train"].targets[real:] == torch.tensor([0.5, -0.5])).all()
    np.testing.assert_array_equal(again["train"].pictures[real:], plain["train"].pictures[:extra])
    for part in ("val", "test"):
        assert mixed[part].digest() == plain[part].digest(), "held-out songs are real, whatever is composed"
    none = contenders.batches(net, songs, (32, 48), settings(synthetic_cap=0.0), clips)
    assert len(none["train"].rows) == real
    allowed = contenders.allowed
    assert allowed(100, 20, 0.5) == 20 and allowed(100, 3200, 0.5) == 100 and allowed(100, 9, 0) == 0


def test_contenders_are_judged_on_the_ids_of_test_songs(songs: Collection, tmp_path: Path) -> None:
    mean, ridge = music.mean_predictor(songs), music.ridge(songs)
    vit = music.vision_transformer(songs, run(settings(), tmp_path))
    for contender in (mean, ridge, vit):
        assert list(contender.predictions["song"]) == ids_of_test_songs(songs)
    assert ridge.ccc[0] > 0.5, "pitch follows valence in these tones"
    again = models.load(tmp_path / "vit_real.pth", classes=music.TARGETS)
    assert again.spec["task"] == "regression" and len(again.spec["preprocess"]["mean"]) == 3
    table = results.comparison([mean, ridge], 100)
    assert len(table) == 5 and table.loc["mean predictor", "CCC valence"].startswith(("0.000", "-0.000"))
    assert list(results.networks([mean, vit]).index) == ["ViT"]


def test_the_transformer_from_scratch_has_the_seeds_size_and_loads_strictly(songs: Collection, tmp_path: Path) -> None:
    full = config.make(Music, "full")
    net = contenders.transformer(contenders.from_scratch(full), np.random.default_rng(0).random((4, 8, 8)))
    assert 5.5e6 < models.count(net)["parameters"] < 6.5e6 and net(torch.zeros(1, 1, *full.ast_shape)).shape == (1, 2)
    cfg = settings()
    fit = music.audio_transformer(songs, run(cfg, tmp_path)).training
    assert (fit.history["phase"] == "all").all()
    again = models.load(tmp_path / "ast_model.pth")
    clip = torch.rand(2, 1, *cfg.ast_shape)
    torch.testing.assert_close(again.eval()(clip), fit.model(clip))


def test_the_full_recipe_builds() -> None:
    full = config.make(Music, "full")
    assert full.backbone.endswith("in21k") and full.monitor.removeprefix("val_") in objectives.Regression.figures
    nets.Generator({"shape": list(full.gan_shape), "latent": 8, "width": 2, "regulariser": "spectral"})


def test_an_archive_names_what_is_missing(tmp_path: Path) -> None:
    for name in results.ARCHIVE[1:]:
        (tmp_path / name).write_text("x")
    with pytest.raises(FileNotFoundError, match=r"best_vit_model\.pth"):
        results.archive(run(settings(), tmp_path))
    (tmp_path / "best_vit_model.pth").write_text("x")
    results.archive(run(settings(), tmp_path))
    assert zipfile.ZipFile(tmp_path / "vit_output.zip").namelist() == list(results.ARCHIVE)


def test_sentences_follow_from_the_figures() -> None:
    rng = np.random.default_rng(0)
    rated = rng.uniform(-1, 1, (60, 2))

    def contender(name: str, predicted: np.ndarray) -> music.Contender:
        return music.Contender(name, regression.predictions([f"{i}" for i in range(60)], rated, predicted))

    mean = contender("mean predictor", np.zeros((60, 2)))
    good = contender("good", rated + rng.normal(0, 0.1, (60, 2)))
    half = contender("half", np.stack([rated[:, 0], rng.uniform(-1, 1, 60)], 1))
    names = ["condition read back, valence", "condition read back, arousal"]
    checks = pd.DataFrame({"synthetic": [0.9, 0.8]}, index=names)
    told = results.sentences([mean, good, half], results.paired(good, half, 200), checks, 200)
    assert told[0].startswith("good: CCC valence 0.9") and told[0].endswith("both above the mean predictor.")
    assert told[1].endswith("valence alone is above the mean predictor.")
    assert next(iter(results.figures([good, mean, half, good], 100))) == "good, ccc_valence", "the page headlines it"
    assert "helped for valence" in told[2] and "harmed for arousal" in told[3] and "0.90 and 0.80" in told[4]


def test_examples_are_typical_of_their_quadrants(songs: Collection) -> None:
    clips, ratings = songs.examples("train")
    small, same = songs.examples("train", (16, 16))
    assert len(clips) == len(ratings) == 4 and small.shape == (4, 16, 16) and (ratings == same).all()
    assert small.min() >= -80 and small.max() <= 0

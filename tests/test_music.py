"""Batches of spectrograms, and the contenders on real songs alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tones
import torch

from emohelpers import config, models, music
from emohelpers.datasets import songs
from emohelpers.metrics import regression
from emohelpers.music import composer, gan, results, sound, spectra, spectrograms
from emohelpers.music.spectra import Augmentation, Scale, Spectra
from emohelpers.train import objectives

SPECTRUM = sound.Spectrum(seconds=2.0, mels=32)


@pytest.fixture(scope="module")
def heard(tmp_path_factory) -> tuple[spectrograms.Spectrograms, pd.DataFrame]:
    place = tmp_path_factory.mktemp("music")
    data = songs.load("deam", tones.folder(place / "deam", ids=tuple(range(2, 62))))
    made = spectrograms.build(data, SPECTRUM, place / "store")
    return made, songs.split(songs.check(data, made).table, settings())


def settings(**values):
    small = {
        "seconds": 2.0, "mels": 32, "img_size": 32, "epochs": 2, "batch_size": 16, "ast_shape": (32, 48),
        "ast_width": 48,
        "ast_layers": 2, "ast_epochs": 2, "unfreeze": {}, "trainable": 1, "ema": 0.0, "bootstrap": 200,
    }  # fmt: skip
    return config.make(config.Music, "demo", **(small | values))


def composed(place: Path, n: int = 200) -> gan.Composed:
    place.mkdir(exist_ok=True)
    np.save(place / "synthetic-000.npy", np.full((n, 16, 16), -40, np.float16))
    table = pd.DataFrame({"file": "synthetic-000.npy", "row": range(n), "valence": 0.5, "arousal": -0.5})
    return gan.Composed(table, place)


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
    made = Spectra(
        clips(), np.arange(20).reshape(10, 2), Scale((0.0,), (1.0,)), batch_size=4, augmentation=look, seed=3
    )
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


@pytest.mark.parametrize("kept", ["off", "on"])
def test_a_vision_transformer_learns_from_sections(heard, tmp_path: Path, capsys, kept: str) -> None:
    made, table = heard
    cfg = settings(sections=3, img_size=16, cache=kept)
    net = music.vision(cfg)
    parts = music.parts(net, made, table, (16, 16), cfg)
    assert len(parts["test"].rows) == 3 * (table["split"] == "test").sum()
    fit = music.trained(net, parts, cfg, tmp_path, "vit.pth")
    assert ("are kept as" in capsys.readouterr().out) == (kept == "on")
    assert list(music.judged(fit.model, parts, table, cfg)["song"]) == list(table.loc[table["split"] == "test", "song"])


def test_synthetic_rows_are_training_rows_up_to_the_cap(heard, tmp_path: Path) -> None:
    made, table = heard
    cfg, real = settings(synthetic_cap=0.4), int((table["split"] == "train").sum())
    net = music.transformer(music.from_scratch(cfg), music.clips(made, table, cfg.ast_shape, "train"))
    plain = music.parts(net, made, table, (32, 48), cfg)
    mixed = music.parts(net, made, table, (32, 48), cfg, composed(tmp_path / "s"))
    again = music.parts(net, made, table, (32, 48), cfg, composed(tmp_path / "s"), again=True)
    extra = len(mixed["train"].rows) - real
    assert len(plain["train"].rows) == real and extra == int(real * 0.4 / 0.6 + 1e-9)
    assert len(again["train"].rows) == len(mixed["train"].rows), "as many steps"
    assert (mixed["train"].targets[real:] == torch.tensor([0.5, -0.5])).all()
    np.testing.assert_array_equal(again["train"].pictures[real:], plain["train"].pictures[:extra])
    for part in ("val", "test"):
        assert mixed[part].digest() == plain[part].digest(), "held-out songs are real, whatever is composed"
    assert music.allowed(100, 20, 0.5) == 20 and music.allowed(100, 3200, 0.5) == 100 and music.allowed(100, 9, 0) == 0


def test_contenders_are_judged_on_the_test_songs(heard, tmp_path: Path) -> None:
    made, table = heard
    wanted = list(table.loc[table["split"] == "test", "song"])
    mean = music.predictions(table, music.mean_predictor(table))
    ridge = music.predictions(table, music.ridge(made, table))
    assert list(mean["song"]) == wanted == list(ridge["song"])
    assert regression.ccc(*regression.read(ridge)[:2])[0] > 0.5, "pitch follows valence in these tones"
    cfg = settings()
    net = music.vision(cfg)
    parts = music.parts(net, made, table, (32, 32), cfg)
    fit = music.trained(net, parts, cfg, tmp_path, "vit.pth")
    told = music.judged(fit.model, parts, table, cfg)
    assert list(told["song"]) == wanted
    again = models.load(tmp_path / "vit.pth", classes=songs.TARGETS)
    assert again.spec["task"] == "regression" and len(again.spec["preprocess"]["mean"]) == 3
    table = results.comparison({"mean": mean, "ridge": ridge}, 100)
    assert len(table) == 5 and table.loc["mean", "CCC valence"].startswith(("0.000", "-0.000"))


def test_the_transformer_from_scratch_has_the_seeds_size_and_loads_strictly(heard, tmp_path: Path) -> None:
    full = config.make(config.Music, "full")
    net = music.transformer(music.from_scratch(full), np.random.default_rng(0).random((4, 8, 8)))
    assert 5.5e6 < models.count(net)["parameters"] < 6.5e6 and net(torch.zeros(1, 1, *full.ast_shape)).shape == (1, 2)
    made, table = heard
    cfg = music.from_scratch(settings())
    small = music.transformer(cfg, music.clips(made, table, cfg.ast_shape, "train"))
    parts = music.parts(small, made, table, cfg.ast_shape, cfg)
    fit = music.trained(small, parts, cfg, tmp_path, "ast.pth")
    assert (fit.history["phase"] == "all").all()
    again = models.load(tmp_path / "ast.pth")
    clip = torch.rand(2, 1, *cfg.ast_shape)
    torch.testing.assert_close(again.eval()(clip), fit.model(clip))


def test_the_full_recipe_builds() -> None:
    full = config.make(config.Music, "full")
    assert full.backbone.endswith("in21k") and full.monitor.removeprefix("val_") in objectives.Regression.figures
    composer.Generator({"shape": list(full.gan_shape), "latent": 8, "width": 2, "regulariser": "spectral"})


def test_an_archive_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert results.archive(tmp_path, ["a.txt"]).stat().st_size
    with pytest.raises(FileNotFoundError, match=r"b\.txt"):
        results.archive(tmp_path, ["a.txt", "b.txt"])

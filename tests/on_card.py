"""What trainings do on a CUDA card; test_cuda.py runs these on the make-believe one of card.py."""

import gc
from types import SimpleNamespace

import card
import numpy as np
import pandas as pd
import pytest
import torch
import training_job
from test_gan import bars
from test_gan import settings as of_gan

from emohelpers import config, models, train
from emohelpers.config.music import Music
from emohelpers.config.ranking import Ranking
from emohelpers.datasets import pairing, pairs
from emohelpers.datasets import pixels as store
from emohelpers.datasets.drawn import photos
from emohelpers.explain.classifier import Classifier
from emohelpers.models import cache, devices
from emohelpers.music import composer, contenders, gan
from emohelpers.music.spectra import Augmentation, Scale, Spectra
from emohelpers.ranking import model as ranking
from emohelpers.ranking import release
from emohelpers.ranking.photographs import Photographs
from emohelpers.train import loop, objectives

FROZEN = {"trainable": 1, "mixup": 0.0, "cutmix": 0.0, "weights": "demo", "img_size": 96, "head_width": 32}


@pytest.fixture
def small_card():
    """Sets how much the card has beside what is taken now; afterwards it has all again."""

    def room(megabytes: float) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        card.capacity(torch.cuda.memory_reserved() + megabytes * 2**20)

    yield room
    card.capacity(15.8e9)


def faces(folder, **values):
    return training_job.job(folder, **{"each": 4, "epochs": 1, "batch_size": 4, **values})


def transfer(folder):
    values = {"backbone": "test_byobnet", "weights": "demo", "img_size": 96, "head_width": 32, "trainable": 1}
    more = {"unfreeze": {1: "all"}, "epochs": 2, "loss": "ldam", "head": "cosine", "mixup": 0.0, "cutmix": 0.0}
    return faces(folder, **values, **more)


def scores(folder):
    drawn = photos.write_photos(folder / "photos", scenes=12)
    pairing.from_scores(drawn, pd.read_csv(drawn / "photos.csv"), folder / "pairs", min_gap=0.8)
    values = {"img_size": 48, "epochs": 1, "backbone": "test_efficientnet", "head_width": 32, "batch_size": 4}
    cfg = config.make(Ranking, "demo", dataset_root=str(folder / "pairs"), patience=0, **values)
    data = pairs.read(folder / "pairs", demo="drawn scenes")
    pixels = store.build(data, store.side_for(data, cfg), folder / "cache")
    model, parts = ranking.build(cfg, Photographs(data, pixels, pd.DataFrame({"stops": []})), folder)
    return model, parts["train"], parts["val"], train.Preference.of(cfg), cfg


def songs(folder):
    shape = {"ast_shape": (32, 48), "ast_width": 48, "ast_layers": 2, "ast_epochs": 1, "batch_size": 8, "patience": 0}
    cfg = contenders.from_scratch(config.make(Music, "demo", **shape))
    rng = np.random.default_rng(0)
    pictures = rng.random((96, 32, 48)).astype(np.float16)
    ratings = rng.uniform(-1, 1, (96, 2)).astype(np.float32)
    model = contenders.transformer(cfg, pictures)
    scale = Scale(*(tuple(model.spec["preprocess"][name]) for name in ("mean", "std")))
    held = Spectra(pictures[72:], ratings[72:], scale, batch_size=8)
    learns = Spectra(pictures[:72], ratings[:72], scale, batch_size=8, augmentation=Augmentation.of(cfg), width=48)
    return model, learns, held, train.Regression(cfg.ccc_share, 1), cfg


@pytest.fixture
def waits(monkeypatch):
    """Grows by a number a training step: how often the processor has waited for the card so far."""
    totals: list[int] = []
    step = loop.Step.__call__

    def counted(self, *batch):
        means = step(self, *batch)
        totals.append(card.waits.total())
        return means

    monkeypatch.setattr(loop.Step, "__call__", counted)
    card.waits.clear()
    return totals


def test_the_card_is_as_strict_as_a_real_one():
    on_card = torch.ones(2, 3, device="cuda")
    with pytest.raises(RuntimeError, match="same device"):
        on_card + torch.ones(2, 3)
    with pytest.raises(TypeError, match="numpy"):
        on_card.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, device="cuda", generator=torch.Generator())
    large = torch.full((2, 2), 300.0, device="cuda", dtype=torch.float16)
    assert (large @ large).isinf().all() and (large.float() @ large.float()).isfinite().all()
    with torch.autocast("cuda"):
        assert torch.nn.Linear(3, 1).cuda()(on_card).dtype == torch.float16
    turned = torch.arange(6.0).reshape(2, 3)
    with torch.inference_mode():
        assert torch.equal(turned.cuda().t().reshape(-1).cpu(), turned.t().reshape(-1))
    allocated = torch.cuda.memory_allocated()
    block = torch.empty(10_000_000, dtype=torch.uint8, device="cuda")
    assert torch.cuda.memory_allocated() - allocated == pytest.approx(10_000_000, abs=512)
    card.waits.clear()
    assert block.new_zeros(3).sum().item() == 0 and torch.equal(on_card, on_card)
    torch.ones(3).to("cuda", non_blocking=True)
    assert card.waits.total() == 2
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(20 * 10**9, dtype=torch.uint8, device="cuda")


@pytest.mark.parametrize("task", [faces, transfer, scores, songs])
def test_a_training_of_each_task(task, tmp_path, waits):
    model, training, *rest = task(tmp_path)
    initial = [parameter.detach().clone() for parameter in model.parameters()]
    done = train.fit(model, training, *rest, tmp_path / "out", quiet=True)
    assert done.status == "finished" and done.history["train_loss"].notna().all()
    assert all(parameter.is_cuda for parameter in done.model.parameters())
    assert any(not torch.equal(a, b.cpu()) for a, b in zip(initial, done.model.parameters(), strict=True))
    # The first steps put constants on the card, and after the first the loss is looked at.
    steps = np.diff(waits[2 : len(training)])
    assert len(steps) > 1 and not steps.any(), card.waits


@pytest.mark.parametrize("penalty", [0.0, 5.0])
def test_a_gan_of_songs(penalty, tmp_path, monkeypatch):
    clips, ratings = bars(48)
    cfg = of_gan(gan_epochs=1, gan_batch=8, gan_gradient_penalty=penalty, n_synthetic=20)
    totals = []
    step = gan._step
    monkeypatch.setattr(gan, "_step", lambda *batch: (step(*batch), totals.append(card.waits.total())))
    done = gan.fit(clips, ratings, cfg, tmp_path, quiet=True)
    # of discriminator and generator together
    assert not np.diff(totals[2::2]).any() and len(totals) == 12, card.waits
    assert len(composer.compose(done.generator, ratings, cfg, tmp_path)) == 20


def test_what_a_finished_model_says_is_computed_in_half_precision_whatever_ran_before(tmp_path):
    model, _, held, *_ = faces(tmp_path)
    fresh, _ = train.evaluate(model, held)
    devices.accelerator("fp32")
    again, _ = train.evaluate(model, held)
    exact, _ = train.evaluate(model, held, precision="fp32")
    logits = Classifier.of(model).logits(next(held.on(torch.device("cuda")).epoch())[0]).cpu().numpy()
    assert np.array_equal(fresh, again) and np.allclose(fresh, exact, atol=0.05)
    for outputs, in_half in ((fresh, True), (logits, True), (exact, False)):
        assert outputs.dtype == np.float32 and np.array_equal(outputs, outputs.astype(np.float16)) == in_half


def test_compile_is_refused_where_triton_ended_its_support(tmp_path):
    with pytest.raises(train.TrainingError, match="capability 8.0.*compile=False"):
        train.fit(*faces(tmp_path, compile=True), tmp_path / "out", quiet=True)


def test_five_trainings_leave_as_much_memory_taken_as_one(tmp_path):
    taken = []
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            done = train.fit(*faces(tmp_path / str(number)), tmp_path / str(number), quiet=True)
            taken.append(torch.cuda.memory_allocated())
    finally:
        gc.enable()
    assert taken == pytest.approx([taken[0]] * 5, rel=0.01), done.status


def test_the_first_batches_do_not_spoil_the_forecast(tmp_path, monkeypatch, capsys):
    """A card's start-up takes a minute here, every step a second."""
    clock = SimpleNamespace(now=0.0)
    step = loop.Step.__call__

    def timed(self, *batch):
        clock.now += 1 if self.schedule.last_epoch else 60
        return step(self, *batch)

    monkeypatch.setattr(loop.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(loop.Step, "__call__", timed)
    job = faces(tmp_path, batch_size=2)
    train.fit(*job, tmp_path / "out")
    steps = len(job[1])
    assert f"about {steps}.0 s an epoch" in capsys.readouterr().out


def test_a_cell_that_is_run_again_finds_the_model_on_the_card(tmp_path):
    model, training, validation, objective, cfg = faces(tmp_path, **FROZEN, cache="on", cache_views=2)
    parts = {"train": training, "val": validation}
    for name in ("first", "again"):
        ready, plan = cache.prepare(model, parts, cfg, tmp_path / name)
        assert plan.cached, plan
        train.fit(model, ready["train"], ready["val"], objective, cfg, tmp_path / name, quiet=True)
    cache.prepare(model, parts, config.with_settings(cfg, cache="off"), tmp_path / "off")


class Loud(objectives.Classification):
    """A loss whose gradients are too large for fp16 until the scaler has come down."""

    factor = 1.0

    def loss(self, output, targets):
        return super().loss(output, targets) * self.factor


@pytest.mark.parametrize("factor", [4.0, 1e9])
def test_steps_that_overflow_are_told_and_are_fatal_when_they_are_most(factor, tmp_path):
    model, training, validation, aim, cfg = faces(tmp_path, each=8, epochs=2, clip=1.0)
    objective = Loud(aim.classes, each=aim.each)
    objective.factor = factor
    if factor > 1e6:
        with pytest.raises(train.TrainingError, match="overflow"):
            train.fit(model, training, validation, objective, cfg, tmp_path / "out", quiet=True)
        return
    history = train.fit(model, training, validation, objective, cfg, tmp_path / "out", quiet=True).history
    assert history["skipped"][0] > 0 and history["skipped"][1] == 0
    assert np.isfinite(history["train_gradient"]).all()


@pytest.mark.parametrize("megabytes", [4, 8, 24, 28, 44])
def test_a_card_that_is_too_small_is_told(megabytes, tmp_path, small_card):
    """Wherever the memory ends, in upload, augmentation, forward, optimizer or evaluation, the remedy is named."""
    job = faces(tmp_path, each=16, img_size=96, batch_size=32)
    small_card(megabytes)
    try:
        done = train.fit(*job, tmp_path / "out", quiet=True)
    except train.OutOfMemory as error:
        assert "trainable" in str(error) and megabytes < 44
    else:
        assert done.status == "finished" and megabytes > 20


def test_a_second_training_tells_its_own_peak(tmp_path):
    large = train.fit(*faces(tmp_path / "a", batch_size=24, img_size=96), tmp_path / "a", quiet=True)
    peak = large.peak_memory_gb
    del large
    gc.collect()
    small = train.fit(*faces(tmp_path / "b"), tmp_path / "b", quiet=True)
    assert small.peak_memory_gb < peak / 2


def test_memory_that_pytorch_only_keeps_counts_as_free(tmp_path, small_card):
    small_card(22)
    block = torch.empty(21 * 2**20, dtype=torch.uint8, device="cuda")
    del block
    _, training, *_ = faces(tmp_path)
    assert training.on(torch.device("cuda"))._stays_on_card()


def test_measuring_latency_leaves_the_model_where_it_is(tmp_path):
    model = models.build(config.make(Ranking, "demo", backbone="test_efficientnet", img_size=48), ["score"]).cuda()
    models.preprocess(model, side=48, zoom=1.0)
    assert release.latency(model, tmp_path, rounds=1)["pytorch"] > 0
    assert next(model.parameters()).is_cuda


def test_a_gan_goes_on_as_fast_as_before(tmp_path):
    clips, ratings = bars(48)
    cfg = of_gan(gan_epochs=3, gan_batch=8)
    run = gan._Run(clips, ratings, cfg, tmp_path)
    run.epoch()
    card.waits.clear()
    run.epoch()
    undisturbed = card.waits.total()
    again = gan._Run(clips, ratings, cfg, tmp_path)
    again.resume()
    card.waits.clear()
    again.epoch()
    assert card.waits.total() == undisturbed, card.waits

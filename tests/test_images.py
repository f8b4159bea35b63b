import cv2
import numpy as np
import pandas as pd
import pictures
import pytest
import torch

from emohelpers import config
from emohelpers.config.faces import Baseline, Transfer
from emohelpers.datasets import pixels as store
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.images import render
from emohelpers.images.augment import AUGMENTATIONS, Augmentation, Draws
from emohelpers.images.batches import Batches, by_split
from emohelpers.images.preprocess import Preprocess

HALF = Preprocess(side=32, img_size=32, zoom=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def augmented(squares, draws, out=64):
    pre = Preprocess(squares.shape[1], out, 1.0, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
    return render.on_cpu(squares, draws, pre).astype(float)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    folder = pictures.write(tmp_path_factory.mktemp("bars"), each=6)
    return store.build(folder, 32, tmp_path_factory.mktemp("cache"))


def smooth(n=8, side=64, seed=0):
    coarse = torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (n, 3, 6, 6)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 255)
    return fine.permute(0, 2, 3, 1).round().byte().numpy()


def nothing(**values):
    off = {"crop_scale": (1, 1), "crop_ratio": (1, 1), "flip": 0, "rotation": 0, "brightness": 0, "contrast": 0,
           "saturation": 0, "erasing": 0}  # fmt: skip
    return Augmentation(**{**off, **values})


def test_switched_off_augmentation_changes_no_pixel():
    squares = smooth()
    draws = nothing().draw(8, np.random.default_rng(0))
    assert np.array_equal(augmented(squares, draws), squares)


def test_each_operation_does_what_its_name_says():
    squares, rng = smooth(), np.random.default_rng(0)
    mirrored = augmented(squares, nothing(flip=1).draw(8, rng))
    assert np.abs(mirrored - squares[:, :, ::-1]).max() <= 1
    turned = augmented(squares, Draws(*_rotation(90, 8)))
    assert np.abs(turned - np.rot90(squares, k=1, axes=(1, 2))).max() <= 1
    zoomed = augmented(squares, nothing(crop_scale=(0.25, 0.25)).draw(8, rng))
    assert zoomed.std() > 0 and np.abs(zoomed - squares).mean() > 5
    brighter = nothing().draw(8, rng)
    brighter.colour[:, 0] = 1.2
    gained = augmented(squares, brighter)
    assert np.abs(gained - np.minimum(squares * 1.2, 255)).max() <= 1
    washed = nothing().draw(8, rng)
    washed.colour[:, 2] = 0.0
    grey = augmented(squares, washed)
    assert (np.ptp(grey, axis=3) <= 1.01).all()
    erased = augmented(squares, nothing(erasing=1).draw(8, rng))
    share = (erased == np.round(np.array([0.5, 0.4, 0.3]) * 255)).all(3).mean((1, 2))
    assert ((share > 0.01) & (share < 0.25)).all()


def _rotation(degrees, n):
    angle = np.deg2rad(degrees)
    warp = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]], np.float32)
    return np.stack([warp] * n), np.ones((n, 3), np.float32), np.zeros((n, 4), np.float32)


@pytest.mark.parametrize("out", [48, 64, 112])
def test_the_device_path_makes_the_same_pictures_as_the_cpu_path(out):
    squares = smooth(32)
    draws = Augmentation(rotation=20, erasing=0.5).draw(32, np.random.default_rng(5))
    pre = Preprocess(64, out, 1.0, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
    on_cpu = pre.enlarge(pre.normalise(torch.from_numpy(render.on_cpu(squares, draws, pre))))
    on_device = render.on_device(torch.from_numpy(squares), draws, pre)
    assert on_device.is_contiguous(memory_format=torch.channels_last)
    apart = (on_cpu - on_device).abs().numpy() * 255 * 0.6  # in pixel values
    assert apart.mean() < 0.6 and np.percentile(apart, 99.9) < 3


def test_enlarging_after_the_warp_shows_what_one_warp_would():
    draws = Augmentation(rotation=20, erasing=0).draw(8, np.random.default_rng(5))
    twice, once = (Preprocess(side, 112, 1.0, (0, 0, 0), (1, 1, 1)) for side in (64, 1000))  # warped: 85, 112
    made = [pre.enlarge(pre.normalise(torch.from_numpy(render.on_cpu(smooth(), draws, pre)))) for pre in (twice, once)]
    assert made[0].shape == made[1].shape == (8, 3, 112, 112)
    assert made[0].is_contiguous(memory_format=torch.channels_last)
    assert (made[0] - made[1]).square().mean().log10() * -10 > 40  # PSNR in dB


def test_normalisation_is_the_models_own_and_the_layout_channels_last():
    pre = Preprocess(4, 4, 1.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    x = pre.normalise(torch.full((2, 4, 4, 3), 51, dtype=torch.uint8))
    assert x.shape == (2, 3, 4, 4) and x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x[0, :, 0, 0], torch.tensor([(0.2 - 0.1) / 0.4, 0.0, (0.2 - 0.3) / 0.6]), atol=1e-6)


def test_evaluation_resizes_and_cuts_the_centre():
    pre = Preprocess(64, 56, 64 / 56, (0.5,) * 3, (0.5,) * 3)
    squares = smooth()
    assert np.array_equal(pre.evaluate(squares), squares[:, 4:60, 4:60])


def test_evaluation_enlarges_as_the_weights_expect():
    squares = smooth(2)
    for name, kind in (("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)):
        pre = Preprocess(64, 96, 1.0, (0.5,) * 3, (0.5,) * 3, name)
        assert np.array_equal(pre.evaluate(squares)[1], cv2.resize(squares[1], (96, 96), interpolation=kind))


def batches(pixels, **options):
    targets = np.arange(len(pixels.paths))
    return Batches(pixels, np.arange(len(targets)), targets, HALF, batch_size=10, **options)


def test_a_training_pass_sees_each_picture_once_and_the_next_in_another_order(pixels):
    made = batches(pixels, augmentation=Augmentation(), seed=3)
    first, second = ([at for *_, at in made.epoch(e)] for e in (0, 1))
    assert len(first) == len(made) == 4 and all(len(at) == 10 for at in first)
    assert len(set(np.concatenate(first))) == 40
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_a_pass_is_a_function_of_seed_and_epoch_alone(pixels):
    one, two = (batches(pixels, augmentation=Augmentation(), seed=3) for _ in range(2))
    list(one.epoch(0))  # an earlier pass leaves no trace
    for (x, y, at), (x2, y2, at2) in zip(one.epoch(1), two.epoch(1), strict=True):
        assert torch.equal(x, x2) and torch.equal(y, y2) and np.array_equal(at, at2)


def test_two_processes_share_out_exactly_what_one_sees(pixels):
    whole = list(batches(pixels, augmentation=Augmentation(), seed=3).epoch(2))
    made = batches(pixels, augmentation=Augmentation(), seed=3)
    parts = [list(made.on(torch.device("cpu"), rank, 2).epoch(2)) for rank in (0, 1)]
    for (x, y, _), (x0, y0, _), (x1, y1, _) in zip(whole, *parts, strict=True):
        assert torch.equal(x, torch.cat([x0, x1])) and torch.equal(y, torch.cat([y0, y1]))


def test_an_evaluation_pass_is_complete_and_in_order(pixels):
    passed = [at for *_, at in batches(pixels).epoch()]
    assert np.array_equal(np.concatenate(passed), np.arange(48)) and len(passed) == 5


def test_errors_of_the_background_thread_reach_the_caller(pixels):
    made = batches(pixels)
    made.rows = made.rows + 1  # the last one is out of range
    with pytest.raises(IndexError):
        list(made.epoch())


def test_parts_of_a_table_get_the_labels_of_their_pictures_and_only_training_is_augmented(pixels):
    label = [path.split("/")[0] for path in pixels.paths]
    table = pd.DataFrame({"path": pixels.paths, "label": label, "split": ["train", "val", "golden"] * 16})
    cfg = config.make(Baseline, "demo", batch_size=4)
    parts = by_split(table.sample(frac=1, random_state=0), pixels, HALF, EMOTIONS, cfg)
    assert set(parts) == {"train", "val", "golden"}
    for name, part in parts.items():
        assert (part.augmentation is not None) == (name == "train")
        assert [EMOTIONS[i] for i in part.targets] == [label[row] for row in part.rows]
    assert parts["train"].preview(6).shape == (6, 32, 32, 3)


def test_the_digest_names_content_targets_and_preparation(pixels):
    digest = batches(pixels).digest()
    assert digest == batches(pixels).digest()
    assert digest != batches(pixels, augmentation=Augmentation()).digest()
    other = batches(pixels)
    other.targets = other.targets.flip(0)
    assert digest != other.digest()


def test_strength_scales_everything_but_the_mirror_and_follows_the_epochs():
    staged = Augmentation(strength={0: 0.5, 3: 2.0})
    gentle, strong = staged.at(2), staged.at(3)
    assert gentle.crop_scale == (0.9, 1.0) and strong.crop_scale == pytest.approx((0.6, 1.0))
    assert (gentle.rotation, strong.rotation, gentle.erasing, strong.erasing) == (5.0, 20.0, 0.125, 0.5)
    assert gentle.brightness == 0.1 and gentle.flip == strong.flip == 0.5
    assert Augmentation(strength={2: 0.5}).at(1) == Augmentation() == Augmentation().at(9)
    plain = Augmentation().draw(500, np.random.default_rng(0))
    soft = gentle.draw(500, np.random.default_rng(0))
    assert np.allclose(abs(soft.colour - 1).max(0), abs(plain.colour - 1).max(0) / 2, rtol=1e-5)


def test_one_from_outside_is_used_by_its_name(pixels):
    def stretch(draws, rng, strength):
        draws.warp[:, 0] *= 1 + rng.uniform(0, strength, (len(draws), 1))

    AUGMENTATIONS.register("stretch", stretch)
    extra = {"stretch": 0.5}
    cfg = config.make(Baseline, "demo", extra_augmentations=extra, strength={0: 0.5})
    plain, wide = (
        Augmentation(**options).draw(50, np.random.default_rng(0)) for options in ({}, {"extra_augmentations": extra})
    )
    gentle = Augmentation.of(cfg).at(0)
    assert gentle.extra_augmentations == {"stretch": 0.25}
    grown = wide.warp[:, 0, 0] / plain.warp[:, 0, 0]
    assert grown.min() >= 1 and 1.3 < grown.max() <= 1.5
    # The built-in ones draw the same numbers as without it.
    assert np.array_equal(wide.warp[:, 1], plain.warp[:, 1]) and np.array_equal(wide.box, plain.box)
    digests = {
        batches(pixels, augmentation=look).digest()
        for look in (Augmentation(), Augmentation(extra_augmentations=extra))
    }
    assert len(digests) == 2 and batches(pixels, augmentation=gentle).preview(2).shape == (2, 32, 32, 3)
    with pytest.raises(config.ConfigError, match="'strech' is no augmentation. Did you mean 'stretch'"):
        config.make(Baseline, "demo", extra_augmentations={"strech": 0.5})


def test_what_is_stored_is_read_back():
    look = Preprocess(64, 96, 1.1, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", grey=True)
    assert Preprocess.read(look.plain()) == look and look.plain()["mean"] == [0.1, 0.2, 0.3]


def test_batches_of_a_later_stage_are_stronger(pixels):
    staged = batches(pixels, seed=1, augmentation=nothing(strength={0: 0.1, 2: 1.0}, brightness=0.8))
    spread = [np.abs(np.concatenate([d.colour for _, d in staged.plan(e)]) - 1).max() for e in (0, 1, 2)]
    assert max(spread[:2]) < 0.09 < 0.5 < spread[2]


def test_a_sampler_draws_rare_pictures_often_and_each_time_anew(pixels):
    odds = np.full(len(pixels.paths), 0.2 / (len(pixels.paths) - 1))
    odds[5] = 0.8
    both = {"augmentation": Augmentation(), "seed": 1}
    sampled = batches(pixels, odds=odds, **both)
    plan = sampled.plan(0)
    at, angle = (np.concatenate(parts) for parts in zip(*[(a, d.warp[:, 0, 0]) for a, d in plan], strict=True))
    assert (at == 5).mean() > 0.5 and len(np.unique(angle[at == 5])) == (at == 5).sum()
    assert sampled.digest() != batches(pixels, **both).digest()
    once = np.concatenate([a for a, _ in batches(pixels, **both).plan(0)])
    assert len(np.unique(once)) == len(once)


def test_grey_is_grey_in_training_and_evaluation():
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    grey = Preprocess(32, 32, 1.0, (0.5,) * 3, (0.5,) * 3, grey=True)
    draws = Augmentation(erasing=0.0).draw(4, rng)
    for made in (grey.evaluate(squares), render.on_cpu(squares, draws, grey)):
        assert np.ptp(made.astype(int), axis=3).max() <= 1
    light = squares @ np.array([0.299, 0.587, 0.114])
    assert abs(grey.evaluate(squares)[..., 0] - light).max() <= 0.51
    late = render.on_device(torch.from_numpy(squares), draws, grey)
    assert (late.amax(1) - late.amin(1)).max() < 0.02


def test_votes_are_targets_of_the_training_part_alone(pixels):
    table = pd.DataFrame({"path": pixels.paths, "label": [path.split("/")[0] for path in pixels.paths]})
    table["split"] = np.where(np.arange(len(table)) % 3 == 0, "val", "train")
    for name in EMOTIONS:
        table[f"votes_{name}"] = (table["label"] == name) * 7 + (name == "happy") * 3
    cfg = config.make(Transfer, "demo", soft_labels=0.5, img_size=32)
    parts = by_split(table, pixels, HALF, EMOTIONS, cfg)
    assert parts["train"].targets.shape[1] == 8 and torch.allclose(parts["train"].targets.sum(1), torch.ones(1))
    assert parts["val"].targets.ndim == 1

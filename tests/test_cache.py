import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pictures
import psutil
import pytest
import timm
import torch

from emohelpers import config, models, train
from emohelpers.config.faces import Baseline
from emohelpers.datasets import pixels as store
from emohelpers.images import batches
from emohelpers.images.augment import Augmentation
from emohelpers.models import cache, class_token, cut
from emohelpers.models.views import Shelf
from emohelpers.train import objectives

GB = 10**9
EASY = {
    "backbone": "test_vit", "weights": "demo", "img_size": 96, "head_width": 32, "epochs": 4, "batch_size": 16,
    "lr": 1e-3, "patience": 0, "cache": "on", "cache_views": 2,
}  # fmt: skip
SMALL = {**EASY, "img_size": 32}
pytestmark = pytest.mark.usefixtures("one_thread")


def job(folder: Path, **values):
    """Model, its parts, objective and config of a small training behind frozen layers."""
    given = {**SMALL, **values}
    wild = given["weights"] == "random"  # a random trunk is never frozen by models.build, and is enough for exactness
    cfg = config.make(Baseline, "full", **given)
    data = (pictures.known if (folder / "in").is_dir() else pictures.write)(folder / "in", each=9)
    pixels = store.build(data, 32, folder / "pixels")
    model = models.build(cfg.model_copy(update={"trainable": "all"}) if wild else cfg, data.classes)
    prepared = models.preprocess(model, side=32, zoom=cfg.eval_zoom)
    models.freeze(model, cfg.trainable)
    labels = np.array([data.classes.index(name) for name in data.table["label"]])
    rows, options = np.arange(len(labels)), {"batch_size": cfg.batch_size, "seed": cfg.seed}
    held, look = rows % 4 == 3, Augmentation.of(cfg)
    parts = {
        "train": batches.Batches(pixels, rows[~held], labels[~held], prepared, augmentation=look, **options),
        "val": batches.Batches(pixels, rows[held], labels[held], prepared, **options),
    }
    objective = objectives.Classification.of(cfg, data.classes, list(data.table["label"]))
    return model, parts, objective, cfg


def run(folder: Path, out: str = "out", **values):
    """One training, and the plan it had."""
    model, parts, objective, cfg = job(folder, **values)
    parts, plan = cache.prepare(model, parts, cfg, folder / "cache")
    return train.fit(model, parts["train"], parts["val"], objective, cfg, folder / out, quiet=True), plan


def weights(file):
    return torch.load(file, weights_only=True)["weights"]


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def gradients(model, objective, inputs, targets):
    """Loss of a batch and the gradient of each trained tensor, dropout drawn from one seed."""
    models.training_mode(model)
    model.zero_grad()
    torch.manual_seed(7)
    loss = objective.loss(model(inputs), targets)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    "backbone, size, trainable, head",
    [
        ("test_vit", 96, 2, "mlp"), ("test_vit", 96, 1, "mlp"), ("test_vit", 96, 0, "mlp"),
        ("vit_tiny_patch16_224", 64, 2, "layernorm"), ("resnet18", 64, 1, "layernorm"),
        ("resnet18", 64, 0, "layernorm"), ("mobilenetv2_100", 64, 2, "layernorm"),
    ],
)  # fmt: skip
def test_loss_and_gradients_are_those_of_the_whole_model(tmp_path, backbone, size, trainable, head):
    values = {"backbone": backbone, "weights": "random", "img_size": size, "trainable": trainable, "head": head}
    model, parts, objective, cfg = job(tmp_path, **values, head_dropout=0.3)
    inputs, targets, _ = next(parts["train"].epoch(0))
    loss, expected = gradients(model, objective, inputs, targets)
    made, plan = cache.prepare(model, parts, cfg, tmp_path / "cache")
    assert plan.cached and plan.class_token == ("vit" in backbone)
    inner, *_ = next(made["train"].epoch(0))
    assert inner.shape[1:] != inputs.shape[1:]
    again, found = gradients(model, objective, inner, targets)
    assert again == pytest.approx(loss, rel=1e-5)
    assert found.keys() == expected.keys() and found
    for name, gradient in expected.items():
        nothing = torch.zeros_like(gradient, dtype=torch.bool)  # gradients that are zero by nature:
        if name.endswith("qkv.bias"):  # the keys' bias adds one number to all scores of a softmax
            nothing[len(gradient) // 3 : 2 * len(gradient) // 3] = True
        if head == "mlp" and name in ("norm.bias", "head.0.bias"):  # BatchNorm takes the mean away
            nothing[:] = True
        difference = found[name] - gradient
        assert difference[nothing].abs().sum() < 1e-5, name
        assert difference[~nothing].norm() <= 1e-5 * gradient[~nothing].norm(), name


def test_the_first_passes_are_those_of_a_training_without_a_cache(tmp_path):
    values = {"cache_views": 4, "mixup": 0.0}
    model, parts, objective, cfg = job(tmp_path, **values)
    class_token.read_alone(model, next(parts["val"].epoch())[0])
    bare = train.fit(model, parts["train"], parts["val"], objective, cfg, tmp_path / "bare", quiet=True)
    kept, plan = run(tmp_path, **values)
    assert plan.views == cfg.epochs and same(weights(bare.checkpoint), weights(kept.checkpoint))


def test_the_whole_model_comes_out_and_takes_pictures(tmp_path):
    done, plan = run(tmp_path, img_size=96, epochs=5, lr=3e-3)
    assert plan.cached and "kept as float32" in str(plan)
    *_, parts, _, _ = job(tmp_path, img_size=96)
    outputs, _ = train.evaluate(done.model, parts["val"])
    fresh, _ = train.evaluate(models.load(done.checkpoint), parts["val"])
    assert np.allclose(outputs, fresh, atol=1e-4)
    cut.leave(done.model)
    assert np.allclose(train.evaluate(done.model, parts["val"])[0], fresh, atol=1e-5)
    assert np.abs(outputs.argmax(1) - fresh.argmax(1)).sum() == 0


def test_a_trunk_is_computed_once_a_view_and_the_views_take_turns(tmp_path):
    model, parts, _, cfg = job(tmp_path, cache_views=3)
    made, _ = cache.prepare(model, parts, cfg, tmp_path / "cache")
    seen, calls = [], []
    model.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    for epoch in range(9):
        shown = torch.empty(len(parts["train"].rows), *model.cut.form)
        for inputs, _, at in made["train"].epoch(epoch):
            shown[at] = inputs
        seen.append(shown)
        assert len(calls) == (min(epoch, 2) + 1) * (len(made["train"]) + 1), "a batch more: the incomplete one"
    views = np.stack([made["train"].view(epoch) for epoch in range(9)])
    for cycle in range(3):
        assert (np.sort(views[3 * cycle : 3 * cycle + 3], axis=0) == [[0], [1], [2]]).all()
    assert (views[3] != views[3, 0]).any(), "pictures go through their views in one order"
    at = next(made["train"].epoch(4))[2]
    i = int(at[0])
    assert torch.equal(seen[views[4, i]][i], seen[4][i]), "a view changed"


def test_a_share_of_the_later_batches_is_augmented_anew(tmp_path):
    model, parts, _, cfg = job(tmp_path, cache_fresh=0.5, cache_views=1)
    made, _ = cache.prepare(model, parts, cfg, tmp_path / "cache")
    first = {int(i): row for inputs, _, at in made["train"].epoch(0) for i, row in zip(at, inputs, strict=True)}
    new = [
        not torch.equal(first[int(i)], row)
        for epoch in range(1, 9)
        for inputs, _, at in made["train"].epoch(epoch)
        for i, row in zip(at, inputs, strict=True)
        if int(i) in first
    ]
    assert 0.2 < np.mean(new) < 0.8
    assert all(torch.equal(a[0], b[0]) for a, b in zip(made["train"].epoch(5), made["train"].epoch(5), strict=True))


@pytest.mark.parametrize("shape", [(5, 8), (6, 4, 4), (16,)])
@pytest.mark.parametrize("dtype, error", [(torch.float32, 0), (torch.float16, 1e-3)])
def test_what_was_put_comes_back(tmp_path, shape, dtype, error):
    values = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * 10
    shelf = Shelf(tmp_path / "a.rows", 9, shape, dtype)
    at = np.array([7, 0, 4])
    assert not shelf.holds(at)
    shelf.put(at, shelf.pack(values))
    assert shelf.holds(at) and not shelf.holds(np.array([7, 1]))
    again = Shelf(tmp_path / "a.rows", 9, shape, dtype)
    back = again.unpack(again.take(at))
    assert back.shape == values.shape and (back - values).norm() <= error * values.norm()
    assert len(shape) < 3 or back.is_contiguous(memory_format=torch.channels_last)


def test_a_damaged_or_older_file_is_made_anew(tmp_path, monkeypatch):
    calm, _ = run(tmp_path, "calm")
    rows, done = next(tmp_path.glob("cache/*/train.rows")), next(tmp_path.glob("cache/*/train.done"))
    content, marks = rows.read_bytes(), done.read_bytes()
    assert (np.frombuffer(marks, np.int64) % 2 == 1).all(), "a row is missing"

    def trained_again(name):
        again, _ = run(tmp_path, name)
        assert same(weights(calm.checkpoint), weights(again.checkpoint))
        assert rows.read_bytes() == content and done.read_bytes() == marks

    rows.write_bytes(content[: len(content) // 2])  # cut off
    trained_again("cut")
    done.write_bytes(marks[:-1])
    rows.write_bytes(bytes(len(content)))  # what it says is done is not there
    trained_again("marks")
    rows.write_bytes(bytes(len(content)))
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() - 0.5)  # the machine lost its power
    os.utime(rows, (1, 1))
    trained_again("power")


def stopping(loss, steps):
    """The same loss, interrupted after so many batches."""
    left = iter(range(steps))

    def interrupted(*batch):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return loss(*batch)

    return interrupted


def test_interrupted_while_it_fills_the_cache_it_ends_in_the_same_bits(tmp_path):
    calm, _ = run(tmp_path / "calm")
    shaky = tmp_path / "shaky"
    for steps in (1, 2, 5):
        model, parts, objective, cfg = job(shaky)
        parts, _ = cache.prepare(model, parts, cfg, shaky / "cache")

        objective.loss = stopping(objective.loss, steps)
        with pytest.raises(KeyboardInterrupt):
            train.fit(model, parts["train"], parts["val"], objective, cfg, shaky / "out", quiet=True)
    done, _ = run(shaky)
    assert same(weights(calm.checkpoint), weights(done.checkpoint))


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_in_the_same_bits(tmp_path):
    calm, _ = run(tmp_path / "calm", epochs=6)
    shaky, dice, kills = tmp_path / "shaky", random.Random(), 0
    call = [sys.executable, __file__, str(shaky)]
    while kills < 2:
        process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        while process.stdout.readline() != "start\n":
            assert process.poll() is None, "the job ended before it began"
        time.sleep(dice.uniform(0.05, 0.5))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = subprocess.run(call, capture_output=True, text=True)
    assert "done finished 6" in last.stdout, last.stderr
    assert same(weights(calm.checkpoint), weights(shaky / "out" / calm.checkpoint.name))


def plan(tmp_path, change=lambda model: None, **values):
    model, parts, _, cfg = job(tmp_path, **values)
    change(model)
    made, told = cache.prepare(model, parts, cfg, tmp_path / "cache")
    return made, told, model


def test_the_key_changes_with_whatever_decides_an_activation(tmp_path):
    def head(model):
        model.head[0].weight.data += 1

    def block(model):
        model.blocks[0].attn.qkv.weight.data[0, 0] += 1e-6

    keys = {}
    for name, values in {
        "same": {}, "again": {}, "head": {"change": head}, "weights": {"change": block}, "size": {"img_size": 48},
        "cut": {"trainable": 1}, "augmentation": {"rotation": 11.0}, "seed": {"seed": 43},
        "views": {"cache_views": 3}, "lr": {"lr": 1e-2},
    }.items():  # fmt: skip
        made, _, _ = plan(tmp_path, **values)
        keys[name] = made["train"].key
        assert [home.name for home in (tmp_path / "cache").iterdir()] == [f"frozen-{keys[name]}"], "an old cache stays"
    assert keys["same"] == keys["again"] == keys["head"] == keys["lr"]
    others = [keys[name] for name in keys if name not in ("again", "head", "lr")]
    assert len({*others}) == len(others)
    shutil.rmtree(tmp_path / "pixels")
    shutil.rmtree(tmp_path / "in")
    pictures.write(tmp_path / "in", each=9, seed=1)
    assert plan(tmp_path)[0]["train"].key != keys["same"], "other pictures under the same names"


def free(monkeypatch, memory: float, disk: float) -> None:
    monkeypatch.setattr(cache, "_free", lambda folder: (int(memory), int(disk)))


def test_little_room_means_fewer_views_then_no_cache_and_it_is_said(tmp_path, monkeypatch):
    full = plan(tmp_path, cache_views=4)[1].gigabytes * GB
    for memory, disk, views in [(9, 1.2, 4), (9, 0.85, 3), (9, 0.15, 0), (1.6, 9, 4), (0.8, 9, 2), (0.15, 9, 0)]:
        free(monkeypatch, full * memory, full * disk)
        made, plan_, model = plan(tmp_path, cache_views=4)
        assert plan_.views == views and plan_.cached == (views > 0), (memory, disk)
        if views:
            wished = "" if views == 4 else " (wished: 4)"
            assert f"in {views} augmented views{wished}," in str(plan_)
            assert made["train"].shelf.rows.nbytes + made["val"].shelf.rows.nbytes < full * min(0.7 * memory, disk)
    free(monkeypatch, 1000, 1000)
    made, plan_, model = plan(tmp_path)
    assert not plan_.cached and "0.0 GB of disk" in str(plan_) and not hasattr(model, "cut")
    assert next(made["train"].epoch())[0].shape[1:] == (3, 32, 32)


def test_half_precision_is_kept_as_such_where_the_numbers_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.devices, "precision", lambda setting: "bf16")
    assert "kept as float16" in str(plan(tmp_path)[1])

    def loud(model):
        model.blocks[0].mlp.fc2.bias.data += 1e4

    assert "kept as float32" in str(plan(tmp_path, change=loud)[1])


def test_a_disk_that_refuses_is_told_and_the_whole_model_computed(tmp_path):
    (tmp_path / "cache").write_text("a file is in the way of the folder")
    made, told, model = plan(tmp_path)
    assert not told.cached and "there is no room for" in str(told) and not hasattr(model, "cut")
    assert next(made["train"].epoch())[0].shape[1:] == (3, 32, 32)


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"cache": "off"}, "cache='off'"), ({"trainable": "all"}, "nothing is frozen"),
        ({"unfreeze": {2: "all"}}, "nothing is frozen"), ({"cutmix": 1.0}, "cutmix"),
        ({"strength": {2: 0.5}}, "strength"), ({"cache": "auto", "mixup": 0.4}, "mixup"),
        ({"sampler_power": 0.5}, "sampler_power"),
        ({"cache": "auto", "epochs": 2}, "save little"),
    ],
)  # fmt: skip
def test_a_recipe_that_the_cache_would_change_is_computed_as_it_was(tmp_path, values, reason):
    made, told, model = plan(tmp_path, **values)
    assert not told.cached and reason in str(told) and type(made["train"]) is batches.Batches


def test_mixup_mixes_activations_when_asked_to(tmp_path):
    done, told = run(tmp_path, mixup=0.4, epochs=2)
    assert told.cached and "MixUp mixes activations" in str(told) and len(done.history) == 2


def test_stages_are_cut_below_the_deepest(tmp_path):
    done, told = run(tmp_path, unfreeze={2: 3}, trainable=1)
    assert told.cached and "blocks.2" in str(told) and list(done.history["phase"]) == ["head+1"] * 2 + ["head+3"] * 2


def test_models_that_read_other_tokens_or_have_other_blocks_keep_their_last_block(tmp_path):
    pictures_ = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, taken in [
        ("vit_tiny_patch16_224", True), ("test_vit2", False), ("test_vit3", False),
        ("deit_tiny_distilled_patch16_224", False), ("eva02_tiny_patch14_224", False), ("resnet18", False),
    ]:  # fmt: skip
        size = {"img_size": 28 if "14" in name else 32} if "vit" in name or "eva" in name or "deit" in name else {}
        model = timm.create_model(name, num_classes=8, **size)
        x = pictures_[..., :28, :28] if "eva" in name else pictures_
        assert class_token.read_alone(model, x) == taken, name
        assert not {module for module in model.modules() if "forward" in vars(module)} or taken


def test_layer_scale_and_register_tokens_give_the_same_outputs():
    torch.manual_seed(0)
    x = torch.randn(3, 3, 32, 32)
    for options in ({"init_values": 0.5}, {"reg_tokens": 4}, {"qkv_bias": False}):
        model = timm.create_model("vit_tiny_patch16_224", num_classes=8, img_size=32, drop_path_rate=0.3, **options)
        model.train()
        torch.manual_seed(1)
        whole = model(x)
        assert class_token.read_alone(model, x), options
        torch.manual_seed(1)
        assert (model(x) - whole).norm() < 1e-5 * whole.norm()
        assert all(block.attn.fused_attn for block in model.blocks), "timm's attention is not SDPA"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_it_trains_alike(tmp_path, capsys):
    calm, _ = run(tmp_path / "calm", head_dropout=0.0)  # compiled dropout draws other numbers
    model, parts, objective, cfg = job(tmp_path / "fast", compile=True, head_dropout=0.0)
    parts, _ = cache.prepare(model, parts, cfg, tmp_path / "fast" / "cache")
    done = train.fit(model, parts["train"], parts["val"], objective, cfg, tmp_path / "fast" / "out")
    assert "Compiled, with the first step: " in capsys.readouterr().out
    assert np.allclose(done.history["train_loss"], calm.history["train_loss"], rtol=2e-2)
    assert models.load(done.checkpoint) and not [name for name in weights(done.checkpoint) if "_orig_mod" in name]


def test_every_model_that_cannot_be_entered_stays_whole():
    x = torch.randn(2, 3, 64, 64)
    model = timm.create_model("eva02_tiny_patch14_224", num_classes=8, img_size=56)
    models.freeze(model, 2)
    state = [module.training for module in model.modules()]
    assert cut.deepest(model, x[..., :56, :56]) is None
    assert [module.training for module in model.modules()] == state and not hasattr(model, "cut")


if __name__ == "__main__":
    torch.set_num_threads(1)
    home = Path(sys.argv[1])
    net, prepared_parts, goal, settings = job(home, epochs=6)
    prepared_parts, _ = cache.prepare(net, prepared_parts, settings, home / "cache")
    print("start", flush=True)
    ended = train.fit(net, prepared_parts["train"], prepared_parts["val"], goal, settings, home / "out", quiet=True)
    print("done", ended.status, len(ended.history), json.dumps(ended.best["epoch"]), flush=True)

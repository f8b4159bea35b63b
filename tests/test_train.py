import copy
import gc
import importlib.util
import json
import math
import random
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import training_job
from accelerate.state import AcceleratorState

from emohelpers import models, train
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.models import devices
from emohelpers.train import loop, objectives, step

SCRIPT = str(Path(training_job.__file__))
pytestmark = pytest.mark.usefixtures("one_thread")


def fit(folder, **values):
    return train.fit(*training_job.job(folder, **values), folder / "out", name="best.pth", quiet=True)


def weights(file):
    return torch.load(file, weights_only=True)["weights"]


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_it_learns_and_leaves_the_best_epoch_in_model_and_file(tmp_path):
    easy = {"mixup": 0.0, "cutmix": 0.0, "lr": 5e-3, "ema": 0.9, "flip": 0.0}
    job = training_job.job(tmp_path, backbone="test_resnet", img_size=64, head="linear", epochs=8, **easy)
    done = train.fit(*job, tmp_path / "out", name="vit.pth", quiet=True)
    assert done.status == "finished" and len(done.history) == 8
    best = done.history.loc[done.history["val_macro_f1"].idxmax()]
    assert done.best["epoch"] == best["epoch"] and best["val_accuracy"] > 0.5
    outputs, targets = train.evaluate(done.model, job[2])
    assert (outputs.argmax(1) == targets).mean() == pytest.approx(best["val_accuracy"])
    back = models.load(done.checkpoint, classes=EMOTIONS)
    again, _ = train.evaluate(back, job[2])
    assert np.allclose(outputs, again, atol=1e-5)
    assert back.facts["epoch"] == best["epoch"] and back.facts["config"]["backbone"] == "test_resnet"
    assert {"epoch", "phase", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr_backbone",
            "lr_head", "seconds", "images_per_s", "status"} <= set(done.history)  # fmt: skip


def test_killed_three_times_it_ends_in_the_same_bits(tmp_path):
    stages = 'unfreeze={"2": "all"}'
    calm = fit(tmp_path / "calm", unfreeze={2: "all"}, trainable="all")
    shaky, log = tmp_path / "shaky", ""
    dice, kills = random.Random(), 0
    while kills < 3:
        process = subprocess.Popen([sys.executable, SCRIPT, str(shaky), stages], stdout=subprocess.PIPE, text=True)
        while process.stdout.readline() != "start\n":
            assert process.poll() is None, "the job ended before it began"
        time.sleep(dice.uniform(0.1, 0.9))
        if process.poll() is None:
            kills += 1
        process.send_signal(signal.SIGKILL)
        log += process.communicate()[0]
    last = subprocess.run([sys.executable, SCRIPT, str(shaky), stages], capture_output=True, text=True)
    assert "done finished 6" in last.stdout, last.stderr
    assert same(weights(calm.checkpoint), weights(shaky / "out" / "best.pth"))
    ends = [next((folder / "out" / "checkpoints").glob("*/last.pth")) for folder in (tmp_path / "calm", shaky)]
    states = [torch.load(end, weights_only=True) for end in ends]
    assert same(states[0]["weights"], states[1]["weights"]) and same(states[0]["ema"][1], states[1]["ema"][1])
    assert not list(shaky.rglob("*.part*")), "a kill left half a file that was never swept"


def test_pausing_after_every_epoch_changes_nothing(tmp_path, monkeypatch):
    calm = fit(tmp_path / "calm")
    monkeypatch.setattr(loop.Trainer, "_out_of_time", lambda run: len(run.history) > run.resumed_at)
    for expected in (*["paused"] * 5, "finished"):
        done = fit(tmp_path / "paused")
        assert done.status == expected
    assert same(weights(calm.checkpoint), weights(done.checkpoint))


def test_a_new_session_goes_on_from_the_attached_output_of_the_last_one(tmp_path, monkeypatch):
    """Kaggle: the folder is empty again, and the earlier version's output is mounted read-only as an input."""
    calm = fit(tmp_path / "calm")
    monkeypatch.setattr(loop.Trainer, "_out_of_time", lambda run: len(run.history) > 2)
    assert fit(tmp_path / "first").status == "paused"
    monkeypatch.undo()
    monkeypatch.setenv("EMOHELPERS_INPUTS", str(tmp_path / "input"))
    (tmp_path / "first" / "out").rename(tmp_path / "moved")
    mounted = tmp_path / "input" / "notebooks" / "me" / "baseline"
    mounted.mkdir(parents=True)
    (tmp_path / "moved").rename(mounted / "out")
    second = fit(tmp_path / "first")
    assert second.status == "finished" and len(second.history) == len(calm.history)
    assert list(second.history["seconds"][:3]) == [row["seconds"] for row in _rows(mounted)], (
        "trained again from the start"
    )
    assert same(weights(calm.checkpoint), weights(second.checkpoint))


def _rows(mounted):
    return torch.load(next((mounted / "out" / "checkpoints").glob("*/last.pth")), weights_only=True)["history"]


def test_the_time_budget_pauses_cleanly_and_a_later_session_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "BORN", time.monotonic() - 3600)
    with pytest.raises(train.TrainingError, match="time budget ended before the first epoch"):
        fit(tmp_path, time_budget_h=0.9)
    assert fit(tmp_path, time_budget_h=2.0).status == "finished"


def test_a_finished_run_is_not_trained_again_and_another_setting_is_another_run(tmp_path):
    first = fit(tmp_path, epochs=2)
    kept = first.checkpoint.read_bytes()
    started = time.monotonic()
    again = fit(tmp_path, epochs=2)
    assert time.monotonic() - started < 1.5 and again.history.equals(first.history)
    fit(tmp_path, epochs=2, lr=5e-4)
    assert len(list((tmp_path / "out" / "checkpoints").iterdir())) == 2, "the finished run was overwritten"
    fit(tmp_path, epochs=2)
    assert same(torch.load(first.checkpoint, weights_only=True)["weights"], _weights_of(kept, tmp_path))


def _weights_of(data, folder):
    (folder / "kept.pth").write_bytes(data)
    return weights(folder / "kept.pth")


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_stages_keep_optimizer_and_schedule_and_frozen_parts_still(tmp_path, ema):
    values = {"weights": "random", "trainable": "all", "unfreeze": {}, "epochs": 4, "ema": ema, "schedule": "cosine"}
    model, *rest, cfg = training_job.job(tmp_path, **values)
    cfg = cfg.model_copy(update={"trainable": 0, "unfreeze": {1: 2, 3: "all"}})
    start = copy.deepcopy(model.state_dict())
    done = train.fit(model, *rest, cfg, tmp_path / "out", quiet=True)
    assert list(done.history["phase"]) == ["head", "head+2", "head+2", "all"]
    assert done.history["lr_head"].is_monotonic_decreasing or done.history["lr_head"].iloc[1:].is_monotonic_decreasing
    last = torch.load(next((tmp_path / "out" / "checkpoints").glob("*/last.pth")), weights_only=True)
    assert not torch.equal(last["weights"]["blocks.0.mlp.fc1.weight"], start["blocks.0.mlp.fc1.weight"])
    two = cfg.model_copy(update={"unfreeze": {1: 2}})
    model.load_state_dict(start)
    train.fit(model, *rest, two, tmp_path / "out", quiet=True)
    assert torch.equal(model.state_dict()["blocks.0.mlp.fc1.weight"], start["blocks.0.mlp.fc1.weight"])
    assert not torch.equal(model.state_dict()["blocks.5.mlp.fc1.weight"], start["blocks.5.mlp.fc1.weight"])


def test_the_best_epoch_comes_back_whole_though_more_was_trained_after_it(tmp_path):
    model, *rest, cfg = training_job.job(tmp_path, epochs=3)
    cfg = cfg.model_copy(update={"trainable": 0, "unfreeze": {1: "all"}, "min_delta": 5.0})  # epoch 1 stays the best
    start = copy.deepcopy(model.state_dict())
    done = train.fit(model, *rest, cfg, tmp_path / "out", quiet=True)
    assert done.best["epoch"] == 1 and len(done.history) == 3
    trunk = [name for name in start if not name.startswith("head.")]
    assert all(torch.equal(done.model.state_dict()[name], start[name]) for name in trunk)


def test_checkpoints_of_a_frozen_trunk_hold_only_what_moved(tmp_path):
    model, *rest, cfg = training_job.job(tmp_path, epochs=1)
    cfg = cfg.model_copy(update={"trainable": 1})
    train.fit(model, *rest, cfg, tmp_path / "out", quiet=True)
    last = torch.load(next((tmp_path / "out" / "checkpoints").glob("*/last.pth")), weights_only=True)
    assert all(name.startswith(("blocks.5.", "norm.", "head.")) for name in last["weights"])
    assert len(weights(tmp_path / "out" / cfg.checkpoint)) == len(model.state_dict())


def test_early_stopping_counts_from_the_best_epoch(tmp_path):
    done = fit(tmp_path, epochs=6, patience=2, min_delta=5.0)
    assert done.status == "stopped early" and len(done.history) == 3 and done.best["epoch"] == 1
    assert fit(tmp_path, epochs=6, patience=2, min_delta=5.0).status == "stopped early"


def test_a_loss_is_monitored_downwards(tmp_path):
    done = fit(tmp_path, epochs=3, monitor="val_loss")
    assert done.best["val_loss"] == done.history["val_loss"].min()


def test_stages_only_ever_unfreeze(tmp_path):
    with pytest.raises(train.TrainingError, match="freeze again what was trained"):
        fit(tmp_path, unfreeze={1: 0})


def test_an_unknown_monitor_names_what_is_measured(tmp_path):
    with pytest.raises(train.TrainingError, match=r"monitor='val_f1' is not measured.*val_macro_f1"):
        fit(tmp_path, monitor="val_f1")


def test_a_loss_that_is_not_a_number_stops_with_the_remedy_and_keeps_the_last_epoch(tmp_path):
    job = training_job.job(tmp_path)
    real, calls = objectives.Classification.loss, []

    class Spoiled(objectives.Classification):
        def loss(self, logits, targets):
            calls.append(1)
            return real(self, logits, targets) * (float("nan") if len(calls) > 9 else 1)  # in the second epoch

    with pytest.raises(train.TrainingError, match=r"the loss became nan in epoch 2.*Lower lr"):
        train.fit(*job[:3], Spoiled(EMOTIONS), job[4], tmp_path / "out", quiet=True)
    assert list((tmp_path / "out" / "checkpoints").glob("*/last.pth"))


def test_out_of_memory_halves_the_batch_with_the_same_gradient_and_goes_on(tmp_path, capsys):
    """A real allocator's error, raised by a layer that cannot take more than four pictures."""
    values = {"mixup": 0.0, "cutmix": 0.0, "epochs": 2, "ema": 0.0, "head": "linear", "weights": "random"}
    calm = fit(tmp_path / "calm", **values)
    job = training_job.job(tmp_path / "tight", **values)

    def tight(module, inputs):
        if module.training and len(inputs[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    job[0].register_forward_pre_hook(tight)
    done = train.fit(*job, tmp_path / "tight" / "out")
    said = capsys.readouterr().out
    assert "computed in 2 parts" in said and "computed in 4 parts" in said
    ours, theirs = weights(done.checkpoint), weights(calm.checkpoint)
    assert all(torch.allclose(ours[k], theirs[k], atol=2e-4) for k in ours)


def test_memory_too_small_for_one_picture_is_an_error(tmp_path):
    job = training_job.job(tmp_path)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    job[0].register_forward_pre_hook(full)
    with pytest.raises(train.OutOfMemory, match="out of memory with two pictures"):
        train.fit(*job, tmp_path / "out", quiet=True)


def greedy(*_):
    torch.empty(2**60, dtype=torch.uint8)


def test_memory_that_ends_outside_of_a_step_names_the_settings_that_help(tmp_path):
    """An allocation that no machine can serve, while the validation part is judged, in a training and after it."""
    job = training_job.job(tmp_path, epochs=1)
    job[0].register_forward_pre_hook(lambda module, inputs: None if module.training else greedy())
    with pytest.raises(train.OutOfMemory, match="allocate.*Lower batch_size") as caught:
        train.fit(*job, tmp_path / "out", quiet=True)
    assert caught.value.__context__ is None, "the failed call's tensors are held on to"
    with pytest.raises(train.OutOfMemory, match="Lower batch_size"):
        train.evaluate(job[0], job[2])


@pytest.fixture
def scaled(monkeypatch):
    """The loss is scaled as in fp16, by PyTorch's own scaler; returns a function that makes some steps overflow."""
    real = devices.accelerator

    def accelerator(*arguments, **options):
        processes = real(*arguments, **options)
        processes.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        return processes

    def overflow(model, *steps):
        count = iter(range(10**6))
        model.fc.weight.register_hook(lambda gradient: gradient * (math.inf if next(count) in steps else 1))

    monkeypatch.setattr(devices, "accelerator", accelerator)
    return overflow


SCALED = {"epochs": 2, "backbone": "test_resnet", "img_size": 32, "head": "linear", "mixup": 0.0, "cutmix": 0.0}


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_steps_that_overflow_are_counted_told_and_left_out_of_the_mean(tmp_path, capsys, scaled, clip):
    job = training_job.job(tmp_path, **SCALED, clip=clip)
    scaled(job[0], 0, 3)
    done = train.fit(*job, tmp_path / "out")
    steps = pd.read_csv(tmp_path / "out" / "steps.csv")
    assert list(done.history["skipped"]) == [2, 0]
    assert list(steps["gradient"].isna()) == [True, False, False, True, *8 * [False]]
    assert np.allclose(done.history["train_gradient"], steps.groupby("epoch")["gradient"].mean())
    assert capsys.readouterr().out.count("skipped 2 (fp16 overflowed)") == 1


def test_a_training_most_of_whose_steps_overflow_is_an_error(tmp_path, scaled):
    job = training_job.job(tmp_path, **SCALED)
    scaled(job[0], *range(1, 5))
    with pytest.raises(train.TrainingError, match=r"overflowed in 4 of the 6 steps.*precision='fp32'"):
        train.fit(*job, tmp_path / "out", quiet=True)


def test_a_finished_training_holds_no_memory_but_its_model(tmp_path, scaled, monkeypatch):
    held = []
    end = step.Step.end

    def ended(self):
        held.extend(weakref.ref(thing) for thing in (self, self.optimizer, self.optimizer.optimizer))
        end(self)

    monkeypatch.setattr(step.Step, "end", ended)
    gc.disable()
    try:
        done = fit(tmp_path, **SCALED)
        assert not any(thing() for thing in held) and len(held) == 3
    finally:
        gc.enable()
    assert all(parameter.grad is None for parameter in done.model.parameters())


def test_the_forecast_leaves_out_what_the_first_step_alone_takes(tmp_path, capsys, monkeypatch):
    job = training_job.job(tmp_path, epochs=1, batch_size=8)
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    def slow(module, _):
        if module.training:
            now[0] += 1 if now[0] else 600

    job[0].register_forward_pre_hook(slow)
    train.fit(*job, tmp_path / "out")
    assert len(job[1]) == 12 and "Expected: about 12.0 s an epoch" in capsys.readouterr().out


def test_two_processes_start_as_one_and_count_every_sample_once(tmp_path):
    """gloo, two processes: the global batch is shared out, so the first step's loss is the single process's."""
    code = f"""
import sys; sys.path[:0] = [{str(Path(SCRIPT).parent)!r}]
import json, torch, pathlib, numpy as np
torch.set_num_threads(1)
import training_job
from emohelpers import train; from emohelpers.train.loop import Trainer
home = pathlib.Path(sys.argv[1])
plain = dict(head="linear", mixup=0.0, cutmix=0.0, ema=0.0, epochs=1, schedule="constant", warmup_epochs=0.0)

def main():
    job = training_job.job(home, batch_size=96, **plain)
    run = Trainer(*job, home / "out", home / "out" / "m.pth", quiet=True)
    rank, world = run.processes.process_index, run.processes.num_processes
    run._enter(0)
    run.model.eval()
    x, y, at = next(run.training.epoch(0))
    loss = run.processes.reduce(run.step.forward_backward(x, y)["loss"], "mean").item()
    grad = [p.grad.clone() for p in run.model.parameters()][0].norm().item()
    outputs, targets = train.evaluate(run.model, job[2], processes=run.processes)
    if rank == 0:
        told = dict(loss=loss, grad=grad, world=world, share=len(at))
        told |= dict(outputs=outputs.tolist(), targets=targets.tolist())
        pathlib.Path(sys.argv[2]).write_text(json.dumps(told))

main()  # what it made is gone when Python ends, as after train.fit
"""
    script = tmp_path / "two.py"
    script.write_text(code)
    results = []
    for world in (1, 2):
        training_job.job(tmp_path / str(world))  # pictures and store are made before the processes start
        result = tmp_path / f"{world}.json"
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
        ran = subprocess.run(
            [*launch, str(script), str(tmp_path / str(world)), str(result)], capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        results.append(json.loads(result.read_text()))
    one, two = results
    assert (one["world"], two["world"]) == (1, 2) and two["share"] * 2 == one["share"]
    assert abs(one["loss"] - two["loss"]) < 1e-5 and abs(one["grad"] - two["grad"]) < 1e-5
    assert len(two["outputs"]) == 32 and one["targets"] == two["targets"]
    assert np.allclose(one["outputs"], two["outputs"], atol=1e-5)


def test_two_processes_train_to_the_end(tmp_path):
    training_job.job(tmp_path)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ran = subprocess.run([*launch, SCRIPT, str(tmp_path), "epochs=2"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("Epoch  2/2") == 1, "the epoch line belongs to one process"
    assert models.load(tmp_path / "out" / "best.pth", classes=EMOTIONS)
    assert ran.stdout.count("threads of gloo left at the end: 0") == 2, "one that is left can abort its process"


def test_a_tracker_that_is_not_installed_is_an_error(tmp_path):
    if importlib.util.find_spec("aim"):
        pytest.skip("aim is installed here")
    with pytest.raises(train.TrainingError, match="aim not installed"):
        fit(tmp_path, trackers=("aim",))


def test_trackers_get_the_figures(tmp_path):
    pytest.importorskip("tensorboard")
    fit(tmp_path, epochs=1, trackers=("tensorboard",))
    assert list((tmp_path / "out").rglob("events.out.tfevents*"))


def staged(folder, **values):
    """A net with BatchNorm under seed 002's stages; the random trunk is frozen by hand, for its stillness alone."""
    calm = {"mixup": 0.0, "cutmix": 0.0, "backbone": "test_resnet", "head": "batchnorm", "img_size": 32, "epochs": 5}
    model, *rest, cfg = training_job.job(folder, **{**calm, **values})
    return model, *rest, cfg.model_copy(update={"trainable": 0, "unfreeze": {1: 0.25, 2: 0.5, 3: 0.75, 4: "all"}})


def test_frozen_batchnorm_does_not_move_by_a_bit_in_any_stage(tmp_path, monkeypatch):
    model, *rest, cfg = staged(tmp_path)
    seen = []
    real = loop.Trainer._save

    def spy(run):
        stage = max(at for at in run.stages if at < len(run.history))
        phase = models.freeze(run.model, run.stages[stage])
        seen.append((phase, set(models.moving(run.model)), copy.deepcopy(run.model.state_dict())))
        real(run)

    monkeypatch.setattr(loop.Trainer, "_save", spy)
    before = copy.deepcopy(model.state_dict())
    train.fit(model, *rest, cfg, tmp_path / "out", quiet=True)
    assert [phase for phase, *_ in seen] == ["head", "head+1", "head+2", "head+3", "all"]
    for phase, moving, state in seen:
        moved = {name for name in state if not torch.equal(state[name], before[name])}
        assert moved <= moving, (phase, sorted(moved - moving)[:3])
        assert any("running_mean" in name for name in moved), "the trained BatchNorm must move"
        before = state
    assert seen[0][1] == {name for name in before if name.startswith("fc.")}


def test_one_cycle_drives_the_weights_that_a_later_stage_unfreezes(tmp_path, monkeypatch):
    """SGD without decay moves a weight in its first step by rate * (1 + momentum) * gradient (Nesterov)."""
    model, *rest, cfg = staged(tmp_path, ema=0.0)
    late = {"optimizer": "sgd", "weight_decay": 0.0, "clip": 0.0, "lr_backbone": 1e-2, "schedule": "onecycle"}
    cfg, found = cfg.model_copy(update=late), []
    real = step.Step.__call__

    def spy(self, inputs, targets):
        watched = dict(self.plain.named_parameters())["layer2.0.bn2.weight"]  # starts at 0 in timm, has a gradient
        rate, before, fresh = self.rates()["lr_backbone"], watched.detach().clone(), watched.requires_grad
        momentum = self.optimizer.param_groups[0]["momentum"]  # the cycle turns it too
        kept = []  # before the optimizer sees it: torch's own step adds the momentum into the gradient
        hook = watched.register_post_accumulate_grad_hook(lambda p: kept.append(p.grad.clone())) if fresh else None
        means = real(self, inputs, targets)
        _ = hook and hook.remove()
        found.append((rate, fresh, watched.detach() - before, kept and kept[0], momentum))
        return means

    monkeypatch.setattr(step.Step, "__call__", spy)
    done = train.fit(model, *rest, cfg, tmp_path / "out", quiet=True)
    count = len(rest[0])
    assert [fresh for _, fresh, *_ in found] == [False] * 3 * count + [True] * 2 * count
    rate, _, moved, gradient, momentum = found[3 * count]
    assert gradient.abs().max() > 0 and torch.allclose(moved, -rate * (1 + momentum) * gradient, rtol=1e-3, atol=1e-7)
    probe = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(probe, 1e-2, total_steps=5 * count, cycle_momentum=False)
    for i, (rate, *_) in enumerate(found):
        assert rate == pytest.approx(cycle.get_last_lr()[0], rel=1e-6), i
        probe.step()
        cycle.step()
    assert done.history["lr_backbone"].iloc[-1] < 1e-4


def test_checkpoints_between_and_the_best_are_whole_and_averaged(tmp_path):
    model, *rest, cfg = staged(tmp_path, ema=0.9)
    cfg = cfg.model_copy(update={"save_every": 2, "patience": 0})
    done = train.fit(model, *rest, cfg, tmp_path / "out", name="artifacts/v3/best_model.pth", quiet=True)
    kept = sorted(p.name for p in (tmp_path / "out" / "artifacts" / "v3").iterdir())
    assert kept == ["best_model.pth", "epoch_2.pth", "epoch_4.pth"]
    for name, epoch in (("epoch_2.pth", 2), ("epoch_4.pth", 4), ("best_model.pth", done.best["epoch"])):
        back = models.load(tmp_path / "out" / "artifacts" / "v3" / name, classes=EMOTIONS)
        scores = rest[2].scores(*train.evaluate(back, rest[1]))
        assert back.facts["epoch"] == epoch
        assert scores["macro_f1"] == back.facts["value"] == done.history["val_macro_f1"][epoch - 1]


def test_every_step_and_the_statistics_of_every_epoch_are_kept_also_over_a_pause(tmp_path, monkeypatch):
    calm = fit(tmp_path / "calm", epochs=3, statistics="head")
    monkeypatch.setattr(loop.Trainer, "_out_of_time", lambda run: len(run.history) > run.resumed_at)
    for _ in range(3):
        fit(tmp_path / "paused", epochs=3, statistics="head")
    steps, again = (pd.read_csv(tmp_path / name / "out" / "steps.csv") for name in ("calm", "paused"))
    assert np.allclose(steps, again, rtol=1e-9) and steps.groupby("epoch").size().tolist() == [6, 6, 6]
    assert {"loss", "accuracy", "gradient", "lr_head"} <= set(steps)
    means = steps.groupby("epoch")["loss"].mean().to_numpy()
    assert np.allclose(means, calm.history["train_loss"], rtol=1e-5)
    table = pd.read_csv(tmp_path / "calm" / "out" / "weights.csv")
    assert set(table["name"]) == models.head_parameters(calm.model) and sorted(set(table["epoch"])) == [1, 2, 3]
    assert table["gradient_l2"].gt(0).any()


@pytest.mark.parametrize("tracker, left", [("wandb", "wandb/offline-run-*"), ("mlflow", "mlflow.db")])
def test_trackers_keep_a_run_on_this_machine(tmp_path, tracker, left):
    pytest.importorskip(tracker)
    code = f"import training_job, sys; from emohelpers import train; from pathlib import Path; h = Path(sys.argv[1]);" \
           f"train.fit(*training_job.job(h, epochs=1, trackers=({tracker!r},)), h / 'out', quiet=True)"  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert list((tmp_path / "out").glob(left)), sorted((tmp_path / "out").iterdir())


@pytest.mark.skipif(not getattr(torch.cpu, "_is_avx512_bf16_supported", bool)(), reason="this processor has no bf16")
def test_bf16_on_a_cpu_trains_in_bf16_and_is_judged_in_fp32(tmp_path, monkeypatch):
    seen, options = set(), {"backbone": "mobilenetv2_035", "img_size": 64, "head": "linear", "precision": "bf16"}

    def look(module, inputs, output):
        seen.add((module.training, output.dtype))

    job = training_job.job(tmp_path, **options)
    job[0].get_submodule("blocks.0").register_forward_hook(look)
    calm = train.fit(*job, tmp_path / "calm", name="best.pth", quiet=True)
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert {p.dtype for p in calm.model.parameters()} == {torch.float32}
    back = models.load(calm.checkpoint)
    AcceleratorState._reset_state()  # as in another program, which knows nothing of the training's precision
    scores = job[3].scores(*train.evaluate(back, job[2]))
    assert scores["macro_f1"] == back.facts["value"] == calm.best["val_macro_f1"]
    monkeypatch.setattr(loop.Trainer, "_out_of_time", lambda run: len(run.history) > run.resumed_at)
    for _ in range(6):
        shaky = train.fit(*training_job.job(tmp_path, **options), tmp_path / "shaky", name="best.pth", quiet=True)
    assert shaky.status == "finished" and same(weights(calm.checkpoint), weights(shaky.checkpoint))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "convnext_base", "tf_efficientnet_b3_ns", "vit_base_patch16_224"])
def test_full_size_backbones_take_real_steps_and_come_back_with_their_figure(tmp_path, name):
    """Seed 001's recipe whole: one epoch, checkpoint, reload. Two steps of four pictures: a ResNet's residual branches
    begin at zero and pass no gradient back in the first."""
    values = {"backbone": name, "head": "layernorm", "head_width": 512, "img_size": 224, "epochs": 1, "batch_size": 4,
              "mixup": 0.4, "ema": 0.999, "schedule": "cosine", "warmup_epochs": 0.0}  # fmt: skip
    model, training, validation, objective, cfg = training_job.job(tmp_path, **values)
    training.rows, training.targets = training.rows[:8], training.targets[:8]
    validation.rows, validation.targets = validation.rows[:4], validation.targets[:4]
    before = copy.deepcopy(model.state_dict())
    done = train.fit(model, training, validation, objective, cfg, tmp_path / "out", quiet=True)
    moved = [n for n, t in model.named_parameters() if not torch.equal(t, before[n])]
    assert len(moved) == len(list(model.parameters())), "some layers did not learn"
    back = models.load(done.checkpoint, classes=EMOTIONS, backbone=name)
    scores = objective.scores(*train.evaluate(back, validation))
    assert scores["macro_f1"] == back.facts["value"]
    assert scores["loss"] == pytest.approx(done.best["val_loss"], rel=1e-5)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 1), (8, 8), (5, 4)])
def test_a_batchnorm_that_would_see_one_picture_names_the_settings(tmp_path, batch_size, accumulation):
    settings = {"head": "batchnorm", "batch_size": batch_size, "accumulation": accumulation, "epochs": 1}
    with pytest.raises(train.TrainingError, match=f"batch_size={batch_size}.*accumulation={accumulation}.*needs two"):
        fit(tmp_path, **settings)
    fit(tmp_path, **settings | {"batch_size": 10, "accumulation": 4})  # 3, 3, 2, 2
    fit(tmp_path, **settings | {"head": "layernorm", "batch_size": 2, "accumulation": 4})  # two of one


def test_an_image_size_that_the_backbone_does_not_take_is_refused_before_training(tmp_path):
    with pytest.raises(models.WeightsError, match=r"test_vit does not take img_size=90: .*patch size"):
        fit(tmp_path, backbone="test_vit", img_size=90)

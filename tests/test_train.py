import copy
import importlib.util
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import training_job

from emohelpers import models, objectives, step, train
from emohelpers.labels import EMOTIONS

SCRIPT = str(Path(training_job.__file__))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    monkeypatch.setattr(train._Run, "_out_of_time", lambda run: len(run.history) > run.resumed_at)
    for expected in (*["paused"] * 5, "finished"):
        done = fit(tmp_path / "paused")
        assert done.status == expected
    assert same(weights(calm.checkpoint), weights(done.checkpoint))


def test_a_new_session_goes_on_from_the_attached_output_of_the_last_one(tmp_path, monkeypatch):
    """Kaggle: the folder is empty again, and the earlier version's output is mounted read-only as an input."""
    calm = fit(tmp_path / "calm")
    monkeypatch.setattr(train._Run, "_out_of_time", lambda run: len(run.history) > 2)
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
    monkeypatch.setattr(train, "BORN", time.monotonic() - 3600)
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
    assert len(weights(tmp_path / "out" / "best_model.pth")) == len(model.state_dict())


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
    with pytest.raises(step.OutOfMemory, match="out of memory with two pictures"):
        train.fit(*job, tmp_path / "out", quiet=True)


def test_two_processes_start_as_one_and_count_every_sample_once(tmp_path):
    """gloo, two processes: the global batch is shared out, so the first step's loss is the single process's."""
    code = f"""
import sys; sys.path[:0] = [{str(Path(SCRIPT).parent)!r}]
import json, torch, pathlib, numpy as np
torch.set_num_threads(1)
import training_job
from emohelpers import train, devices
home = pathlib.Path(sys.argv[1])
plain = dict(head="linear", mixup=0.0, cutmix=0.0, ema=0.0, epochs=1, schedule="constant", warmup_epochs=0.0)
job = training_job.job(home, batch_size=96, **plain)
run = train._Run(*job, home / "out", "m.pth", True)
rank, world = run.processes.process_index, run.processes.num_processes
run._enter(0)
run.model.eval()
x, y, at = next(run.training.epoch(0))
loss = run.processes.reduce(run.step.forward_backward(x, y)["loss"], "mean").item()
grad = [p.grad.clone() for p in run.model.parameters()][0].norm().item()
outputs, targets = train.evaluate(run.model, job[2], processes=run.processes)
if rank == 0:
    told = dict(loss=loss, grad=grad, world=world, share=len(at), outputs=outputs.tolist(), targets=targets.tolist())
    pathlib.Path(sys.argv[2]).write_text(json.dumps(told))
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


def test_a_tracker_that_is_not_installed_is_an_error(tmp_path):
    if importlib.util.find_spec("aim"):
        pytest.skip("aim is installed here")
    with pytest.raises(train.TrainingError, match="aim not installed"):
        fit(tmp_path, trackers=("aim",))


def test_trackers_get_the_figures(tmp_path):
    pytest.importorskip("tensorboard")
    fit(tmp_path, epochs=1, trackers=("tensorboard",))
    assert list((tmp_path / "out").rglob("events.out.tfevents*"))

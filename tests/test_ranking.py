"""The ranking of photographs: objective, batches of pairs, figures, files that leave the workshop, the command line."""

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from scipy.stats import kendalltau

from emohelpers import config, models, train
from emohelpers.config import files
from emohelpers.config.ranking import Ranking
from emohelpers.datasets import pairing, pairs
from emohelpers.datasets import pixels as store
from emohelpers.datasets.drawn import photos
from emohelpers.export import hub, predict, runner
from emohelpers.images.augment import Augmentation
from emohelpers.images.batches import Batches
from emohelpers.metrics import pairs as concordance
from emohelpers.ranking import batches, conclusion, figures, model, release
from emohelpers.ranking.judge import judge, scored, scored_by_file
from emohelpers.ranking.photographs import Photographs
from emohelpers.ranking.shortcut import original, prefers_augmented, tempted
from emohelpers.report import Run
from emohelpers.report import facts as report
from emohelpers.suite import cli

SMALL = {
    "img_size": 48, "epochs": 4, "backbone": "test_efficientnet", "head_width": 32, "batch_size": 16, "int8_tries": 1,
    "timing_rounds": 5, "patience": 0, "shortcut_epochs": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small training, once for the module: folder, config, pairs, pixels, model."""
    home = tmp_path_factory.mktemp("ranking")
    drawn = photos.write_photos(home / "photos", scenes=20)
    pairing.from_scores(drawn, pd.read_csv(drawn / "photos.csv"), home / "pairs", min_gap=0.8)
    cfg = config.make(Ranking, "demo", dataset_root=str(home / "pairs"), **SMALL)
    data = pairs.read(home / "pairs", demo="drawn scenes")
    pixels = store.build(data, store.side_for(data, cfg), home / "cache")
    photographs = Photographs(data, pixels, pd.DataFrame({"stops": []}))
    net, parts = model.build(cfg, photographs, home / "run")
    cfg, _ = model.stopping(cfg, photographs.counts["val"])
    objective = train.Preference.of(cfg)
    done = train.fit(net, parts["train"], parts["val"], objective, cfg, home / "run", quiet=True)
    return home, cfg, photographs, pixels, done


def table(good, bad, scene=None, opinions=None) -> pd.DataFrame:
    n = len(good)
    rows = pd.DataFrame({"folder": [f"f{i}" for i in range(n)], "scene": scene or [f"s{i}" for i in range(n)]})
    rows["good"], rows["bad"] = [f"g{i}" for i in range(n)], [f"b{i}" for i in range(n)]
    rows["score_good"], rows["score_bad"] = good, bad
    rows["good_score"], rows["bad_score"] = opinions or ([np.nan] * n, [np.nan] * n)
    return rows


def test_settings_of_classes_are_refused():
    with pytest.raises(config.ConfigError, match="mixup: no such setting"):
        config.make(Ranking, "demo", mixup=0.4)
    full = config.make(Ranking, "full", dataset_root="x")
    seed = {"margin": 0.2, "opinion_weight": 0.2, "lr": 3e-4, "weight_decay": 1e-4, "warmup_epochs": 5, "clip": 5}
    assert {name: getattr(full, name) for name in seed} == seed
    assert full.batch_size == 32 and full.save_every == 2 and full.min_delta == 0.005 and full.patience == 5
    assert round(full.img_size * full.eval_zoom) == 256 and full.head_width == 512 and full.rotation == 5


def test_embedding_has_length_one_and_the_score_stands_alone(made):
    _, _, _, pixels, done = made
    seen = []
    unit = next(m for m in done.model.modules() if type(m).__name__ == "Unit")
    hook = unit.register_forward_hook(lambda module, given, out: seen.append(out))
    prepared = models.prepared(done.model, pixels.side)
    inputs = prepared.normalise(torch.from_numpy(prepared.evaluate(pixels.take(np.arange(5)))))
    with torch.inference_mode():
        both, alone = done.model(inputs), model.scorer(done.model)(inputs)
    hook.remove()
    alone_already = model.scorer(done.model)
    assert model.scorer(alone_already) is not alone_already, "what an export does to it, it does to the user's model"
    assert both.shape == (5, 2) and alone.shape == (5, 1) and seen[0].shape == (5, 32)
    assert torch.allclose(seen[0].norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(both[:, :1], alone, atol=1e-6)
    again = models.load(done.checkpoint, classes=["score", "opinion"]).eval()
    with torch.inference_mode():
        assert torch.allclose(again(inputs), both, atol=1e-6)


def test_objective_is_the_hinge_and_the_opinions_that_exist():
    objective = train.Preference(margin=0.2, opinion_weight=0.2)
    outputs = torch.tensor([[0.5, 1.0], [0.0, 0.0], [0.1, 2.0], [0.0, 0.0]], requires_grad=True)
    targets = torch.tensor([0.0, float("nan"), float("nan"), 1.0])
    hinge, error = (0 + 0.1) / 2, (1.0 + 1.0) / 2
    loss = objective.loss(outputs, targets)
    assert loss.item() == pytest.approx(hinge + 0.2 * error)
    loss.backward()
    assert outputs.grad.isfinite().all() and outputs.grad[1, 1] == 0, "no opinion, no gradient"
    assert objective.loss(outputs[:, :1], targets).item() == pytest.approx(hinge)
    found = objective.scores(outputs.detach().numpy(), targets.numpy())
    assert found == {"loss": pytest.approx(hinge), "accuracy": 1.0}
    with pytest.raises(train.TrainingError, match="tear a pair apart"):
        objective.loss(outputs[:3], targets[:3])


def test_batches_hold_whole_pairs_with_one_draw_for_both_sides(made):
    _, cfg, photographs, pixels, done = made
    prepared = models.prepared(done.model, pixels.side)
    parts = batches.by_part(photographs, prepared, cfg)
    for at, draws in parts["train"].plan(3):
        assert (at[0::2] % 2 == 0).all() and (at[1::2] == at[0::2] + 1).all()
        assert (draws.warp[0::2] == draws.warp[1::2]).all() and (draws.colour[0::2] == draws.colour[1::2]).all()
    seen = np.concatenate([at for at, _ in parts["train"].plan(3)])
    assert len(set(seen)) == len(seen)
    good = batches.PairBatches(
        pixels, parts["train"].rows, np.zeros(len(parts["train"].rows)), prepared, batch_size=16,
        augmentation=Augmentation.of(cfg), augmented="good",
    )  # fmt: skip
    at, draws = good.plan(0)[0]
    assert (draws.colour[1::2] == 1).all() and (draws.colour[0::2] != 1).any()
    assert good.digest() != batches.PairBatches(
        pixels, good.rows, good.targets, prepared, batch_size=16, augmentation=Augmentation.of(cfg)
    ).digest()  # fmt: skip
    whole = parts["train"].plan(1)[0][0]
    halves = [parts["train"].on(torch.device("cpu"), rank, 2).plan(1)[0][0] for rank in (0, 1)]
    assert np.concatenate(halves).tolist() == whole.tolist() and all(len(half) % 2 == 0 for half in halves)
    assert isinstance(parts["val"], Batches) and parts["val"].augmentation is None


def test_what_is_left_alone_looks_as_evaluation_sees_it(made):
    from emohelpers.images import render

    _, _, _, pixels, done = made
    prepared = models.prepared(done.model, pixels.side)
    squares = pixels.take(np.arange(6))
    plain = render.on_cpu(squares, batches.still(6, prepared), prepared).astype(int)
    assert np.abs(plain - prepared.evaluate(squares)).mean() < 6


def test_the_stopping_rule_knows_how_many_pairs_it_sees():
    cfg = config.make(Ranking, "full", dataset_root="x")
    small, told = model.stopping(cfg, 10)
    assert small.monitor == "val_loss" and small.min_delta == 0 and "10.0%" in told
    assert model.stopping(cfg, 199)[0].monitor == "val_loss"
    assert model.stopping(cfg, 200)[0] is cfg


def test_it_trains_keeps_every_second_epoch_and_tells_hinge_and_accuracy(made):
    home, cfg, _, _, done = made
    assert {"train_loss", "val_loss", "val_accuracy"} <= set(done.history) and len(done.history) == cfg.epochs
    kept = sorted(p.name for p in (home / "run").glob("epoch_*"))
    assert kept == ["epoch_2.pth", "epoch_4.pth"] and done.checkpoint.name == "best.pt"
    known = model.read_settings(home / "run" / "train.yaml")
    assert config.make(Ranking, known.pop("preset"), **known).backbone == cfg.backbone
    assert "std" in (home / "run" / "preprocess.yaml").read_text()
    (home / "empty.yaml").write_text("[]")
    with pytest.raises(config.ConfigError, match="no train.yaml"):
        model.read_settings(home / "empty.yaml")


def test_equal_contents_get_equal_scores_from_torch_and_onnx(made):
    home, cfg, photographs, pixels, done = made
    prepared = models.prepared(done.model, pixels.side)
    found = scored(done.model, photographs, "test", prepared)
    assert len(found) == len(photographs.part("test"))
    sha = dict(zip(pixels.paths, pixels.sha256, strict=True))
    by_content = pd.concat(
        [found[[side, f"score_{side}"]].set_axis(["path", "score"], axis=1) for side in ("good", "bad")]
    )
    assert by_content.groupby(by_content["path"].map(sha))["score"].nunique().max() == 1
    exported = release.write(done.model, home / "run", photographs, cfg)
    assert exported.parity.max_difference < 1e-4
    other = scored_by_file(runner.Runner(exported.path), photographs, "test")
    same = concordance.agreement(found, other)
    assert same["correlation"] > 0.9999 and same["flips"] == 0


def test_int8_is_promoted_or_set_aside_with_the_reason(made, monkeypatch):
    home, cfg, photographs, pixels, done = made
    release.write(done.model, home / "run", photographs, cfg)
    monkeypatch.setattr(release, "WORTH", {"flips": -1.0, "tau": 2.0})
    refused = release.int8(home / "run", photographs, cfg)
    assert not refused["promoted"] and "flip" in refused["reason"] and "tau" in refused["reason"]
    assert refused["file"].startswith("models/rejected") and not (home / "run" / release.INT8).exists()
    monkeypatch.setattr(release, "WORTH", {"flips": 1.0, "tau": -1.0})
    monkeypatch.setattr(release, "BUDGET", release.Budget(speed=0.0, flips=1.0))
    kept = release.int8(home / "run", photographs, cfg)
    assert kept["promoted"] and (home / "run" / release.INT8).is_file() and kept["reason"] == ""
    assert not (home / "run" / "models/rejected/emo_aen_int8.onnx").exists()
    assert set(release.latency(done.model, home / "run", rounds=3)) == {
        "pytorch", "onnxruntime fp32", "onnxruntime int8"
    }  # fmt: skip


def test_bundle_manifest_and_changelog(made):
    home, cfg, photographs, pixels, done = made
    release.write(done.model, home / "run", photographs, cfg)
    judged = judge(done.model, photographs, cfg)
    packed = release.bundle(home / "run", photographs, cfg, judged.figures, trained="2025-01-02")
    names = zipfile.ZipFile(packed).namelist()
    assert {release.FP32, "manifest.json", "preprocess.yaml", "train.yaml"} <= set(names)
    manifest = json.loads((home / "run" / "manifest.json").read_text())
    assert manifest["version"] == cfg.version and manifest["trained"] == "2025-01-02" and manifest["demo"]
    assert manifest["data_sha256"] == photographs.fingerprint and manifest["input"]["batch"] == "dynamic"
    assert manifest["models"][0]["bytes"] == (home / "run" / release.FP32).stat().st_size
    verdict, facts = {"promoted": False, "reason": "slower"}, {"data": photographs.data.name, "demo": True}
    for version, sha in (("1.0.0", "a" * 64), ("1.1.0", "b" * 64), ("1.0.0", "a" * 64)):
        newer = cfg.model_copy(update={"version": version})
        conclusion.changelog(home / "log.md", newer, judged.figures, verdict, sha256=sha, **facts)
    text = (home / "log.md").read_text()
    assert text.count("\n## ") == 2 and text.index("## 1.0.0") < text.index("## 1.1.0"), "newest first, none doubled"
    assert text.startswith("# Model changelog") and "not promoted: slower" in text


def test_what_goes_to_the_hub_is_whole_speaks_of_pairs_and_loads_back(made, tmp_path):
    home, cfg, photographs, pixels, done = made
    run = home / "run"
    release.write(done.model, run, photographs, cfg)
    judged = judge(done.model, photographs, cfg)
    counts = photographs.counts
    report.save_metrics(
        run, judged.figures, data=photographs.data.name, demo=True, split="a" * 64, seconds=1.0, counts=counts
    )
    files.write_json(run / "config.json", cfg.model_dump(mode="json"))
    folder = hub.bundle(run, tmp_path / "hub", checkpoint=done.checkpoint, onnx=run / release.FP32, repo="me/appeal")
    assert {p.name for p in folder.iterdir()} == {
        "README.md", "best_model.pth", "config.json", "head.safetensors", "metrics.json", "model.onnx",
        "model.safetensors", "training.json",
    }  # fmt: skip
    text = (folder / "README.md").read_text()
    told = yaml.safe_load(text.split("---\n")[1])
    shown = {m["type"]: m["value"] for m in told["model-index"][0]["results"][0]["metrics"]}
    assert shown == {"pairwise_accuracy": pytest.approx(judged.accuracy["value"])}
    assert "appeal score" in text and f"Pairs: train {counts['train']}" in text and "drawn scenes" in text
    text = text.partition("## Made with")[0]  # the versions name huggingface_hub
    assert "golden" not in text and "classify.py" not in text and "face" not in text.lower()
    prepared = models.prepared(done.model, pixels.side)
    theirs = scored(hub.load(folder), photographs, "test", prepared)
    assert np.allclose(theirs["score_good"], scored(done.model, photographs, "test", prepared)["score_good"])
    with pytest.raises(predict.PredictionInput, match="gives a score, not emotions"):
        predict.pictures(folder, pixels.take(np.arange(2)))


def test_accuracy_has_an_exact_interval_and_one_by_scene():
    found = concordance.accuracy(table([1.0] * 9 + [0.0], [0.5] * 10))
    assert found["value"] == 0.9 and found["n"] == 10
    assert (found["low"], found["high"]) == (pytest.approx(0.5550, abs=1e-4), pytest.approx(0.9975, abs=1e-4))
    torn = concordance.accuracy(table([1.0] * 50 + [0.0] * 50, [0.5] * 100, scene=["a"] * 50 + ["b"] * 50))
    assert torn["scene_high"] - torn["scene_low"] > 3 * (torn["high"] - torn["low"]), "two scenes say little"
    assert concordance.accuracy(table([0.5], [0.5]))["value"] == 0.0, "a tie is no order"
    with pytest.raises(ValueError, match="no numbers"):
        concordance.accuracy(table([np.nan], [1.0]))
    with pytest.raises(ValueError, match="no column score_bad"):
        concordance.accuracy(table([1.0], [0.0]).drop(columns="score_bad"))


def test_correlations_are_inside_scenes_of_three_or_more():
    rng = np.random.default_rng(0)
    rows = [(f"s{s}", f"{s}_{i}", float(i), float(i + rng.normal())) for s in range(5) for i in range(4)]
    rows += [("two", "a", 1.0, 1.0), ("two", "b", 2.0, 2.0), *[("flat", str(i), float(i), 0.0) for i in range(3)]]
    rows += [("silent", str(i), float("nan"), float(i)) for i in range(3)]
    pictures = pd.DataFrame(rows, columns=["scene", "path", "opinion", "score"])
    found, scenes = concordance.correlations(pictures)
    assert list(scenes["scene"]) == ["flat", "s0", "s1", "s2", "s3", "s4"] and found["tau"]["n"] == 6
    one = pictures[pictures["scene"] == "s0"]
    assert scenes.set_index("scene").loc["s0", "tau"] == pytest.approx(kendalltau(one["opinion"], one["score"])[0])
    assert scenes.set_index("scene").loc["flat", "tau"] == 0
    assert found["tau"]["low"] <= found["tau"]["value"] <= found["tau"]["high"]
    empty, _ = concordance.correlations(pictures[pictures["scene"] == "two"])
    assert empty["tau"]["n"] == 0 and np.isnan(empty["tau"]["value"])


def test_accuracy_by_gap_counts_every_pair_once():
    gap = np.linspace(0.1, 4, 40)
    right = gap > 1
    found = concordance.by_gap(table(list(right * 1.0), [0.5] * 40, opinions=(list(gap), [0.0] * 40)))
    assert found["n"].sum() == 40 and found["value"].is_monotonic_increasing and len(found) == 4
    assert concordance.by_gap(table([1.0], [0.0])).empty
    same = concordance.by_gap(table([1.0, 0.0], [0.0, 1.0], opinions=([2.0, 2.0], [1.0, 1.0])))
    assert same["n"].tolist() == [2]


def test_agreement_counts_flips():
    one, other = table([1.0, 2.0], [0.0, 0.0]), table([1.0, -1.0], [0.0, 0.0])
    assert concordance.agreement(one, other)["flips"] == 0.5
    assert concordance.agreement(one, one)["tau"] == pytest.approx(1)


def test_only_an_augmentation_of_one_side_can_be_learned_from_a_picture_and_itself(made):
    _, cfg, photographs, pixels, done = made
    prepared = models.prepared(done.model, pixels.side)
    parts = batches.by_part(photographs, prepared, cfg)
    before, moved = dict(done.model.named_parameters()), {}
    for sides in ("good", "both"):
        net = tempted(done.model, parts["train"], cfg, sides)
        moved[sides] = max(float((p - before[name]).abs().max()) for name, p in net.named_parameters())
    assert moved["good"] > 5 * moved["both"], moved


def test_a_taste_for_the_augmentation_is_seen(made):
    _, cfg, _, pixels, done = made
    prepared = models.prepared(done.model, pixels.side)
    brighter = original(cfg)
    squares = np.full((20, pixels.side, pixels.side, 3), 100, np.uint8)

    class Light(torch.nn.Linear):
        def forward(self, inputs):
            return inputs.mean((1, 2, 3))[:, None]

    drawn = brighter.draw(20, np.random.default_rng([5, 31])).colour[:, 0]
    clear = abs(drawn - 1) > 0.02  # grey levels are whole numbers
    seen = prefers_augmented(Light(1, 1), squares, prepared, brighter, 5)
    assert (seen[clear] == (drawn > 1)[clear]).all() and clear.sum() > 10


def test_albums_are_drawn_and_say_that_they_show_drawn_scenes(made, tmp_path):
    _, cfg, photographs, pixels, done = made
    judged = judge(done.model, photographs, cfg)
    run = Run("08_emo_aen_ranking", cfg, tmp_path)
    run.data = photographs.data
    drawn = {
        "pairs": figures.pair_gallery(photographs),
        "strips": figures.strips(photographs, judged.pictures),
        "extremes": figures.extremes(photographs, judged.pictures),
        "changes": figures.changes(photographs, judged.pairs),
        "gaps": figures.gap_bars(judged.gaps, judged.accuracy),
        "shortcut": figures.shortcut_bars({"a": concordance.share(np.array([True, False]))}),
    }
    for name, figure in drawn.items():
        run.show(name, figure)
        assert "demo data (drawn scenes)" in figure.get_suptitle(), name
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 150
    shown = drawn["strips"].axes[0].images[0].get_array()
    best = judged.pictures.groupby("scene").size().sort_values(ascending=False, kind="stable").index[0]
    top = judged.pictures[judged.pictures["scene"] == best].nlargest(1, "score")["path"]
    assert (np.asarray(shown) == photographs.squares(top)[0]).all()


def test_the_command_line_audits_evaluates_and_scores_a_folder(made, tmp_path, capsys):
    home, cfg, photographs, pixels, done = made
    values = ["--set", f"min_side={cfg.min_side}", "--set", f"twin_similarity={cfg.twin_similarity}"]
    asked = ["appeal", "audit", "--root", str(home / "pairs"), *values]
    assert cli.main([*asked, "--out", str(tmp_path / "audit.csv")]) == 0 and (tmp_path / "audit.csv").is_file()
    shutil.copytree(home / "pairs", tmp_path / "broken")
    shutil.rmtree(next((tmp_path / "broken").glob("scene*/bad")))
    assert cli.main(["appeal", "audit", "--root", str(tmp_path / "broken"), *values]) == 1
    assert "PROBLEM side missing" in capsys.readouterr().out
    assert cli.main(["appeal", "audit", "--root", str(tmp_path / "nowhere")]) == 2
    assert "was not found" in capsys.readouterr().err
    assert cli.main(["appeal", "evaluate", str(done.checkpoint), "--split", "val"]) == 0
    assert json.loads((home / "run" / "metrics_val.json").read_text())["figures"]["pairwise_accuracy"]["n"]
    release.write(done.model, home / "run", photographs, cfg)
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    for i, path in enumerate(sorted((home / "photos").glob("*.png"))[:6]):
        shutil.copy(path, folder / ("deep" if i % 2 else "") / path.name)
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    for file, out in ((done.checkpoint, "a.csv"), (home / "run" / release.FP32, "b.csv")):
        assert cli.main(["appeal", "score", str(folder), str(file), "--out", str(tmp_path / out)]) == 0
        assert "torn.jpg (" in capsys.readouterr().err
    one, two = (pd.read_csv(tmp_path / name).sort_values("path", ignore_index=True) for name in ("a.csv", "b.csv"))
    assert len(one) == 6 and np.allclose(one["score"], two["score"], atol=1e-4)
    assert (tmp_path / "a.png").is_file() and "left out: torn.jpg: " in (tmp_path / "a.txt").read_text()
    for out, written in {"d": ["scores.csv", "scores.png"], "e/sheet.png": ["sheet.csv", "sheet.png"]}.items():
        assert cli.main(["appeal", "score", str(folder), str(done.checkpoint), "--out", str(tmp_path / out)]) == 0
        place = tmp_path / out.partition("/")[0]
        assert [len(pd.read_csv(place / written[0])), (place / written[1]).read_bytes()[:4]] == [6, b"\x89PNG"]
    assert cli.main(["appeal", "score", str(folder), "no.pt", "--out", str(tmp_path / "a.png" / "x.csv")]) == 2
    assert "cannot write results" in capsys.readouterr().err, "said before the model is looked for"
    assert cli.main(["appeal", "score", str(tmp_path / "run"), str(done.checkpoint)]) == 2


def test_a_place_that_is_taken_is_said_before_photographs_are_spoiled(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (200, 150), "red").save(tmp_path / "photos" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    assert cli.main(["appeal", "spoil", str(tmp_path / "photos"), str(tmp_path / "out")]) == 2
    assert "holds something already" in capsys.readouterr().err and not (tmp_path / "out_pictures").exists()
    assert cli.main(["appeal", "spoil", str(tmp_path / "photos"), str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "splits.json").is_file()


def test_the_command_line_makes_splits_and_pairs(tmp_path, capsys):
    drawn = photos.write_photos(tmp_path / "photos", scenes=8)
    assert cli.main(["appeal", "pair", str(drawn / "photos.csv"), str(tmp_path / "pairs")]) == 0
    (tmp_path / "pairs" / "splits.json").unlink()
    values = ["--root", str(tmp_path / "pairs"), "--set", "twin_similarity=0.99"]
    assert cli.main(["appeal", "split", *values]) == 0
    assert set(json.loads((tmp_path / "pairs" / "splits.json").read_text())) == {"train", "val", "test"}
    assert cli.main(["appeal", "split", *values]) == 2
    assert "never drawn twice" in capsys.readouterr().err

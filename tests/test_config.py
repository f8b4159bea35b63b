import json

import pytest
from pydantic import ValidationError

from emohelpers import config
from emohelpers.config import ConfigError, explain, faces, make, music, paths, ranking, saga
from emohelpers.config.faces import Augmented, Baseline, Enhanced, Transfer
from emohelpers.config.music import Music
from emohelpers.config.ranking import Ranking

FAMILIES = (explain, faces, music, ranking, saga)
KINDS = [kind for family in FAMILIES for kind in vars(family).values() if getattr(kind, "demo", None)]
KINDS = list(dict.fromkeys(KINDS))


@pytest.fixture(autouse=True)
def an_ordinary_machine(monkeypatch):
    monkeypatch.setattr(paths, "host", lambda: "")


def refused(*args, **values) -> str:
    with pytest.raises(ConfigError) as caught:
        make(Baseline, *args, **values)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", ["full", "demo"])
def test_every_default_is_a_valid_value(kind, preset):
    cfg = make(kind, preset)
    assert make(kind, preset, **{k: v for k, v in cfg if k != "preset"}) == cfg  # now as values, which are checked


@pytest.mark.parametrize("kind", KINDS)
def test_demo_and_full_differ_in_values_only(kind):
    full, demo = make(kind, "full"), make(kind, "demo")
    assert kind.demo
    assert {name: type(value) for name, value in full if name not in ("time_budget_h", "preset")} == {
        name: type(value) for name, value in demo if name not in ("time_budget_h", "preset")
    }
    drawn = [getattr(cfg, "manifest", None) or cfg.drawn_scenes for cfg in (full, demo)]  # 08 has pairs, no manifest
    assert drawn[0] != drawn[1], "drawn pictures and real ones must never be mistaken"


def test_full_is_the_originals_recipe():
    cfg = make(Baseline, "full")
    recipe = {
        "manifest": "affectnet", "backbone": "vit_base_patch16_224", "img_size": 224, "trainable": 2, "epochs": 30,
        "batch_size": 32, "lr": 1e-4, "weight_decay": 1e-4, "label_smoothing": 0.1, "patience": 5,
        "golden": "balanced:150", "val_share": 0.2, "split_seed": 42, "head": "mlp", "head_width": 512,
        "head_dropout": 0.3, "schedule": "cosine", "monitor": "val_macro_f1",
    }  # fmt: skip
    assert {name: getattr(cfg, name) for name in recipe} == recipe


def test_only_a_session_that_ends_has_a_time_budget(monkeypatch):
    assert make(Baseline, "full").time_budget_h is None
    monkeypatch.setattr(paths, "host", lambda: "kaggle")
    assert make(Baseline, "full").time_budget_h < 12
    assert make(Baseline, "full", time_budget_h=3.0).time_budget_h == 3.0


@pytest.mark.parametrize(
    "host, root, preset",
    [("", "", "demo"), ("", "somewhere", "full"), ("kaggle", "", "full"), ("colab", "", "full")],
)
def test_auto_is_demo_only_where_there_is_neither_data_nor_a_host(monkeypatch, host, root, preset):
    monkeypatch.setattr(paths, "host", lambda: host)
    assert make(Baseline, dataset_root=root).preset == preset
    assert make(Baseline, "demo", dataset_root=root).preset == "demo", "what is asked for wins"


def test_a_manifest_of_ones_own_is_data_and_not_the_demo(monkeypatch):
    monkeypatch.setattr(paths, "host", lambda: "")
    assert make(Baseline, manifest="my_faces.yaml").preset == "full"
    assert make(Baseline, manifest="demo_faces").preset == "demo"


def test_a_preset_among_the_values_is_refused():
    assert "give it as PRESET" in refused("full", preset="demo")


def test_an_unknown_preset_names_the_known_ones():
    assert refused("smoke") == "PRESET = 'smoke' is not one of 'auto', 'full', 'demo'"


@pytest.mark.parametrize(
    "name, meant",
    [("epoch", "epochs"), ("learning_rate", ""), ("batchsize", "batch_size"), ("label_smothing", "label_smoothing")],
)
def test_an_unknown_name_is_told_with_what_was_meant(name, meant):
    text = refused("demo", **{name: 1})
    assert text.startswith("1 wrong in Baseline settings") and f"{name}: no such setting" in text
    assert (f"did you mean {meant}" in text) if meant else "lr_backbone" in text
    assert f"All settings: {', '.join(Baseline.model_fields)}" in text


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("epochs", "10", "valid integer"),
        ("epochs", 10.5, "valid integer"),
        ("epochs", True, "valid integer"),
        ("epochs", 0, "greater than or equal to 1"),
        ("lr", "1e-4", "valid number"),
        ("lr", True, "valid number"),
        ("lr", 0, "greater than 0"),
        ("lr", float("nan"), "finite number"),
        ("lr", float("inf"), "finite number"),
        ("dataset_root", None, "valid string"),
        ("dataset_root", 7, "valid string"),
        ("golden", "balanced", "pattern"),
        ("golden", "stratified:1.5", "pattern"),
        ("val_share", 20, "less than or equal to 1"),
        ("optimizer", "adam", "'adamw' or 'sgd'"),
        ("trackers", "wandb", "valid tuple"),
        ("crop_scale", [0.8], "Field required"),
        ("crop_scale", [0.8, 2], "less than or equal to 1"),
        ("unfreeze", {"three": "all"}, "valid integer"),
        ("unfreeze", {"3": "most"}, "'all'"),
        ("unfreeze", {"3": -1}, "greater than or equal to 0"),
        ("trainable", -1, "greater than or equal to 0"),
        ("trainable", "two", "'all'"),
        ("channels_last", 1, "valid boolean"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_given_and_what_is_allowed(name, value, told):
    text = refused("demo", **{name: value})
    assert text.startswith("1 wrong in Baseline settings:\n") and f"\n  {name} = " in text and told in text, text


def test_all_that_is_wrong_is_told_at_once():
    text = refused("demo", epochs="10", lr=-1, epoch=3, golden="all")
    assert text.startswith("4 wrong")
    assert all(f"\n  {start}" in text for start in ("epochs = '10': ", "lr = -1: ", "epoch: ", "golden = 'all': "))


def test_json_as_papermill_passes_it_comes_back_as_it_was():
    given = {"unfreeze": {3: "all", 5: 2}, "trackers": ("tensorboard",), "crop_scale": (0.5, 1.0), "trainable": "all"}
    cfg = make(Baseline, "demo", **given)
    values = json.loads(json.dumps(cfg.model_dump(mode="json")))
    assert list(values["unfreeze"]) == ["3", "5"] and values["crop_scale"] == [0.5, 1.0]
    assert make(Baseline, values.pop("preset"), **values) == cfg


def test_a_whole_number_is_a_number():
    cfg = make(Baseline, "demo", lr=1, warmup_epochs=2, crop_ratio=[1, 2])
    assert (cfg.lr, cfg.warmup_epochs, cfg.crop_ratio) == (1.0, 2.0, (1.0, 2.0))


def test_a_config_cannot_be_changed_and_shows_every_setting():
    cfg = make(Baseline, "demo")
    with pytest.raises(ValidationError, match="frozen"):
        cfg.lr = 1.0
    lines = str(cfg).splitlines()
    assert [line.split()[0] for line in lines] == list(Baseline.model_fields)
    assert len({line.index("=") for line in lines}) == 1


def test_a_digest_depends_on_content_and_not_on_the_order_of_keys():
    assert config.digest({"a": 1, "b": 2}) == config.digest({"b": 2, "a": 1}) != config.digest({"a": 1, "b": 3})
    assert len(config.digest(1)) == 12


def test_changed_settings_are_checked_like_new_ones_and_another_family_takes_what_it_has():
    cfg = make(Augmented, "demo", seeds=(42, 43))
    other = config.with_settings(cfg, epochs=3, unfreeze={"2": "all"})
    assert (other.epochs, other.unfreeze, other.preset) == (3, {2: "all"}, "demo") and cfg.epochs == 10
    baseline = config.with_settings(cfg, Baseline, seed=7)
    assert type(baseline) is Baseline and (baseline.seed, baseline.backbone) == (7, "test_vit")
    with pytest.raises(config.ConfigError, match="2 wrong"):
        config.with_settings(cfg, epochs=0, lrr=1)


@pytest.mark.parametrize(
    "kind, preset, name",
    [
        (Baseline, "full", "0a1ff80ddc6e"),
        (Baseline, "demo", "1d5b2319278b"),
        (Transfer, "full", "22191b40ada1"),
        (Transfer, "demo", "62fd101c08fe"),
        (Enhanced, "full", "d6227f9cc72b"),
        (Enhanced, "demo", "831413c88ff8"),
        (Music, "full", "0ff31edaa7b4"),
        (Music, "demo", "f5d6a3877060"),
        (Ranking, "full", "5486ca466389"),
        (Ranking, "demo", "bb6077d83a65"),
    ],
)
def test_a_training_of_an_earlier_version_is_found_by_the_same_name(kind, preset, name):
    """Digests of the first version; a setting that comes is `Added` or an `Aside`, one that goes stays in `former`."""
    assert config.digest(config.decisive(make(kind, preset))) == name


def test_asides_are_marked_once_and_decide_no_weights():
    asides = config.marked(Enhanced, config.Aside)
    assert {"preset", "dataset_root", "time_budget_h", "save_every", "repo"} <= asides
    assert not {"seed", "epochs", "lr", "loss", "img_size", "head"} & asides
    plain, moved = make(Baseline, "demo"), make(Baseline, "demo", save_every=3, output_dir="elsewhere")
    assert config.decisive(plain) == config.decisive(moved) != config.decisive(make(Baseline, "demo", lr=1.0))


def test_a_config_that_an_earlier_version_stored_is_read():
    for kind in (Music, Ranking):
        cfg = make(kind, "demo")
        stored = cfg.model_dump(mode="json") | {"teacher": "", "flip_test": False, "label_smoothing": 0.0}
        assert config.restored(kind, stored) == cfg

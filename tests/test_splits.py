import json
import shutil

import numpy as np
import pandas as pd
import pictures
import pytest
from PIL import Image

from emohelpers import config
from emohelpers.config.faces import Baseline
from emohelpers.datasets import golden, groups, splits
from emohelpers.datasets.golden import golden_set
from emohelpers.datasets.leaks import guard
from emohelpers.datasets.pixels import build


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = pictures.write(tmp_path_factory.mktemp("bars"), each=40)
    return folder.table, build(folder, 32, tmp_path_factory.mktemp("cache")), folder


def settings(**values):
    return config.make(Baseline, "full", **{"golden": "balanced:5", **values})


def shared_groups(table):
    parts = table.groupby("group")["split"].nunique()
    return list(parts[parts > 1].index)


@pytest.mark.parametrize("protocol", ["balanced:5", "stratified:0.15"])
def test_parts_are_disjoint_stratified_and_of_the_size_asked_for(data, tmp_path, protocol):
    table, pixels, _ = data
    cfg = settings(golden=protocol)
    golden = golden_set(table, pixels, cfg, tmp_path, "bars")
    done = splits.split(table, golden, cfg)
    sizes = done.groupby(["label", "split"]).size().unstack()
    assert (sizes["golden"] == (5 if "balanced" in protocol else 6)).all()
    assert (sizes["val"] == 7).all()
    assert sizes.to_numpy().sum() == len(table) and shared_groups(done) == []


def test_groups_are_never_torn_apart_even_across_labels(data, tmp_path):
    table, pixels, _ = data
    rng = np.random.default_rng(0)
    table = table.assign(group=rng.integers(0, 90, len(table)).astype(str))  # groups of several labels
    cfg = settings()
    golden = golden_set(table, pixels, cfg, tmp_path, "bars")
    assert shared_groups(splits.split(table, golden, cfg)) == []
    assert golden.table["label"].value_counts().between(4, 5).all()


def test_the_cap_is_applied_and_stated(data, tmp_path):
    table, pixels, _ = data
    golden = golden_set(table, pixels, settings(golden="balanced:150"), tmp_path, "bars")
    assert (golden.table["label"].value_counts() == 8).all()  # 20 % of 40
    assert "150 a class would take more than 20% of some classes" in golden.notes[0] and "anger 8" in golden.notes[0]


def test_golden_is_written_once_and_read_ever_after(data, tmp_path):
    table, pixels, _ = data
    first = golden_set(table, pixels, settings(), tmp_path, "bars")
    written = first.file.stat().st_mtime_ns
    again = golden_set(
        table.sample(frac=1, random_state=1).reset_index(drop=True), pixels, settings(), tmp_path, "bars"
    )
    assert again.file == first.file and again.file.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(again.table, first.table)
    other = golden_set(table, pixels, settings(split_seed=7), tmp_path, "bars")
    assert other.file != first.file and set(other.table["path"]) != set(first.table["path"])
    named = golden_set(table, pixels, settings(testset_csv=str(first.file)), tmp_path / "elsewhere", "bars")
    assert named.sha256 == first.sha256


def test_a_golden_set_is_known_again_where_names_are_spelt_otherwise(data, tmp_path):
    table, pixels, _ = data
    first = golden_set(table, pixels, settings(), tmp_path, "bars")
    spelt = table.assign(path=table["path"].str.upper(), sha256=pixels.hashes(table["path"]))
    assert list(golden._verified(first.file, spelt).table["path"]) == [path.upper() for path in first.table["path"]]


def test_other_data_never_meets_this_golden_set(data, tmp_path):
    table, pixels, _ = data
    first = golden_set(table, pixels, settings(), tmp_path, "bars")
    fewer = table[table["path"] != table["path"].iloc[0]].reset_index(drop=True)
    assert golden_set(fewer, pixels, settings(), tmp_path, "bars").file != first.file


def test_an_edited_golden_file_is_an_error(data, tmp_path):
    table, pixels, _ = data
    golden = golden_set(table, pixels, settings(), tmp_path, "bars")
    text = golden.file.read_text()
    golden.file.write_text(text.replace("anger", "happy", 1))
    with pytest.raises(groups.SplitError, match="was changed after it was written.*train every model"):
        golden_set(table, pixels, settings(), tmp_path, "bars")
    golden.file.write_text(text)
    golden_set(table, pixels, settings(), tmp_path, "bars")
    golden.file.with_suffix(".json").unlink()
    with pytest.raises(groups.SplitError, match="testset_saved.json beside it"):
        golden_set(table, pixels, settings(), tmp_path, "bars")


def test_a_damaged_stamp_and_a_missing_testset_are_told(data, tmp_path):
    table, pixels, _ = data
    golden = golden_set(table, pixels, settings(), tmp_path, "bars")
    for text in ("{", "[]", '{"sha256": "1"}'):
        golden.file.with_suffix(".json").write_text(text)
        with pytest.raises(groups.SplitError, match="testset_saved.json is damaged.*Restore it"):
            golden_set(table, pixels, settings(), tmp_path, "bars")
    with pytest.raises(FileNotFoundError, match="(?s)nowhere.csv.*Places tried.*TESTSET_CSV must be"):
        golden_set(table, pixels, settings(testset_csv="nowhere.csv"), tmp_path, "bars")


def test_changed_pictures_or_labels_behind_a_golden_file_are_an_error(data, tmp_path):
    table, pixels, folder = data
    golden = golden_set(table, pixels, settings(), tmp_path, "bars")
    named = settings(testset_csv=str(golden.file))
    victim = golden.table["path"][0]
    relabelled = table.assign(label=np.where(table["path"] == victim, "surprise", table["label"]))
    with pytest.raises(groups.SplitError, match=f"1 of 40 pictures.*\n.*{victim}: other label"):
        golden_set(relabelled, pixels, named, tmp_path, "bars")
    copy = pictures.Folder(tmp_path / "copy", table)
    shutil.copytree(folder.root, copy.root)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(copy.root / victim)
    with pytest.raises(groups.SplitError, match="other content"):
        golden_set(table, build(copy, 32, tmp_path / "cache"), named, tmp_path, "bars")


def test_a_class_too_small_for_three_parts_is_said(data, tmp_path):
    table, pixels, _ = data
    few = table[(table["label"] != "contempt") | (table["path"] == "contempt/0000contempt.png")].reset_index(drop=True)
    with pytest.raises(groups.SplitError, match=r"golden test set .* no picture of: contempt \(1 pictures\)"):
        golden_set(few, pixels, settings(golden="stratified:0.15"), tmp_path, "bars")


@pytest.fixture
def tangled(tmp_path):
    """A set with a copy, a brighter mirrored twin and two edits of golden pictures smuggled into training."""
    folder = pictures.write(tmp_path / "in", each=30)
    table = folder.table
    cfg = settings()
    golden = golden_set(table, build(folder, 32, tmp_path / "cache"), cfg, tmp_path / "golden", "bars")
    source = golden.table["path"]
    extra = []

    def add(name, picture, label, parent=""):
        Image.fromarray(picture).save(folder.root / name)
        extra.append((name, label, "", "synthetic" if parent else "original", parent, name))

    def read(i):
        return np.asarray(Image.open(folder.root / source[i])).astype(int)

    shutil.copy(folder.root / source[0], folder.root / "copy.png")
    extra.append(("copy.png", "happy", "", "original", "", "copy"))
    add("twin.png", np.clip(read(1)[:, ::-1] * 0.95 + 8, 0, 255).astype(np.uint8), "sad")
    for i in (2, 3):  # edits look like nothing else: only lineage gives them away
        add(f"edit{i}.png", pictures.bar(i, np.random.default_rng(90 + i)), "contempt", parent=source[i])
    more = pd.DataFrame(extra, columns=table.columns)
    folder.table = pd.concat([table, more]).sort_values("path", ignore_index=True)
    return folder, golden, cfg, build(folder, 32, tmp_path / "cache2")


def test_the_guard_finds_copies_twins_and_children_and_leaves_nothing(tangled):
    folder, golden, cfg, pixels = tangled
    done = splits.split(folder.table, golden, cfg)
    clean, leaks = guard(done, pixels, 0.96)
    reason = dict(zip(leaks.removed["path"], leaks.removed["reason"], strict=True))
    assert reason["copy.png"] == "content" and reason["twin.png"] == "near-duplicate"
    assert reason["edit2.png"] == reason["edit3.png"] == "parent"
    assert leaks.left == 0 and not set(reason) & set(clean["path"])
    assert "removed" in str(leaks) and set(clean.loc[clean["split"] == "golden", "path"]) == set(golden.table["path"])


def test_grouping_first_means_that_the_guard_has_nothing_to_do(tangled):
    folder, golden, cfg, pixels = tangled
    table = groups.grouped(folder.table, pixels, 0.96)
    group = dict(zip(table["path"], table["group"], strict=True))
    source = golden.table["path"]
    assert group["copy.png"] == group[source[0]] and group["twin.png"] == group[source[1]]
    assert group["edit2.png"] == group[source[2]]
    fresh = golden_set(table, pixels, settings(split_seed=3), golden.file.parent, "bars")
    done = splits.split(table, fresh, cfg)
    assert shared_groups(done[done["parent"] == ""]) == []


def test_synthetic_rows_are_training_rows_only(tangled):
    folder, golden, cfg, pixels = tangled
    done = splits.split(groups.grouped(folder.table, pixels, 0.96), golden, cfg)
    clean, leaks = guard(done, pixels, 0.96)
    synthetic = clean[clean["parent"] != ""]
    assert (synthetic["split"] == "train").all() and leaks.left == 0


def test_synthetic_rows_are_never_drawn_and_change_no_golden_set(data, tmp_path):
    """A table may say that a picture was made and not from which: then it is a training picture too."""
    table, pixels, _ = data
    made = table.assign(source=np.where(np.arange(len(table)) % 4 == 0, "synthetic", "original"))
    golden = golden_set(made, pixels, settings(), tmp_path, "bars")
    done = splits.split(made, golden, settings())
    assert set(done.loc[done["source"] == "synthetic", "split"]) == {"train"}
    fewer = made[(made["source"] == "original") | (np.arange(len(made)) % 8 == 0)].reset_index(drop=True)
    assert golden_set(fewer, pixels, settings(), tmp_path, "bars").file == golden.file


def test_a_named_golden_set_is_kept_in_the_run_under_the_suites_name(data, tmp_path):
    table, pixels, _ = data
    first = golden_set(table, pixels, settings(), tmp_path, "bars")
    mine = tmp_path / "mine.csv"
    mine.write_bytes(first.file.read_bytes())
    mine.with_suffix(".json").write_bytes(first.file.with_suffix(".json").read_bytes())
    named = golden_set(table, pixels, settings(testset_csv=str(mine)), tmp_path, "bars")
    assert named.save(tmp_path / "run").name == "testset_saved.csv"
    assert golden_set(table, pixels, settings(testset_csv=str(tmp_path / "run" / "testset_saved.csv")), tmp_path, "")


def test_stamp_says_what_the_set_is(data, tmp_path):
    table, pixels, _ = data
    golden = golden_set(table, pixels, settings(), tmp_path, "bars")
    stamp = json.loads(golden.file.with_suffix(".json").read_text())
    assert stamp["protocol"] == "balanced5-cap0.2-s42" and stamp["n"] == 40 and stamp["dataset"] == "bars"


def test_a_picture_under_two_labels_is_told_and_never_tested_or_validated_with(data, tmp_path):
    table, _, folder = data
    copy = pictures.Folder(tmp_path / "copy", table)
    shutil.copytree(folder.root, copy.root)
    twice = [path for path in table["path"] if path.startswith("anger")][:30]  # of 40: a draw would meet some
    wrong = table[table["path"].isin(twice)].assign(label="happy")
    wrong["path"] = wrong["group"] = [path.replace("anger", "again") for path in twice]
    (copy.root / "again").mkdir(exist_ok=True)
    for path in twice:
        shutil.copy(folder.root / path, copy.root / path.replace("anger", "again"))
    copy.table = pd.concat([table, wrong]).sort_values("path", ignore_index=True)
    pixels = build(copy, 32, tmp_path / "cache")
    guarded, golden, leaks = splits.parts(copy.table, pixels, settings(golden="balanced:5"), tmp_path / "g", "bars")
    assert {"60 pictures stand byte for byte under two labels"} == {note[:48] for note in golden.notes}
    parts = guarded.set_index("path")["split"]
    assert set(parts[[*twice, *wrong["path"]]]) == {"train"} and len(leaks.removed) == 0
    assert (golden.table["label"].value_counts() == 5).all()


def declared(table, each_test=4, each_val=4):
    number = table.groupby("label").cumcount()
    return table.assign(split=np.select([number < each_test, number < each_test + each_val], ["test", "val"], "train"))


def test_the_official_test_part_is_the_golden_set_and_what_is_mixed_is_said(data, tmp_path):
    table, pixels, _ = data
    official = declared(table)
    guarded, golden, _ = splits.parts(official, pixels, settings(golden="official"), tmp_path, "bars")
    assert set(official.loc[official["split"] == "test", "path"]) == set(golden.table["path"])
    part = official.set_index("path")["split"].replace({"test": "golden"})
    assert (part[guarded["path"]].to_numpy() == guarded["split"]).all() and len(guarded) > 260  # but for twins
    assert golden.notes == ["the golden set is the official test part of the data set, whole"]
    assert golden.protocol == "official"
    guarded, golden, _ = splits.parts(official, pixels, settings(), tmp_path, "bars")
    mixed = guarded[guarded["path"].isin(official.loc[official["split"] == "test", "path"])]["split"].ne("golden").sum()
    assert mixed > 20 and f"test part of 32 pictures: {mixed} of them are trained on" in golden.notes[-1]
    # a data set that declares a validation part alone, as AffectNet does, tests on it
    guarded, golden, _ = splits.parts(declared(table, 0, 6), pixels, settings(golden="official"), tmp_path, "bars")
    assert len(golden.table) == 48 and (guarded["split"] == "val").sum() > 0
    with pytest.raises(groups.SplitError, match="declares no test part"):
        splits.parts(table, pixels, settings(golden="official"), tmp_path, "bars")


def test_a_golden_set_of_other_pictures_or_labels_is_told(data, tmp_path):
    table, pixels, _ = data
    first = golden_set(table, pixels, settings(), tmp_path, "bars")
    assert first.notes == []
    gone, wrong = first.table["path"][:2]
    other = np.where(table["path"] == wrong, "surprise", table["label"])
    changed = table.assign(label=other)[table["path"] != gone].reset_index(drop=True)
    second = golden_set(changed, pixels, settings(), tmp_path, "bars")
    assert str(first.file) in second.notes[0] and "of its 40 pictures 1 are gone and 1 relabelled" in second.notes[0]
    assert golden_set(changed, pixels, settings(), tmp_path, "bars").notes == second.notes

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_limits import history

from emohelpers import metrics
from emohelpers.config import make, paths
from emohelpers.config.faces import Enhanced, Transfer
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.report import forms, sentences
from emohelpers.train import Fit

ONE = {"value": 0.81, "low": 0.78, "high": 0.84, "n": 600}
TEST = {"accuracy": ONE, "macro_f1": ONE, "nll": ONE}


def done():
    table = history().assign(seconds=[10.0, 10.0, 20.0, 20.0])
    best = {**table.iloc[3].to_dict(), "epoch": 4}
    return Fit(None, table, best, "finished", Path("m.pth"), 60.0, 1.0)


def table(right, seed=0):
    rng = np.random.default_rng(seed)
    true = np.arange(400) % 8
    guess = np.where(rng.random(400) < right, true, (true + 1) % 8)
    return metrics.predictions([f"{i}.png" for i in range(400)], true, 0.02 + 0.84 * np.eye(8)[guess], EMOTIONS)


def test_the_block_has_every_line_of_section_14_filled():
    rows = pd.DataFrame({"split": ["train"] * 4 + ["val"] * 2 + ["golden"], "source": ["synthetic"] + ["original"] * 6})
    text = sentences.block(done(), TEST, rows)
    for line in ("Best validation macro F1: 0.6000", "Best validation accuracy: 0.7000", "Epoch of best model: 4 of 4",
                 "Final test accuracy: 0.8100 [0.7800, 0.8400]", "Train/Val/Test sizes: 4/2/1",
                 "Synthetic share of the training part: 25.0%", "Average epoch time: 15.0 s",
                 "Total training wall time: 1.0 min"):  # fmt: skip
        assert line in text
    assert "<" not in text


def test_the_console_labels_are_found_by_the_seeds_words():
    text = sentences.console(done(), TEST, "val_macro_f1")
    patterns = [r"^Best validation macro F1: 0\.6000$", r"^Best Validation macro_f1: 0\.6"]
    patterns += [r"^Validation \(Best\) Loss 1\.2000 Acc 0\.7000 MacroF1 0\.6000$"]
    patterns += [r"^Test Loss 0\.8100 Acc 0\.8100 MacroF1 0\.8100$"]
    patterns += [r"^Total Training Time: 60\.0", r"^Average Time per Epoch: 15\.0"]
    for pattern in patterns:
        assert re.search(pattern, text, re.M), pattern


def test_arrays_have_the_seeds_names_and_the_label_map_the_order(tmp_path):
    arrays = forms.arrays(done().history)
    assert list(arrays) == list(forms.ARRAYS) and arrays["train_acc"] == [0.2, 0.3, 0.5, 0.6]
    known = json.loads(forms.label_map(tmp_path / "label_map.json", EMOTIONS).read_text())
    assert list(known) == list(EMOTIONS) and list(known.values()) == list(range(8))


def test_the_seeds_tables_hold_every_row_once(tmp_path):
    rows = pd.DataFrame({"path": ["a", "b", "c"], "label": ["happy", "sad", "anger"], "source": "original",
                         "split": ["train", "val", "golden"]})  # fmt: skip
    forms.tables(tmp_path, rows, EMOTIONS)
    test = pd.read_csv(tmp_path / "test.csv")
    assert list(test.columns) == ["filepath", "label", "label_id", "split", "source"]
    assert test.loc[0, ["filepath", "label_id", "split"]].tolist() == ["c", 0, "test"]
    assert [len(pd.read_csv(tmp_path / f"{part}.csv")) for part in ("train", "val", "splits")] == [1, 1, 3]


def test_notes_follow_from_the_predictions():
    text = sentences.notes(table(0.8), EMOTIONS)
    assert re.search(r"Misclass patterns: \w+ as \w+ \(\d+ of 50\)", text) and "notebook 06" in text
    assert "Misclass patterns: none." in sentences.notes(table(1.1), EMOTIONS)


def test_the_verdict_says_no_more_than_the_interval():
    a, b = table(0.6), table(0.9, seed=1)
    same = sentences.verdict(metrics_compare(a, a), "01")
    assert "not shown to differ from 01's: +0.000" in same and "Classes whose F1 changed beyond chance: none." in same
    assert "Accuracy is better than 01's: +0." in sentences.verdict(metrics_compare(a, b), "01")
    assert "Accuracy is worse than 01's: -0." in sentences.verdict(metrics_compare(b, a), "01")
    assert "nothing is compared" in sentences.verdict(forms.against(None, a, EMOTIONS, 100), "")


def metrics_compare(a, b):
    from emohelpers.metrics import compare

    return compare.compare(a, b, EMOTIONS, resamples=300)


def test_the_promise_is_kept_missed_or_open():
    for low, high, word in (
        (0.86, 0.9, "reached"),
        (0.7, 0.8, "not reached"),
        (0.8, 0.9, "neither shown nor ruled out"),
    ):
        assert sentences.promise({"accuracy": {**ONE, "low": low, "high": high}}, 0.85).endswith(f": {word}.")


class Settings:
    compare_with = "01_baseline_training"


def test_earlier_predictions_are_looked_for_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path))
    golden = table(0.9)[["path"]]
    with pytest.raises(paths.InputNotFound, match=r'Run 01_baseline_training.*"compare_with": ""'):
        forms.earlier(Settings, "demo", golden)
    place = tmp_path / "demo" / "01_baseline_training"
    place.mkdir(parents=True)
    table(0.9)[:300].to_csv(place / "predictions.csv", index=False)
    with pytest.raises(
        metrics.PredictionError, match="another golden set .300 pictures, 300 of them in this one of 400"
    ):
        forms.earlier(Settings, "demo", golden)
    table(0.9).to_csv(place / "predictions.csv", index=False)
    found = forms.earlier(Settings, "demo", golden)
    assert found == place / "predictions.csv"
    assert forms.checkpoint(Settings, None, "m.pth", Path("own.pth")) == Path("own.pth")
    with pytest.raises(paths.InputNotFound, match="m.pth is missing: 01_baseline_training writes it"):
        forms.checkpoint(Settings, found, "m.pth", Path("own.pth"))
    cfg = make(Transfer, "demo")
    assert forms.earlier(cfg, "demo", golden) == found
    assert forms.earlier(cfg, "demo", golden[:9]) is None
    assert "Nothing is compared with 01_baseline_training: " in capsys.readouterr().out
    assert forms.earlier(make(Enhanced, "demo"), "demo", golden) is None  # 04 was not run
    compared = forms.against(found, table(0.9), EMOTIONS, 100)
    assert compared.iloc[0]["difference"] == 0


def test_the_report_is_scikit_learns():
    text = forms.classification_report(table(0.8), EMOTIONS)
    assert "macro avg" in text and all(name in text for name in EMOTIONS)

"""The page of results: everything told, nothing fetched, small, and whole in a real browser on a phone's width."""

import json
import os
import re
import shutil
import subprocess
import time
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emohelpers.datasets.labels import EMOTIONS
from emohelpers.suite.page import findings, index, thumbnails
from emohelpers.suite.page.findings import FIRST

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def result(
    root: Path, stem: str, run: str = "demo", *, right: float = 0.6, demo: bool = True, pictures: bool = True, **status
) -> Path:
    """A folder as a notebook leaves it."""
    rng = np.random.default_rng(len(stem + run))
    folder = root / run / stem
    folder.mkdir(parents=True)
    label = np.repeat(EMOTIONS, 20)
    guess = np.where(rng.random(160) < right, label, rng.choice(EMOTIONS, 160))
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(160)], "label": label, "predicted": guess})
    for name in EMOTIONS:
        table[f"p_{name}"] = np.where(guess == name, 0.93, 0.01)
    table.to_csv(folder / "predictions.csv", index=False)
    figures = {"accuracy": {"value": right, "low": right - 0.1, "high": right + 0.1, "n": 160}}
    figures |= {"macro_f1": {"value": right, "low": None, "high": None, "n": 160}, "absent": []}
    told = {"data": "faces", "demo": demo, "figures": figures, "device": "CPU <x>", "versions": {"torch": "2.15"}}
    (folder / "metrics.json").write_text(json.dumps(told))
    about = {"stem": stem, "run": run, "status": "done", "seconds": 61.0, "started": "2026-11-20T10:00:00+00:00"}
    (folder / "status.json").write_text(json.dumps(about | status))
    for name in (f"{stem}.ipynb", "run.log"):
        (folder / name).write_text("{}")
    for name in ("confusion_matrix", "faces", "grad_cam_panel") * pictures:
        noise = rng.integers(0, 255, (90, 130, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((1300, 900)).save(folder / f"{name}.png")
    return folder


def links(text: str) -> list[str]:
    return [unquote(unescape(one)) for one in re.findall(r'(?:href|src)="([^"]+)"', text)]


def test_it_tells_what_ran_and_fetches_nothing(tmp_path: Path) -> None:
    for seed, right in ((1, 0.6), (2, 0.7)):
        result(tmp_path, "01_baseline_training", f"demo@SEED={seed}", right=right)
        result(tmp_path, "03_augmented_training", f"demo@SEED={seed}", right=right)
    result(tmp_path, "06_explainability", "demo", status="failed", error="in cell [3]:\nValueError: a < b")
    text = index.write(tmp_path).read_text()
    assert text.count("<article") == 5 and "4 done, 1 failed" in text and "ValueError: a &lt; b" in text
    assert "SEED=1" in text and "mean of 2 seeds" in text and "0.650" in text
    assert "Demo data, drawn and played by code" in text and text.count('class="badge">demo data') == 5
    for heading in ("Confusion matrices", "Explanations", "Galleries", "Beside the baseline", "Environment"):
        assert heading in text
    found = [one for one in links(text) if not one.startswith("data:")]
    assert found and all((tmp_path / one).is_file() for one in found)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script", re.sub(r"data:[^\"]*", "", text))
    assert "demo@SEED=1/01_baseline_training/01_baseline_training.ipynb" in found


def test_real_and_mixed_data_are_said_loudly(tmp_path: Path) -> None:
    result(tmp_path, "01_a", "full", demo=False)
    assert "Real data: faces" in index.write(tmp_path).read_text()
    result(tmp_path, "01_a", "demo")
    text = index.write(tmp_path).read_text()
    assert "some on real data (faces)" in text and "real data</span>" in text and "demo data</span>" in text


def test_a_run_that_lost_its_runner_is_told_from_one_that_goes_on(tmp_path: Path) -> None:
    result(tmp_path, "01_a", status="running", heartbeat=time.time())
    result(tmp_path, "02_b", status="running", heartbeat=time.time() - 1000)
    assert [one.state for one in findings.read(tmp_path)] == ["running", "lost"]


def test_figures_of_an_earlier_run_are_told_as_such(tmp_path: Path) -> None:
    result(tmp_path, "01_a", status="failed", began=time.time() + 60)
    assert "of an earlier run" in index.write(tmp_path).read_text()
    result(tmp_path, "02_b", status="done", began=time.time() - 60)
    assert index.write(tmp_path).read_text().count("of an earlier run") == 1


def test_an_empty_folder_has_a_page_too(tmp_path: Path) -> None:
    assert "0 runs: none" in index.write(tmp_path).read_text()


def test_it_stays_small_however_many_pictures_there_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = result(tmp_path, "01_a")
    for number in range(40):
        noise = rng.integers(0, 255, (300, 400, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((1600, 1200)).save(folder / f"gallery_{number}.png")
    (folder / "broken.png").write_bytes(b"half a picture")
    text = index.write(tmp_path).read_text()
    assert len(text) < 3_000_000 and text.count("<figure>") > 20 and "broken" not in text


def test_pictures_are_sorted_by_what_they_show() -> None:
    names = ["faces.png", "lime_3.png", "confusion_matrix_x.png", "sizes.png", "curves.png"]
    kinds = thumbnails.by_kind([Path(name) for name in names])
    assert list(kinds) == ["Confusion matrices", "Training", "Explanations", "Galleries", "Other pictures"]
    assert kinds["Training"] == [Path("curves.png")]


def test_comparison_is_paired_and_refused_where_the_pictures_differ(tmp_path: Path) -> None:
    result(tmp_path, "01_a", right=0.3)
    result(tmp_path, "04_d", right=0.95)
    other = result(tmp_path, "05_e")
    table = pd.read_csv(other / "predictions.csv")
    table.assign(path=table["path"] + "x").to_csv(other / "predictions.csv", index=False)
    lines = findings.compared(findings.read(tmp_path))
    assert [line.result.stem for line in lines] == ["04_d", "05_e"]
    accuracy = next(row for row in lines[0].rows if row["figure"] == "accuracy")
    assert accuracy["verdict"] == "better" and accuracy["low"] > 0
    assert "not of the same pictures" in lines[1].refused
    text = index.write(tmp_path).read_text()
    assert "not compared" in text and "verdict better" in text
    compared = text[text.index("Beside the baseline") :].partition("</section>")[0]
    assert compared.count('class="plot"') == 2, "accuracy and macro F1 of both beside each other"


def test_the_card_headlines_the_first_figure_of_a_notebook_that_has_no_accuracy(tmp_path: Path) -> None:
    for stem, names in (("07_g", ["net, ccc_valence", "mean predictor, ccc_valence"]), ("08_h", ["tau", FIRST[2]])):
        folder = result(tmp_path, stem, pictures=False)
        figures = {name: {"value": value} for name, value in zip(names, (0.6, 0.0), strict=True)}
        (folder / "metrics.json").write_text(json.dumps({"figures": figures}))
    text = index.write(tmp_path).read_text()
    cards = [card.partition("</article>")[0] for card in text.split("<h3>")[1:]]
    assert "<b>0.600</b> net, ccc valence" in cards[0] and "mean predictor" not in cards[0]
    assert "pairwise accuracy" in cards[1] and "tau" not in cards[1]


def test_a_link_to_another_points_folder_is_not_told_twice(tmp_path: Path) -> None:
    folder = result(tmp_path, "01_a", "demo@SEED=1")
    (tmp_path / "demo@SEED=1,NET=a").mkdir()
    (tmp_path / "demo@SEED=1,NET=a" / "01_a").symlink_to(folder)
    assert len(findings.read(tmp_path)) == 1


def test_mean_over_seeds_has_a_t_interval(tmp_path: Path) -> None:
    for seed, right in ((1, 0.5), (2, 0.6), (3, 0.7)):
        result(tmp_path, "01_a", f"r@SEED={seed}", right=right)
    found = findings.across(findings.read(tmp_path), "accuracy")
    assert found.value == pytest.approx(0.6) and found.n == 3
    assert found.high - 0.6 == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)  # t of 2 degrees of freedom


def test_nothing_that_a_run_says_becomes_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    name = "01_<b>"
    folder = result(tmp_path, name, "demo@NET=<i>", right=0.5, error=evil, host=evil, started=evil)
    told = json.loads((folder / "metrics.json").read_text())
    told |= {"data": evil, "demo": False, "device": evil, "versions": {evil: evil}}
    told["figures"][evil] = told["figures"]["accuracy"]
    (folder / "metrics.json").write_text(json.dumps(told))
    text = index.write(tmp_path).read_text()
    assert "<img src=x" not in text and "<b>" + name[3:] not in text and "<i>" not in text
    assert text.count("&lt;img src=x") >= 7


DAMAGE = {  # what a full disk, a kill, another program or a hand leaves -> a word of the reason
    "cut off": ('{"stem": "01_a", "figu', "eof"),
    "empty": ("", "eof"),
    "zeroed": ("\0" * 100, "expected value"),
    "no text": ("\udcff{", "expected value"),
    "a list": ("[1, 2]", "object"),
    "deep": ("[" * 100_000, "recursion"),
}


CHANGES = [  # values of another kind
    ("status.json", {"seconds": "long"}),
    ("status.json", {"heartbeat": [], "status": "running"}),
    ("status.json", {"run": 7}),
    ("status.json", {"made_of": []}),
    ("metrics.json", {"figures": []}),
    ("metrics.json", {"figures": {"accuracy": {"value": "high"}}}),
    ("metrics.json", {"figures": {"accuracy": {"value": 0.5, "low": {}}}}),
    ("metrics.json", {"versions": [1]}),
    ("metrics.json", {"demo": "perhaps"}),
]


def test_damaged_files_are_told_and_the_others_are_there(tmp_path: Path) -> None:
    result(tmp_path, "01_a")
    result(tmp_path, "04_d")
    reasons = {}
    for number, (content, reason) in enumerate(DAMAGE.values()):
        for file in ("status.json", "metrics.json"):
            stem = f"06_{number}{file[0]}"
            path = result(tmp_path, stem, pictures=False) / file
            path.write_bytes(content.encode("utf-8", "surrogateescape"))
            reasons[stem] = (file, reason)
    for number, (file, changes) in enumerate(CHANGES):
        stem = f"07_{number}"
        path = result(tmp_path, stem, pictures=False) / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        reasons[stem] = (file, next(iter(changes)))
    text = index.write(tmp_path).read_text()
    cards = {card.partition("</h3>")[0]: card for card in text.split("<h3>")[1:]}
    assert len(cards) == 2 + len(reasons)
    for stem, (file, reason) in reasons.items():
        said = re.search(f"damaged: ({file} cannot be read .*?)</p>", cards[stem])
        assert said and reason in said[1].lower(), (stem, cards[stem])
        assert f'class="state">{"damaged" if file == "status.json" else "done"}' in cards[stem]
    assert "damaged" not in cards["01_a"] + cards["04_d"] and "verdict" in text


def test_damaged_predictions_refuse_one_comparison_alone(tmp_path: Path) -> None:
    result(tmp_path, "01_a", pictures=False)
    result(tmp_path, "04_d", pictures=False)
    contents = [b"", b"\xff\xfe", b"path,label\n1,2,3,4\n", b"path\n\0", b'"', b"path,label,predicted,p_sad\n"]
    for number, content in enumerate(contents):
        (result(tmp_path, f"03_{number}", pictures=False) / "predictions.csv").write_bytes(content)
    text = index.write(tmp_path).read_text()
    assert text.count("not compared") == len(contents) and "verdict" in text


def test_damaged_notebooks_pictures_and_names(tmp_path: Path) -> None:
    folder = result(tmp_path, "01_a")
    (folder / "01_a.ipynb").write_text('{"cells": [')
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(result(tmp_path, "02_b") / "03_c.png")
    (folder / "confusion_matrix.png").write_bytes((folder / "faces.png").read_bytes()[:500])
    os.mkdir(os.fsencode(tmp_path) + b"/demo/05_\xff")
    (tmp_path / os.fsdecode(b"demo/05_\xff") / "metrics.json").write_text("{}")
    text = index.write(tmp_path).read_text()
    assert "damaged: 01_a.ipynb cannot be read" in text and text.count("<article") == 3
    assert text.count("<figure>") == 5


ASK = """<script>addEventListener("load", () => { document.title = JSON.stringify({
  broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length, images: document.images.length,
  fetched: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
  overflow: document.documentElement.scrollWidth - innerWidth, width: innerWidth,
  small: [...document.querySelectorAll("p,td,th,a")].filter(e => parseFloat(getComputedStyle(e).fontSize) < 10).length,
  ink: getComputedStyle(document.body).color, paper: getComputedStyle(document.body).backgroundColor }) })</script>"""


def seen(path: Path, width: int, *flags: str) -> dict:
    """What the browser says of the page at a width; by an iframe, since a window cannot be as narrow as a phone."""
    asking = path.with_name("asking.html")
    asking.write_text(path.read_text().replace("</head>", ASK + "</head>"))
    frame = path.with_name("frame.html")
    tell = 'onload="setTimeout(() => document.title = this.contentDocument.title, 300)"'
    frame.write_text(f'<body><iframe src="asking.html" width="{width}" height="800" style="border:0" {tell}></iframe>')
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", *flags]
    command += ["--virtual-time-budget=5000", "--dump-dom", frame.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", ran.stdout)
    assert title, ran.stdout[:500] + ran.stderr[-500:]
    return json.loads(unescape(title[1]))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_nothing_is_missing(tmp_path: Path, width: int, dark: bool) -> None:
    for seed in (1, 2, 3):
        result(tmp_path, "01_baseline_training", f"demo@SEED={seed},BACKBONE=tf_efficientnet_b3_ns")
        result(tmp_path, "03_augmented_training", f"demo@SEED={seed},BACKBONE=tf_efficientnet_b3_ns")
    result(tmp_path, "06_explainability", "demo", status="failed", error="in cell [3]:\n" + "x" * 300)
    told = seen(index.write(tmp_path), width, *["--blink-settings=preferredColorScheme=0"] * dark)
    assert told["width"] == width and told["images"] == 9 and told["broken"] == 0
    assert told["fetched"] == [] and told["overflow"] <= 0 and told["small"] == 0
    ink, paper = (sum(map(int, re.findall(r"\d+", told[name])[:3])) for name in ("ink", "paper"))
    assert (ink > paper) == dark and abs(ink - paper) > 400

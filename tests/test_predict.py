import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pictures
import pytest
import skimage.data
import torch
from PIL import Image
from torch import nn

from emohelpers import config, models
from emohelpers.config import paths
from emohelpers.config.faces import Baseline
from emohelpers.config.sealed import Damaged
from emohelpers.datasets import pixels
from emohelpers.datasets.detection import detector
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.export import camera, hub, onnx, predict, runner
from emohelpers.suite import cli


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with model.pth, model.onnx (temperature 2), and faces/ of nine files, two of them broken."""
    place = tmp_path_factory.mktemp("use")
    own = {"backbone": "test_efficientnet", "img_size": 64, "head": "linear", "weights": "random", "trainable": "all"}
    model = models.build(config.make(Baseline, "demo", **own), EMOTIONS).eval()
    models.preprocess(model, side=48, zoom=1.0)
    nn.init.normal_(model.get_classifier().weight, std=2.0)
    models.save(place / "model.pth", model)
    rng = np.random.default_rng(0)
    drawn = np.stack([pictures.bar(i, rng, 48) for i in range(7)])
    onnx.write(model, place / "model.onnx", drawn, temperature=2.0)
    (place / "faces" / "more").mkdir(parents=True)
    for i, picture in enumerate(drawn):
        Image.fromarray(picture).save(place / "faces" / ("more" if i > 3 else "") / f"{i}.png")
    (place / "faces" / "torn.jpg").write_bytes(b"\xff\xd8\xff no more")
    (place / "faces" / "empty.png").touch()
    (place / "faces" / "notes.txt").write_text("not looked at")
    Image.fromarray(skimage.data.astronaut()).save(place / "portrait.png")
    return place


def expected(model, squares):
    x = torch.from_numpy(runner.inputs(squares, models.prepared(model, 48)))
    with torch.inference_mode():
        return model(x)


def test_a_folder_gives_a_row_a_picture_and_broken_files_say_so(home, tmp_path):
    found = predict.pictures(home / "model.pth", home / "faces", find=False)
    assert len(found.table) == 9 and len(found.squares) == 7
    broken = found.table[found.table["predicted"].isna()]
    assert [Path(p).name for p in broken["path"]] == ["empty.png", "torn.jpg"]
    assert broken["face"].str.startswith("not a picture: ").all()
    whole = found.table.dropna(subset=["predicted"])
    shares = whole[[f"p_{name}" for name in EMOTIONS]].to_numpy(float)
    assert np.allclose(shares.sum(axis=1), 1) and (whole["confidence"] == shares.max(axis=1)).all()
    model = models.load(home / "model.pth").eval()
    assert np.allclose(shares, expected(model, found.squares).softmax(1), atol=1e-5)
    assert list(whole["predicted"]) == [EMOTIONS[i] for i in shares.argmax(axis=1)]
    found.save(tmp_path)
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == 9
    assert Image.open(tmp_path / "contact_sheet.png").size[0] > 500


def test_the_onnx_file_answers_alike_at_its_own_temperature(home):
    ours = predict.pictures(home / "model.onnx", home / "faces", find=False)
    theirs = predict.pictures(home / "model.pth", home / "faces", find=False, temperature=2.0)
    pd.testing.assert_frame_equal(ours.table, theirs.table, atol=1e-4)


def test_the_face_is_cropped_and_the_result_says_what_was_taken(home):
    portrait = skimage.data.astronaut()
    pair = np.hstack([portrait[:300, 80:380], portrait[:300, 80:380]])
    close = portrait[40:220, 140:320]
    grey = np.full((200, 260, 3), 90, np.uint8)
    found = predict.pictures(home / "model.onnx", [portrait, pair, close, grey, home / "portrait.png"])
    told = list(found.table["face"])
    assert told[0] == told[4] == "one" and told[1] == "largest of 2" and told[3] == "none found: whole picture"
    assert told[2] in ("one", "fills the picture: whole picture")
    row = found.table.iloc[0]
    assert row["left"] < 225 < row["left"] + row["side"] < 340 and row["top"] < 120 < row["top"] + row["side"]
    cut = detector.upright(portrait, detector.faces(portrait)[0])
    assert cut.shape[0] == row["side"] and np.array_equal(found.squares[0], pixels.fit_square(cut, 48))
    assert row["roll"] == round(detector.faces(portrait)[0].roll, 1) and found.table.loc[3, "roll"] == 0
    assert tuple(found.table.loc[3, ["left", "top", "side"]]) == (30, 0, 200)
    assert list(predict.pictures(home / "model.onnx", pair, every=True).table["face"]) == ["1 of 2", "2 of 2"]


def test_without_the_detectors_weights_whole_pictures_are_taken_and_it_is_said(home, monkeypatch, tmp_path):
    monkeypatch.setattr(detector, "NET", tmp_path / "yunet.onnx")
    answers = predict.pictures(home / "model.onnx", skimage.data.astronaut())
    assert list(answers.table["face"]) == ["not looked for: whole picture"] and "attach the package's wheel" in str(
        answers
    )


def test_a_loaded_model_is_not_changed_and_refused_in_training_mode(home):
    model = models.load(home / "model.pth").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predict.pictures(model, home / "faces", find=False)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(predict.PredictionInput, match="eval"):
        predict.pictures(model.train(), home / "faces")


def test_what_cannot_be_predicted_is_said(home, tmp_path):
    with pytest.raises(paths.InputNotFound, match="no picture"):
        predict.pictures(home / "model.onnx", tmp_path)
    with pytest.raises(predict.PredictionInput, match="uint8 RGB"):
        predict.pictures(home / "model.onnx", np.zeros((4, 8, 8, 3)))
    with pytest.raises(FileNotFoundError):
        predict.pictures(home / "model.onnx", tmp_path / "nowhere.jpg")
    with pytest.raises(hub.PublishError, match="neither a folder"):
        predict.pictures(tmp_path, home / "faces")
    with pytest.raises(predict.PredictionInput, match="classes"):
        predict.pictures(nn.Flatten().eval(), home / "faces")


@pytest.mark.parametrize("name", ["text.onnx", "torn.onnx", "pipe.onnx", "foreign.onnx", "odd.onnx"])
def test_a_foreign_model_is_a_sentence(name, home, tmp_path):
    import onnx as onnx_file

    whole = (home / "model.onnx").read_bytes()
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "torn.onnx").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "pipe.onnx")
    model = onnx_file.load(home / "model.onnx")
    for entry in model.metadata_props:
        entry.value = "{" if entry.key == "classes" else entry.value
    onnx_file.save(model, tmp_path / "odd.onnx")
    del model.metadata_props[:]
    onnx_file.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(
        (runner.ExportError, Damaged), match=f"{name} (is no|holds no|does not hold)|metadata of .*{name}"
    ):
        predict.pictures(tmp_path / name, home / "faces")


def test_only_broken_files_make_a_table_too(home, tmp_path):
    (tmp_path / "a.png").touch()
    found = predict.pictures(home / "model.onnx", tmp_path)
    assert len(found.table) == 1 and found.squares.shape == (0, 48, 48, 3) and found.table["predicted"].isna().all()
    assert (found.save(tmp_path / "out") / "predictions.csv").is_file()


GBK = b"\xc0\xee.png".decode(errors="surrogateescape")  # of an old zip


def test_names_from_elsewhere_lose_no_results_and_no_row(home, tmp_path):
    names = [GBK, "a$^$b.png", "US$1_US$2.png", "line\nend.png", "\u622a" * 80 + ".png", 'comma,"quote".png']
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes((home / "faces" / "0.png").read_bytes())
    home_of = predict.pictures(home / "model.onnx", tmp_path / "in", find=False).save(tmp_path / "out")
    table = pd.read_csv(home_of / "predictions.csv")
    assert {Path(path).name for path in table["path"]} == {*names[1:], "\\udcc0\\udcee.png"}
    assert table["predicted"].notna().all() and (home_of / "contact_sheet.png").is_file()


def test_a_folder_as_it_is_gives_a_row_a_picture_and_says_what_it_left_out(home, tmp_path):
    folder = tmp_path / "in"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("0.png", "._0.png", ".ipynb_checkpoints/0.png"):
        (folder / name).write_bytes((home / "faces" / "0.png").read_bytes())
    (folder / "more").symlink_to(home / "faces" / "more")
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    Image.new("RGB", (900, 1)).save(folder / "line.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.gif")
    Image.fromarray(np.full((60, 60), 4000, np.uint16)).save(folder / "deep.png")
    os.mkfifo(folder / "pipe.png")
    found = predict.pictures(home / "model.onnx", folder)
    assert len(found.table) == 4 + 3 and found.table["predicted"].notna().all()
    told = str(found)
    assert "IMG_1.HEIC (no kind" in told and "pipe.png (a link to nothing, a pipe" in told and "2 hidden" in told
    named = predict.pictures(home / "model.onnx", [folder / "IMG_1.HEIC", folder / "pipe.png"]).table["face"]
    assert "HEIC is exported as JPEG" in named[0] and named[1].startswith("not a picture: no file, but")


def test_pictures_may_be_handed_over_in_any_usual_form(home):
    square = np.asarray(Image.open(home / "faces" / "0.png"))
    grey = Image.fromarray(square).convert("L")
    content = (home / "faces" / "0.png").read_bytes()
    objects = np.empty(2, object)
    objects[:] = [square, square[:30]]
    given = [Image.fromarray(square), square, content, Image.fromarray(square).convert("RGBA"), [square[None]]]
    with open(home / "faces" / "0.png", "rb") as file:
        found = predict.pictures(home / "model.onnx", [*given, file, (face for face in [square])], find=False)
    assert len(found.table) == 7 and found.table["path"].is_unique
    assert all(np.array_equal(seen, found.squares[0]) for seen in found.squares)
    assert np.array_equal(*predict.pictures(home / "model.onnx", [grey, np.asarray(grey)], find=False).squares)
    clear = np.dstack([square, np.zeros(square.shape[:2], np.uint8)])
    assert (predict.pictures(home / "model.onnx", clear, find=False).squares == 255).all()
    assert len(predict.pictures(home / "model.onnx", objects).table) == 2
    assert "truncated" in predict.pictures(home / "model.onnx", content[:80]).table["face"][0]
    for wrong in (
        square / 255,
        square.astype(np.uint16),
        torch.from_numpy(square),
        None,
        7,
        {"a": square},
        [],
        square[:0],
    ):
        with pytest.raises(predict.PredictionInput, match="give a file, a folder"):
            predict.pictures(home / "model.onnx", wrong)


def test_a_place_that_cannot_be_written_is_said_before_the_work(home, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    for place in ("taken", "taken/x.csv"):
        words = ["predict", str(tmp_path / "no model"), str(home / "faces"), "--out", str(tmp_path / place)]
        assert cli.main(words) == 2
        told = capsys.readouterr().err
        assert str(tmp_path / place.partition("/")[0]) in told and "no model" not in told
    words = ["predict", str(home / "model.onnx"), str(home / "portrait.png"), "--out", str(tmp_path / "own" / "t.csv")]
    assert cli.main(words) == 0
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["t.csv", "t.png"]


def test_the_command_line(home, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["predict", str(home / "model.onnx"), str(home / "portrait.png"), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "portrait.png" in told and "one" in told and len(pd.read_csv(out / "predictions.csv")) == 1
    assert cli.main(["predict", str(home / "model.onnx"), str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_without_a_camera_the_remedy_is_told(tmp_path):
    if Path("/dev/video0").exists():
        pytest.skip("this machine has a camera")
    with pytest.raises(camera.NoCamera, match="no camera"):
        camera.snapshot(tmp_path / "me.png")


@pytest.mark.slow
def test_the_space_runs_here_and_answers_a_posted_picture_as_predict_does(home, tmp_path):
    pytest.importorskip("gradio")
    place = hub.space(tmp_path / "space", home / "model.onnx", title="Faces", description="One face.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {**os.environ, "PYTHONPATH": "", "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    block = "import sys; sys.modules['torch'] = None; sys.path.insert(0, '.'); import runpy; "
    run = [sys.executable, "-c", block + "runpy.run_path('app.py', run_name='__main__')"]
    process = subprocess.Popen(run, cwd=place, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            with socket.socket() as knock:
                if not knock.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None, process.stdout.read().decode()
            time.sleep(0.5)
        client = pytest.importorskip("gradio_client")
        page = client.Client(f"http://127.0.0.1:{port}/", verbose=False)
        square = np.asarray(Image.open(home / "faces" / "2.png"))
        clear = np.dstack([square, np.where(np.arange(48) < 30, 255, 0)[None].repeat(48, 0).astype(np.uint8)])
        kinds = {"plain": square, "clear": clear, "deep": square[..., 0].astype(np.uint16) * 16}
        for name, content in kinds.items():
            picture = tmp_path / f"{name}.png"
            Image.fromarray(content).save(picture)
            said = page.predict(client.handle_file(str(picture)), api_name="/name")
            ours = predict.pictures(home / "model.onnx", picture, find=False).table.iloc[0]
            assert said["label"] == ours["predicted"], name
            for entry in said["confidences"]:
                assert abs(entry["confidence"] - ours[f"p_{entry['label']}"]) < 0.02, name
        assert b"Faces" in urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)

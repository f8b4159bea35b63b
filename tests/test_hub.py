import json
import time
import types
from pathlib import Path

import hub_server
import huggingface_hub.constants
import nbformat
import numpy as np
import pandas as pd
import pictures
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from emohelpers import config, metrics, models
from emohelpers.config import files, paths
from emohelpers.config.faces import Baseline, Transfer
from emohelpers.config.secrets import SecretError
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.export import hub, onnx, predict
from emohelpers.models import heads
from emohelpers.report import classes, style
from emohelpers.report import facts as report
from emohelpers.suite import execution

BOOK = Path(__file__).parents[1] / "notebooks/04_transfer_learning.ipynb"


def built(backbone="test_efficientnet", head="mlp", img_size=64):
    own = {"backbone": backbone, "img_size": img_size, "head": head, "weights": "random", "trainable": "all"}
    cfg = config.make(Baseline, "demo", **own)
    model = models.build(cfg, EMOTIONS).train()
    models.preprocess(model, side=32, zoom=1.0)
    model(torch.randn(8, 3, img_size, img_size))  # BatchNorm that is not at its start
    return model.eval(), cfg


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a notebook leaves behind: checkpoint, ONNX file, metrics, config, confusion matrix."""
    place, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    model, cfg = built()
    models.save(place / "best.pth", model, epoch=3)
    onnx.write(model, place / "model_fixed.onnx", np.stack([pictures.bar(i, rng) for i in range(8)]))
    labels = np.arange(80) % 8
    table = metrics.predictions([str(i) for i in range(80)], labels, rng.dirichlet(np.ones(8), 80), EMOTIONS)
    result = metrics.classification(table, EMOTIONS, resamples=100)
    facts = {"per_class": metrics.per_class(table, EMOTIONS, resamples=100).to_dict("records"), "temperature": 1.25}
    facts["counts"] = {"train": {"all": 400}, "golden": {"all": 80}, "all": {"all": 480}}
    report.save_metrics(place, result, data="bars", demo=True, split="f" * 64, seconds=3.0, **facts)
    files.write_json(place / "config.json", cfg.model_dump(mode="json"))
    style.save(classes.confusion_matrices(table, EMOTIONS), place / "confusion_matrix.png")
    return place


DATA = {"title": "Bars", "licence": "Drawn by code, MIT.", "citation": "None", "traps": ["They are no faces."]}


def bundled(run, out, **more):
    return hub.bundle(run, out, checkpoint=run / "best.pth", onnx=run / "model_fixed.onnx", data=DATA, **more)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    return bundled(run, tmp_path_factory.mktemp("out") / "hub", repo="me/faces")


@pytest.fixture
def server(monkeypatch):
    # the real client, by its HTTP way: the other one needs the hub's own storage servers
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    # it asks again by itself, after seconds
    hurried = types.SimpleNamespace(**vars(time) | {"sleep": lambda _: None})
    monkeypatch.setattr(huggingface_hub.utils._http, "time", hurried)
    made = hub_server.Hub()
    yield made
    made.shutdown()
    made.server_close()


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def send(folder, server, repo="me/faces", token=hub_server.TOKEN, **more):
    return hub.upload(folder, repo, token=token, endpoint=server.endpoint, wait=0.01, **more)


def test_the_folder_is_what_is_promised(folder):
    assert set(contents(folder)) == {
        "README.md", "best_model.pth", "classify.py", "config.json", "confusion_matrix.png", "head.safetensors",
        "label_map.json", "metrics.json", "model.onnx", "model.safetensors", "training.json",
    }  # fmt: skip
    assert json.loads((folder / "label_map.json").read_text()) == {name: i for i, name in enumerate(EMOTIONS)}


def test_the_card_tells_the_runs_own_figures(run, folder):
    text = (folder / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    figures_ = json.loads((run / "metrics.json").read_text())["figures"]
    told = {m["type"]: m["value"] for r in head["model-index"][0]["results"] for m in r["metrics"]}
    assert told == {key: figures_[key]["value"] for key in ("accuracy", "macro_f1")}
    assert head["library_name"] == "timm" and "demo-data" in head["tags"] and head["license"]
    f = figures_["macro_f1"]
    assert f"| Macro F1 | {f['value']:.3f} | {f['low']:.3f} to {f['high']:.3f} | 80 |" in text
    wanted = ["drawn faces", "They are no faces.", "Drawn by code, MIT.", "train 400, golden 80.", "1.250", "## Limits"]
    assert not [part for part in wanted if part not in text]
    assert all(f"| {name} | 10 |" in text for name in EMOTIONS) and "More Information" not in text
    assert "NaN" not in text and "None" not in text.replace("Citation: None", "")


def test_making_it_again_leaves_nothing_of_the_old(run, tmp_path):
    place = bundled(run, tmp_path / "hub")
    (place / "old.bin").touch()
    bundled(run, place, int8=run / "model_fixed.onnx")
    assert not (place / "old.bin").exists() and (place / "model_int8.onnx").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["hub"]


def test_everything_that_is_missing_is_told_at_once(run, tmp_path):
    with pytest.raises(hub.PublishError, match="a.pth.*b.onnx"):
        hub.bundle(run, tmp_path / "hub", checkpoint="a.pth", onnx="b.onnx")
    assert not list(tmp_path.iterdir())


def test_a_folder_loads_back_by_one_call_with_the_same_outputs(run, folder):
    x = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(hub.load(folder)(x), models.load(run / "best.pth").eval()(x))


def test_what_was_published_is_as_sure_as_the_run_was(run, folder):
    seen = np.stack([pictures.bar(i, np.random.default_rng(i)) for i in range(8)])
    plain = models.load(run / "best.pth").eval()
    for place in (folder, folder / "best_model.pth"):
        told = predict.pictures(place, seen, find=False).table
        pd.testing.assert_frame_equal(told, predict.pictures(plain, seen, find=False, temperature=1.25).table)
        assert not np.allclose(told["confidence"], predict.pictures(plain, seen, find=False).table["confidence"])
    assert models.load(folder / "best_model.pth").facts["epoch"] == 3


@pytest.mark.parametrize("head", ["linear", "mlp", "cosine"])
@pytest.mark.parametrize("backbone", ["test_vit", "test_efficientnet", "test_resnet", "test_convnext"])
def test_timm_alone_reads_it_with_the_same_outputs(backbone, head, tmp_path):
    """A linear head by timm itself; any other as timm's trunk and the head that lies beside it."""
    model, cfg = built(backbone, head, 96)
    hub.in_timms_form(model, tmp_path / "hub")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    assert list(theirs.pretrained_cfg["mean"]) == model.spec["preprocess"]["mean"]
    if head == "linear":
        assert theirs.pretrained_cfg["label_names"] == list(EMOTIONS)
    else:
        last = heads.build(head, theirs.num_features, 8, cfg.head_width, cfg.head_dropout).eval()
        if hasattr(theirs, "head_hidden_size") and theirs.head_hidden_size:
            last = heads.build(head, theirs.head_hidden_size, 8, cfg.head_width, cfg.head_dropout).eval()
        last.load_state_dict(load_file(tmp_path / "hub" / hub.HEAD))
        theirs = nn.Sequential(theirs, last)
    x = torch.randn(3, 3, 96, 96)
    with torch.inference_mode():
        assert torch.allclose(theirs(x), model(x), atol=1e-6)


def test_a_new_repository_gets_all_files_by_one_commit(folder, server):
    assert send(folder, server) == f"{server.endpoint}/me/faces"
    found = server.repos["model", "me/faces"]
    assert found["files"] == contents(folder) and len(found["commits"]) == 1 and found["private"]
    assert sum(path.startswith("PUT /lfs/") for path in server.asked) == 4, "large files go by themselves"


def test_a_token_is_stripped_and_one_that_can_be_none_is_not_shown(server, folder):
    assert send(folder, server, token=f" {hub_server.TOKEN}\r\n").endswith("me/faces")
    with pytest.raises(SecretError, match="the token of the hub holds a blank") as caught:
        send(folder, server, token=f"{hub_server.TOKEN}\nX")
    assert hub_server.TOKEN not in str(caught.value)


def test_an_update_keeps_what_others_put_there(folder, server, run, tmp_path):
    send(folder, server)
    found = server.repos["model", "me/faces"]
    found["files"]["notes.md"] = b"by hand"
    found["private"] = False
    server.asked.clear()
    again = bundled(run, tmp_path / "hub", repo="me/faces", int8=run / "model_fixed.onnx")
    send(again, server)
    assert found["files"] == contents(again) | {"notes.md": b"by hand"} and len(found["commits"]) == 2
    assert not found["private"] and not [path for path in server.asked if path.startswith("PUT")], "nothing sent twice"


def test_an_expired_token_leaves_nothing_and_says_what_to_do(folder, server):
    with pytest.raises(hub.PublishError, match="HTTP 401.*wrong or expired") as raised:
        send(folder, server, token="hf_old")
    assert not server.repos and not server.blobs and "hf_old" not in str(raised.value)
    send(folder, server)
    assert server.repos["model", "me/faces"]["files"] == contents(folder), "the next try is clean"


@pytest.mark.parametrize("where", ["/api/repos/create", "/preupload/", "/objects/batch", "PUT /lfs/", "/commit/"])
def test_one_error_of_the_hub_is_tried_again(folder, server, where):
    server.failures.append((where, 500))
    send(folder, server)
    assert not server.failures, "the failure was met"
    found = server.repos["model", "me/faces"]
    assert found["files"] == contents(folder) and len(found["commits"]) == 1


def test_a_hub_that_keeps_failing_leaves_nothing_partial(folder, server):
    server.failures += [("/api/repos/create", 503)] * hub.TRIES
    with pytest.raises(hub.PublishError, match="HTTP 503.*keeps failing"):
        send(folder, server)
    server.failures.append(("/commit/", 403))
    with pytest.raises(hub.PublishError, match="HTTP 403"):
        send(folder, server)
    assert server.repos["model", "me/faces"]["files"] == {}, "files without their commit are not there"
    send(folder, server)
    assert server.repos["model", "me/faces"]["files"] == contents(folder)


STEPS = {
    "repository": '/api/repos/create {"name":"faces","',
    "upload modes": "/api/models/me/faces/preupload/",
    "large files": "/me/faces.git/info/lfs/objects/batch",
    "one large file": "PUT /lfs/",
    "card": "/api/validate-yaml",
    "commit": "/api/models/me/faces/commit/",
    "Space": '/api/repos/create {"name":"faces-demo","',
    "Space's upload modes": "/api/spaces/me/faces-demo/preupload/",
    "Space's large files": "/spaces/me/faces-demo.git/info/lfs/objects/batch",
    "Space's commit": "/api/spaces/me/faces-demo/commit/",
}
REMEDIES = {
    0: "turn internet on", 401: "make one with write access", 402: "a paying account", 403: "give it write access",
    429: "some minutes", 500: "try again later",
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folders of a model and of its Space with a file of each kind: what a hub refuses is not their content."""
    home = tmp_path_factory.mktemp("small")
    for name in ("hub", "space"):
        (home / name).mkdir()
        (home / name / "README.md").write_text("---\nlicense: mit\n---\n# Faces\n")
        (home / name / "model.onnx").write_bytes(name.encode() * 100)
    return home


def told(server, capsys, home, token=hub_server.TOKEN, **more):
    """The one line that publishing prints: a sentence without the token."""
    usual = {"space": home / "space", "token": token, "endpoint": server.endpoint, "wait": 0.01}
    line = hub.publish(home / "hub", "me/faces", **usual | more)
    assert capsys.readouterr().out == f"{line}\n" and not (token and token in line) and ". " not in line
    return line


@pytest.mark.parametrize("status", REMEDIES)
@pytest.mark.parametrize("step", STEPS)
def test_no_refusal_at_any_step_stops_a_notebook(small, server, capsys, step, status):
    server.refusals = [(STEPS[step], status)]
    line = told(server, capsys, small)
    assert REMEDIES[status] in line and (f"HTTP {status}, as told" in line or not status)
    sent = {kind: repo["files"] for (kind, _), repo in server.repos.items() if repo["commits"]}
    if step.startswith("Space"):
        assert sent == {"model": contents(small / "hub")}
        start = f"published: {server.endpoint}/me/faces; the space me/faces-demo was not published ("
        assert line.startswith(start) and line.endswith(
            f"{small / 'space'} stays, and `python app.py` there opens the page"
        )
    else:
        assert not sent and line.startswith("the model me/faces was not published (") and "demo" not in line
        assert line.endswith(f"{small / 'hub'} stays, and `hf upload me/faces {small / 'hub'} --private` sends it")
    server.refusals = []
    assert (
        told(server, capsys, small)
        == f"published: {server.endpoint}/me/faces, Space: {server.endpoint}/spaces/me/faces-demo"
    )
    assert {kind: repo["files"] for (kind, _), repo in server.repos.items()} == {
        "model": contents(small / "hub"), "space": contents(small / "space"),
    }, "the next try is clean"  # fmt: skip


def test_a_token_that_is_refused_or_can_be_none_and_no_hub_are_one_sentence_too(small, server, capsys, monkeypatch):
    assert "HTTP 401, Invalid" in told(server, capsys, small, token="hf_expired")
    assert "holds a blank" in told(server, capsys, small, token="hf_of two lines")
    monkeypatch.setenv("HF_TOKEN", "hf_broken\nby a line")
    assert "HF_TOKEN holds a blank" in told(server, capsys, small, token="")
    unwanted = told(server, capsys, small, token="", wanted=False)
    assert unwanted == f"not published, since PUBLISH is False: {small / 'hub'} is the folder"
    assert "turn internet on" in told(server, capsys, small, endpoint="http://127.0.0.1:9")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_notebook_ends_with_all_results_whatever_the_hub_says(server, tmp_path, monkeypatch):
    """04 to its end against a hub that cuts the commit, then again against one that takes no Space."""
    monkeypatch.chdir(tmp_path)
    settings = {"publish": True, "repo": "me/faces", "epochs": 2, "ablations": [], "int8_tries": 1}
    given = {"OUTPUT_DIR": str(tmp_path / "results"), "OVERRIDES": settings}
    env = {"EMOHELPERS_OUTPUTS": str(tmp_path / "outputs"), "HF_ENDPOINT": server.endpoint, "OMP_NUM_THREADS": "1"}
    env |= {"HF_TOKEN": hub_server.TOKEN, "HF_HUB_DISABLE_XET": "1"}
    refusals = {
        "the model me/faces was not published (": ("/commit/", 0),
        "the space me/faces-demo was not published (HTTP 402": ('"name":"faces-demo"', 402),
    }
    for sentence, refusal in refusals.items():
        server.refusals = [refusal]
        part, log = tmp_path / "part.ipynb", tmp_path / "run.log"
        process = execution.start(BOOK, part, given, log, env)
        try:
            assert process.wait(400) == 0, execution.outcome(part, log, process.returncode)
        finally:
            execution.end_tree(process)
        lines = [
            line
            for cell in nbformat.read(part, 4).cells
            for output in cell.get("outputs", [])
            for line in output.get("text", "").splitlines()
        ]
        assert len([line for line in lines if sentence in line]) == 1 and hub_server.TOKEN not in part.read_text()
        assert not [name for name in Transfer.writes if not (tmp_path / "results" / name).is_file()]
    assert server.repos["model", "me/faces"]["files"] == contents(tmp_path / "results/hub")


def test_no_hub_is_said(folder):
    with pytest.raises(hub.PublishError, match="was not published"):
        hub.upload(folder, "me/faces", token="x", endpoint="http://127.0.0.1:9")


def test_a_repository_loads_back_by_one_call(folder, server, run, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    send(folder, server)
    model = hub.load("me/faces", token=hub_server.TOKEN, endpoint=server.endpoint)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(x), models.load(run / "best.pth").eval()(x))
    with pytest.raises(hub.PublishError, match="nobody/nothing"):
        hub.load("nobody/nothing", token="hf_old", endpoint=server.endpoint)
    picture = pictures.bar(1, np.random.default_rng(0))
    assert predict.pictures(model, picture, find=False).table["predicted"].item() in EMOTIONS


def test_without_a_token_or_by_choice_the_folder_is_all(folder, server, monkeypatch, capsys):
    monkeypatch.setattr(paths, "secret", lambda name: "")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    lines = [hub.publish(folder, "me/faces", endpoint=server.endpoint)]
    lines += [hub.publish(folder, "me/faces", wanted=False, token=hub_server.TOKEN, endpoint=server.endpoint)]
    lines += [hub.publish(folder, "", token=hub_server.TOKEN, endpoint=server.endpoint)]
    assert not server.asked and capsys.readouterr().out.splitlines() == lines
    assert [line.split(":")[0] for line in lines] == [
        "not published, since there is no token (HF_TOKEN as secret, or `hf auth login`)",
        "not published, since PUBLISH is False", "not published, since no repository is named",
    ]  # fmt: skip
    monkeypatch.setattr(paths, "secret", lambda name: hub_server.TOKEN if name == "HF_TOKEN" else "")
    assert hub.publish(folder, "me/faces", endpoint=server.endpoint).startswith("published: http")


def test_model_and_space_go_up_together(folder, run, server, tmp_path):
    page = hub.space(tmp_path / "space", run / "model_fixed.onnx", title="Faces", description="One face.")
    assert {p.name for p in page.iterdir()} == {
        "README.md", "app.py", "classify.py", "model.onnx", "page.json", "requirements.txt"
    }  # fmt: skip
    hub.publish(folder, "me/faces", space=page, token=hub_server.TOKEN, endpoint=server.endpoint)
    assert server.repos["space", "me/faces-demo"]["files"] == contents(page)
    assert yaml.safe_load((page / "README.md").read_text().split("---\n")[1])["sdk"] == "gradio"
    assert "torch" not in (page / "requirements.txt").read_text()

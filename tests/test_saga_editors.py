"""Editors that are extras: the service's own client against a loopback server, a diffusion pipeline built here."""

import base64
import io
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from emohelpers import config
from emohelpers.config.saga import Saga
from emohelpers.saga.editors import Declined, Diffusion, Exhausted, Job, gemini

JOB = Job("happy/a.png", "happy", "sad", "make it sad")


def png(colour="white", size=(48, 48)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def answer(content: bytes, kind="image/png"):
    part = {"inlineData": {"mimeType": kind, "data": base64.b64encode(content).decode()}}
    return {"candidates": [{"content": {"role": "model", "parts": [{"text": "Here."}, part]}, "finishReason": "STOP"}]}


def raw(text):
    """The client writes base64 in its URL-safe letters."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"))


class Service(ThreadingHTTPServer):
    """Answers as `script(number, key, request)` says: (status, JSON or bytes); counts calls a key."""

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.calls, self.asked, self.guard = script, Counter(), [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["x-goog-api-key"]
        with self.server.guard:
            self.server.calls[key] += 1
            self.server.asked.append((self.path, request))
            number = sum(self.server.calls.values())
        status, content = self.server.script(number, key, request)
        if not status:  # hangs up without an answer
            self.close_connection = True
            return
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def error(code, text, status):
    return code, {"error": {"code": code, "message": text, "status": status}}


@pytest.fixture
def service():
    started = []

    def start(script):
        started.append(Service(script))
        return started[-1]

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.fixture
def waits(monkeypatch):
    """Seconds that would have been waited before another try."""
    nap = pytest.importorskip("tenacity.nap")
    seconds = []
    monkeypatch.setattr(nap.time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def editor(monkeypatch):
    pytest.importorskip("google.genai", reason="the extra saga is not installed")
    monkeypatch.setenv("GEMINI_API_KEY", "key-one")
    return lambda service: gemini.Gemini(settings(service.url))


def settings(url="", **values):
    return config.make(
        Saga, "demo", editor="gemini", gemini_model="m", gemini_url=url, requests_per_minute=10**6, **values
    )


def test_the_request_carries_picture_and_prompt_and_the_answer_gets_the_faces_size(service, editor):
    server = service(lambda n, key, request: (200, answer(png("red", (256, 256)))))
    made = editor(server)
    with Image.open(io.BytesIO(made.edit(JOB, png()))) as picture:
        assert picture.size == (48, 48) and picture.format == "JPEG" and picture.getpixel((5, 5))[0] > 240
    path, request = server.asked[0]
    assert path.endswith("models/m:generateContent")
    parts = request["contents"][0]["parts"]
    assert raw(parts[0]["inlineData"]["data"]) == png() and parts[1]["text"] == JOB.prompt
    assert "IMAGE" in request["generationConfig"]["responseModalities"]


def test_server_errors_broken_json_and_a_lost_connection_are_tried_again_with_growing_waits(service, editor, waits):
    script = {1: error(500, "internal", "INTERNAL"), 2: (200, b'{"candidates": [{"conte'), 3: (0, b"")}
    script[4] = error(503, "busy", "UNAVAILABLE")
    script[5] = error(429, "Resource exhausted", "RESOURCE_EXHAUSTED")
    server = service(lambda n, key, request: script.get(n, (200, answer(png()))))
    assert editor(server).edit(JOB, png())
    assert server.calls["key-one"] == 6 and [wait for wait in waits if wait] == [2.0, 4.0, 8.0, 16.0, 32.0]


def test_a_service_that_stays_broken_is_given_up_without_an_answer(service, editor, waits):
    server = service(lambda n, key, request: error(500, "internal", "INTERNAL"))
    with pytest.raises(Exhausted, match="6 tries failed, the last with ServerError: 500 INTERNAL"):
        editor(server).edit(JOB, png())
    assert server.calls["key-one"] == 6


def test_a_wrong_key_is_told_at_once(service, editor):
    bad = error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT")
    server = service(lambda n, key, request: bad)
    with pytest.raises(Exhausted, match="the key is refused: 400 API key not valid.*GEMINI_API_KEY"):
        editor(server).edit(JOB, png())
    assert server.calls["key-one"] == 1


@pytest.mark.parametrize(
    "content, why",
    [
        (answer(b"this is text", "text/plain"), "not a picture"),
        (answer(png()[:60]), "not a picture"),
        ({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, "IMAGE_SAFETY"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY"),
        ({"candidates": [{"content": {"role": "model", "parts": [{"text": "no"}]}}]}, "no picture"),
    ],
)
def test_answers_without_a_picture_are_declined_and_not_repeated(service, editor, content, why):
    server = service(lambda n, key, request: (200, content))
    with pytest.raises(Declined, match=why):
        editor(server).edit(JOB, png())
    assert sum(server.calls.values()) == 1


def test_a_refused_request_is_declined(service, editor):
    server = service(lambda n, key, request: error(400, "Unsupported picture", "INVALID_ARGUMENT"))
    with pytest.raises(Declined, match="Unsupported picture"):
        editor(server).edit(JOB, png())


@pytest.mark.parametrize(("status", "kind"), [(400, Declined), (403, Exhausted), (503, Exhausted)])
def test_a_key_that_the_service_echoes_is_not_shown(status, kind, service, editor, waits):
    """Long before it so that cutting the text would leave a part of the key."""
    server = service(lambda n, key, request: error(status, f"{'x' * 45} key {key} and {quote(key)}", "NO"))
    with pytest.raises(kind) as caught:
        editor(server).edit(JOB, png())
    assert "key-" not in str(caught.value) and "***" in str(caught.value) and caught.value.__suppress_context__


def test_requests_a_minute_are_kept(service, editor, monkeypatch):
    """On a clock of its own: in no minute more than three requests go out, whoever asks."""
    server = service(lambda n, key, request: (200, answer(png())))
    made = editor(server)
    made.pause = 60 / 3
    now, times = [0.0], []

    def sleep(seconds):
        now[0] += seconds
        times.append(now[0])

    monkeypatch.setattr(gemini, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    for _ in range(8):
        made.edit(JOB, png())
    assert all(later - first >= 60 for first, later in zip(times, times[3:], strict=False)) and times[-1] == 140


def test_without_a_key_it_says_where_keys_come_from(monkeypatch):
    pytest.importorskip("google.genai")
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(Exhausted, match="GEMINI_API_KEY"):
        gemini.Gemini(settings())


def test_killed_at_the_service_only_what_is_missing_is_asked_for(service, tmp_path, monkeypatch):
    """The whole loop on the client and the loopback server, killed with -9; calls are counted at the server."""
    import os
    import signal
    import subprocess
    import sys
    import time
    from pathlib import Path

    import test_saga

    def script(n, key, request):
        time.sleep(0.03)
        return 200, answer(raw(request["contents"][0]["parts"][0]["inlineData"]["data"]))

    pytest.importorskip("google.genai")
    monkeypatch.setenv("GEMINI_API_KEY", "k1")
    server = service(script)
    test_saga.loop_world(tmp_path)
    program = (
        "import sys; from pathlib import Path; import test_saga as t; import test_saga_editors as e;"
        "t.go(Path(sys.argv[1]), e.gemini.Gemini(e.settings(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(tmp_path), server.url]
    child = subprocess.Popen(command, cwd=Path(__file__).parent)
    answers = tmp_path / "out" / "saga" / "answers"
    while child.poll() is None and (not answers.is_dir() or len(list(answers.glob("*.bin"))) < 9):
        time.sleep(0.005)
    assert child.poll() is None, "it was over before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(1)  # what was under way is counted
    kept, before = len([p for p in answers.iterdir() if not p.name.startswith(".")]), sum(server.calls.values())
    subprocess.run(command, cwd=Path(__file__).parent, check=True)
    wanted = len([p for p in answers.iterdir() if not p.name.startswith(".")])
    assert sum(server.calls.values()) - before == wanted - kept > 0
    total = sum(server.calls.values())
    subprocess.run(command, cwd=Path(__file__).parent, check=True)
    assert sum(server.calls.values()) == total, "a third run has nothing to ask"


def tiny_pipeline(folder):
    """InstructPix2Pix with every part of the real one, of a few thousand random weights."""
    pytest.importorskip("diffusers")
    import torch
    import transformers
    from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
    from diffusers import UNet2DConditionModel as UNet

    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    torch.manual_seed(0)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(vocab), hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
            bos_token_id=len(vocab) - 2, eos_token_id=len(vocab) - 1,
        )
    )  # fmt: skip
    unet = UNet(
        sample_size=8, in_channels=8, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, norm_num_groups=8,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=8,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
    )  # fmt: skip
    pipe = StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=EulerAncestralDiscreteScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder / "pipe")
    return folder / "pipe"


def test_the_diffusion_editor_edits_alike_every_time(tmp_path):
    place = tiny_pipeline(tmp_path / "tiny")
    small = {"editor": "diffusers", "diffusion_steps": 2, "diffusion_side": 32, "seed": 1}
    made = Diffusion(config.make(Saga, "demo", diffusion_model=str(place), **small))
    first, other = made.edit(JOB, png()), made.edit(Job("b.png", "happy", "sad", JOB.prompt), png())
    assert first == made.edit(JOB, png()) and first != other
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.size == (48, 48) and np.asarray(picture).std() > 0
    with pytest.raises(Exhausted, match="could not be loaded"):
        Diffusion(config.make(Saga, "demo", diffusion_model=str(tmp_path / "nothing"), **small))

"""Keys and tokens: read as people store them, refused without being shown, and found nowhere after a run."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from tiny import status, write

from emohelpers import config
from emohelpers.config import paths, redaction, secrets
from emohelpers.config.errors import SuiteError
from emohelpers.config.redaction import redact
from emohelpers.config.saga import Saga

HOME = Path(__file__).parents[1]
TAIL = "Q7zK3vX9mP2wL5tR8yB4nD6sF1gH0jC"
SHAPES = {  # name -> one that was never anybody's
    "HF_TOKEN": f"hf_{TAIL}",
    "GEMINI_API_KEY": f"AIza{TAIL}-_x0",
    "OPENAI_API_KEY": f"sk-proj-{TAIL}",
    "KAGGLE_KEY": "9f86d081884c7d659a2feaa0c55ad015",
    "GITHUB_TOKEN": f"ghp_{TAIL}abc",
    "AWS_ACCESS_KEY": "AKIAQ7ZK3VX9MP2WL5TR",
    "SESSION_TOKEN": f"eyJhbGciOiJI.eyJzdWIiOiIx.{TAIL}",
    "DB_PASSWORD": "c0rrect+horse/b@ttery",
}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test lets `redact` know is forgotten afterwards."""
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.mark.parametrize(
    "content",
    [
        b"HF_TOKEN=hf_abc\n",
        b'# HF_TOKEN=old\r\nexport HF_TOKEN = "hf_abc"  # write\r\nX=1\r\n',
        b"\xef\xbb\xbfHF_TOKEN=hf_abc",
        "HF_TOKEN=hf_abc\r\n".encode("utf-16"),
        "X=1\nHF_TOKEN=hf_abc\n".encode("utf-16-le"),
        "HF_TOKEN=hf_abc\n".encode("utf-16-be"),
        b"HF_TOKEN=hf_abc\t# write access\n",
        b"HF_TOKEN='hf_abc' # it's mine\n",
        "# Schlüssel\nHF_TOKEN=hf_abc\n".encode("latin-1"),
        b"HF_TOKEN=hf_old\nHF_TOKEN=hf_abc\n",
    ],
)
def test_an_env_file_is_read_as_editors_write_it(content: bytes, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    Path(".env").write_bytes(content)
    assert paths.secret("HF_TOKEN") == "hf_abc"
    assert redact("in hf_abc out") == "in *** out"


@pytest.mark.parametrize(
    "text", ["hf_abc\n", "\ufeffhf_abc", " 'hf_abc' ", '"hf_abc"\r\n', "hf_abc # mine", "\u200bhf_abc"]
)
def test_a_variable_is_stripped(text: str, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", text)
    assert paths.secret("HF_TOKEN") == "hf_abc"


@pytest.mark.parametrize(
    "text", [f"hf_{TAIL} {TAIL}", f"hf_{TAIL}\nX", f"hf_{TAIL}ü", f"hf_{TAIL}\x7f", f"“hf_{TAIL}”"]
)
def test_what_can_be_no_key_is_refused_and_not_shown(text: str, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", text)
    with pytest.raises(secrets.SecretError, match="HF_TOKEN holds a blank") as caught:
        paths.secret("HF_TOKEN")
    assert TAIL not in str(caught.value)


def test_an_env_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    (tmp_path / ".env").touch()
    with pytest.raises(secrets.SecretError, match=r"\.env cannot be read \(Permission denied\)"):
        secrets.read(tmp_path / ".env")


@pytest.mark.parametrize("secret", SHAPES.values(), ids=SHAPES)
def test_a_known_secret_is_hidden_in_every_encoding(secret: str) -> None:
    redaction.remember(secret)
    texts = [secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe=""), json.dumps(secret), repr(secret)]
    texts += ["".join(f"%{ord(letter):02x}" for letter in secret)]
    texts += [base64.b64encode(f"{before}{secret}:x".encode()).decode() for before in ("", "a", "ab", "user:")]
    texts += [base64.urlsafe_b64encode(secret.encode()).decode()]
    for text in texts:
        assert secret[4:12] not in redact(text) and "***" in redact(text), text
        assert len(redact(text)) < 20, text


def test_shapes_are_hidden_where_nobody_knows_the_value() -> None:
    shapes = {name: value for name, value in SHAPES.items() if name not in ("KAGGLE_KEY", "DB_PASSWORD")}
    for secret in shapes.values():
        assert redact(f"refused: {secret}.") in ("refused: ***.", "refused: ***")
    assert redact("http://me:pass@host/x?a=1&api_key=abcdef&b=2") == "http://***@host/x?a=1&api_key=***&b=2"
    assert redact("{'Authorization': 'Basic bWU6cGFzcw=='}") == "{'Authorization': 'Basic ***'}"
    assert redact('{"username":"me","key":"9f86d081884c7d659a2feaa0c55ad015"}') == '{"username":"me","key":"***"}'
    plain = """token = paths.secret("HF_TOKEN"); hf_hub_download; sk-estimator-doc-link; git@github.com; key: 3
    Basic training; the bearer of it; https://a/b?x=1; "sha256": "9f86d081884c7d659a2feaa0c55ad015"; tokens: 196"""
    assert redact(plain) == plain


def test_an_error_of_the_suite_hides_what_it_quotes() -> None:
    assert str(SuiteError(f"refused: hf_{TAIL}")) == "refused: ***"
    assert f"hf_{TAIL[:6]}" not in redaction.brief(f"{'x' * 90} hf_{TAIL}", 100)  # cut after it is hidden


def test_a_setting_that_holds_a_key_is_refused_and_not_shown() -> None:
    for values in ({"gemini_url": f"https://x/?key={TAIL}"}, {"prompt": f"AIza{TAIL}-_x0"}, {"no_such": f"hf_{TAIL}"}):
        with pytest.raises(config.ConfigError, match=f"{next(iter(values))}: a key or password") as caught:
            config.make(Saga, "demo", **values)
        assert TAIL not in str(caught.value)


PROVIDER = """
import http.server, threading, urllib.request, urllib.error, urllib.parse, base64, os, sys
class Provider(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        key = urllib.parse.unquote(self.path.partition('key=')[2])
        text = f'invalid {key} {urllib.parse.quote(key, safe="")} {base64.b64encode(("user:" + key).encode()).decode()}'
        self.send_response(403); self.end_headers(); self.wfile.write(text.encode())
    def log_message(self, *_): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
def ask(key):
    address = f'http://127.0.0.1:{server.server_port}/v1?key=' + urllib.parse.quote(key, safe='')
    try: urllib.request.urlopen(address)
    except urllib.error.HTTPError as error: return error.read().decode() + ' at ' + address
"""
SPOIL = """
names = NAMES
dotenv = dict(line.split('=', 1) for line in open('.env'))
for name in names:
    value = os.environ[name]
    print('environment', name, value); print('.env', dotenv[name], file=sys.stderr)
    print('provider', ask(value)); print('setting', OVERRIDES); print('address', DATASET_ROOT)
    os.write(1, ('raw ' + value).encode())
    print(value[:5], end=''); print(value[5:])
{'values': [os.environ[name] for name in names]}
"""


def test_planted_secrets_are_found_nowhere_after_a_run(tmp_path: Path) -> None:
    """Eight shapes in the environment, `.env`, a provider's error, a setting and an address; one run fails of them."""
    fail = "raise RuntimeError(ask(os.environ['GEMINI_API_KEY']) + ask(os.environ['DB_PASSWORD']))"
    write(tmp_path, "01_a", PROVIDER, SPOIL)
    write(tmp_path, "02_b", PROVIDER, fail)
    given = {name: f"{value}{number}" for number, (name, value) in enumerate(SHAPES.items())}  # .env has others
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    address = f"https://me:{SHAPES['DB_PASSWORD'].replace('/', '%2F').replace('@', '%40')}@host/x?token={TAIL}"
    values = {"NAMES": list(SHAPES), "OVERRIDES": {f"s{n}": value for n, value in enumerate(SHAPES.values())}}
    values["DATASET_ROOT"] = address
    command = [sys.executable, "-m", "emohelpers", "run"]
    command += [word for name, value in values.items() for word in ("--param", f"{name}={json.dumps(value)}")]
    outputs = tmp_path / "outputs"
    environment = {**os.environ, **SHAPES, "PYTHONPATH": str(HOME), "EMOHELPERS_OUTPUTS": str(outputs)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert status(tmp_path, "01_a", "full")["status"] == "done", ran.stdout + ran.stderr
    assert (
        status(tmp_path, "02_b", "full")["status"] == "failed" and "*** " in status(tmp_path, "02_b", "full")["error"]
    )
    texts = {str(path): path.read_bytes().decode("utf-8", "replace") for path in outputs.rglob("*") if path.is_file()}
    assert {Path(name).name for name in texts} >= {
        "status.json",
        "run.log",
        "01_a.ipynb",
        "02_b.part.ipynb",
        "index.html",
    }
    planted = {*SHAPES.values(), *given.values()}
    planted |= {quote(secret, safe="") for secret in planted}
    planted |= {base64.b64encode(f"user:{secret}".encode()).decode()[9:-4] for secret in planted}
    for name, text in {**texts, "screen": ran.stdout + ran.stderr}.items():
        assert [secret for secret in planted if secret in text] == [], name
    assert texts[str(outputs / "full" / "01_a" / "01_a.ipynb")].count("***") > 60

"""Hostile data sets, tables, models and songs: a sentence each, no traceback, no wait, nothing outside."""

import io
import json
import os
import signal
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from PIL import Image

from emohelpers.datasets import decoding

EMOTIONS = ("happy", "sad", "anger")
SMALL = {"backbone": "test_vit", "weights": "random", "trainable": "all", "img_size": 32, "epochs": 1, "batch_size": 8,
         "golden": "stratified:.2", "bootstrap": 100}  # fmt: skip


@pytest.fixture(scope="module")
def processes():
    return hostile.context()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "inside"
    inside.mkdir()
    return inside


def faces(folder: Path, each: int = 12, side: int = 40) -> None:
    """Class folders of noise."""
    rng = np.random.default_rng(0)
    for emotion in EMOTIONS:
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(
                folder / emotion / f"{emotion}{number}.png"
            )


def table(folder: Path, content: str | bytes | None = None, name: str = "labels.csv") -> None:
    """Pictures in class folders, and a table of them (or of `content`)."""
    faces(folder)
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.glob("*/*.png"))]
    plain = "path,label\n" + "\n".join(rows) + "\n"
    data = plain if content is None else content
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds nothing of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


# Data sets: what makes a folder of pictures hostile.


def empty(data: Path) -> None:
    data.mkdir(exist_ok=True)


def no_bytes(data: Path) -> None:
    faces(data)
    for path in data.glob("*/*.png"):
        path.write_bytes(b"")


def bomb(data: Path) -> None:
    faces(data)
    (data / "happy" / "huge.png").write_bytes(png_header(60_000, 60_000))


def fifo_picture(data: Path) -> None:
    faces(data)
    os.mkfifo(data / "happy" / "pipe.png")


def fifo_table(data: Path) -> None:
    faces(data)
    os.mkfifo(data / "labels.csv")


def device(data: Path) -> None:
    faces(data)
    (data / "happy" / "zero.png").symlink_to("/dev/zero")


def device_table(data: Path) -> None:
    faces(data)
    (data / "labels.csv").symlink_to("/dev/zero")


def loop(data: Path) -> None:
    faces(data)
    (data / "happy" / "again").symlink_to(data)
    (data / "happy" / "self.png").symlink_to(data / "happy" / "self.png")


def deep(data: Path) -> None:
    faces(data)
    place = data / "happy"
    for _ in range(120):
        place /= "deeper"
    place.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(place / "x.png")


def postscript(data: Path) -> None:
    faces(data)
    (data / "happy" / "ps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\nshowpage\n")


def surrogate(data: Path) -> None:
    faces(data)
    os.rename(os.fsencode(data / "happy" / "happy0.png"), os.fsencode(data / "happy") + b"/\xe9\xff.png")


def frames(data: Path) -> None:
    faces(data)
    pictures = [Image.new("L", (2, 2), number % 255) for number in range(3000)]
    pictures[0].save(data / "happy" / "film.gif", save_all=True, append_images=pictures[1:])


def named_by_format(data: Path) -> None:
    faces(data)
    (data / "happy" / "{0.__class__}%s$x$.png").write_bytes((data / "happy" / "happy0.png").read_bytes())


FOLDERS = [empty, no_bytes, bomb, fifo_picture, device, loop, deep, postscript, surrogate, frames, named_by_format]

# Tables: the content of labels.csv.

ROWS = "".join(f"{emotion}/{emotion}{number}.png,{emotion}\n" for emotion in EMOTIONS for number in range(12))
TABLES: dict[str, str | bytes] = {
    "empty": "",
    "header alone": "path,label\n",
    "nul bytes": b"\0" * 4096,
    "random bytes": bytes(np.random.default_rng(1).integers(0, 256, 20_000, np.uint8)),
    "one cell of 30 MB": "path,label\n" + "x" * 30_000_000 + ",happy\n" + ROWS,
    "one open quote": 'path,label\n"' + ROWS,
    "200,000 columns": ",".join(f"c{number}" for number in range(200_000)) + "\n" + ROWS,
    "utf-32": ("path,label\n" + ROWS).encode("utf-32"),
    "utf-16 without a mark": ("path,label\n" + ROWS).encode("utf-16-le"),
    "a zip": b"PK\x03\x04" + b"\0" * 500,
    "a parquet": b"PAR1" + b"\0" * 500 + b"PAR1",
    "an html page": "<!DOCTYPE html><html><body>404</body></html>",
    "a path out": "path,label\n../../../../../../etc/passwd,happy\n" + ROWS,
    "an absolute path": "path,label\n/dev/zero,happy\n" + ROWS,
    "a path of nul": "path,label\nhappy/\0.png,happy\n" + ROWS,
    "a name of 5,000 letters": "path,label\n" + "a" * 5000 + ".png,happy\n" + ROWS,
    "labels missing": "path,label\n" + ROWS.replace("happy\n", "\n"),
    "one class": "path,label\n" + "".join(f"happy/happy{number}.png,happy\n" for number in range(12)),
    "a column twice": "path,label,label\n" + ROWS.replace("\n", ",sad\n"),
    "formulas": "path,label\n=cmd|'/c calc'!A1,happy\n" + ROWS,
    "numbers as text": "path,label\n" + ROWS.replace("happy\n", "1e400\n"),
    "a million commas": "path,label\n" + "," * 1_000_000 + "\n" + ROWS,
    "line ends of an old Mac": ("path,label\n" + ROWS).replace("\n", "\r"),
}
PIXELS: dict[str, str] = {
    "pixels of the wrong number": "emotion,pixels\n" + "".join(f"{i % 7},1 2 3\n" for i in range(40)),
    "pixels that are words": "emotion,pixels\n" + "".join(f"{i % 7},a b c\n" for i in range(40)),
    "pixels beyond a byte": "emotion,pixels\n" + "".join(f"{i % 7},{' '.join(['999'] * 2304)}\n" for i in range(40)),
}

# Manifests: the YAML of a data set.

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MANIFESTS: dict[str, str | bytes] = {
    "empty": "",
    "a list": "- a\n- b\n",
    "binary": bytes(range(256)),
    "a python object": "name: !!python/object/apply:os.system ['touch ../outside']\nlayout: {kind: folders}\n",
    "an alias bomb": BOMB + "name: m\nlayout: {kind: folders}\n",
    "a bomb as labels": BOMB + "name: m\nlayout: {kind: folders}\nlabels: *a9\n",
    "a slow expression": "name: m\nlayout: {kind: folders}\ngroup: {pattern: '(a+)+$', from: path}\n",
    "a slow pattern": "name: m\nlayout: {kind: folders, pattern: '(.*)*(.*)*(.*)*x{label}'}\n",
    "a name that leads out": "name: ../../outside\nlayout: {kind: folders}\n",
    "a list as a key": "name: m\n? [a, b]\n: c\nlayout: {kind: folders}\n",
    "keys twice": "name: m\nname: n\nlayout: {kind: folders}\nlayout: {kind: table}\n",
    "tabs": "name: m\nlayout:\n\tkind: folders\n",
    "labels as a list": "name: m\nlayout: {kind: folders}\nlabels: [happy, sad]\n",
    "labels onto themselves": "name: m\nlayout: {kind: folders}\nlabels: {happy: {a: 1}, sad: [2]}\n",
    "root is the disk": "name: m\nroot: /proc\nlayout: {kind: folders}\n",
    "deep nesting": "name: m\nlayout: " + "[" * 5000 + "]" * 5000 + "\n",
    "5 MB of text": "name: m\ntitle: " + "x" * 5_000_000 + "\nlayout: {kind: folders}\n",
}


def train(data: Path, manifest: Path) -> list[str]:
    settings = SMALL | {"manifest": str(manifest), "dataset_root": str(data)}
    text = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    sets = [word for setting in text for word in ("--set", setting)]
    return ["train", "baseline", "--preset", "demo", *sets, "--out", "results"]


def judge(outcome: hostile.Outcome, folder: Path) -> None:
    """The property: an answer or a sentence, soon, in little memory, and nothing outside of `folder`."""
    end = outcome.text[-1500:]
    assert outcome.code is not None, f"still waiting after {hostile.TOO_LONG:g} s: {end}"
    assert outcome.code != -signal.SIGXCPU, f"still computing after {hostile.PROCESSOR_SECONDS} s: {end}"
    assert outcome.code in (0, 1, 2) and "Traceback" not in outcome.text, f"exit {outcome.code}: {end}"
    assert "fault of the suite" not in outcome.text, end
    assert outcome.code == 0 or len(outcome.text.strip()) > 20, "it ends without a sentence"
    assert outcome.gigabytes < 2, f"{outcome.gigabytes:.1f} GB"
    assert {path.name for path in folder.parent.iterdir()} <= {folder.name, "log.txt", "memory"}
    assert outcome.code == 0 or len(outcome.text) < 20_000, f"{len(outcome.text)} letters are no sentence"


PLAIN = "name: m\nlayout: {kind: folders}\n"
OF_TABLE = "name: m\nlayout: {kind: table, file: labels.csv}\n"
OF_PIXELS = "name: m\nlayout: {kind: pixels, file: labels.csv, label: emotion, pixels: pixels, side: 48}\n"


def name(value: object) -> str | None:
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize("make", [*FOLDERS, fifo_table, device_table], ids=name)
def test_folder(make: Callable[[Path], None], folder: Path, processes) -> None:
    make(folder / "data") if make is empty else ((folder / "data").mkdir(), make(folder / "data"))
    manifest = folder / "m.yaml"
    manifest.write_text(OF_TABLE if "table" in make.__name__ else PLAIN)
    judge(hostile.attack(processes, folder, hostile.command, train(folder / "data", manifest)), folder)


@pytest.mark.parametrize("make", [*FOLDERS, fifo_table], ids=name)
def test_folder_of_pictures_to_predict(make: Callable[[Path], None], folder: Path, processes, model: Path) -> None:
    make(folder / "data") if make is empty else ((folder / "data").mkdir(), make(folder / "data"))
    arguments = ["predict", str(model), str(folder / "data"), "--whole", "--out", "answers"]
    judge(hostile.attack(processes, folder, hostile.command, arguments), folder)


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_table(content: str | bytes, folder: Path, processes) -> None:
    table(folder / "data", content)
    (folder / "m.yaml").write_text(OF_TABLE)
    judge(hostile.attack(processes, folder, hostile.command, train(folder / "data", folder / "m.yaml")), folder)


@pytest.mark.parametrize("content", PIXELS.values(), ids=PIXELS)
def test_pixels(content: str, folder: Path, processes) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "labels.csv").write_text(content)
    (folder / "m.yaml").write_text(OF_PIXELS)
    judge(hostile.attack(processes, folder, hostile.command, train(folder / "data", folder / "m.yaml")), folder)


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS)
def test_manifest(content: str | bytes, folder: Path, processes) -> None:
    faces(folder / "data")
    (folder / "m.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    judge(hostile.attack(processes, folder, hostile.command, train(folder / "data", folder / "m.yaml")), folder)


# Models: files that are handed to predict.


class Command:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ../outside",)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small model of this suite."""
    from emohelpers import models
    from emohelpers.config import make
    from emohelpers.config.faces import Baseline

    cfg = make(Baseline, "demo", **{key: SMALL[key] for key in ("backbone", "weights", "trainable", "img_size")})
    net = models.build(cfg, list(EMOTIONS))
    models.preprocess(net, side=40, zoom=1.0)
    return models.save(tmp_path_factory.mktemp("model") / "best.pth", net, epoch=1)


def changed(model: Path, target: Path, change: Callable[[dict], None]) -> None:
    saved = torch.load(model, weights_only=True)
    change(saved)
    torch.save(saved, target)


def constant(value: float) -> Callable[[dict], None]:
    def change(saved: dict) -> None:
        for tensor in saved["weights"].values():
            if tensor.is_floating_point():
                tensor.fill_(value)

    return change


def flat_zip(model: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("readme.txt", "hello")


def pickled(model: Path, target: Path) -> None:
    torch.save({"spec": Command(), "weights": {}}, target)


MODELS: dict[str, Callable[[Path, Path], object]] = {
    "nothing": lambda model, target: target.write_bytes(b""),
    "text": lambda model, target: target.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
    "a pickle that runs a command": pickled,
    "cut off": lambda model, target: target.write_bytes(model.read_bytes()[:-5000]),
    "another zip": flat_zip,
    "a list": lambda model, target: torch.save([1, 2], target),
    "a plain state dict": lambda model, target: torch.save({"conv.weight": torch.zeros(3)}, target),
    "weights of nan": lambda model, target: changed(model, target, constant(float("nan"))),
    "weights of zero": lambda model, target: changed(model, target, constant(0.0)),
    "no classes": lambda model, target: changed(model, target, lambda saved: saved["spec"].update(classes=[])),
    "an unknown net": lambda model, target: changed(model, target, lambda saved: saved["spec"].update(backbone="x?y")),
    "an unknown head": lambda model, target: changed(model, target, lambda saved: saved["spec"].update(head="x")),
    "a spec of text": lambda model, target: changed(model, target, lambda saved: saved.update(spec="spec")),
    "a tensor missing": lambda model, target: changed(model, target, lambda saved: saved["weights"].popitem()),
    "a shape wrong": lambda model, target: changed(
        model, target, lambda saved: saved["weights"].update({next(iter(saved["weights"])): torch.zeros(1)})
    ),
    "a pipe": lambda model, target: os.mkfifo(target),
    "a folder": lambda model, target: target.mkdir(),
    "itself": lambda model, target: target.symlink_to(target),
}
NETS: dict[str, bytes] = {"nothing": b"", "text": b"onnx", "noise": b"\x08\x07" + bytes(range(256)) * 40}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_model(make: Callable[[Path, Path], object], folder: Path, processes, model: Path) -> None:
    faces(folder / "data", each=1)
    make(model, folder / "best.pth")
    arguments = ["predict", "best.pth", "data", "--whole", "--out", "answers"]
    outcome = hostile.attack(processes, folder, hostile.command, arguments)
    judge(outcome, folder)
    assert outcome.code == 2, "it was used"


@pytest.mark.parametrize("content", NETS.values(), ids=NETS)
def test_onnx(content: bytes, folder: Path, processes) -> None:
    faces(folder / "data", each=1)
    (folder / "model.onnx").write_bytes(content)
    outcome = hostile.attack(processes, folder, hostile.command, ["predict", "model.onnx", "data", "--whole"])
    judge(outcome, folder)
    assert outcome.code == 2, "it was used"


# Pairs of photographs.

SPLITS: dict[str, str | bytes] = {
    "deep nesting": "[" * 100_000,
    "a list": "[1, 2]",
    "numbers": '{"train": [1, 2], "val": 3, "test": null}',
    "a long number": '{"train": [' + "9" * 10_000 + "]}",
    "names that lead out": '{"train": ["../../x"], "val": ["/etc"], "test": ["p1"]}',
    "binary": bytes(range(256)),
    "the same twice": '{"train": ["p0", "p0", "p1"], "val": ["p2"], "test": ["p0"]}',
}
SCORED: dict[str, str] = {
    "scores without end": "path,scene,score\n0.png,s,inf\n1.png,s,-inf\n2.png,s,nan\n",
    "a scene that leads out": "path,scene,score\n0.png,../../outside,1\n1.png,../../outside,5\n",
    "a path that leads out": "path,scene,score\n../../../etc/passwd,s,1\n1.png,s,5\n",
    "a scene of 5,000 letters": f"path,scene,score\n0.png,{'s' * 5000},1\n1.png,{'s' * 5000},5\n",
    "a scene of nothing": "path,scene,score\n0.png,,1\n1.png,,5\n",
    "empty": "",
}


def pairs(folder: Path, number: int = 4) -> None:
    rng = np.random.default_rng(0)
    for pair in range(number):
        place = folder / f"p{pair}"
        place.mkdir(parents=True)
        for kind in ("good", "bad"):
            Image.fromarray(rng.integers(0, 256, (60, 60, 3), np.uint8)).save(place / f"{kind}.png")


@pytest.mark.parametrize("content", SPLITS.values(), ids=SPLITS)
def test_splits_of_pairs(content: str | bytes, folder: Path, processes) -> None:
    pairs(folder / "pairs")
    (folder / "pairs" / "splits.json").write_bytes(content.encode() if isinstance(content, str) else content)
    arguments = ["appeal", "audit", "--root", "pairs", "--preset", "full"]
    outcome = hostile.attack(processes, folder, hostile.command, arguments)
    judge(outcome, folder)
    assert outcome.code != 0, "it was passed"


@pytest.mark.parametrize("content", SCORED.values(), ids=SCORED)
def test_scored_pictures(content: str, folder: Path, processes) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), np.uint8)).save(folder / f"{number}.png")
    (folder / "scores.csv").write_text(content)
    judge(hostile.attack(processes, folder, hostile.command, ["appeal", "pair", "scores.csv", "made"]), folder)


def test_a_giant_of_floats_takes_less_than_16_bytes_a_pixel(folder: Path, processes) -> None:
    """So that one of 108 megapixels stays below 2 GB."""
    side = 5000
    Image.fromarray(np.random.default_rng(0).random((side, side), np.float32)).save(folder / "giant.tif")
    outcome = hostile.attack(processes, folder, measure, "giant.tif")
    judge(outcome, folder)
    assert outcome.gigabytes < 16e-9 * side**2, outcome


def measure(path: str) -> int:
    return 0 if decoding.picture(path).shape[2] == 3 else 1


# Songs: no command takes them, so the readers are called as notebook 07 calls them.


def wave(rate: int = 22_050, claimed: int | None = None, samples: int = 22_050) -> bytes:
    data = (np.sin(np.arange(samples) / 9) * 9000).astype("<i2").tobytes()
    length = len(data) if claimed is None else claimed
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2 & 0xFFFFFFFF, 2, 16)
    body = b"fmt " + form + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", min(len(body) + 4, 2**32 - 1)) + b"WAVE" + body


SONGS: dict[str, bytes] = {
    "nothing": b"",
    "noise called mp3": bytes(np.random.default_rng(2).integers(0, 256, 30_000, np.uint8)),
    "a wave that claims 4 GB": wave(claimed=2**32 - 9),
    "a wave of no samples": wave(samples=0),
    "a wave at 0 Hz": wave(rate=0),
    "a wave at 4 GHz": wave(rate=2**32 - 1),
    "an html page": b"<!DOCTYPE html><html>",
}


def hear(path: str) -> int:
    """Decodes a song as notebook 07 does; 2 with a sentence where it cannot."""
    from emohelpers.config.errors import SuiteError
    from emohelpers.music.sound import Spectrum, decode

    try:
        decode(path, Spectrum(seconds=2.0, mels=32))
    except SuiteError as error:
        print(f"error: {error}")
        return 2
    return 0


@pytest.mark.parametrize("suffix", [".mp3", ".wav"])
@pytest.mark.parametrize("content", SONGS.values(), ids=SONGS)
def test_song(content: bytes, suffix: str, folder: Path, processes) -> None:
    path = folder / f"song{suffix}"
    path.write_bytes(content)
    judge(hostile.attack(processes, folder, hear, str(path)), folder)


# Results of earlier runs, as the page finds them.

RESULTS: dict[str, bytes] = {
    "nothing": b"",
    "cut off": b'{"figures": {"accuracy": {"value": 0.5',
    "a list": b"[1, 2, 3]",
    "numbers for texts": b'{"figures": 3, "data": 4, "status": []}',
    "deep nesting": b"[" * 100_000,
    "binary": bytes(range(256)),
    "nan": b'{"figures": {"accuracy": {"value": NaN, "low": null, "high": "x"}}}',
}


@pytest.mark.parametrize("content", RESULTS.values(), ids=RESULTS)
def test_page_of_damaged_results(content: bytes, folder: Path, processes) -> None:
    for file in ("metrics.json", "status.json", "history.csv", "config.json"):
        place = folder / "outputs" / "demo" / f"01_{file.replace('.', '_')}"
        place.mkdir(parents=True)
        (place / file).write_bytes(content)
    outcome = hostile.attack(processes, folder, hostile.command, ["page"])
    judge(outcome, folder)
    assert (folder / "outputs" / "index.html").is_file(), outcome.text


def test_the_drill_sees_a_fault_a_wait_and_a_file_outside(folder: Path, processes, monkeypatch) -> None:
    with pytest.raises(AssertionError, match="Traceback"):
        judge(hostile.attack(processes, folder, divide), folder)
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="still waiting"):
        patch.setattr(hostile, "TOO_LONG", 1.0)
        judge(hostile.attack(processes, folder, wait), folder)
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="still computing"):
        patch.setattr(hostile, "PROCESSOR_SECONDS", 1)
        judge(hostile.attack(processes, folder, spin), folder)
    with pytest.raises(AssertionError):
        judge(hostile.attack(processes, folder, leave), folder)


def divide() -> None:
    print(1 / (len(io.StringIO().read())))


def wait() -> None:
    import time

    time.sleep(30)


def spin() -> None:
    while True:
        pass


def leave() -> None:
    Path("../left").touch()
    print("a sentence that is long enough to be one")

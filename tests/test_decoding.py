"""One decoder: deep grey scaled by what it holds, odd colours, hostile files, and the same picture in the Space."""

import importlib.util
import io
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from emohelpers.datasets import decoding
from emohelpers.datasets.decoding import UnreadableImage, decode
from emohelpers.export import hub

CLIENT = hub.SPACE / "classify.py"
rng = np.random.default_rng(0)
COLOURS = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
GREY = cv2.resize(np.array([[0, 90], [200, 255]], np.uint8), (64, 48), interpolation=cv2.INTER_LINEAR)


def saved(picture, kind="PNG", **options) -> bytes:
    content = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(content, kind, **options)
    return content.getvalue()


def deep(picture, ending=".png") -> bytes:
    return cv2.imencode(ending, picture)[1].tobytes()


@pytest.fixture(scope="module")
def client():
    spec = importlib.util.spec_from_file_location("classify", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("ending", [".png", ".tiff"])
@pytest.mark.parametrize("bits", range(8, 17))
def test_grey_of_any_depth_is_scaled_by_what_it_holds(bits, ending):
    values = np.rint(GREY / 255.0 * (2**bits - 1)).astype(np.uint16)
    assert abs(decode(deep(values, ending))[..., 1].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("white", [1.0, 255.0, 4095.0, 65535.0])
def test_floats_are_scaled_by_what_they_hold_and_may_overshoot(white):
    values = (GREY / 255 * white).astype(np.float32)
    assert abs(decode(saved(values, "TIFF"))[..., 0].astype(int) - GREY).max() <= 1
    if white < 256:
        values[0, 0], values[-1, -1] = -0.05 * white, 1.1 * white  # as a bicubic resize leaves them
        assert abs(decode(saved(values, "TIFF"))[..., 0].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("values", [(-1, 1), (0, 7), (np.nan, 1), (0, np.inf), (-200, 900)])
def test_floats_that_nobody_can_place_are_refused_with_their_values(values):
    picture = np.full((9, 9), values[0], np.float32)
    picture[4:] = values[1]
    with pytest.raises(UnreadableImage, match="grey values from .*: save it with 8 bits"):
        decode(saved(picture, "TIFF"))


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_colours_of_16_bits_are_read_or_refused_never_black(ending):
    assert abs(decode(deep(COLOURS.astype(np.uint16) * 257, ending)).astype(int) - COLOURS[..., ::-1]).max() <= 1
    for factor in (1, 16):
        with pytest.raises(UnreadableImage, match="unused: save it with 8"):
            decode(deep(COLOURS.astype(np.uint16) * factor, ending))
    dark = (COLOURS // 8).astype(np.uint8)
    assert abs(decode(saved(dark, "PNG")).astype(int) - dark).max() == 0, "8 bits are taken as they are"


def other_profile() -> bytes:
    """An sRGB profile whose red and blue are exchanged, under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "Wide".encode("utf-16-be"))
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    return profile[:red] + b"bXYZ" + profile[red + 4 : blue] + b"rXYZ" + profile[blue + 4 :]


def test_a_palette_with_a_colour_profile_is_converted_as_its_colours_are():
    few = Image.fromarray(COLOURS).quantize(16)
    profile = other_profile()
    plain = decode(saved(few.convert("RGB"), icc_profile=profile))
    assert abs(decode(saved(few, icc_profile=profile)).astype(int) - plain).max() <= 1
    assert abs(plain.astype(int) - COLOURS).mean() > 20


def odd_pictures() -> dict[str, bytes]:
    alpha = np.dstack([COLOURS, np.where(np.hypot(*np.mgrid[-24:24, -32:32]) < 20, 255, 0).astype(np.uint8)])
    turned = Image.Exif()
    turned[0x0112] = 6
    whole = Image.fromarray(COLOURS)
    return {
        "alpha": saved(alpha),
        "grey with alpha": saved(Image.fromarray(alpha, "RGBA").convert("LA")),
        "palette": saved(whole.quantize(16), transparency=0),
        "turned": saved(whole, "JPEG", exif=turned),
        "profile": saved(whole, icc_profile=other_profile()),
        "CMYK": saved(whole.convert("CMYK"), "JPEG"),
        "16 bits": deep(GREY.astype(np.uint16) * 257),
        "12 bits": deep(GREY.astype(np.uint16) * 16),
        "floats": saved((GREY / 255).astype(np.float32), "TIFF"),
        "GIF": saved(whole, "GIF"),
        "one bit": saved(Image.fromarray(GREY).convert("1")),
    }


@pytest.mark.parametrize("kind", odd_pictures())
def test_the_client_of_the_space_sees_the_same_picture(kind, client):
    content = odd_pictures()[kind]
    with client.opened(io.BytesIO(content)) as picture:
        assert np.array_equal(client.to_srgb(picture), decode(content))


def test_the_lines_that_stand_twice_are_the_same():
    def twice(path: str | Path) -> str:
        text = Path(path).read_text(encoding="utf-8")
        return text[text.index("\n# ---- These lines") : text.index("\n# ---- So far")]

    assert twice(decoding.__file__) == twice(CLIENT)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
IPTC = b"\x1c\x03\x0a\0\x02\x01\0\x1c\x03\x14\0\x01\x08\x1c\x03\x1e\0\x01\x08\x1c\x03\x3c\0\x02\x01\0\x1c\x08\x0a"


@pytest.mark.parametrize("content", [EPS, IPTC + bytes([len(EPS) >> 8, len(EPS) & 255]) + EPS])
def test_a_picture_that_is_postscript_never_starts_ghostscript(content, tmp_path):
    spy = tmp_path / "bin" / "gs"
    spy.parent.mkdir()
    spy.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\necho 10.0\n")
    spy.chmod(stat.S_IRWXU)
    (tmp_path / "x.png").write_bytes(content)
    ours = "import sys; from emohelpers.datasets import decoding; decoding.picture(sys.argv[1])"
    pillow = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"
    env = {**os.environ, "PATH": f"{spy.parent}:{os.environ['PATH']}"}
    run = subprocess.run([sys.executable, "-c", ours, tmp_path / "x.png"], env=env, capture_output=True, text=True)
    assert "UnreadableImage: cannot identify it as JPEG, PNG" in run.stderr
    assert not (tmp_path / "started").exists()
    if content == EPS:
        subprocess.run([sys.executable, "-c", pillow, tmp_path / "x.png"], env=env, capture_output=True)
        assert (tmp_path / "started").exists(), "the trap itself does not work"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_file_or_too_large_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
        for path in (tmp_path / "pipe.png", tmp_path / "s.png", Path("/dev/zero"), tmp_path):
            with pytest.raises(UnreadableImage, match="no file"):
                decoding.picture(path)
            with pytest.raises(UnreadableImage, match="no file"):
                decoding.size(path)
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(decoding.HEAVIEST + 1)
    with pytest.raises(UnreadableImage, match="at most"):
        decoding.picture(tmp_path / "huge.png")
    bomb = bytearray(saved(np.zeros((8, 8), np.uint8), "BMP"))
    bomb[18:26] = np.array([12_000, 12_000], "<i4").tobytes()
    with pytest.raises(UnreadableImage, match="12000 x 12000 pixels, at most"):
        decode(bytes(bomb))
    with pytest.raises(UnreadableImage, match="No such file"):
        decoding.picture(tmp_path / "gone.png")


def test_a_bad_picture_costs_its_own_row_alone(tmp_path):
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file in files:
        file.write_bytes(saved(COLOURS))
    files[1].write_bytes(b"<html>404</html>")
    squares, unreadable = decoding.squares(files, 24)
    assert squares.shape == (2, 24, 24, 3) and list(unreadable) == [files[1]]
    assert "HEIC is exported as JPEG" in unreadable[files[1]]
    assert decoding.squares(files[1:2], 24)[0].shape == (0, 24, 24, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_of_every_kind_are_unreadable_and_nothing_else():
    chance = np.random.default_rng(1)
    whole = Image.fromarray(COLOURS)
    kinds = [kind for kind in decoding.FORMATS if kind in Image.SAVE]
    contents = [saved(whole, kind) for kind in kinds] + list(odd_pictures().values())
    for content in contents:
        for trial in range(60):
            broken = bytearray(content)
            for at in chance.integers(0, min(len(content), 300 if trial % 2 else len(content)), 3):
                broken[at] = chance.integers(0, 256)
            try:
                assert decode(bytes(broken[: len(broken) if trial % 5 else trial])).dtype == np.uint8
            except UnreadableImage as error:
                assert str(error)

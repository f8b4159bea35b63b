import io
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import cv2
import numpy as np
import pictures
import pytest
from PIL import Image

from emohelpers import config
from emohelpers.config.faces import Baseline
from emohelpers.datasets import decoding, pixel_store, pixels, thumbnails


def png(picture, **options):
    data = io.BytesIO()
    Image.fromarray(picture).save(data, options.pop("format", "PNG"), **options)
    return data.getvalue()


def test_store_holds_what_the_files_hold(tmp_path):
    data = pictures.write(tmp_path / "in", each=3)
    built = pixels.build(data, 32, tmp_path / "cache")
    for row, path in enumerate(data.table["path"]):
        assert np.array_equal(built.array[row], np.asarray(Image.open(data.root / path)))
    assert built.unreadable == {} and len(set(built.sha256)) == len(data.table)
    assert built.paths == list(data.table["path"])


def test_a_second_build_decodes_nothing_and_a_changed_file_is_decoded_again(tmp_path):
    data = pictures.write(tmp_path / "in", each=2)
    first = pixels.build(data, 32, tmp_path / "cache")
    home = next(p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    before = (home / "index.json").stat().st_mtime_ns
    pixels.build(data, 32, tmp_path / "cache")
    assert (home / "index.json").stat().st_mtime_ns == before
    changed = data.root / data.table["path"][5]
    time.sleep(0.01)
    Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(changed)
    again = pixels.build(data, 32, tmp_path / "cache")
    assert (again.array[5] == 7).all() and again.sha256[5] != first.sha256[5]
    assert np.array_equal(again.array[4], first.array[4])


@pytest.mark.parametrize(
    "data, reason",
    [(b"", "empty file"), (b"not a picture", "cannot identify"), (png(np.zeros((64, 64, 3), np.uint8))[:-40], "")],
    ids=["zero bytes", "text", "truncated"],
)
def test_what_is_not_a_whole_picture_is_listed_and_never_black_without_notice(tmp_path, data, reason):
    folder = pictures.write(tmp_path / "in", each=2)
    bad = folder.table["path"][3]
    (folder.root / bad).write_bytes(data)
    built = pixels.build(folder, 32, tmp_path / "cache")
    assert list(built.unreadable) == [bad] and reason in built.unreadable[bad]
    assert built.sha256[3] == ""
    assert list(pixels.build(folder, 32, tmp_path / "cache").unreadable) == [bad], "forgotten by the second run"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom a file can be closed to")
def test_a_picture_that_was_closed_is_read_when_it_is_opened(tmp_path):
    folder = pictures.write(tmp_path / "in", each=1)
    closed = folder.root / folder.table["path"][0]
    closed.chmod(0)
    assert len(pixels.build(folder, 32, tmp_path / "cache").unreadable) == 1
    closed.chmod(0o600)
    assert pixels.build(folder, 32, tmp_path / "cache").unreadable == {}


def test_a_missing_file_is_named_as_missing(tmp_path):
    folder = pictures.write(tmp_path / "in", each=2)
    gone = folder.table["path"][0]
    (folder.root / gone).unlink()
    assert pixels.build(folder, 32, tmp_path / "cache").unreadable == {gone: "file is missing"}


def test_alpha_palette_grey_and_exif_rotation_are_decoded_as_a_viewer_shows_them():
    red = np.zeros((8, 12, 4), np.uint8)
    red[..., 0], red[:, :6, 3] = 255, 255  # left half opaque, right half transparent
    shown = decoding.decode(png(red))
    assert shown[0, 0].tolist() == [255, 0, 0] and shown[0, -1].tolist() == [255, 255, 255]
    assert decoding.decode(png(np.full((4, 4), 9, np.uint8))).tolist() == [[[9, 9, 9]] * 4] * 4
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    marked = np.zeros((16, 32, 3), np.uint8)
    marked[:8, :16] = 255  # top left
    turned = decoding.decode(png(marked, format="JPEG", exif=exif, quality=95))
    assert turned.shape == (32, 16, 3) and turned[4, 12].min() > 200 and turned[28, 4].max() < 50


def test_fit_square_is_a_centre_crop_and_averages_when_it_shrinks():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (decoding.fit_square(wide, 10) == 200).all()
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = decoding.fit_square(cv2.merge([board] * 3), 16)
    assert np.abs(small.astype(int) - 127).max() <= 1  # a checkerboard becomes grey, not stripes


def test_thumbnails_know_the_same_face_under_light_noise_and_compression():
    rng = np.random.default_rng(1)
    face = cv2.resize(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
    other = cv2.resize(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
    darker = np.clip(face * 0.7 + 20 + rng.normal(0, 5, face.shape), 0, 255).astype(np.uint8)
    squeezed = decoding.decode(png(face, format="JPEG", quality=30))
    like = thumbnails.thumbnail(face)
    assert like @ thumbnails.thumbnail(darker) > 0.98 and like @ thumbnails.thumbnail(squeezed) > 0.98
    assert like @ thumbnails.thumbnail(other) < 0.7


def test_three_kills_in_the_middle_cost_no_wrong_pixel(tmp_path):
    folder = pictures.write(tmp_path / "in", each=40)
    script = textwrap.dedent(
        f"""
        import sys, time
        sys.path.insert(0, {os.path.dirname(pictures.__file__)!r})
        import pictures
        from emohelpers.datasets import pixels
        pixels.PART = 16
        real = pixels.decode
        pixels.decode = lambda data: (time.sleep(0.004), real(data))[1]
        from pathlib import Path
        table = pictures.write(Path({str(tmp_path / "again")!r}), each=40).table
        data = pictures.Folder(Path({str(folder.root)!r}), table)
        print("go", flush=True)
        pixels.build(data, 32, {str(tmp_path / "cache")!r}, workers=1)
        """
    )

    def decoded() -> int:
        homes = [p for p in (tmp_path / "cache").glob("*") if p.is_dir()]
        return sum(map(bool, pixel_store.Index.read(homes[0], (len(folder.table), 32, 32, 3)).stamps)) if homes else 0

    done = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "go\n"
        while process.poll() is None and decoded() == done:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert done < decoded() < len(folder.table), "the kill came too early or too late to test anything"
        done = decoded()
    built = pixels.build(folder, 32, tmp_path / "cache")
    fresh = pixels.build(folder, 32, tmp_path / "fresh")
    assert np.array_equal(built.array, fresh.array) and built.sha256 == fresh.sha256
    assert np.array_equal(built.thumbs, fresh.thumbs)


def test_too_small_a_disk_is_said_before_the_work(tmp_path, monkeypatch):
    folder = pictures.write(tmp_path / "in", each=1)
    with pytest.raises(OSError, match=r"need .* GB below .* are free.*EMOHELPERS_CACHE"):
        pixels.build(folder, 200_000, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("pixels*.npy"))


@pytest.mark.parametrize("side, img_size, zoom, kept", [(48, 96, 1.0, 48), (96, 32, 1.0, 32), (96, 32, 1.25, 40)])
def test_the_store_keeps_what_the_model_sees_and_no_more_than_there_is(tmp_path, side, img_size, zoom, kept):
    folder = pictures.write(tmp_path, each=1, side=side)
    cfg = config.make(Baseline, "demo", img_size=img_size, eval_zoom=zoom)
    (folder.root / folder.table["path"][0]).write_bytes(b"")  # what cannot be read does not decide
    assert pixels.side_for(folder, cfg) == kept


def test_two_processes_that_build_one_store_both_get_it_whole(tmp_path):
    folder = pictures.write(tmp_path / "in", each=40)
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {os.path.dirname(pictures.__file__)!r})
        from pathlib import Path
        import numpy as np
        import pictures
        from emohelpers.datasets import pixels
        pixels.PART = 8
        sys.stdin.readline()
        built = pixels.build(pictures.known(Path({str(folder.root)!r}), each=40), 32, {str(tmp_path / "cache")!r})
        print(np.asarray(built.array).sum(), len(built.unreadable))
        """
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", script], **pipes) for _ in range(2)]
    for process in both:  # both have imported when the starting shot falls
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate()[0].split() for process in both]
    alone = pixels.build(folder, 32, tmp_path / "alone")
    assert [process.returncode for process in both] == [0, 0]
    assert told[0] == told[1] == [str(np.asarray(alone.array).sum()), "0"]

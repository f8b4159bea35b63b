import numpy as np
import pytest
import skimage.data
from PIL import Image

from emohelpers.export import detector


@pytest.fixture(scope="module")
def portrait():
    """A real face that scikit-image ships (NASA, public domain): Eileen Collins, looking into the camera."""
    return skimage.data.astronaut()


def inside(box, x, y):
    left, top, side = box
    return left < x < left + side and top < y < top + side


def test_the_face_is_found_first_and_nothing_in_cloth(portrait):
    found = detector.boxes(portrait)
    assert len(found) == 1 and inside(found[0], 225, 120) and 70 < found[0][2] < 150


def test_a_large_photograph_is_searched_small_and_the_box_is_in_its_own_pixels(portrait):
    large = np.asarray(Image.fromarray(portrait).resize((1536, 1536), Image.Resampling.BICUBIC))
    (found,) = detector.boxes(large)
    assert inside(found, 3 * 225, 3 * 120) and 200 < found[2] < 460


def test_two_faces_are_two_boxes(portrait):
    pair = np.hstack([portrait[:300, 80:380], portrait[:300, 80:380]])
    found = detector.boxes(pair)
    assert len(found) == 2 and abs(abs(found[0][0] - found[1][0]) - 300) < 15


@pytest.mark.parametrize("shape", [(20, 20, 3), (240, 30, 3), (200, 200, 3)])
def test_a_picture_without_a_face_has_no_box(shape):
    assert detector.boxes(np.full(shape, 128, np.uint8)) == []


@pytest.mark.parametrize("box", [(0, 0, 50), (90, 70, 30), (20, 10, 100), (40, 40, 20)])
def test_a_crop_stays_in_the_picture(box):
    picture = np.zeros((100, 120, 3), np.uint8)
    left, top, side = detector.crop(picture, box)
    assert left >= 0 and top >= 0 and left + side <= 120 and top + side <= 100
    assert side == min(round(box[2] * detector.MARGIN), 100)

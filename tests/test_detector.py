import math

import cv2
import numpy as np
import pytest
import skimage.data

from emohelpers.datasets.detection import detector

EYES = np.array([[203.0, 102.0], [246.0, 104.0]])  # of the portrait, by hand
ROLL = 3  # degrees of the portrait itself


@pytest.fixture(scope="module")
def portrait():
    """A real face that scikit-image ships (NASA, public domain): Eileen Collins, looking into the camera."""
    return skimage.data.astronaut()


def turned(picture, degrees):
    """The head and what is around it, turned clockwise in front of grey."""
    turn = cv2.getRotationMatrix2D((225, 120), -degrees, 1.0)
    turn[:, 2] += [75, 130]
    head = np.full_like(picture, 90)
    head[:230, 110:340] = picture[:230, 110:340]
    return cv2.warpAffine(head, turn, (600, 500), borderValue=(90, 90, 90)), turn


@pytest.mark.parametrize("degrees", [0, 15, -30, 45, -60])
def test_a_face_is_found_at_any_roll_with_its_eyes(portrait, degrees):
    picture, turn = turned(portrait, degrees)
    (face,) = detector.faces(picture)
    eyes = EYES @ turn[:, :2].T + turn[:, 2]
    assert np.abs(face.points[:2] - eyes).max() < 6
    assert abs(face.roll - degrees - ROLL) < 8
    assert ("turned by" in face.described()) == (abs(face.roll) >= detector.TURNED)


def test_the_crop_is_upright_and_has_one_frame_at_every_roll(portrait):
    eyes = []
    for degrees in (0, 35, -50):
        picture, _ = turned(portrait, degrees)
        (face,) = detector.faces(picture)
        crop = detector.upright(picture, face)
        assert crop.shape == (face.square[2], face.square[2], 3)
        (again,) = detector.faces(crop, [(320, 0.0)])
        assert abs(again.roll) < 8
        eyes.append(again.points[:2] / len(crop))
    assert np.abs(np.array(eyes) - eyes[0]).max() < 0.06


def test_boxes_are_in_the_pictures_own_pixels_at_any_size(portrait):
    sides = []
    for scale in (0.25, 1.0, 4.0):
        (face,) = detector.faces(cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        assert math.hypot(face.x / scale - 223, face.y / scale - 120) < 12
        sides.append(face.side / scale)
    assert max(sides) < 1.2 * min(sides)


def test_two_faces_are_two_and_the_larger_is_first(portrait):
    face = portrait[20:240, 120:340]
    picture = np.full((400, 640, 3), 90, np.uint8)
    picture[100:320, 50:270] = face
    picture[150:260, 400:510] = cv2.resize(face, (110, 110), interpolation=cv2.INTER_AREA)
    first, second = detector.faces(picture)
    assert first.x < 300 < second.x and first.side > 1.6 * second.side
    assert "small" not in first.described()


def test_a_small_face_says_so(portrait):
    picture = np.full((480, 640, 3), 90, np.uint8)
    picture[200:270, 300:370] = cv2.resize(portrait[20:240, 120:340], (70, 70), interpolation=cv2.INTER_AREA)
    (face,) = detector.faces(picture)
    assert face.described().startswith("small (")


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 4000, 3), (20, 20, 3), (240, 30, 3), (200, 200, 3)])
def test_a_picture_without_a_face_has_none(shape):
    assert detector.faces(np.full(shape, 128, np.uint8)) == []


def test_a_face_at_the_edge_is_cut_with_the_edge_continued(portrait):
    picture = np.ascontiguousarray(portrait[60:300, 190:400])
    (face,) = detector.faces(picture)
    left, top, side = face.square
    assert top < 0 or left < 0
    assert detector.upright(picture, face).shape == (side, side, 3)

"""The crop of a clip: where it lies, and that cutting out and pasting agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvc.codec.base.constants import SIDE
from fvc.codec.face.crop import choose_crop, cut, in_usual_place, paste, to_crop
from fvc.codec.face.survey import Survey
from fvc.codec.wire.bitstream import Crop

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"


def gradient(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y + 40 * seed) % 256 // 2 + 60], -1).astype(np.uint8)


boxes = st.tuples(st.integers(0, 1800), st.integers(0, 900), st.integers(20, 500), st.integers(20, 500))


@given(st.lists(boxes, min_size=1, max_size=8), st.integers(320, 1920), st.integers(240, 1080))
def test_crop_holds_every_face(faces: list[tuple[int, int, int, int]], width: int, height: int) -> None:
    array = np.array([(x % width, y % height, x % width + w, y % height + h) for x, y, w, h in faces], float)
    array[:, 2] = np.minimum(array[:, 2], width)
    array[:, 3] = np.minimum(array[:, 3], height)
    crop = choose_crop(array, width, height)
    assert crop.x - 1 <= array[:, 0].min()
    assert crop.y - 1 <= array[:, 1].min()
    assert crop.x + crop.side + 1 >= array[:, 2].max()
    assert crop.y + crop.side + 1 >= array[:, 3].max()
    if crop.side <= min(width, height):
        assert 0 <= crop.x <= width - crop.side
        assert 0 <= crop.y <= height - crop.side


CROPS = [Crop(300, 200, 20, 10, 150), Crop(300, 200, -40, -30, 380), Crop(300, 200, 22, 0, 200)]


@pytest.mark.parametrize("crop", CROPS)
def test_cut_and_paste_agree(crop: Crop) -> None:
    frame = gradient(200, 300)
    picture = cut(frame, crop)
    assert picture.shape == (SIDE, SIDE, 3)
    back = paste(frame, picture, crop)
    assert back.shape == frame.shape
    assert np.abs(back.astype(int) - frame).mean() < 2


def test_to_crop_places_pixel_centres() -> None:
    crop = Crop(300, 200, 20, 10, 100)
    assert to_crop(np.array([[20.0, 10.0], [120.0, 110.0], [70.0, 60.0]]), crop).tolist() == [[-1, -1], [1, 1], [0, 0]]


def test_margins_outside_the_frame_are_plain() -> None:
    """Not the frame's border over and over, which was sent and drawn as streaks."""
    frame = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    picture = cut(frame, Crop(300, 200, -40, -30, SIDE))
    assert (picture[30:230, 40:] == frame[:, : SIDE - 40]).all()
    for margin, edge in ((picture[:30], frame[0]), (picture[230:], frame[-1]), (picture[30:230, :40], frame[:, 0])):
        assert (margin == margin[0, 0]).all()
        assert np.abs(margin[0, 0] - edge.mean(0)).max() <= 20


@pytest.mark.parametrize(("width", "height"), [(480, 480), (640, 480), (480, 640)])
def test_a_face_that_fills_the_frame_has_a_crop_inside_it(width: int, height: int) -> None:
    boxes = np.array([(20, 15, 465, 470), (25, 15, 470, 468)], float)
    crop = choose_crop(boxes, width, height)
    assert crop.side == 480
    assert 0 <= crop.x <= width - 480
    assert 0 <= crop.y <= height - 480


def test_a_face_that_needs_more_than_the_frame_is_held_all_the_same() -> None:
    boxes = np.array([(100, 50, 400, 420), (700, 50, 1000, 420)], float)
    crop = choose_crop(boxes, 1280, 480)
    assert crop.side == 990
    assert crop.x <= 100
    assert crop.x + crop.side >= 1000


def still_face(count: int) -> np.ndarray:
    """A face of 200 pixels near (400, 400) that moves by a few pixels."""
    draw = np.random.default_rng(0)
    return np.array([300, 300, 500, 500]) + draw.normal(0, 5, (count, 4))


@pytest.mark.parametrize(("count", "away"), [(75, 6), (600, 20), (60, 7)])
def test_a_short_excursion_does_not_make_the_crop_larger(count: int, away: int) -> None:
    boxes = still_face(count)
    usual = choose_crop(boxes, 1280, 720)
    boxes[-away:] += [600, 100, 600, 100]
    crop = choose_crop(boxes, 1280, 720)
    assert abs(crop.side - usual.side) < 10
    assert abs(crop.x - usual.x) < 10
    assert in_usual_place(boxes).sum() >= 0.85 * count
    assert not in_usual_place(boxes)[-away:].any()


def test_a_face_that_is_often_elsewhere_is_in_the_crop() -> None:
    boxes = still_face(100)
    boxes[::4] += [600, 100, 600, 100]
    crop = choose_crop(boxes, 1280, 720)
    assert crop.x <= 300
    assert crop.x + crop.side >= 1095
    assert in_usual_place(boxes).all()


def test_a_head_that_moves_about_keeps_all_its_places() -> None:
    boxes = still_face(100)
    boxes[:, [0, 2]] += 60 * np.sin(np.arange(100) / 5)[:, None]
    assert in_usual_place(boxes).all()


def test_no_source_is_taken_from_an_excursion() -> None:
    boxes = still_face(75)
    boxes[-6:] += [600, 100, 600, 100]
    draw = np.random.default_rng(1)
    sup = boxes[:, None, :2] + draw.normal(100, 40, (33, 2)) + draw.normal(0, 6, (75, 33, 2))
    seen = Survey(
        80, 1, np.arange(5, 80), sup, boxes, np.zeros(75), np.full(75, 0.3), np.full(75, 40.0), (), np.zeros(75, int)
    )
    seen = seen.by_group()[0]
    chosen = seen.sources()
    assert max(chosen) < 74
    assert max(seen.donors(chosen).values(), default=0) < 74

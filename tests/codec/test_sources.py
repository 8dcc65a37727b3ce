"""Tracking, crop, source choice and the .fvs file."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvc.codec.constants import SIDE
from fvc.codec.errors import StreamError, UsageError
from fvc.codec.face.crop import choose_crop, cut, paste, to_crop
from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.codec.face.source_choice import choose_sources
from fvc.codec.face.tracker import Face, FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample, Profile
from fvc.codec.wire.av1_pictures import decode_still, encode_still
from fvc.codec.wire.bitstream import Crop
from fvc.codec.wire.source_set import SourceSet, code_canvas, code_pictures, code_pictures_within, pixels_hash

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"


def gradient(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y + 40 * seed) % 256 // 2 + 60], -1).astype(np.uint8)


def test_sup_landmarks() -> None:
    assert len(SUP) == len(set(SUP)) == 33
    assert sorted(SUP_MIRROR) == list(range(33))
    assert [SUP_MIRROR[i] for i in SUP_MIRROR] == list(range(33))


def test_tracker_follows_the_sample() -> None:
    yaws, openness = [], []
    with VideoReader(SAMPLE) as video, FaceTracker() as tracker:
        for frame in video.frames(Fraction(6)):
            face = tracker.track(frame.rgb)
            assert face is not None
            left, top, right, bottom = face.box
            assert left >= 0 <= top
            assert right <= frame.rgb.shape[1]
            assert bottom <= frame.rgb.shape[0]
            yaws.append(face.pose[0])
            openness.append(face.eye_openness)
        assert tracker.track(np.zeros((480, 480, 3), np.uint8)) is None
    assert min(yaws) < -0.5
    assert max(yaws) > 0.5
    assert np.median(openness) > 0.2


def test_mirrored_face_turns_the_other_way() -> None:
    with VideoReader(SAMPLE) as video, FaceTracker(still=True) as tracker:
        frame = next(f for f in video.frames(Fraction(6), only={20}))
        here, there = tracker.track(frame.rgb), tracker.track(frame.rgb[:, ::-1])
    assert here is not None
    assert there is not None
    assert here.pose[0] == pytest.approx(-there.pose[0], abs=0.1)
    assert here.pose[2] == pytest.approx(-there.pose[2], abs=0.1)
    width = frame.rgb.shape[1]
    mirrored = there.sup[list(SUP_MIRROR)] * [-1, 1] + [width, 0]
    assert np.abs(mirrored - here.sup).mean() < 3


def test_two_faces_larger_first_then_the_same() -> None:
    with VideoReader(SAMPLE) as video:
        face = next(f for f in video.frames(Fraction(1), only={0})).rgb
    face = face[40:340, 60:420]
    both = np.zeros((300, 660, 3), np.uint8)
    both[:, :360], both[25:275, 360:] = face, cv2.resize(face, (300, 250))
    with FaceTracker() as tracker:
        seen = [tracker.track(both) for _ in range(4)]
    assert seen[-1] is not None
    assert max(f.count for f in seen if f) == 2
    assert all(f.box[2] < 360 for f in seen if f)


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


def faces(*at: float) -> np.ndarray:
    """Landmarks of faces whose noses point to the given places."""
    face = np.random.default_rng(0).normal(0, 40, (33, 2))
    nose = np.exp(-((face / 40) ** 2).sum(1, keepdims=True))
    return np.array([face + nose * [100 * x, 0] + 300 for x in at])


def test_sources_are_near_to_all_frames() -> None:
    turns = [0, 0.01, 0.02, 0.03, 1, 1.01, -1, -1.01, -1.02, 3]  # three poses, and one short look away
    open_eyes, sharp = np.full(10, 0.3), np.full(10, 50.0)
    chosen = choose_sources(faces(*turns), open_eyes, sharp, 3)
    assert chosen[0] in range(4)  # the one that would do best alone
    assert {0 if n < 4 else 1 if n in (4, 5, 9) else 2 for n in chosen} == {0, 1, 2}
    eyes = np.where(np.arange(10) < 4, 0.1, 0.3)
    assert choose_sources(faces(*turns), eyes, sharp, 3)[0] > 3  # open eyes first
    faded = np.where(np.isin(np.arange(10), chosen), 5.0, 50.0)
    assert not set(choose_sources(faces(*turns), open_eyes, faded, 3)) & set(chosen)


def test_as_many_sources_as_are_worth_it() -> None:
    """A head that goes on turning is nearer to six sources than to five; one of three poses needs no fourth."""
    draw = np.random.default_rng(0)
    fine, sharp = np.full(200, 0.3), np.full(200, 50.0)

    def count(turns: np.ndarray) -> int:
        return len(choose_sources(faces(*turns) + draw.normal(0, 1, (200, 33, 2)), fine, sharp))

    assert count(np.linspace(-3, 3, 200)) == 6
    assert count(np.repeat([-3, 0, 3], [60, 80, 60])) == 3
    assert count(np.repeat([-3, -1, 1, 3], 50)) == 4
    assert count(np.zeros(200)) == 3


def test_short_and_still_clips_have_sources() -> None:
    for count in (1, 2, 5, 2000):
        still = choose_sources(faces(*[0] * count), np.full(count, 0.3), np.full(count, 40.0))
        assert len(still) == 3
        assert set(still) <= set(range(count))


def make_set(profile: Profile = Profile.SUP_UNSUP_EXPR, canvas: bool = True) -> SourceSet:
    draw = np.random.default_rng(0)
    coded, pictures = code_pictures([gradient(SIDE, SIDE, n) for n in range(3)], 40)
    samples = tuple(
        DrivingSample({part: draw.uniform(0, 1, PART_SHAPES[part]).astype(np.float32) for part in profile.parts})
        for _ in range(3)
    )
    whole, size = code_canvas(gradient(720, 1280), 50) if canvas else (None, (0, 0))
    return SourceSet(profile, b"weights!", coded, pictures, samples, whole, size)


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("canvas", [True, False])
def test_source_set_round_trip(profile: Profile, canvas: bool) -> None:
    before = make_set(profile, canvas)
    after = SourceSet.parse(bytes(before))
    assert bytes(after) == bytes(before)
    assert after.sources_hash == before.sources_hash
    assert after.pixels_hash == before.pixels_hash == pixels_hash(before.pictures[::-1])
    for a, b in zip(after.samples, before.samples, strict=True):
        for part in profile.parts:
            assert np.abs(a.parts[part] - b.parts[part]).max() <= 30 / 65535
    whole = after.canvas_picture()
    assert (whole is not None) == canvas
    if whole is not None:
        assert whole.shape == (270, 480, 3)


def test_source_set_refuses_damage() -> None:
    data = bytes(make_set(canvas=False))
    for size in [*range(0, 40), *range(40, len(data), 97)]:
        with pytest.raises(StreamError):
            SourceSet.parse(data[:size])
    for at in range(0, len(data), 61):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        with pytest.raises(StreamError):
            SourceSet.parse(bytes(damaged))


def test_stills_are_small_and_checked() -> None:
    rgb = gradient(SIDE, SIDE)
    data = encode_still(rgb, 20)
    assert len(data) < 6000
    assert np.abs(decode_still(data, SIDE, SIDE).astype(int) - rgb).mean() < 3
    with pytest.raises(StreamError, match="E22"):
        decode_still(data, 128, 128)
    with pytest.raises(StreamError, match="E22"):
        decode_still(b"garbage", SIDE, SIDE)
    with pytest.raises(StreamError, match="E22"):
        decode_still(data + data, SIDE, SIDE)


def test_pictures_that_are_noise_can_be_coded() -> None:
    """The first is as coarse as AV1's encoder lets it be, and the others with it."""
    noise = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    coded, pictures = code_pictures(noise, 22)
    assert (len(coded), len(pictures)) == (3, 3)
    assert len(coded[0]) < 2600


def test_pictures_get_coarser_to_fit() -> None:
    crops = [gradient(SIDE, SIDE, n) + np.uint8(n) for n in range(2)]
    free = sum(map(len, code_pictures(crops, 22)[0]))
    assert code_pictures_within(crops, 22, free)[0] == code_pictures(crops, 22)[0]
    assert sum(map(len, code_pictures_within(crops, 22, free - 1)[0])) < free
    with pytest.raises(UsageError, match=r"source_bytes 10: these pictures need \d+"):
        code_pictures_within(crops, 22, 10)


def test_pose_of_a_frontal_model() -> None:
    points = np.zeros((478, 3), np.float32)
    points[454], points[234], points[152], points[10] = (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)
    assert Face(points).pose == (0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="schedulers are Linux's")
def test_encoding_a_picture_leaves_no_real_time_thread() -> None:
    """SVT-AV1 makes itself and its caller real-time when root runs it."""
    encode_still(np.zeros((64, 64, 3), np.uint8), 30)
    threads = [int(task) for task in os.listdir("/proc/self/task")]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}

"""Tracking, crop, source choice and the .fvs file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import StreamError, UsageError
from fvc.codec.face.detection import Face
from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.codec.face.source_choice import choose_sources
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample, Profile
from fvc.codec.wire.av1_pictures import decode_still, encode_still
from fvc.codec.wire.source_set import SourceSet, code_canvas, code_pictures, code_pictures_within, pixels_hash

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"


def gradient(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y + 40 * seed) % 256 // 2 + 60], -1).astype(np.uint8)


def test_sup_landmarks() -> None:
    assert len(SUP) == len(set(SUP)) == 33
    assert sorted(SUP_MIRROR) == list(range(33))
    assert [SUP_MIRROR[i] for i in SUP_MIRROR] == list(range(33))


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
        assert len(still) == 1  # others would be the same picture again
        assert set(still) <= set(range(count))
        assert len(choose_sources(faces(*[0] * count), np.full(count, 0.3), np.full(count, 40.0), 3)) == 3


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

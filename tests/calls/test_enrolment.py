"""Source pictures of a call: the set grows when the face shows something new, and only then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fvc.calls.enrolment import Enrolment, SourceRefresher, enrol
from fvc.codec.base.reporting import silent
from fvc.codec.call.setup import Setup
from fvc.codec.face.detection import Face
from fvc.codec.face.landmarks import SUP, openness
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame
from fvc.codec.motion.sample import Profile
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

RATE = Fraction(4)
BUILDER = InstalledModel.named(DEFAULT).source_builder(Profile.SUP)


@pytest.fixture(scope="module")
def enrolled() -> Enrolment:
    """A made-up face of 33 landmarks in noise: three nearly equal pictures."""
    draw = np.random.default_rng(0)
    frames = [Frame(draw.integers(0, 255, (256, 256, 3)).astype(np.uint8), n) for n in range(3)]
    patch = pytest.MonkeyPatch()
    patch.setattr(FaceTracker, "track", lambda self, rgb: turned(0.0))
    try:
        return enrol("noise", frames, RATE, 1, BUILDER, 20, None, silent)
    finally:
        patch.undo()


def turned(yaw: float) -> Face:
    """A round face, turned: its front half moves to one side."""
    landmarks = np.zeros((478, 3), np.float32)
    angles = np.linspace(0, 2 * np.pi, len(SUP), endpoint=False)
    radius = np.linspace(20, 60, len(SUP))
    landmarks[:] = (128, 128, 0)
    landmarks[list(SUP), 0] = 128 + radius * np.cos(angles) + yaw * (60 - radius)
    landmarks[list(SUP), 1] = 128 + radius * np.sin(angles)
    return Face(landmarks)


def asleep() -> Face:
    """The same, not turned, with shut eyes."""
    face = turned(0.0)
    for upper, lower in ((159, 145), (386, 374)):
        face.landmarks[upper] = face.landmarks[lower]
    return face


def call(refresher: SourceRefresher, faces: Iterator[float | Face]) -> list[tuple[int, Setup]]:
    """Shows a face per frame, and waits for what is being coded; (frame, set-up) that were found."""
    draw, got = np.random.default_rng(1), []
    for index, shown in enumerate(faces):
        face = shown if isinstance(shown, Face) else turned(shown)
        refresher.see(Frame(draw.integers(0, 255, (256, 256, 3)).astype(np.uint8), index), face)
        while refresher.is_coding:
            time.sleep(0.005)
        if (setup := refresher.found()) is not None:
            got.append((index, setup))
    return got


def test_a_face_that_stays_gets_no_more_pictures(enrolled: Enrolment) -> None:
    with SourceRefresher(enrolled, RATE) as refresher:
        assert not call(refresher, iter([0.0] * 200))
        assert refresher.sources == 3
        assert refresher.candidates <= 24


def test_a_face_that_turns_gets_one_that_the_receiver_can_use(enrolled: Enrolment) -> None:
    with SourceRefresher(enrolled, RATE, most=4) as refresher:
        got = call(refresher, iter([0.0] * 40 + [0.8] * 80))
        assert refresher.sources == 4
    ((index, setup),) = got
    assert index >= 40
    assert bytes(Setup.parse(bytes(setup))) == bytes(setup)
    first = enrolled.setup
    changed = {"sources_hash": setup.header.sources_hash, "pixels_hash": setup.header.pixels_hash}
    assert replace(first.header, **changed) == setup.header != first.header
    assert len(setup.source_set.pictures) == 4
    assert np.abs(np.array(setup.source_set.pictures[:3], int) - np.array(first.source_set.pictures)).mean() < 3
    wanted = np.array(turned(0.8).sup)
    crop = setup.header.crop
    newest = (setup.source_set.samples[3].parts["sup"] + 1) * crop.side / 2 + [crop.x, crop.y]
    assert np.abs(newest - wanted).max() < 0.1


def test_shut_eyes_are_sent_once_where_networks_can_use_them(
    enrolled: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    blinks = [0.0] * 13 + [asleep()] + [0.0] * 60 + [asleep()] + [0.0] * 60
    with SourceRefresher(enrolled, RATE) as refresher:
        got = call(refresher, iter(blinks))
    ((index, setup),) = got
    assert index >= 40  # 10 s after the first set
    sups = [sample.parts["sup"] for sample in setup.source_set.samples]
    assert [openness(sup) < 0.01 for sup in sups] == [False, False, False, True]
    lids = [SUP.index(n) for n in (159, 145, 386, 374)]
    rest = [k for k in range(len(SUP)) if k not in lids]
    assert np.abs(sups[3][rest] - sups[0][rest]).max() < 0.01
    plain = replace(enrolled, builder=replace(enrolled.builder, blends_parts=False))
    with SourceRefresher(plain, RATE) as refresher:
        assert not call(refresher, iter(blinks))


def test_sets_are_some_time_apart_and_end(enrolled: Enrolment) -> None:
    with SourceRefresher(enrolled, RATE, most=5) as refresher:
        got = call(refresher, (0.2 * (n // 40) for n in range(400)))
    assert [len(setup.source_set.pictures) for _, setup in got] == [4, 5]
    assert got[1][0] - got[0][0] >= 40


def test_a_real_face_is_enrolled(clip: Path) -> None:
    from fvc.calls.capture import file_frames

    frames = list(file_frames(clip, RATE))
    with pytest.raises(Exception, match="no frames"):
        enrol("nothing", iter(()), RATE, 1, BUILDER, 20, None, silent)
    first = enrol("clip", iter(frames), RATE, 0.5, BUILDER, 20, None, silent)
    assert len(first.crops) == len(first.landmarks) == 3
    assert bytes(Setup.parse(bytes(first.setup))) == bytes(first.setup)

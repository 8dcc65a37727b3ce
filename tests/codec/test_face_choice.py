"""Which of several faces is followed: a photo on the wall, two people, somebody who leaves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import SAMPLE, write_clip

import fvc
from fvc.calls.enrolment import Enrolment, enrol
from fvc.codec.base.errors import OptionError
from fvc.codec.face.face_choice import FaceChoice, Person, Sighting, expressiveness, follow
from fvc.codec.face.landmarks import MOUTH
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.sample import Profile
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

SIDE = 400  # of a talking face's picture; the photo on the wall is larger
WALL = 440  # where the photo begins, in a frame of 920 x 480


@pytest.fixture(scope="module")
def room() -> list[np.ndarray]:
    """A talking face on the left, and a larger photo on the wall on the right that trembles with the camera."""
    with VideoReader(SAMPLE) as video:
        pictures = [frame.rgb for frame in video.frames(Fraction(10), only=range(12))]
    frames = []
    for n, picture in enumerate(pictures):
        frame = np.full((480, 920, 3), 90, np.uint8)
        frame[60 : 60 + SIDE, 20 : 20 + SIDE] = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        frame[:, WALL:] = np.roll(pictures[0], (n % 3, n % 2), (0, 1))
        frames.append(frame)
    return frames


def enrolled(frames: list[np.ndarray], **options: Any) -> Enrolment:
    builder = InstalledModel.named(DEFAULT).source_builder(Profile.SUP)
    shown = (Frame(frame, n) for n, frame in enumerate(frames))
    return enrol("room", shown, Fraction(10), 3, builder, 20, None, lambda text: None, **options)


def test_a_file_shows_who_talks_and_not_the_larger_photo(room: list[np.ndarray], tmp_path: Path) -> None:
    clip, notes = write_clip(tmp_path / "room.mp4", room, 10), list[str]()
    report = fvc.encode(clip, tmp_path / "room.fvc", fps=10, canvas=False, note=notes.append)
    assert report["crop"]["x"] + report["crop"]["side"] < WALL
    assert report["frames_without_face"] == 0
    assert any("more than one face; following the largest of those that move" in note for note in notes)


def test_a_call_shows_who_talks_and_goes_on_with_the_same(room: list[np.ndarray]) -> None:
    first = enrolled(room)
    crop = first.setup.header.crop
    assert crop.x + crop.side < WALL
    assert first.place[0] < WALL
    with FaceTracker(place=first.place) as tracker:
        found = [tracker.track(frame) for frame in room[:4]]
    assert all(face is not None and face.box[2] < WALL for face in found)


@pytest.mark.parametrize(
    ("face", "is_photo"), [("left", False), ("right", True), ("largest", True), (1, False), ("2", True)]
)
def test_the_face_that_is_asked_for(room: list[np.ndarray], face: str | int, is_photo: bool) -> None:
    assert (enrolled(room, choice=FaceChoice(face)).place[0] > WALL) == is_photo


@pytest.mark.parametrize("face", ["", "0", 5, -1, "LEFT", "²", "largest ", "9" * 5000])
def test_what_names_no_face(face: str | int) -> None:
    with pytest.raises(OptionError, match="must be left, right, largest, moving or a number from 1 to 4") as caught:
        FaceChoice(face)
    assert caught.value.on_command_line().startswith("--face ")


def test_who_was_beside_the_face_does_not_take_its_place(room: list[np.ndarray]) -> None:
    """The tracker went to the photo as soon as the speaker had left, and stayed there."""
    hidden = [0] * 6 + [*range(0, 480, 48)] + [480] * 10 + [*range(480, 0, -48)] + [0] * 4  # rows, from above
    with FaceTracker(place=np.array([200.0, 200.0])) as tracker:
        for n, rows in enumerate(hidden):
            frame = room[n % 12].copy()
            frame[:rows, :WALL] = 90
            found = tracker.track(frame)
            assert not tracker.is_cut
            assert found is None or found.box[2] < WALL, n
            assert (found is None) == (rows > 0) or 0 < rows < 480, n


def sighting(frame: int, x: float, shape: np.ndarray) -> Sighting:
    return Sighting(frame, shape + np.array([x, 0]), (x - 50, -50, x + 50, 50), 0.0, 0.3, 40.0)


def face(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-50, 50, (33, 2))


def test_motion_is_that_of_mouth_and_eyes() -> None:
    """A photo that is carried about and turned does not move; lips do."""
    turns = [np.array([[1 + 0.02 * n, 0.03 * n], [-0.02 * n, 1]]) for n in range(12)]
    carried = np.array([face() @ turn + [5 * n, 2 * n] for n, turn in enumerate(turns)])
    assert expressiveness(carried) < 1e-6
    talking = carried.copy()
    for shape in talking[::2]:
        shape[list(MOUTH), 1] += 5
    assert expressiveness(talking) > 0.01


def test_people_are_told_apart_in_each_scene() -> None:
    """The one on the left comes late and leaves early; a third face that flashes up is nobody."""
    scene = [[sighting(n, 300, face())] for n in range(20)]
    for n in range(4, 14):
        scene[n].append(sighting(n, 100 + n, face(1)))
    scene[9].append(sighting(9, -200, face(2)))
    left = follow(scene, FaceChoice("left"))
    assert [seen.frame for seen in left] == list(range(4, 14))
    assert all(seen.centre[0] < 150 for seen in left)
    assert [seen.frame for seen in follow(scene, FaceChoice(2))] == list(range(20))
    assert follow([[], []], FaceChoice()) == []


def test_who_moves_far_is_the_same_where_nobody_else_is_left() -> None:
    scene = [[sighting(n, 0 if n < 6 else 400, face()), sighting(n, 800, face(1))] for n in range(12)]
    assert [seen.centre[0] for seen in follow(scene, FaceChoice("left"))] == [0] * 6 + [400] * 6


def test_of_two_who_talk_the_larger_is_followed() -> None:
    def person(scale: float, motion: float) -> Person:
        draw = np.random.default_rng(3)
        shapes = [scale * (face() + motion * draw.normal(size=(33, 2))) for _ in range(10)]
        return Person(
            [Sighting(n, shape, (0, 0, 100 * scale, 90 * scale), 0, 0.3, 40) for n, shape in enumerate(shapes)]
        )

    small, large, photo = person(1, 3), person(2, 2.5), person(3, 0.1)
    assert FaceChoice()([small, large, photo]) is large
    assert FaceChoice()([small, photo]) is small

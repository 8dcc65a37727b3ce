"""The face tracker: one face through a video, small faces, scene cuts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fvc.codec.face.cuts import Change, CutDetector
from fvc.codec.face.detection import Face
from fvc.codec.face.landmarks import SUP_MIRROR
from fvc.codec.face.survey import survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame, VideoReader

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"


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


def sample_frames(count: int, start: int = 0) -> list[np.ndarray]:
    """Frames of the sample at 15 fps, uint8 [480, 480, 3]; its face is about 130 pixels wide."""
    with VideoReader(SAMPLE) as video:
        return [frame.rgb for frame in video.frames(Fraction(15), only=range(start, start + count))]


def in_scene(picture: np.ndarray, face: int, size: tuple[int, int], at: tuple[int, int]) -> np.ndarray:
    """A frame of (width, height) `size` with the sample's picture in it, whose face has so many pixels."""
    scale = face / 130
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((size[1], size[0], 3), 120, np.uint8)
    frame[at[1] : at[1] + len(small), at[0] : at[0] + small.shape[1]] = small
    return frame


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize(
    ("face", "size", "at"),
    [(32, (640, 360), (80, 200)), (34, (1920, 1080), (1500, 600)), (125, (1920, 1080), (700, 300))],
)
def test_small_faces_are_found(face: int, size: tuple[int, int], at: tuple[int, int], still: bool) -> None:
    with FaceTracker(still=still) as tracker, FaceTracker(still=True) as whole:
        for picture in sample_frames(3):
            found = tracker.track(in_scene(picture, face, size, at))
            expected = whole.track(picture)
            assert found is not None
            assert expected is not None
            there = expected.sup * (face / 130) + at
            assert np.abs(found.sup - there).mean() < 0.06 * face
            assert found.count == 1


def test_a_face_that_crosses_a_wide_frame_is_followed() -> None:
    with FaceTracker() as tracker:
        for n, picture in enumerate(sample_frames(20)):
            x = 40 + 60 * n
            found = tracker.track(in_scene(picture, 110, (1920, 1080), (x, 400)))
            assert found is not None
            assert found.box[0] == pytest.approx(x + 160 * 110 / 130, abs=40)


def test_no_small_face_takes_the_place_of_a_large_one_that_leaves() -> None:
    """Else a photo on the wall would be followed as soon as the speaker is away."""
    picture = sample_frames(1)[0]
    poster = in_scene(picture, 40, (640, 480), (20, 20))
    with FaceTracker() as tracker:
        for shift in [0, 0, 0, *range(0, 480, 12), *[480] * 20]:
            frame = poster.copy()
            frame[:, 160 + shift :] = picture[:, : 480 - shift]
            found = tracker.track(frame)
            assert not tracker.is_cut
            assert found is None or found.size > 100
            assert found is not None or shift > 100


def zoomed(picture: np.ndarray, factor: float) -> np.ndarray:
    side = round(480 / factor)
    x, y = 180 - side // 4, 40
    return cv2.resize(picture[y : y + side, x : x + side], (480, 480), interpolation=cv2.INTER_CUBIC)


def assert_landmarks_are_right(frames: list[np.ndarray]) -> list[int]:
    """Every frame's landmarks are about those of the frame taken alone; returns the cuts."""
    cuts = []
    with FaceTracker() as tracker, FaceTracker(still=True) as alone:
        for n, frame in enumerate(frames):
            found, expected = tracker.track(frame), alone.track(frame)
            assert found is not None
            assert expected is not None
            assert found.count == 1
            assert np.linalg.norm(found.sup - expected.sup, axis=1).mean() < 0.04 * expected.size, n
            cuts += [n] * tracker.is_cut
    return cuts


@pytest.mark.parametrize("factor", [1.35, 1.7])
def test_landmarks_follow_a_jump_cut_at_once(factor: float) -> None:
    """The tracker began anew only when it had lost the face: five frames were off, with two faces in some."""
    frames = sample_frames(24)
    assert assert_landmarks_are_right([*frames[:12], *(zoomed(frame, factor) for frame in frames[12:])]) == [12]


def test_motion_flashes_and_fades_are_no_cuts() -> None:
    frames = sample_frames(60)
    with FaceTracker() as tracker:
        for frame in frames:
            tracker.track(frame)
            assert not tracker.is_cut
    detector = CutDetector()
    for n, frame in enumerate(frames[:16]):
        assert detector.look(np.clip(frame * (0.5 if n < 8 else 0.9), 0, 255).astype(np.uint8)) != Change.CUT


def test_survey_counts_faces_that_stay() -> None:
    class Tracker:
        is_cut = is_sudden = False
        others: tuple[Face, ...] = ()

        def __init__(self, counts: list[int]) -> None:
            self._counts = iter(counts)

        def track(self, rgb: np.ndarray) -> Face:
            return Face(np.random.default_rng(0).uniform(0, 16, (478, 3)).astype(np.float32), next(self._counts))

    def n_faces(*counts: int) -> int:
        frames = [Frame(np.zeros((16, 16, 3), np.uint8), n) for n in range(len(counts))]
        return survey(frames, Tracker(list(counts))).n_faces  # type: ignore[arg-type]

    assert n_faces(*[1] * 20, *[2] * 3, *[1] * 20) == 1
    assert n_faces(*[1] * 20, *[2] * 8, *[1] * 20) == 2
    assert n_faces(2, 1, 1) == 2


def test_survey_knows_the_cuts() -> None:
    frames = sample_frames(16)
    cut = [Frame(rgb, n) for n, rgb in enumerate([*frames[:8], *(zoomed(frame, 1.6) for frame in frames[8:])])]
    with FaceTracker() as tracker:
        assert survey(cut, tracker).cuts == (8,)

"""Our own tracker: the choice between it and MediaPipe, the squares it looks at, and what it finds in the sample."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fvc.codec.base.errors import OptionError
from fvc.codec.face import finders
from fvc.codec.face.detection import Face, Window
from fvc.codec.face.finders import MEDIAPIPE, OWN, has_mediapipe, make_finder, make_search, tracker_named
from fvc.codec.face.landmarks import landmark_error
from fvc.codec.face.own_faces import OwnFaces, Place, _square
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.codec.options import EncoderOptions

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"
needs_mediapipe = pytest.mark.skipif(not has_mediapipe(), reason="MediaPipe 0.10.21 cannot be installed here")


def _frames(fps: int) -> list[np.ndarray]:
    with VideoReader(SAMPLE) as video:
        return [frame.rgb.copy() for frame in video.frames(Fraction(fps))]


def test_auto_takes_mediapipe_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FVC_TRACKER", raising=False)
    monkeypatch.setattr(finders, "has_mediapipe", lambda: True)
    assert tracker_named() == tracker_named("auto") == MEDIAPIPE
    assert tracker_named("own") == OWN
    monkeypatch.setenv("FVC_TRACKER", "own")
    assert tracker_named() == OWN
    assert tracker_named("auto") == MEDIAPIPE  # an option outdoes the variable


def test_without_mediapipe_our_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FVC_TRACKER", raising=False)
    monkeypatch.setattr(finders, "has_mediapipe", lambda: False)
    assert tracker_named() == OWN
    with pytest.raises(OptionError, match="not installed"):
        EncoderOptions(tracker="mediapipe")


@pytest.mark.parametrize("count", [33, 478])
def test_opencv_takes_the_landmarks_of_both_trackers(count: int) -> None:
    """It raised an assertion for a view of [33, 3]."""
    sup = Face(np.random.default_rng(0).uniform(0, 100, (count, 3)).astype(np.float32)).sup
    matrix, _ = cv2.estimateAffinePartial2D(sup, 2 * sup, method=cv2.LMEDS)
    assert matrix == pytest.approx(np.array([[2, 0, 0], [0, 2, 0]]), abs=1e-3)


def test_unknown_trackers_are_refused() -> None:
    with pytest.raises(OptionError, match="auto, mediapipe or own"):
        EncoderOptions(tracker="dlib")


def test_a_mediapipe_without_models_does_not_count(tmp_path: Path) -> None:
    """As from 0.10.30 on: the package is there, its face models are not."""
    (tmp_path / "mediapipe").mkdir()
    (tmp_path / "mediapipe" / "__init__.py").write_text("raise ImportError('must not be imported')\n")
    code = "from fvc.codec.face.finders import tracker_named; print(tracker_named())"
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == OWN


@pytest.mark.parametrize("half_side", [20.0, 60.0, 400.0])
@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_squares_show_what_lies_there(half_side: float, degrees: float) -> None:
    """Colours that grow with x and y say which point of the picture each pixel of a square shows; large ones too."""
    side = 1600
    x, y = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    picture = np.stack([255 * x / side, 255 * y / side, 0 * x], -1).round().astype(np.uint8)
    turn = half_side * np.exp(1j * np.radians(degrees))
    square = _square(picture, Place(800 + 700j, turn)).astype(float)
    for row, column in ((48, 48), (10, 80), (85, 20)):
        at = 800 + 700j + turn * complex((column + 0.5) / 48 - 1, (row + 0.5) / 48 - 1)
        assert square[row, column, :2] == pytest.approx([255 * at.real / side, 255 * at.imag / side], abs=1.2)


def test_squares_outside_the_picture_are_black() -> None:
    picture = np.full((50, 60, 3), 200, np.uint8)
    for place in (Place(-900 + 20j, 30 + 0j), Place(4000 + 4000j, 700 + 0j)):
        assert not _square(picture, place).any()


@needs_mediapipe
def test_landmarks_are_near_mediapipes() -> None:
    errors = []
    with FaceTracker(tracker=OWN) as ours, FaceTracker(tracker=MEDIAPIPE) as theirs:
        for picture in _frames(6):
            face, expected = ours.track(picture), theirs.track(picture)
            assert face is not None
            assert expected is not None
            assert face.count == 1
            assert face.pose[0] == pytest.approx(expected.pose[0], abs=0.15)
            assert face.box == pytest.approx(expected.box, abs=0.08 * expected.size)
            errors.append(landmark_error(face.sup, expected.sup))
    assert np.mean(errors) < 0.025


def test_faces_are_followed_and_lost() -> None:
    pictures = _frames(3)
    with FaceTracker(tracker=OWN) as tracker:
        assert all(tracker.track(picture) is not None for picture in pictures)
        assert tracker.track(np.zeros_like(pictures[0])) is None
        assert tracker.track(np.full_like(pictures[0], 255)) is None


@pytest.mark.parametrize("still", [True, False])
def test_a_window_gives_the_landmarks_in_the_whole(still: bool) -> None:
    picture = cv2.copyMakeBorder(_frames(1)[0], 100, 0, 300, 0, cv2.BORDER_REPLICATE)
    finder = OwnFaces(still, 1)
    whole = finder.find(picture)[0]
    finder.restart()
    part = finder.find(picture, Window(300, 100, 780, 580))[0]
    assert landmark_error(part.sup, whole.sup) < 0.03


def test_two_faces_are_two() -> None:
    face = _frames(1)[0][40:340, 60:420]
    both = np.concatenate([face, face], 1)
    found = make_finder(OWN, True, 4).find(both)
    assert len(found) == 2
    assert make_finder(OWN, True, 1).find(both)[0].count == 1
    boxes = make_search(OWN).boxes(both)
    assert len(boxes) == 2


def test_encodes_where_mediapipe_cannot_be_imported(tmp_path: Path) -> None:
    """As on Python 3.13 or Linux on ARM, in a process of its own."""
    code = (
        "import sys; sys.modules['mediapipe'] = None\n"
        "import fvc; report = fvc.encode(sys.argv[1], sys.argv[2], fps=3, audio_bitrate=None)\n"
        "assert report['frames'] == 30, report"
    )
    command = [sys.executable, "-c", code, str(SAMPLE), str(tmp_path / "out.fvc")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.fvc").stat().st_size > 500

"""Another person sits down in a call: noticed, held, enrolled anew; the same person never is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SAMPLE, write_clip
from test_real_calls import start_receiver

from fvc.calls.enrolment import Enrolment, SourceRefresher, enrol
from fvc.calls.loopback import live
from fvc.calls.send import send
from fvc.calls.speaker import Speaker
from fvc.codec.base.reporting import silent
from fvc.codec.call.joining import same_call
from fvc.codec.call.setup import Setup
from fvc.codec.encoder import Found
from fvc.codec.face.identity import FaceWatch, Person
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.sample import Profile
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

RATE = Fraction(10)


def stretched(rgb: np.ndarray) -> np.ndarray:
    """Somebody else: the sample mirrored, with a longer face, in other colours."""
    tall = cv2.resize(rgb[:, ::-1], (480, 600), interpolation=cv2.INTER_AREA)[60:540]
    return np.ascontiguousarray(tall[..., [2, 0, 1]])


@pytest.fixture(scope="module")
def sample() -> list[np.ndarray]:
    with VideoReader(SAMPLE) as video:
        return [frame.rgb for frame in video.frames(RATE, only=range(60))]


@pytest.fixture(scope="module")
def enrolled(sample: list[np.ndarray]) -> Enrolment:
    builder = InstalledModel.named(DEFAULT).source_builder(Profile.SUP)
    frames = (Frame(rgb, n) for n, rgb in enumerate(sample))
    return enrol("sample", frames, RATE, 3, builder, 50, None, silent)


def shown(speaker: Speaker, frames: list[np.ndarray]) -> Iterator[tuple[Found, Enrolment | None]]:
    for n, rgb in enumerate(frames):
        found, _ = speaker.see(Frame(rgb, n))
        deadline = time.monotonic() + 60
        while speaker.is_enrolling and time.monotonic() < deadline:
            time.sleep(0.01)
        yield found, speaker.enrolled()


def test_a_newcomer_is_held_enrolled_and_shown(sample: list[np.ndarray], enrolled: Enrolment) -> None:
    """The first person's pictures were drawn with the newcomer's landmarks for as long as the call lasted."""
    notes: list[str] = []
    frames, got = sample[:30] + [stretched(rgb) for rgb in sample[:40]], dict[int, Enrolment]()
    with Speaker(enrolled, RATE, 1, notes.append) as speaker:
        drawn = []
        for n, (found, newcomer) in enumerate(shown(speaker, frames)):
            drawn.append(found)
            if newcomer is not None:
                got[n] = newcomer
                assert speaker.is_newcomer
                speaker.welcome()
    assert notes == ["another person; new source pictures are under way"]
    ((end, newcomer),) = got.items()
    assert 40 <= end <= 48
    assert [found.sup is not None for found in drawn] == [True] * 30 + [False] * (end - 29) + [True] * (69 - end)
    assert [n for n, found in enumerate(drawn) if found.is_cut] == [end + 1]
    assert same_call(enrolled.setup.header, newcomer.setup.header)
    assert bytes(Setup.parse(bytes(newcomer.setup))) == bytes(newcomer.setup) != bytes(enrolled.setup)
    for crop in newcomer.crops:
        green, red = crop[60:200, 60:200, 1].mean(), crop[60:200, 60:200, 0].mean()
        assert green > red + 10  # of the newcomer only: the first one's face is red


def test_the_same_person_is_known_again(sample: list[np.ndarray], enrolled: Enrolment) -> None:
    """Turns, absences, another exposure, an unseen turn and a cut to a closer view: held for half a second."""
    black = [np.zeros_like(sample[0])] * 6
    brighter = [np.clip(rgb * 1.2 + 5, 0, 255).astype(np.uint8) for rgb in sample[40:50]]
    aside = [np.roll(rgb, 60, 1) for rgb in sample[50:]]
    closer = [cv2.resize(rgb[20:380, 60:420], (480, 480), interpolation=cv2.INTER_CUBIC) for rgb in sample[:10]]
    frames = sample[:40] + black + brighter + black + aside + closer
    with Speaker(enrolled, RATE, 1, pytest.fail) as speaker:
        drawn = [found.sup is not None for found, _ in shown(speaker, frames)]
    assert sum(drawn[:40]) == 40
    assert sum(drawn[46:56]) >= 6
    assert sum(drawn[62:72]) >= 6
    assert sum(drawn[72:]) >= 6


def test_nobody_is_enrolled_where_the_newcomer_leaves_at_once(sample: list[np.ndarray], enrolled: Enrolment) -> None:
    """The next face is waited for."""
    other, black = [stretched(rgb) for rgb in sample[:40]], [np.zeros_like(sample[0])]
    notes: list[str] = []
    with Speaker(enrolled, RATE, 1, notes.append) as speaker:
        results = list(shown(speaker, sample[:10] + other[:6] + black * 20 + other))
    assert len(notes) == 1
    assert any(newcomer is not None for _, newcomer in results)


def test_doubts_last_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a second of a face that was half alike, the newcomer was taken for the first person, and learned."""
    looks = np.eye(3, 48 * 48 + 2, dtype=np.float32)
    half_alike = 0.3 * looks[0] + np.sqrt(1 - 0.3**2) * looks[1]  # at a distance of 0.7
    shown_now = iter([looks[0], *[half_alike] * 30])
    monkeypatch.setattr("fvc.codec.face.identity.FaceLooks.__call__", lambda *_: next(shown_now))
    picture, face = np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0).uniform(0, 8, (33, 2))
    watch = FaceWatch([(picture, face)], RATE)
    seen = [watch.see(n, picture, face, n == 0) for n in range(20)]
    assert seen == [Person.UNSURE] * 4 + [Person.KNOWN] * 15 + [Person.OTHER]


def test_a_face_outside_the_crop_is_told_once(sample: list[np.ndarray], enrolled: Enrolment) -> None:
    """It was drawn as a burst of pixels."""
    notes: list[str] = []
    wide = [np.pad(rgb, ((0, 0), (0, 480), (0, 0)), mode="edge") for rgb in sample[:24]]
    frames = [np.roll(rgb, 460, 1) if 8 <= n < 16 else rgb for n, rgb in enumerate(wide)]
    with Speaker(enrolled, RATE, 1, notes.append) as speaker:
        drawn = [found.sup is not None for found, _ in shown(speaker, frames)]
    assert not any(drawn[8:16])
    assert all(drawn[:8])
    assert len([note for note in notes if "outside the square" in note]) <= 1
    assert not [note for note in notes if "another person" in note]


def test_a_single_frame_decides_nothing(sample: list[np.ndarray]) -> None:
    with FaceTracker(still=True) as tracker:
        faces = [tracker.track(rgb) for rgb in (sample[0], stretched(sample[0]))]
    sups = [face.sup for face in faces if face is not None]
    watch = FaceWatch([(sample[0], sups[0])], RATE)
    assert watch.see(0, sample[0], sups[0], False) == Person.KNOWN
    assert watch.see(1, stretched(sample[0]), sups[1], True) == Person.UNSURE
    assert watch.see(2, sample[0], sups[0], False) == Person.KNOWN
    seen = [watch.see(n, stretched(sample[0]), sups[1], n == 3) for n in range(3, 8)]
    assert seen == [Person.UNSURE] * 4 + [Person.OTHER]


def test_the_refresher_forgets_who_was_there(enrolled: Enrolment) -> None:
    other = replace(enrolled, crops=enrolled.crops[:3], landmarks=enrolled.landmarks[:3])
    with SourceRefresher(enrolled, RATE) as refresher:
        with FaceTracker(still=True) as tracker, VideoReader(SAMPLE) as video:
            for frame in video.frames(RATE, only=range(12)):
                refresher.see(frame, tracker.track(frame.rgb))
        assert refresher.candidates > 0
        refresher.begin_anew(other, 12.0)
        assert (refresher.candidates, refresher.sources) == (0, 3)


@pytest.fixture(scope="module")
def swap(sample: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the first person, ten of the other: until then a busy machine has coded the pictures."""
    frames = sample[:20] + [stretched(rgb) for rgb in (*sample, *sample[:40])]
    return write_clip(tmp_path_factory.mktemp("swap") / "swap.mp4", frames, 10)


def ends_with_the_newcomer(path: Path) -> bool:
    """Whose face is green; it was drawn in the colours of the first one's, which is red, until the call ended."""
    with VideoReader(path) as video:
        face = [frame.rgb for frame in video.frames(RATE)][-1][60:200, 60:200]
    return bool(face[..., 1].mean() > face[..., 0].mean() + 10)


def test_live_draws_the_newcomer_with_new_pictures(swap: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    live(swap, out=tmp_path / "out.mp4", fps="10", enrol_seconds=1, note=notes.append)
    assert notes.count("another person; new source pictures are under way") == 1
    assert ends_with_the_newcomer(tmp_path / "out.mp4")


def test_a_call_draws_the_newcomer_with_new_pictures(swap: Path, tmp_path: Path) -> None:
    sent, heard, out = list[str](), list[str](), tmp_path / "call.mp4"
    thread, port, result = start_receiver(out=out, wait=60, timeout=20, note=heard.append)
    send(f"127.0.0.1:{port}", swap, fps="10", enrol_seconds=1, timeout=60, setup_kbps=1000, note=sent.append)
    thread.join(60)
    assert "report" in result
    assert sent.count("another person; new source pictures are under way") == 1
    assert "new source pictures have arrived" in heard
    assert ends_with_the_newcomer(out)

"""Scene cuts in streams: a keyframe at once, nothing smoothed or faded across it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import write_clip
from make_vectors import header_of

import fvc
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder, Found
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.ratecontrol import ConstantQuality
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Kind, Packet

HEADER = header_of(Profile.SUP, 20)
REST = DrivingSample({"sup": np.zeros((33, 2), np.float32)})


def face(shift: float) -> np.ndarray:
    """Landmarks in pixels of the whole frame; 300 is the side of the crop."""
    points = np.random.default_rng(0).uniform(60, 200, (33, 2))
    return points + np.array([HEADER.crop.x + shift, HEADER.crop.y])


def packets(cuts: set[int], frames: int = 50, missing: frozenset[int] = frozenset()) -> list[Packet]:
    """A face that jumps by 60 pixels at each cut, and moves by half a pixel in each frame."""
    encoder = Encoder(HEADER, None, plan=ConstantQuality(80))
    sent = []
    for n in range(frames):
        shift = 60 * (sum(cut <= n for cut in cuts) % 2) + 0.5 * n
        sup = None if n in missing else face(shift)
        sent.append(encoder.encode(Frame(np.empty((0, 0, 3), np.uint8), n), Found(sup, n in cuts)))
    return sent


def keyframes(sent: list[Packet]) -> list[int]:
    return [packet.number for packet in sent if packet.kind == Kind.KEY]


def drawn(sent: list[Packet]) -> dict[int, DrawInputs]:
    """What each frame that is drawn is drawn from."""
    shown: list[DrawInputs] = []

    def draw(inputs: DrawInputs) -> np.ndarray:
        shown.append(inputs)
        return np.zeros((1, 1, 3), np.uint8)

    decoder, found = Decoder(HEADER, Renderer(draw, REST, HEADER.fps)), {}
    for packet in sent:
        count = len(shown)
        decoder.decode(packet)
        if len(shown) > count:
            found[packet.number] = shown[-1]
    return found


def test_a_cut_is_a_keyframe_and_the_interval_begins_anew() -> None:
    assert keyframes(packets(set())) == [0, 20, 40]
    assert keyframes(packets({13})) == [0, 13, 33]
    assert keyframes(packets({13}, missing=frozenset(range(12, 17)))) == [0, 17, 37]


def test_nothing_is_smoothed_across_a_cut() -> None:
    found = drawn(packets({13}))
    sharp, before = found[13].parts["sup"], found[12].parts["sup"]
    moved = np.abs(sharp - before)[:, 0].mean()
    assert moved == pytest.approx(60.5 * 2 / HEADER.crop.side, abs=0.02)


def test_nothing_fades_across_a_cut() -> None:
    found = drawn(packets({13}))
    for n in (13, 14, 17):
        recent = found[n].recent_positions
        assert np.abs(recent - found[n].parts["sup"]).max() < 0.1  # none of the scene before, 0.4 away
    assert np.abs(found[21].recent_positions - found[21].parts["sup"]).max() > 0.005  # the same scene: as ever


def test_a_face_outside_the_crop_is_held_not_drawn() -> None:
    """Landmarks far outside were drawn as a burst of pixels, for as long as the face was there."""
    encoder, sent = Encoder(HEADER, None, plan=ConstantQuality(80)), []
    for n in range(30):
        away = HEADER.crop.side if 10 <= n < 16 else HEADER.crop.side / 3 if n >= 20 else 0
        sent.append(encoder.encode(Frame(np.empty((0, 0, 3), np.uint8), n), Found(face(away))))
    assert [n for n, packet in enumerate(sent) if not packet.payload] == list(range(10, 16))
    assert sorted(drawn(sent)) == [*range(10), *range(16, 30)]  # a third of the crop aside it is still in it


def test_keyframes_in_time_are_no_cuts() -> None:
    """Positions across a regular keyframe are those that were drawn."""
    found = drawn(packets(set()))
    for n, back in ((20, 1), (21, 2), (40, 3)):
        np.testing.assert_array_equal(found[n].recent_positions[back - 1], found[n - back].parts["sup"])


def test_a_jump_cut_in_a_video(clip: Path, tmp_path: Path) -> None:
    with VideoReader(clip) as video:
        frames = [frame.rgb for frame in video.frames(Fraction(10))]
    near = [np.ascontiguousarray(frame[100:400, 70:370].repeat(8, 0).repeat(8, 1)[::5, ::5]) for frame in frames[15:25]]
    assert near[0].shape == (480, 480, 3)
    source, notes = write_clip(tmp_path / "jump.mp4", [*frames[:12], *near], 10), list[str]()
    fvc.encode(source, tmp_path / "jump.fvc", fps=10, profile="sup", canvas=False, note=notes.append)
    info = fvc.info(tmp_path / "jump.fvc")
    assert info["keyframes"] == 2
    assert not [note for note in notes if "more than one face" in note]

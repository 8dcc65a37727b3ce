"""Files that are damaged, cut off, hostile, or made for weights that are not installed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import FPS, SECONDS, Encoded, frames_of, sound_of, write_clip, write_stream

import fvc
from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import InputError, SourcesError, StreamError
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.output import write_image
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.wire.bitstream import Header, KeyPayload, Kind, Packet
from fvc.codec.wire.container import Damage, StreamReader
from fvc.codec.wire.source_set import SourceSet


class TestDamage:
    @pytest.fixture(scope="class")
    def data(self, encoded: Encoded) -> bytes:
        return encoded.stream.read_bytes()

    @staticmethod
    def read(data: bytes) -> tuple[int, int]:
        """(frames drawn or held, damaged places) of the exact half of the decoder."""
        reader = StreamReader(BytesIO(data))
        motion, frames, damaged = MotionDecoder(reader.header), 0, 0
        for item in reader.packets():
            if isinstance(item, Damage):
                assert item.stop > item.start
                damaged += 1
            elif item.kind != Kind.AUDIO:
                motion.decode(item)
                frames += 1
        return frames, damaged

    def test_truncated_anywhere(self, data: bytes) -> None:
        offsets = random.Random(1).sample(range(len(data)), 20)
        for offset in [0, 1, 6, 7, *offsets]:
            try:
                frames, damaged = self.read(data[:offset])
            except StreamError:
                assert offset < Header.size(data[:7])
            else:
                assert frames <= SECONDS * FPS + 1
                assert damaged <= 1

    def test_flipped_anywhere(self, data: bytes) -> None:
        rng = random.Random(2)
        for offset in rng.sample(range(len(data)), 40):
            broken = bytearray(data)
            broken[offset] ^= 1 << rng.randrange(8)
            try:
                frames, damaged = self.read(bytes(broken))
            except StreamError:
                assert offset < Header.size(data[:7])
            else:
                assert frames >= SECONDS * FPS - 8  # at worst it goes on at the next sync word
                assert damaged <= 2

    def test_motion_payloads_of_any_bytes(self, encoded: Encoded) -> None:
        """Checksums cannot help against these; the integers are within their range or the packet is refused."""
        header, packets = encoded.parsed()
        motion = [packet for packet in packets if packet.kind != Kind.AUDIO]
        rng = random.Random(3)
        for packet in motion[:24]:
            decoder = MotionDecoder(header)
            decoder.decode(motion[0])
            payload = bytearray(packet.payload)
            payload[rng.randrange(len(payload))] = rng.randrange(256)
            try:
                integers = decoder.decode(
                    replace(packet, number=1, payload=bytes(payload[: rng.randrange(1, len(payload) + 1)]))
                )
            except StreamError:
                continue
            for part, values in (integers or {}).items():
                assert all(0 <= value <= header.quantizers[part].top for value in values)

    @pytest.mark.parametrize("how", ["truncated", "motion", "sound"])
    def test_decode(self, how: str, encoded: Encoded, data: bytes, notes: list[str], tmp_path: Path) -> None:
        header, packets = encoded.parsed()
        stream = tmp_path / "broken.fvc"
        kind = Kind.AUDIO if how == "sound" else Kind.MOTION
        hit = [n for n, packet in enumerate(packets) if packet.kind == kind][8]
        at = len(bytes(header)) + sum(len(bytes(packet)) for packet in packets[:hit]) + 6
        broken = bytearray(data[:at] if how == "truncated" else data)
        if how != "truncated":
            broken[at] ^= 0x10
        stream.write_bytes(broken)
        report = fvc.decode(stream, encoded.sources, note=notes.append)
        assert len(notes) == 1
        assert "broken.fvc: " in notes[0]
        if how == "truncated":
            assert report["frames"] == packets[hit].number
            assert report["complete"] is False
            assert f"cut off after {report['frames']} frames" in notes[0]
            return
        assert report["frames"] == encoded.report["frames"]
        assert report["damaged_places"] == 1
        assert "checksum" in notes[0]
        assert f"bytes {at - 6 - 0}" in notes[0] or f"bytes {at - 6}-" in notes[0]
        lost = packets[hit].number
        assert report["frames_held"] == ((7 - lost % 7) if how == "motion" else 0)


class TestHostile:
    @pytest.fixture
    def refused(self, encoded: Encoded, tmp_path: Path) -> Callable[[Path], StreamError]:
        def decode(stream: Path) -> StreamError:
            with pytest.raises(StreamError, match=stream.name) as caught:
                fvc.decode(stream, encoded.sources)
            assert not list(tmp_path.glob("*.mp4*"))
            return caught.value

        return decode

    def test_gap_of_frames(self, encoded: Encoded, refused: Callable[[Path], StreamError], tmp_path: Path) -> None:
        header, packets = encoded.parsed()
        key = next(packet for packet in packets if packet.kind == Kind.KEY)
        coded = KeyPayload.parse(key.payload).coded
        far = Packet(Kind.KEY, 1 << 30, bytes(KeyPayload(1 << 30, 0, coded)))
        assert refused(write_stream(tmp_path / "far.fvc", header, [key, far])).rule == "E14"
        fvc.info(tmp_path / "far.fvc")

    def test_gap_of_sound(self, encoded: Encoded, refused: Callable[[Path], StreamError], tmp_path: Path) -> None:
        header, packets = encoded.parsed()
        key = next(packet for packet in packets if packet.kind == Kind.KEY)
        coded = KeyPayload.parse(key.payload).coded
        jump = Packet(Kind.KEY, 1, bytes(KeyPayload(1, 1 << 30, coded)))
        sound = Packet(Kind.AUDIO, 1 << 30, b"\0")
        assert refused(write_stream(tmp_path / "far.fvc", header, [key, jump, sound])).rule == "E14"

    def test_end_that_claims_too_much(
        self, encoded: Encoded, refused: Callable[[Path], StreamError], tmp_path: Path
    ) -> None:
        header, packets = encoded.parsed()
        stream = write_stream(tmp_path / "end.fvc", header, [*packets[:3], Packet(Kind.MOTION, 1 << 31, b"")])
        data = stream.read_bytes()
        lost = len(bytes(Packet(Kind.MOTION, 1 << 31, b"")))
        at = len(bytes(header)) + sum(len(bytes(packet)) for packet in packets[:3])
        stream.write_bytes(data[:at] + data[at + lost :])
        assert refused(stream).rule == "E14"

    def test_nothing_but_sound(self, encoded: Encoded, refused: Callable[[Path], StreamError], tmp_path: Path) -> None:
        header, packets = encoded.parsed()
        only = [packet for packet in packets if packet.kind == Kind.AUDIO]
        assert refused(write_stream(tmp_path / "mute.fvc", header, only)).rule == "E04"

    def test_sound_that_never_comes(self, encoded: Encoded, tmp_path: Path) -> None:
        header, packets = encoded.parsed()
        silent = [packet for packet in packets if packet.kind != Kind.AUDIO][:5]
        stream = write_stream(tmp_path / "silent.fvc", header, silent)
        assert fvc.decode(stream, encoded.sources)["frames"] == 5
        assert len(frames_of(tmp_path / "silent.decoded.mp4")) == 5
        assert not np.abs(sound_of(tmp_path / "silent.decoded.mp4")).max() > 1e-3

    def test_giant_canvas(self, encoded: Encoded, refused: Callable[[Path], StreamError], tmp_path: Path) -> None:
        header, packets = encoded.parsed()
        giant = replace(header, crop=replace(header.crop, width=16384, height=16384, side=16384))
        stream = write_stream(tmp_path / "giant.fvc", giant, packets[:3])
        with pytest.raises(StreamError, match=r"giant\.fvc: .*`canvas` crop"):
            fvc.decode(stream, encoded.sources, canvas="full")
        assert fvc.decode(stream, encoded.sources)["size"] == [SIDE, SIDE]

    def test_unknown_weights(self, encoded: Encoded, tmp_path: Path) -> None:
        header, packets = encoded.parsed()
        stream = write_stream(tmp_path / "x.fvc", replace(header, model_hash=b"\xee" * 8), packets)
        with pytest.raises(SourcesError, match=r"x\.fvc: made for weights eeeeeeeeeeeeeeee"):
            fvc.decode(stream, encoded.sources)


class TestOtherWeights:
    """Streams of weights that are not installed: tracked landmarks can be drawn by any."""

    @pytest.fixture
    def stream(self, faces: list[np.ndarray], tmp_path: Path) -> Path:
        fvc.encode(write_clip(tmp_path / "in.mp4", faces[:4]), tmp_path / "x.fvc", fps=5)
        return tmp_path / "x.fvc"

    def made_for(self, stream: Path, weights: bytes) -> Path:
        """The same stream and source set, as other weights would have made them."""
        source_set = replace(SourceSet.parse(stream.with_suffix(".fvs").read_bytes()), model_hash=weights, _head=b"")
        other = stream.with_name("other.fvc")
        other.with_suffix(".fvs").write_bytes(bytes(source_set))
        with stream.open("rb") as file:
            reader = StreamReader(file)
            packets = [item for item in reader.packets() if isinstance(item, Packet) and item.kind != Kind.END]
        names = {"model_hash": weights, "sources_hash": source_set.sources_hash}
        return write_stream(other, replace(reader.header, **names), packets)

    def test_landmarks_are_drawn_by_the_installed_ones(self, stream: Path, notes: list[str], tmp_path: Path) -> None:
        other = self.made_for(stream, b"\xee" * 8)
        fvc.decode(other, out=tmp_path / "other.mp4", note=notes.append)
        fvc.decode(stream, out=tmp_path / "own.mp4")
        expected = "other.fvc: made for weights eeeeeeeeeeeeeeee, which are not installed; drawn with those of composed"
        assert [note.rpartition("/")[2] for note in notes] == [expected]
        pairs = zip(frames_of(tmp_path / "other.mp4"), frames_of(tmp_path / "own.mp4"), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("size", [(8000, 1), (1, 3000), (15, 400)])
def test_thin_pictures_are_refused_in_a_line(size: tuple[int, int], encoded: Encoded, tmp_path: Path) -> None:
    photo = tmp_path / "thin.png"
    write_image(photo, np.zeros((size[1], size[0], 3), np.uint8))
    with pytest.raises(InputError, match=rf"thin\.png: {size[0]}x{size[1]} pixels; each side must be at least 16"):
        fvc.decode(encoded.stream, photo, tmp_path / "x.mp4", allow_foreign_sources=True)


def test_a_frame_of_any_shape_can_be_tracked() -> None:
    with FaceTracker() as tracker:
        assert tracker.track(np.zeros((16, 6000, 3), np.uint8)) is None

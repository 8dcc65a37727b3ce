"""Datagrams: golden bytes, every truncation and flip, copies, order, limits."""

from __future__ import annotations

import io
import json
import random
from fractions import Fraction
from typing import Any

import make_vectors
import pytest
import spec_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from make_vectors import VECTORS, header_of
from spec_decoder import SpecError

from fvc.codec.base.constants import MAX_DATAGRAM, REORDERING_WINDOW
from fvc.codec.base.errors import StreamError, UsageError
from fvc.codec.call.datagram import Datagram, Depacketizer, Packetizer, audio_due
from fvc.codec.motion.sample import Profile
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.wire.bitstream import Audio, Header, KeyPayload, Kind, Packet, RefreshPayload
from fvc.codec.wire.container import StreamReader

HEADER = header_of(Profile.SUP, audio=Audio(20, 312))
BY_SPEC, _ = spec_decoder.parse_header(bytes(HEADER))
WIRE = json.loads((VECTORS / "wire.json").read_text())


def motion(number: int, size: int = 5) -> Packet:
    return Packet(Kind.MOTION, number, random.Random(number).randbytes(size))


def key(number: int) -> Packet:
    return Packet(Kind.KEY, number, bytes(KeyPayload(number, 0, b"key")))


def sealed(body: bytes) -> bytes:
    return body + spec_decoder.binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")


BROKEN = [
    ("E24", b""),
    ("E24", b"\0\0"),
    ("E24", sealed(bytes(MAX_DATAGRAM - 1))),
    ("E24", sealed(b"")),
    ("E24", sealed(b"\x80")),
    ("E24", sealed(b"\x80\0")),
    ("E24", sealed(b"\5\0")),
    ("E24", sealed(b"\5\0\2x")),
    ("E24", sealed(b"\5\0\x80\0")),
    ("E24", sealed(b"\5\x40\0")),
    ("E24", sealed(b"\5\x40\2\x80\0")),
    ("E24", sealed(b"\5\xc0\6\5\0\0\1\1x")),
    ("E25", sealed(b"\5\6\0")),
    ("E25", sealed(b"\0\xbf\0")),
    ("E25", sealed(b"\5\x40\2\4\0")),
    ("E25", sealed(b"\5\xc1\6\5\0\0\2\1x")),
]


class TestDatagram:
    def test_golden(self) -> None:
        part = RefreshPayload(300, 2, 1, 3, b"\x77", b"\x88\x99")
        entries = (key(299), Packet(Kind.REFRESH, 300, bytes(part)), motion(301, 0), Packet(Kind.AUDIO, 1000, b"\xaa"))
        data = bytes(Datagram(301, entries))
        assert data[:-2].hex() == (
            "ad02" + "4206" + "ab02006b6579" + "c109" + "ac020201030177" + "8899" + "0000" + "a801" + "aa"
        )
        assert Datagram.parse(data, HEADER) == Datagram(301, entries)
        assert spec_decoder.parse_datagram(data, BY_SPEC) == [
            ({Kind.REFRESH: spec_decoder.REFRESH}.get(p.kind, int(p.kind)), p.number, p.payload) for p in entries
        ]

    @given(st.integers(0, 2**32 - 1), st.lists(st.tuples(st.integers(0, 63), st.binary(max_size=20)), max_size=6))
    @settings(deadline=None)
    def test_round_trip(self, frame: int, parts: list[tuple[int, bytes]]) -> None:
        entries = tuple(Packet(Kind.MOTION, frame - age, payload) for age, payload in parts if age <= frame)
        data = bytes(Datagram(frame, entries))
        assert Datagram.parse(data, HEADER) == Datagram(frame, entries)

    @given(st.integers(0, 10**6), st.integers(-32, 31), st.sampled_from([10, 20, 40, 60]), st.integers(1, 3600))
    @settings(deadline=None)
    def test_numbers_of_sound(self, frame: int, early: int, frame_ms: int, fps: int) -> None:
        header = header_of(Profile.SUP, audio=Audio(frame_ms, 0), fps=Fraction(fps, 15))
        number = audio_due(frame, header) + early
        if number < 0:
            return
        packet = Packet(Kind.AUDIO, number, b"x")
        assert Datagram.parse(bytes(Datagram(frame, (packet,))), header).entries == (packet,)
        by_spec, _ = spec_decoder.parse_header(bytes(header))
        assert spec_decoder.nearest_sound(frame, number % 64, by_spec) == number

    @pytest.mark.parametrize(("rule", "data"), BROKEN)
    def test_rules(self, rule: str, data: bytes) -> None:
        with pytest.raises(StreamError) as theirs:
            Datagram.parse(data, HEADER)
        with pytest.raises(SpecError) as ours:
            spec_decoder.parse_datagram(data, BY_SPEC)
        assert (theirs.value.rule, ours.value.rule) == (rule, rule)

    def test_every_cut_and_every_flip_is_noticed(self) -> None:
        data = bytes(Datagram(70, (key(68), motion(69), motion(70))))
        broken = [data[:size] for size in range(len(data))]
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            broken.append(bytes(flipped))
        for each in broken:
            with pytest.raises(StreamError, match="E24"):
                Datagram.parse(each, HEADER)

    @given(st.binary(max_size=60))
    @settings(deadline=None)
    def test_any_bytes_are_judged_alike(self, junk: bytes) -> None:
        def verdict(parse: Any, *arguments: Any) -> str:
            try:
                parse(*arguments)
            except (StreamError, SpecError) as error:
                return str(error.rule)
            return "fine"

        data = sealed(junk)
        assert verdict(Datagram.parse, data, HEADER) == verdict(spec_decoder.parse_datagram, data, BY_SPEC)


class TestPacketizer:
    @staticmethod
    def numbers(data: bytes) -> list[int]:
        return [p.number for p in Datagram.parse(data, HEADER).entries if p.kind != Kind.AUDIO]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((0, 1, False), [[0], [1], [2], [3], [4], [5], [6], [7]]),
            ((2, 1, False), [[0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6], [5, 6, 7]]),
            ((1, 2, False), [[0, 1], [0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]),
            (
                (3, 1, True),
                [[0], [0, 1], [0, 1, 2], [1, 2, 3], [0, 2, 3, 4], [1, 3, 4, 5], [2, 4, 5, 6], [3, 5, 6, 7]],
            ),
        ],
    )
    def test_copies(self, arguments: tuple[int, int, bool], expected: list[list[int]]) -> None:
        packetizer = Packetizer(*arguments)
        sent = [data for number in range(8) for data in packetizer.add(motion(number))]
        assert [self.numbers(data) for data in sent] == expected
        assert packetizer.flush() == []

    def test_sound_goes_once_with_the_next_frame(self) -> None:
        packetizer = Packetizer(2)
        sound = Packet(Kind.AUDIO, 0, b"opus")
        assert packetizer.add(sound) == []
        (first,) = packetizer.add(motion(0))
        (second,) = packetizer.add(motion(1))
        assert sound in Datagram.parse(first, HEADER).entries
        assert sound not in Datagram.parse(second, HEADER).entries
        packetizer.add(Packet(Kind.AUDIO, 1, b"tail"))
        (last,) = packetizer.flush()
        assert Datagram.parse(last, HEADER).entries[-1].payload == b"tail"

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 1190)), max_size=12), st.integers(0, 6), st.integers(1, 8))
    @settings(deadline=None)
    def test_no_datagram_is_too_large_and_no_packet_forgotten(
        self, packets: list[tuple[bool, int]], redundancy: int, frames_each: int
    ) -> None:
        packetizer, sent, given_ = Packetizer(redundancy, frames_each), list[bytes](), list[Packet]()
        for number, (is_sound, size) in enumerate(packets):
            packet = Packet(Kind.AUDIO if is_sound else Kind.MOTION, number, bytes(size))
            given_.append(packet)
            sent += packetizer.add(packet)
        sent += packetizer.flush()
        assert all(len(data) <= MAX_DATAGRAM for data in sent)
        found = {(p.kind, p.number) for data in sent for p in Datagram.parse(data, HEADER).entries}
        assert found == {(p.kind, p.number) for p in given_}
        if packetizer.copies_left_out:
            assert redundancy

    def test_arguments_out_of_range(self) -> None:
        for arguments in ((-1,), (7,), (0, 0), (0, 9), (6, 8, True)):
            with pytest.raises(UsageError):
                Packetizer(*arguments)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="too large"):
            Packetizer().add(motion(0, 1191))
        with pytest.raises(UsageError, match="END"):
            Packetizer().add(Packet(Kind.END, 0, b""))


class TestDepacketizer:
    def test_each_packet_comes_once_in_any_order(self) -> None:
        packetizer, sent = Packetizer(2), list[bytes]()
        for number in range(40):
            sent += packetizer.add(motion(number))
        random.Random(1).shuffle(sent)
        depacketizer = Depacketizer(HEADER)
        found = [p for data in [*sent, *sent] for p in depacketizer.add(data)]
        assert sorted(p.number for p in found) == list(range(40))
        assert depacketizer.missing() == []

    def test_says_what_is_missing(self) -> None:
        depacketizer = Depacketizer(HEADER)
        for number in (100, 101, 104, 106):
            depacketizer.add(bytes(Datagram(number, (motion(number),))))
        assert depacketizer.missing() == [102, 103, 105]
        assert depacketizer.newest == 106

    def test_one_datagram_from_the_future_is_not_believed(self) -> None:
        depacketizer = Depacketizer(HEADER)

        def add(number: int) -> list[int]:
            return [p.number for p in depacketizer.add(bytes(Datagram(number, (motion(number),))))]

        assert add(5) == [5]
        assert add(1_000_000) == []
        assert add(6) == [6]
        assert add(2_000_000) == []
        assert add(2_000_001) == [2_000_000, 2_000_001]
        assert add(7) == []
        assert depacketizer.late == 1

    def test_memory_is_bounded(self) -> None:
        depacketizer = Depacketizer(HEADER)
        for number in range(0, 20 * REORDERING_WINDOW, 3):
            sound = Packet(Kind.AUDIO, audio_due(number, HEADER), b"")
            depacketizer.add(bytes(Datagram(number, (motion(number), sound))))
        assert len(depacketizer._frames._numbers) <= REORDERING_WINDOW
        assert len(depacketizer._sound._numbers) <= REORDERING_WINDOW
        assert len(depacketizer.missing()) < REORDERING_WINDOW

    def test_damage_is_counted(self) -> None:
        depacketizer = Depacketizer(HEADER)
        assert depacketizer.add(b"junk") == []
        assert (depacketizer.received, depacketizer.damaged) == (1, 1)


class TestVector:
    def test_is_what_the_encoder_writes(self) -> None:
        assert make_vectors.wire() == (VECTORS / "wire.json").read_text()

    def test_the_decoder_of_the_specification_agrees(self) -> None:
        found = spec_decoder.decode_datagrams(bytes.fromhex(WIRE["header"]), [*map(bytes.fromhex, WIRE["datagrams"])])
        assert json.loads(json.dumps(found, default=bytes.hex)) == {
            name: WIRE[name] for name in ("frames", "audio", "dropped")
        }
        held = [number for number, integers in found["frames"] if integers is None]
        assert 0 < len(held) < len(found["frames"]) / 2

    def test_fvc_finds_the_same(self) -> None:
        header: Header = StreamReader(io.BytesIO(bytes.fromhex(WIRE["header"]))).header
        depacketizer, motion_decoder, sound = Depacketizer(header), MotionDecoder(header), dict[int, bytes]()
        for data in WIRE["datagrams"]:
            for packet in depacketizer.add(bytes.fromhex(data)):
                if packet.kind == Kind.AUDIO:
                    sound[packet.number] = packet.payload
                else:
                    motion_decoder.put(packet)
        assert depacketizer.damaged == len(WIRE["dropped"])
        assert [[n, payload.hex()] for n, payload in sorted(sound.items())] == WIRE["audio"]
        known: dict[int, Any] = {}
        for number, _ in WIRE["frames"]:
            known.update(motion_decoder.advance(number))
        right = {number: integers for number, integers in WIRE["frames"] if integers is not None}
        assert {number: known[number] for number in right} == right

"""Wire objects and the container: golden bytes, round trips, every truncation, damage."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvc.codec.base.errors import StreamError
from fvc.codec.motion.quantizer import DEFAULT, PAPER, Quantizer, for_parts
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import (
    SYNC,
    Audio,
    Crop,
    EndPayload,
    Header,
    KeyPayload,
    Kind,
    Packet,
    leb128,
    parse_leb128,
)
from fvc.codec.wire.container import Damage, StreamReader, StreamWriter, read_index


def make_header(
    profile: Profile = Profile.SUP_UNSUP_EXPR,
    audio: Audio | None = None,
    quantizers: dict[str, Quantizer] = PAPER,
) -> Header:
    crop = Crop(640, 480, -3, 10, 470)
    return Header(
        profile,
        for_parts(quantizers, profile.parts),
        Fraction(30000, 1001),
        75,
        crop,
        b"m" * 8,
        b"s" * 16,
        b"p" * 16,
        audio,
    )


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("audio", [None, Audio(60, 312)])
@pytest.mark.parametrize("quantizers", [PAPER, DEFAULT])
def test_header_round_trip(profile: Profile, audio: Audio | None, quantizers: dict[str, Quantizer]) -> None:
    header = make_header(profile, audio, quantizers)
    again = Header.parse(bytes(header))
    assert again == header
    assert list(again.quantizers) == list(header.quantizers)  # the order in which parts are coded


def test_profiles_of_coefficients_are_four_more() -> None:
    wire = {profile: bytes(make_header(profile, None, DEFAULT))[8] for profile in Profile}
    assert wire == {profile: profile + 4 * ("sup" in profile.parts) for profile in Profile}


def test_header_golden() -> None:
    data = bytes(make_header(Profile.SUP, Audio(60, 312)))
    assert data[:7].hex() == "ab465643" + "02" + "0042"
    assert data[7:25].hex() == "0100" + "7530" + "03e9" + "004b" + "0280" + "01e0" + "fffd" + "000a" + "01d6"
    assert data[65:73].hex() == "08ff000100" + "3c0138"


def test_header_truncated_or_flipped_is_refused() -> None:
    data = bytes(make_header())
    for size in range(len(data)):
        with pytest.raises(StreamError, match=r"E01|E04"):
            Header.parse(data[:size])
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(StreamError):
                StreamReader(io.BytesIO(bytes(damaged)))


def test_newer_version_says_so() -> None:
    data = bytearray(bytes(make_header()))
    data[4] = 3
    with pytest.raises(StreamError, match="newer fvc") as caught:
        Header.parse(bytes(data))
    assert caught.value.rule == "E02"


@given(st.integers(0, 2**32 - 1))
def test_leb128_round_trip(value: int) -> None:
    assert parse_leb128(leb128(value) + b"x", 0, "n") == (value, len(leb128(value)))


@pytest.mark.parametrize(("data", "rule"), [(b"", "E04"), (b"\x80", "E04"), (b"\x80\x00", "E05"), (b"\xff" * 6, "E05")])
def test_leb128_refuses(data: bytes, rule: str) -> None:
    with pytest.raises(StreamError) as caught:
        parse_leb128(data, 0, "n")
    assert caught.value.rule == rule


kinds = st.sampled_from([Kind.MOTION, Kind.AUDIO])


@given(kinds, st.integers(0, 10**6), st.binary(max_size=300))
def test_packet_round_trip(kind: Kind, number: int, payload: bytes) -> None:
    data = bytes(Packet(kind, number, payload))
    packet, end = Packet.parse(b"??" + data + b"rest", 2)
    assert (packet, end) == (Packet(kind, number & 63, payload), 2 + len(data))


def test_packet_golden_and_truncations() -> None:
    data = bytes(Packet(Kind.KEY, 70, bytes(KeyPayload(70, 3, b"\x01\x02"))))
    assert data.startswith(SYNC)
    assert data[4:10].hex() == "46" + "04" + "4603" + "0102"
    for size in range(len(data)):
        with pytest.raises(StreamError, match="E04"):
            Packet.parse(data[:size])


def test_packet_every_flip_is_noticed() -> None:
    data = bytes(Packet(Kind.MOTION, 5, bytes(range(20))))
    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(StreamError):
            Packet.parse(bytes(damaged))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 10**6)), max_size=30), st.integers(0, 10**6))
def test_end_payload_round_trip(steps: list[tuple[int, int]], frames: int) -> None:
    pairs = np.cumsum(np.array([(0, 0), *steps]), 0)[1:].tolist() if steps else []
    end = EndPayload(frames, 7, tuple((a, b) for a, b in pairs))
    assert EndPayload.parse(bytes(end)) == end


def test_end_payload_cannot_balloon() -> None:
    with pytest.raises(StreamError, match="E11"):
        EndPayload.parse(leb128(1) + leb128(1) + leb128(2**31))


def make_stream(frames: int = 90, interval: int = 20) -> tuple[bytes, list[Packet]]:
    draw, file, packets = np.random.default_rng(0), io.BytesIO(), []
    writer = StreamWriter(file, make_header(audio=Audio(60, 312)))
    for index in range(frames):
        payload = draw.bytes(int(draw.integers(1, 60)))
        if index % interval == 0:
            packets.append(Packet(Kind.KEY, index, bytes(KeyPayload(index, index, payload))))
        else:
            packets.append(Packet(Kind.MOTION, index, payload))
        writer.write(packets[-1])
        packets.append(Packet(Kind.AUDIO, index, draw.bytes(45)))
        writer.write(packets[-1])
    writer.end()
    return file.getvalue(), packets


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time and cannot seek."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 7))

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("source", [io.BytesIO, Trickle])
def test_stream_round_trip(source: type) -> None:
    data, packets = make_stream()
    reader = StreamReader(source(data))
    assert list(reader.packets()) == packets
    assert reader.end is not None
    assert (reader.end.frames, reader.end.audio_packets) == (90, 90)


def test_index_finds_keyframes() -> None:
    data, _ = make_stream()
    end = read_index(io.BytesIO(data))
    assert end is not None
    assert [frame for frame, _ in end.keyframes] == [0, 20, 40, 60, 80]
    for frame, offset in end.keyframes:
        packet, _ = Packet.parse(data, offset)
        assert KeyPayload.parse(packet.payload).frame == frame
    assert read_index(io.BytesIO(data[:-1])) is None
    assert read_index(io.BytesIO(b"")) is None


def test_cut_streams_give_all_whole_packets() -> None:
    data, packets = make_stream(12, 5)
    start, ends = len(bytes(make_header(audio=Audio(60, 312)))), []
    for packet in packets:
        start += len(bytes(packet))
        ends.append(start)
    for size in range(len(bytes(make_header(audio=Audio(60, 312)))), len(data) - 8):
        reader = StreamReader(io.BytesIO(data[:size]))
        whole = [item for item in reader.packets() if isinstance(item, Packet)]
        assert whole == packets[: sum(end <= size for end in ends)]
        assert reader.end is None


def test_flipped_bytes_cost_one_packet_or_reach_the_next_keyframe() -> None:
    data, packets = make_stream()
    header = len(bytes(make_header(audio=Audio(60, 312))))
    for at in range(header, len(data) - 60, 41):
        damaged = bytearray(data)
        damaged[at] ^= 0x5A
        reader = StreamReader(io.BytesIO(bytes(damaged)))
        items = list(reader.packets())
        good = [item for item in items if isinstance(item, Packet)]
        assert any(isinstance(item, Damage) and item.start <= at < item.stop for item in items)
        assert all(packet in packets for packet in good)
        lost = [p for p in packets if p not in good]
        assert len(lost) <= 41
        assert packets.index(lost[-1]) - packets.index(lost[0]) < 41


@given(st.binary(max_size=400))
def test_garbage_never_crashes(junk: bytes) -> None:
    reader = StreamReader(io.BytesIO(bytes(make_header()) + junk))
    assert all(isinstance(item, Packet | Damage) for item in reader.packets())


@pytest.mark.parametrize("part", list(PAPER))
def test_quantizers_are_the_papers_and_exact(part: str) -> None:
    quantizer = PAPER[part]
    everything = np.arange(1 << quantizer.bits)
    assert np.array_equal(quantizer.quantize(quantizer.dequantize(everything)), everything)
    assert quantizer.quantize(np.array([1e9, -1e9, np.inf, -np.inf])).tolist() == [quantizer.top, 0, quantizer.top, 0]
    assert quantizer.quantize(np.array([np.nan]))[0] in (quantizer.top // 2, quantizer.top // 2 + 1)


@given(st.floats(-1, 1))
def test_quantization_error_is_half_a_step(value: float) -> None:
    quantizer = Quantizer(8, -1.0, 1.0)
    assert abs(float(quantizer.dequantize(quantizer.quantize(np.array([value])))[0]) - value) <= 1 / 255 + 1e-6

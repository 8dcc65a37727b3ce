"""Where two readers of the specification had differed: fvc and the independent decoder now decide alike."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import spec_decoder
from fuzz.targets import CountingWriter, integers_of, play, read_by_fvc, read_by_spec
from make_vectors import VECTORS
from spec_decoder import SpecError
from spec_support import ANNEX_B, HEADER_SIZE, WITH_AUDIO, Found, by_spec

from fvc.codec.base.errors import StreamError
from fvc.codec.wire.bitstream import Header, Kind, Packet, RefreshPayload
from fvc.codec.wire.container import Damage, StreamReader
from fvc.codec.wire.leb128 import leb128

HEADER, SOUND_HEADER = ANNEX_B[:HEADER_SIZE], WITH_AUDIO[: Header.size(WITH_AUDIO[:7])]


def packets_of(name: str) -> tuple[bytes, list[Packet]]:
    """A golden stream's header and packets."""
    reader = StreamReader(io.BytesIO((VECTORS / f"{name}.fvc").read_bytes()))
    return bytes(reader.header), [item for item in reader.packets() if isinstance(item, Packet)]


def refresh(slices: int, motion_size: int) -> bytes:
    """A REFRESH packet of frame 0, slice 0, with two bytes after its elements."""
    return bytes(Packet(Kind.REFRESH, 0, bytes([0, 0, 0, slices, motion_size]) + b"xy"))


@pytest.mark.parametrize(
    ("rule", "data"),
    [
        ("E04", b"\xffB"),  # cut off in sync, although a byte is wrong
        ("E04", b"\xffFV"),
        ("E10", b"\xffB\0\0"),
        ("E04", refresh(2, 3)),  # motion_size is more than there is
        ("E04", refresh(1, 3)),  # so are slices out of range: elements come first
        ("E23", refresh(1, 1)),
        ("E23", refresh(2, 0)),
    ],
)
def test_which_rule_a_packet_breaks(rule: str, data: bytes) -> None:
    with pytest.raises(SpecError) as by_other:
        spec_decoder.decode_stream(HEADER + data)
    (damage,) = Found(HEADER + data).damage
    assert (by_other.value.rule, damage.reason[-4:-1]) == (rule, rule)


def rule_of_player(data: bytes) -> str | None:
    """What stops fvc's player."""
    try:
        play(data, CountingWriter())
    except StreamError as error:
        return error.rule
    return None


def rule_of_missing(data: bytes) -> str | None:
    """What the independent decoder says of missing frames and sound."""
    try:
        spec_decoder.check_missing(data)
    except SpecError as error:
        return error.rule
    return None


KEY = ANNEX_B[HEADER_SIZE : HEADER_SIZE + 66]
LATE_KEY = bytes(Packet(Kind.KEY, 0, b"\0" + leb128(5000) + KEY[8:-2]))  # 5000 AUDIO packets came before it
SOUND = bytes(Packet(Kind.AUDIO, 5000 & 63, b""))


@pytest.mark.parametrize(
    ("rule", "data"),
    [
        (None, SOUND_HEADER + LATE_KEY),
        ("E14", SOUND_HEADER + LATE_KEY + SOUND),
        ("E14", SOUND_HEADER + LATE_KEY + bytes(Packet(Kind.END, 0, b"\1" + leb128(5000) + b"\0"))),
        (None, HEADER + LATE_KEY + SOUND + bytes(Packet(Kind.END, 0, b"\1" + leb128(9000) + b"\0"))),
    ],
)
def test_sound_is_missing_when_something_comes_after_it(rule: str | None, data: bytes) -> None:
    """A keyframe's count alone fills nothing; a stream without sound misses none."""
    assert (rule_of_player(data), rule_of_missing(data)) == (rule, rule)


def test_which_of_two_errors_a_player_finds_first() -> None:
    end = bytes(Packet(Kind.END, 0, leb128(5000) + leb128(5000) + b"\0"))
    assert rule_of_player(SOUND_HEADER + end) == "E04"
    far = bytes(Packet(Kind.KEY, 5000 & 63, leb128(5000) + b"\0" + KEY[8:-2]))
    assert rule_of_player(SOUND_HEADER + far + end) == "E14"


def test_the_coder_where_nothing_was_decoded() -> None:
    held = bytes(Packet(Kind.MOTION, 0, b""))
    for data in (HEADER, HEADER + held):
        assert by_spec(data)["coder"] == ["0" * 16, "f" * 16]


def test_a_keyframe_in_slices_whose_last_motion_is_empty() -> None:
    """Such a frame is held, although the keyframe is whole; the frame after it is not."""
    header, packets = packets_of("refresh")
    sliced = [item for item in packets if item.kind == Kind.REFRESH]
    parts = [RefreshPayload.parse(item.payload) for item in sliced[:3]]
    assert [(part.slice, part.slices) for part in parts] == [(0, 3), (1, 3), (2, 3)]
    parts[2] = replace(parts[2], motion=b"")
    sliced = [Packet(Kind.REFRESH, part.frame, bytes(part)) for part in parts]
    following = Packet(Kind.MOTION, parts[2].frame + 1, b"\0")
    data = header + b"".join(map(bytes, [*sliced, following]))
    ours = read_by_fvc(data)
    assert ours == read_by_spec(data)
    assert [integers for _, integers in ours[0]] == [None] * 3
    assert ours[2] == "E13"  # not held: the integers after the keyframe in slices are these, as both find


@pytest.mark.parametrize(("size", "is_decoded"), [(255, True), (256, False)])
@pytest.mark.parametrize("kind", [Kind.KEY, Kind.AUDIO])
def test_which_bytes_count_as_damage(kind: Kind, size: int, is_decoded: bool) -> None:
    """All that are passed over: those of a damaged AUDIO packet, and of a KEY whose payload breaks E05."""
    around = 9 if kind == Kind.KEY else 5  # sync, head, payload_size, packet_crc
    lost = bytearray(bytes(Packet(kind, 0, b"\x80\0" + bytes(size - around - 2))))
    if kind == Kind.AUDIO:
        lost[-1] ^= 1
    assert len(lost) == size
    _, packets = packets_of("annex_b")
    data = HEADER + bytes(packets[0]) + bytes(lost) + bytes(packets[1])
    (damage,) = [item for item in StreamReader(io.BytesIO(data)).packets() if isinstance(item, Damage)]
    assert (damage.stop - damage.start, damage.reason[-4:-1]) == (size, "E05" if kind == Kind.KEY else "E10")
    assert set(integers_of(data)) == ({0, 1} if is_decoded else {0})


def test_a_keyframe_in_slices_with_damage_between_them() -> None:
    """Slices have full numbers, so no damage puts their order in doubt. (fvc forgot the first.)"""
    header, packets = packets_of("refresh")
    sliced = [bytes(item) for item in packets if item.kind == Kind.REFRESH][:3]
    lost = bytes(Packet(Kind.AUDIO, 0, bytes(300)))[:-1] + b"?"
    damaged = header + sliced[0] + lost + b"".join(sliced[1:])
    assert [item.uncounted for item in Found(damaged).damage] == [True]
    assert integers_of(damaged) == integers_of(header + b"".join(sliced))
    assert len(integers_of(damaged)) == 1

"""Every error rule: broken headers, packets and source sets break the same rule for both decoders."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
import spec_decoder
from invalid_vectors import extended
from make_vectors import VECTORS
from spec_decoder import SpecError
from spec_support import (
    ANNEX_B,
    HEADER_SIZE,
    TABLES,
    WITH_AUDIO,
    Found,
    by_spec,
    json_of,
)

from fvc.codec.base.errors import StreamError
from fvc.codec.motion import coding, entropy, predictor, priors
from fvc.codec.motion.entropy import RangeWriter
from fvc.codec.wire.bitstream import Kind, Packet, RefreshPayload
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet


def patched(data: bytes, at: int, new: bytes, length: int | None = None) -> bytes:
    """The header with some bytes replaced and a right checksum; `length` cuts its body."""
    size = 7 + int.from_bytes(data[5:7], "big")
    body = bytearray(data[:size])
    body[at : at + len(new)] = new
    if length is not None:
        body[5:7] = struct.pack(">H", length)
        body = body[: 7 + length].ljust(7 + length, b"\0")
    return bytes(body) + struct.pack(">I", zlib.crc32(body)) + data[size + 4 :]


HEADERS = [
    ("E01", b""),
    ("E01", b"\xabF?"),
    ("E01", (VECTORS / "sources.fvs").read_bytes()),
    ("E04", ANNEX_B[:6]),
    ("E04", ANNEX_B[:30]),
    ("E02", patched(ANNEX_B, 4, b"\1")),
    ("E02", patched(ANNEX_B, 4, b"\3")),
    ("E03", patched(ANNEX_B, 0, b"", 257)),
    ("E03", patched(ANNEX_B, 0, b"", 62)),
    ("E03", patched(ANNEX_B, 0, b"", 17)),
    ("E03", ANNEX_B[:20] + b"?" + ANNEX_B[21:]),
    ("E06", patched(ANNEX_B, 7, b"\2")),
    ("E06", patched(ANNEX_B, 8, b"\7")),
    ("E03", patched(ANNEX_B, 8, b"\5")),
    ("E07", patched(ANNEX_B, 9, b"\0\0")),
    ("E07", patched(ANNEX_B, 11, b"\0\0")),
    ("E07", patched(ANNEX_B, 9, b"\0\xf1")),
    *(("E07", patched(ANNEX_B, at, size)) for at in (0xF, 0x11, 0x17) for size in (b"\0\0", b"\x40\1")),
    ("E08", patched(ANNEX_B, 0x41, b"\0")),
    ("E08", patched(ANNEX_B, 0x41, b"\x11")),
    ("E08", patched(ANNEX_B, 0x42, b"\1\0")),
    ("E09", patched(WITH_AUDIO, 0x46, b"\5")),
    ("E09", patched(WITH_AUDIO, 0x47, b"\xbb\x81")),
]


@pytest.mark.parametrize(("rule", "data"), HEADERS)
def test_broken_headers(rule: str, data: bytes) -> None:
    with pytest.raises(SpecError) as ours:
        spec_decoder.decode_stream(data)
    with pytest.raises(StreamError) as theirs:
        StreamReader(io.BytesIO(data))
    assert (ours.value.rule, theirs.value.rule) == (rule, rule)


def test_extensions_that_are_unknown_are_ignored() -> None:
    data = extended(b"\x03\0\x03abc\xff\0\0")
    assert by_spec(data)["frames"] == by_spec(ANNEX_B)["frames"] == json_of(Found(data).frames)


def first_context() -> predictor.Context:
    """Of the first component in the frame after the keyframe of Annex B."""
    model = predictor.MotionModel({"sup": 8}, priors.load())
    coding.replay(model, by_spec(ANNEX_B)["frames"][0][1], keyframe=True)
    return next(model.frame(False))


def first_value(value: int) -> bytes:
    """A MOTION payload whose first component is this."""
    writer = RangeWriter(TABLES)
    writer.put(value, first_context())
    return writer.finish()


def escape(width: int) -> bytes:
    """A MOTION payload that begins with an escape of this width."""
    context = first_context()
    writer, (spread, phase, *_) = RangeWriter(TABLES), entropy.residual(context.prediction, context.spread)
    writer.symbol(entropy.ESCAPE, TABLES.model("sup", spread, phase))
    writer.bits(0, 1)
    writer.bits(width, 5)
    return writer.finish()


def slices(count: int, coded: bytes) -> bytes:
    """REFRESH packets from frame 0 on with a keyframe in so many slices."""
    cuts = [len(coded) * n // count for n in range(count + 1)]
    parts = [RefreshPayload(n, 0, n, count, b"x", coded[a:b]) for n, (a, b) in enumerate(pairwise(cuts))]
    return b"".join(bytes(Packet(Kind.REFRESH, part.frame, bytes(part))) for part in parts)


def annex_b_packets() -> list[bytes]:
    at, found = HEADER_SIZE, []
    while at < len(ANNEX_B) - 8:
        _, after = Packet.parse(ANNEX_B, at)
        found.append(ANNEX_B[at:after])
        at = after
    return found


KEY, _, _, HELD, END = annex_b_packets()
PACKETS = [
    ("E10", KEY[:3] + b"?" + KEY[4:]),
    ("E10", KEY[4:]),
    ("E10", b"\xffFVK" + HELD),
    ("E10", b"\xc1" + END[1:]),
    ("E10", b"\xc2" + END[1:]),
    ("E10", b"\xffFVK" + END),
    ("E10", KEY + bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\2\1x"))),
    ("E04", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\2\1"))),
    ("E04", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\1\1x"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\x11\1x"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\5\0\2\2\0"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\1\0\2\3\0"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\2\0"))),
    ("E12", KEY + bytes(Packet(Kind.REFRESH, 1, b"\1\0\0\2\x08" + b"\xff" * 8))),
    ("E12", slices(2, b"\xff" * 8)),
    ("E10", b"\0\x80\0"),
    ("E10", b"\0\x81\x20" + bytes(9000)),
    ("E10", bytes(Packet(Kind.AUDIO, 0, bytes(1501)))),
    ("E10", KEY[:-1] + bytes([KEY[-1] ^ 1])),
    ("E10", bytes(Packet(Kind.KEY, 1, b"\0\0"))),
    ("E10", KEY + bytes(Packet(Kind.KEY, 64, KEY[7:-2])) + bytes(Packet(Kind.KEY, 0, b"\0\0"))),
    ("E04", KEY[:2]),
    ("E04", KEY[:-1]),
    ("E04", bytes(Packet(Kind.KEY, 0, b""))),
    ("E05", bytes(Packet(Kind.KEY, 0, b"\x80\0\0"))),
    ("E05", bytes(Packet(Kind.KEY, 63, b"\xff\xff\xff\xff\x1f\0"))),
    ("E04", bytes(Packet(Kind.END, 0, b"\0\0"))),
    ("E05", bytes(Packet(Kind.END, 0, b"\0\0\x80\0"))),
    ("E11", bytes(Packet(Kind.END, 0, b"\0\0\2\0\0"))),
    ("E12", bytes(Packet(Kind.KEY, 0, b"\0\0" + b"\xff" * 8))),
    ("E12", KEY + bytes(Packet(Kind.MOTION, 1, b"\xff" * 8))),
    ("E12", KEY + bytes(Packet(Kind.MOTION, 1, escape(0)))),
    ("E12", KEY + bytes(Packet(Kind.MOTION, 1, escape(21)))),
    ("E13", KEY + bytes(Packet(Kind.MOTION, 1, first_value(256)))),
    ("E13", KEY + bytes(Packet(Kind.MOTION, 1, first_value(-1)))),
]


@pytest.mark.parametrize(("rule", "packets"), PACKETS)
def test_broken_packets(rule: str, packets: bytes) -> None:
    data = ANNEX_B[:HEADER_SIZE] + packets
    with pytest.raises(SpecError) as ours:
        spec_decoder.decode_stream(data)
    assert ours.value.rule == rule
    found = Found(data)
    assert rule in "".join([*found.rules, *(damage.reason for damage in found.damage)])
    assert all(integers is None for _, integers in found.frames[packets.startswith(KEY) :])


SOURCES = (VECTORS / "sources.fvs").read_bytes()


def checked(data: bytes) -> bytes:
    return data + struct.pack(">I", zlib.crc32(data))


BROKEN_SOURCES = [
    ("E20", ANNEX_B),
    ("E02", SOURCES[:4] + b"\1" + SOURCES[5:]),
    ("E21", SOURCES[:5]),
    ("E21", SOURCES[:-1]),
    ("E21", SOURCES + b"\0"),
    ("E21", SOURCES[:200] + bytes([SOURCES[200] ^ 1]) + SOURCES[201:]),
    ("E21", checked(SOURCES[:13] + b"\4" + SOURCES[14:79])),
    ("E21", checked(SOURCES[:14] + b"\0" + SOURCES[15:39])),
    ("E21", checked(SOURCES[:15] + b"\x40\0\x40\0" + SOURCES[19:79])),
    ("E21", checked(SOURCES[:19] + b"\0\x20\0\0" + SOURCES[23:79])),
]


@pytest.mark.parametrize(("rule", "data"), BROKEN_SOURCES)
def test_broken_source_sets(rule: str, data: bytes) -> None:
    with pytest.raises(SpecError) as ours:
        spec_decoder.parse_sources(data)
    with pytest.raises(StreamError) as theirs:
        SourceSet.parse(data)
    assert (ours.value.rule, theirs.value.rule) == (rule, rule)


LARGE = (VECTORS / "sources_512.fvs").read_bytes()


def test_a_large_set_is_of_use_from_its_preview_on() -> None:
    whole, first_end = SourceSet.parse(LARGE), 0
    for cut in range(0, len(LARGE), 7):
        try:
            found = spec_decoder.parse_sources_so_far(LARGE[:cut])
        except SpecError:
            with pytest.raises(StreamError, match="E20" if cut < 4 else "E21"):
                SourceSet.parse(LARGE[:cut], partial=True)
            continue
        ours = SourceSet.parse(LARGE[:cut], partial=True)
        first_end = first_end or cut
        assert ours.side == 512
        assert (ours.missing, ours.sources_hash) == (found["missing"], whole.sources_hash)
        assert bytes(ours) == LARGE[: len(bytes(ours))]
        if found["sources"]:  # else the preview, enlarged, stands for the first picture
            assert all((a == b).all() for a, b in zip(ours.pictures, whole.pictures, strict=False))
            assert len(ours.pictures) == len(ours.samples) == len(found["sources"])
        else:
            assert (len(ours.pictures), len(ours.samples), ours.missing) == (1, 1, 3)
            assert np.abs(ours.pictures[0].astype(int) - whole.pictures[0]).mean() < 12
    assert first_end < len(LARGE) / 2


def test_a_source_set_is_of_use_from_its_first_picture_on() -> None:
    """Every prefix: either nothing, or what the whole file has of the sources so far, under the same name."""
    whole, theirs = SourceSet.parse(SOURCES), spec_decoder.parse_sources(SOURCES)
    seen = set[object]()
    for cut in range(0, len(SOURCES), 3):
        try:
            found = spec_decoder.parse_sources_so_far(SOURCES[:cut])
        except SpecError as error:
            with pytest.raises(StreamError, match="E20" if cut < 4 else "E21"):
                SourceSet.parse(SOURCES[:cut], partial=True)
            seen.add(error.rule)
            continue
        ours = SourceSet.parse(SOURCES[:cut], partial=True)
        count = len(found["sources"])
        assert found["sources"] == theirs["sources"][:count]
        assert (ours.missing, ours.coded) == (found["missing"], whole.coded[:count])
        assert ours.sources_hash == whole.sources_hash
        assert all((a == b).all() for a, b in zip(ours.pictures, whole.pictures[:count], strict=True))
        assert bytes(ours) == SOURCES[: len(bytes(ours))]
        seen.add((count, ours.missing))
    assert seen == {"E20", "E21", (1, 2), (2, 1)}

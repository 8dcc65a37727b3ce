"""Streams and source sets that break one rule each: `tests/vectors/invalid/RULE_name`, written by make_vectors.py.

All are made of golden files by changing bytes and mending checksums, so they need neither encoder nor networks. The
two whose rule depends on the entropy coding are found by trying seeded random payloads.
"""

from __future__ import annotations

import binascii
import hashlib
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import spec_decoder

from fvc.codec.wire.bitstream import EndPayload, KeyPayload, Kind, Packet
from fvc.codec.wire.leb128 import leb128

VECTORS = Path(__file__).parents[1] / "vectors"
STREAM, SOUND = (VECTORS / "annex_b.fvc").read_bytes(), (VECTORS / "audio.fvc").read_bytes()
SOURCES = (VECTORS / "sources.fvs").read_bytes()
LARGE = (VECTORS / "sources_512.fvs").read_bytes()
LARGE_HEAD = 21 + 20 * 4  # bytes before its head_crc
SOURCES_HEAD = 19 + 20 * (SOURCES[14] + 1) + 4  # bytes
_HEADER = 7 + int.from_bytes(STREAM[5:7], "big") + 4
_KEY = STREAM[_HEADER : spec_decoder.parse_packet(STREAM, _HEADER)[3]]
_KEY_PAYLOAD = spec_decoder.parse_packet(_KEY, 0)[2]

Case = tuple[str, bytes]  # what is wrong, the file


def summed(data: bytes) -> bytes:
    return data + struct.pack(">I", zlib.crc32(data))


def header(at: int, new: bytes, data: bytes = STREAM, length: int | None = None) -> bytes:
    """A stream whose header has other bytes at `at` and a right checksum; `length` cuts or fills its body."""
    size = 7 + int.from_bytes(data[5:7], "big")
    body = bytearray(data[:size])
    body[at : at + len(new)] = new
    if length is not None:
        body = (body[:5] + struct.pack(">H", length) + body[7 : 7 + length]).ljust(7 + length, b"\0")
    return summed(bytes(body)) + data[size + 4 :]


def packets(*parts: bytes | Packet) -> bytes:
    """The header of Annex B and these packets."""
    return STREAM[:_HEADER] + b"".join(map(bytes, parts))


def sources(at: int, new: bytes) -> bytes:
    """A source set with other bytes at `at` of its head and a right checksum."""
    return summed(SOURCES[:at] + new + SOURCES[at + len(new) : SOURCES_HEAD - 4]) + SOURCES[SOURCES_HEAD:]


def key(frame: int, audio_packets: int = 0) -> Packet:
    return Packet(Kind.KEY, frame, bytes(KeyPayload(frame, audio_packets, _KEY_PAYLOAD[2:])))


def end(frames: int, audio_packets: int = 0) -> Packet:
    return Packet(Kind.END, 0, bytes(EndPayload(frames, audio_packets, ())))


def motion_that_breaks(rule: str) -> bytes:
    """A keyframe and a MOTION packet with the first random payload that breaks just this rule."""
    rng = random.Random(rule)
    while True:
        data = packets(_KEY, Packet(Kind.MOTION, 1, rng.randbytes(24)))
        try:
            spec_decoder.decode_stream(data)
        except spec_decoder.SpecError as error:
            if error.rule == rule:
                return data


def with_pictures(change: Callable[[bytes], bytes]) -> bytes:
    """A source set whose first picture's data are changed, with sizes, digests and checksum right."""
    first = spec_decoder.parse_sources(SOURCES)["sources"][0]["coded"]
    size = int.from_bytes(SOURCES[19:23], "big")
    section = SOURCES[SOURCES_HEAD : SOURCES_HEAD + size - len(first)] + change(first)
    entry = struct.pack(">I", len(section)) + hashlib.sha256(section).digest()[:16]
    return summed(SOURCES[:19] + entry + SOURCES[39 : SOURCES_HEAD - 4]) + section + SOURCES[SOURCES_HEAD + size :]


def _headers() -> Iterator[tuple[str, str, bytes]]:
    yield "E01_empty.fvc", "no byte at all", b""
    yield "E01_magic.fvc", "the third byte of the magic", b"\xabF?" + STREAM[3:]
    yield "E02_version.fvc", "version 255", header(4, b"\xff")
    yield "E03_header_length.fvc", "header_length 4097", header(0, b"", length=4097)
    yield "E03_too_short.fvc", "header_length one less than its elements need", header(0, b"", length=_HEADER - 12)
    yield (
        "E03_header_crc.fvc",
        "header_crc",
        STREAM[: _HEADER - 1] + bytes([STREAM[_HEADER - 1] ^ 1]) + STREAM[_HEADER:],
    )
    yield "E04_cut_header.fvc", "cut off in the header", STREAM[: _HEADER - 1]
    yield "E06_has_audio.fvc", "has_audio 2", header(7, b"\2")
    yield "E06_profile.fvc", "profile 7", header(8, b"\7")
    yield "E07_fps_zero.fvc", "fps.numerator 0", header(9, b"\0\0")
    yield "E07_fps_denominator.fvc", "fps.denominator 0", header(11, b"\0\0")
    yield "E07_fps_high.fvc", "241 frames per second", header(9, b"\0\xf1")
    for name, at in (("width", 0xF), ("height", 0x11), ("side", 0x17)):
        yield f"E07_crop_{name}_zero.fvc", f"crop.{name} 0", header(at, b"\0\0")
        yield f"E07_crop_{name}_large.fvc", f"crop.{name} 16385", header(at, b"\x40\1")
    yield "E08_bits_zero.fvc", "quantizers.bits 0", header(0x41, b"\0")
    yield "E08_bits_large.fvc", "quantizers.bits 17", header(0x41, b"\x11")
    yield "E08_high.fvc", "quantizers.high equal to low", header(0x42, b"\1\0")
    yield "E09_frame_ms.fvc", "audio.frame_ms 5", header(0x46, b"\5", SOUND)
    yield "E09_pre_skip.fvc", "audio.pre_skip 48001", header(0x47, b"\xbb\x81", SOUND)


def _extensions() -> Iterator[tuple[str, str, bytes]]:
    """A header may have further elements after those that every header has."""
    yield "E03_extension_head.fvc", "an extension of two bytes", extended(b"\1\0")
    yield "E03_extension_size.fvc", "an extension_size of one more than is left", extended(b"\2\0\2x")
    for name, what, table in (
        ("empty", "no byte", b""),
        ("no_set", "set_count 0", b"\0"),
        ("nine_sets", "set_count 9", b"\11" + bytes(9)),
        ("cut_sets", "fewer sets than set_count", b"\2\1"),
        ("unknown_set", "a change to set 2 of two", b"\2\1\2\2"),
        ("no_step", "two changes at one frame", b"\2\1\2\0\1"),
        ("cut_change", "cut off in a change", b"\1\1\x80"),
        ("long_change", "a change in two bytes where one would do", b"\1\1\x80\0"),
        ("far", "a change beyond the largest number", b"\1\1" + b"\xf8\xff\xff\xff\x0f" * 9),
    ):
        yield f"E27_{name}.fvc", f"scenes: {what}", extended(b"\1" + struct.pack(">H", len(table)) + table)
    for name, what, size in (
        ("empty", "no byte", b""),
        ("small", "side 256", b"\1\0"),
        ("large", "side 1024", b"\4\0"),
        ("long", "three bytes", b"\2\0\0"),
    ):
        yield f"E28_{name}.fvc", f"size: {what}", extended(b"\2" + struct.pack(">H", len(size)) + size)


def extended(extension: bytes) -> bytes:
    """The stream of Annex B with further bytes in its header."""
    body = STREAM[7 : _HEADER - 4] + extension
    return summed(STREAM[:5] + struct.pack(">H", len(body)) + body) + STREAM[_HEADER:]


def _packets() -> Iterator[tuple[str, str, bytes]]:
    yield "E04_cut_sync.fvc", "cut off in sync", packets(_KEY[:2])
    yield "E04_cut_packet.fvc", "cut off in packet_crc", packets(_KEY[:-1])
    yield "E04_key_payload.fvc", "a KEY payload without audio_packets", packets(Packet(Kind.KEY, 0, b"\0"))
    yield "E04_end_payload.fvc", "an END payload that ends in its index", packets(Packet(Kind.END, 0, b"\0\0\1\0\x80"))
    yield "E05_frame.fvc", "frame in two bytes where one would do", packets(Packet(Kind.KEY, 0, b"\x80\0\0"))
    yield "E05_large.fvc", "frame 2^32", packets(Packet(Kind.KEY, 0, b"\x80\x80\x80\x80\x10\0"))
    yield "E05_endless.fvc", "frame of six bytes", packets(Packet(Kind.KEY, 0, b"\x80\x80\x80\x80\x80\1\0"))
    yield "E05_index.fvc", "keyframe_count in two bytes", packets(Packet(Kind.END, 0, b"\0\0\x80\0"))
    yield "E10_sync.fvc", "the last byte of sync", packets(_KEY[:3] + b"?" + _KEY[4:])
    yield "E10_no_sync.fvc", "KEY without sync", packets(_KEY[4:])
    yield "E10_kind.fvc", "sync before MOTION", packets(_KEY[:4], Packet(Kind.MOTION, 0, b""))
    yield "E10_end_number.fvc", "END with number 1", packets(b"\xc1" + bytes(end(0))[1:])
    yield "E10_size_form.fvc", "payload_size in two bytes where one would do", packets(b"\0\x80\0\0\0")
    yield "E10_size_motion.fvc", "MOTION of 4097 bytes", packets(Packet(Kind.MOTION, 0, bytes(4097)))
    yield "E10_size_audio.fvc", "AUDIO of 1501 bytes", packets(Packet(Kind.AUDIO, 0, bytes(1501)))
    yield "E10_size_layer.fvc", "LAYER of 16385 bytes", packets(Packet(Kind.LAYER, 0, bytes(16385)))
    yield "E10_sync_layer.fvc", "sync before LAYER", packets(_KEY[:4], Packet(Kind.LAYER, 0, b"\0\0x"))
    yield "E10_kind_3.fvc", "kind 3 with the six bits 3", packets(b"\xc3" + bytes(end(0))[1:])
    yield "E10_size_end.fvc", "END of 2^20 + 1 bytes, of which none is there", packets(b"\xc0" + leb128((1 << 20) + 1))
    yield "E10_packet_crc.fvc", "packet_crc", packets(_KEY[:-1] + bytes([_KEY[-1] ^ 1]))
    yield "E10_number.fvc", "frame 0 in a packet with number 1", packets(Packet(Kind.KEY, 1, b"\0\0"))
    yield "E10_backwards.fvc", "frame 0 after frame 0", packets(_KEY, _KEY)
    yield "E10_number_large.fvc", "frame 2^32 - 1", packets(_KEY, key((1 << 32) - 1))
    yield "E11_keyframe_count.fvc", "two keyframes in two bytes", packets(Packet(Kind.END, 0, b"\0\0\2\0\0"))
    yield "E11_huge.fvc", "2^32 - 1 keyframes in no byte", packets(Packet(Kind.END, 0, b"\0\0" + leb128((1 << 32) - 1)))
    yield "E12_key.fvc", "coded integers that no symbol has, KEY", packets(Packet(Kind.KEY, 0, b"\0\0" + b"\xff" * 8))
    yield "E12_motion.fvc", "the same in MOTION", packets(_KEY, Packet(Kind.MOTION, 1, b"\xff" * 8))
    yield "E13_range.fvc", "a component that leaves its range", motion_that_breaks("E13")
    for what, payload in (
        ("one slice", b"\0\0\0\1\1x"),
        ("slice 2 of 2", b"\5\0\2\2\0"),
        ("slice 2 with frame 1", b"\1\0\2\3\0"),
        ("slice 0 without motion", b"\0\0\0\2\0"),
    ):
        yield f"E23_{what.replace(' ', '_')}.fvc", what, packets(Packet(Kind.REFRESH, payload[0], payload))
    yield "E14_small_file.fvc", "1800 frames missing, in some 170 bytes", packets(_KEY, end(1801))
    yield "E14_keyframe.fvc", "a keyframe 2^32 - 2", packets(_KEY, key((1 << 32) - 2))
    yield "E14_end.fvc", "an END of 2^32 - 1 frames", packets(_KEY, end((1 << 32) - 1))
    yield (
        "E14_sound.fvc",
        "2^32 - 2 AUDIO packets missing",
        header(0, b"", SOUND[: _audio_header()]) + bytes(key(0, (1 << 32) - 2)) + bytes(Packet(Kind.AUDIO, 62, b"x")),
    )
    long = b"".join(bytes(Packet(Kind.MOTION, n, b"")) for n in range(1, 3000))
    yield "E14_seconds.fvc", "9001 frames, 600.1 s, missing in a file of 12 kB", packets(_KEY, long, key(12001))


def _audio_header() -> int:
    return 7 + int.from_bytes(SOUND[5:7], "big") + 4


def _source_sets() -> Iterator[tuple[str, str, bytes]]:
    yield "E02_version.fvs", "version 1", sources(4, b"\1")
    yield "E20_magic.fvs", "the magic of a stream", sources(0, b"\xabFVC")
    yield "E20_empty.fvs", "no byte at all", b""
    yield "E21_cut.fvs", "cut off in the first picture", SOURCES[: SOURCES_HEAD + 100]
    yield "E21_head_crc.fvs", "head_crc", SOURCES[: SOURCES_HEAD - 1] + b"\0" + SOURCES[SOURCES_HEAD:]
    yield "E21_profile.fvs", "profile 4", sources(13, b"\4")
    yield "E21_no_source.fvs", "source_count 0", summed(SOURCES[:14] + b"\0" + SOURCES[15:39])
    yield (
        "E21_many_sources.fvs",
        "source_count 9",
        summed(SOURCES[:14] + b"\x09" + SOURCES[15:19] + SOURCES[19:39] * 10),
    )
    yield "E21_canvas_size.fvs", "a canvas of 16384 x 16384", sources(15, b"\x40\0\x40\0")
    yield "E21_canvas_bytes.fvs", "section_bytes 2^20 + 1 of the canvas", sources(SOURCES_HEAD - 24, b"\0\x10\0\1")
    yield "E21_section_large.fvs", "section_bytes 2^21 of a picture", sources(19, b"\0\x20\0\0")
    yield "E21_section_small.fvs", "section_bytes 3 of a picture", sources(19, b"\0\0\0\3")
    yield "E21_digest.fvs", "section_digest", sources(23, bytes(16))
    yield "E21_longer.fvs", "a byte behind the canvas", SOURCES + b"\0"
    yield "E02_version_4.fvs", "version 4", LARGE[:4] + b"\4" + LARGE[5:]
    yield (
        "E21_side.fvs",
        "version 3 with side 256",
        summed(LARGE[:5] + b"\1\0" + LARGE[7:LARGE_HEAD]) + LARGE[LARGE_HEAD + 4 :],
    )
    yield "E21_side_large.fvs", "version 3 with side 1024", summed(LARGE[:5] + b"\4\0" + LARGE[7:LARGE_HEAD])
    yield "E21_preview.fvs", "a preview with other integers than the first picture", other_preview()
    yield "E22_empty.fvs", "a picture without data", with_pictures(lambda _: b"")
    yield "E22_no_obu.fvs", "a picture that is a text", with_pictures(lambda _: b"not a picture")
    yield "E22_two.fvs", "two pictures in one", with_pictures(lambda coded: 2 * coded)
    yield "E22_again.fvs", "1000 frame headers of one byte", with_pictures(lambda coded: coded + b"\x1a\1\x88" * 1000)


def other_preview() -> bytes:
    """The large source set with another first byte in its preview."""
    size = int.from_bytes(LARGE[21:25], "big")
    preview = bytes([LARGE[LARGE_HEAD + 4] ^ 1]) + LARGE[LARGE_HEAD + 5 : LARGE_HEAD + 4 + size]
    digest = hashlib.sha256(preview).digest()[:16]
    return summed(LARGE[:25] + digest + LARGE[41:LARGE_HEAD]) + preview + LARGE[LARGE_HEAD + 4 + size :]


def datagram(body: bytes) -> bytes:
    """A datagram with a right checksum."""
    return body + struct.pack(">H", binascii.crc_hqx(body, 0xFFFF))


def _datagrams() -> Iterator[tuple[str, str, bytes]]:
    """They are read with the header of Annex B."""
    whole = datagram(b"\5\0\1x")
    yield "E24_empty.datagram", "no byte at all", b""
    yield "E24_large.datagram", "1201 bytes", datagram(b"\5\0\xab\x09" + bytes(1195))
    yield "E24_crc.datagram", "datagram_crc", whole[:-1] + bytes([whole[-1] ^ 1])
    yield "E24_cut_entry.datagram", "an entry of two bytes of which one is there", datagram(b"\5\0\2x")
    yield "E24_frame.datagram", "frame in two bytes where one would do", datagram(b"\x85\0\0\1x")
    yield "E24_refresh.datagram", "a REFRESH payload with one slice", datagram(b"\5\xc0\6\5\0\0\1\1x")
    yield "E25_older.datagram", "an entry six frames before frame 5", datagram(b"\5\6\1x")
    yield "E25_frame.datagram", "a KEY payload of frame 4 at the place of frame 5", datagram(b"\5\x40\3\4\0x")


@cache
def invalid() -> dict[str, Case]:
    """File name -> (what is wrong, bytes); the name begins with the rule."""
    parts = (_headers, _extensions, _packets, _source_sets, _datagrams)
    return {name: (what, data) for part in parts for name, what, data in part()}

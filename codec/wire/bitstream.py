"""Header and packets of a .fvc stream (bitstream_spec.md, section 4). Knows nothing about files or pixels.

Each wire object is a frozen dataclass with `parse` and `__bytes__`; field names are those of the specification's
tables. All multi-byte numbers are big-endian. Errors are `StreamError` with the specification's rule.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Any

from fvc.codec.base.constants import (
    LARGE_SIDE,
    MAX_AUDIO_PAYLOAD,
    MAX_CROP_SIDE,
    MAX_END_PAYLOAD,
    MAX_FPS,
    MAX_HEADER_LENGTH,
    MAX_LAYER_PAYLOAD,
    MAX_MOTION_PAYLOAD,
    MAX_PRE_SKIP,
    MAX_QUANTIZER_BITS,
    MAX_SLICES,
    MODEL_HASH_BYTES,
    SIDE,
    SOURCES_HASH_BYTES,
)
from fvc.codec.base.errors import StreamError
from fvc.codec.motion.quantizer import Quantizer, coded_parts
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.leb128 import leb128, parse_leb128
from fvc.codec.wire.scenes import Scenes

MAGIC = b"\xabFVC"
VERSION = 2
SHAPED = 4  # added to the profile where `shape` (landmark coefficients) is coded in place of `sup` (5.1)
# The header's value -> profile, and whether `shape` takes the place of `sup`
_PROFILES = {int(profile): (profile, False) for profile in Profile}
_PROFILES |= {profile + SHAPED: (profile, True) for profile in Profile if "sup" in profile.parts}
_SCENES, _SIZE = 1, 2  # extension_type of the table of scenes, and of the size of pictures (4.1)
SYNC = b"\xffFVK"  # precedes each KEY and REFRESH packet; 0xff cannot begin a packet


class Kind(IntEnum):
    """Kind of a packet. MOTION to END are the upper two bits of its head; REFRESH and LAYER share them with END."""

    MOTION = 0
    KEY = 1
    AUDIO = 2
    END = 3
    REFRESH = 4
    LAYER = 5


SYNCED = (Kind.KEY, Kind.REFRESH)
_FIXED_HEADS = {0xC0: Kind.END, 0xC1: Kind.REFRESH, 0xC2: Kind.LAYER}  # head bytes that hold no number
MAX_PAYLOAD = {
    Kind.MOTION: MAX_MOTION_PAYLOAD,
    Kind.KEY: MAX_MOTION_PAYLOAD,
    Kind.REFRESH: MAX_MOTION_PAYLOAD,
    Kind.AUDIO: MAX_AUDIO_PAYLOAD,
    Kind.END: MAX_END_PAYLOAD,
    Kind.LAYER: MAX_LAYER_PAYLOAD,
}


@dataclass(frozen=True)
class Audio:
    """Parameters of the Opus track.

    Attributes:
        frame_ms: duration of each packet in milliseconds: 10, 20, 40 or 60.
        pre_skip: samples at 48 kHz that are not played at the start, 0 to 48000.
    """

    frame_ms: int
    pre_skip: int


@dataclass(frozen=True)
class Crop:
    """The coded square, in pixels of the upright frame; it may extend beyond the frame.

    Attributes:
        width, height: size of the whole frame.
        x, y, side: left edge, top edge and side of the square.
    """

    width: int
    height: int
    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Header:
    """Header of a .fvc stream: everything that a receiver must know before the first packet.

    Attributes:
        profile: which parts each frame carries.
        quantizers: one for each coded part, in coding order: `shape` or `sup`, then the profile's other parts.
        fps: frames per second, above 0 and at most 240.
        keyframe_interval: frames from one keyframe to the next; 0: only the first frame is one.
        crop: the coded square.
        model_hash: 8 bytes that name the weights (8.1).
        sources_hash, pixels_hash: 16 bytes each that name the source set, by its file and by its pixels (7.2).
        audio: parameters of the sound, or None.
        scenes: which source pictures draw which frames; None: all draw all.
        side: of the source pictures, 256 or 512 pixels.
    """

    profile: Profile
    quantizers: Mapping[str, Quantizer]
    fps: Fraction
    keyframe_interval: int
    crop: Crop
    model_hash: bytes
    sources_hash: bytes
    pixels_hash: bytes
    audio: Audio | None = None
    scenes: Scenes | None = None
    side: int = SIDE

    @property
    def bits(self) -> dict[str, int]:
        """Coded part -> bits of each of its integers, in coding order."""
        return {part: quantizer.bits for part, quantizer in self.quantizers.items()}

    def __bytes__(self) -> bytes:
        crop, profile = self.crop, self.profile + SHAPED * ("shape" in self.quantizers)
        body = struct.pack(
            ">BBHHHHHhhH",
            self.audio is not None,
            profile,
            self.fps.numerator,
            self.fps.denominator,
            self.keyframe_interval,
            crop.width,
            crop.height,
            crop.x,
            crop.y,
            crop.side,
        )
        body += self.model_hash + self.sources_hash + self.pixels_hash
        for quantizer in self.quantizers.values():
            body += struct.pack(">Bhh", quantizer.bits, round(quantizer.low * 256), round(quantizer.high * 256))
        if self.audio:
            body += struct.pack(">BH", self.audio.frame_ms, self.audio.pre_skip)
        if self.scenes:
            scenes = bytes(self.scenes)
            body += struct.pack(">BH", _SCENES, len(scenes)) + scenes
        if self.side != SIDE:
            body += struct.pack(">BHH", _SIZE, 2, self.side)
        head = MAGIC + bytes([VERSION]) + struct.pack(">H", len(body)) + body
        return head + struct.pack(">I", zlib.crc32(head))

    @staticmethod
    def size(start: bytes) -> int:
        """Size in bytes of the whole header, found from its first seven bytes.

        Raises StreamError: E01 magic, E02 version, E03 header_length, E04 fewer than seven bytes.
        """
        if not start.startswith(MAGIC[: len(start)]) or not start:
            raise StreamError("E01", "not a .fvc stream")
        if len(start) < 7:
            raise StreamError("E04", "the header is truncated")
        if start[4] != VERSION:
            newer = "a newer fvc is needed to read" if start[4] > VERSION else "this fvc no longer reads"
            raise StreamError("E02", f"{newer} version {start[4]} of the format (this one reads version {VERSION})")
        length = struct.unpack_from(">H", start, 5)[0]
        if length > MAX_HEADER_LENGTH:
            raise StreamError("E03", "the header is damaged: header_length")
        return 7 + length + 4

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Parses a header, which has `Header.size` bytes. Raises StreamError (E01 to E04, E06 to E09, E27, E28)."""
        if len(data) < (size := cls.size(data)):
            raise StreamError("E04", "the header is truncated")
        if zlib.crc32(data[: size - 4]) != struct.unpack_from(">I", data, size - 4)[0]:
            raise StreamError("E03", "the header is damaged: checksum")
        elements = _Elements(data[7 : size - 4])
        take = elements.take
        has_audio, profile, num, den, interval, width, height, x, y, side = take(">BBHHHHHhhH")
        if has_audio > 1 or profile not in _PROFILES:
            raise StreamError("E06", f"the header has unknown values: has_audio {has_audio}, profile {profile}")
        if not num or not den or Fraction(num, den) > MAX_FPS:
            raise StreamError("E07", f"the header's fps {num}/{den} is out of range: above 0, at most {MAX_FPS}")
        for name, length in (("width", width), ("height", height), ("side", side)):
            if not 0 < length <= MAX_CROP_SIDE:
                raise StreamError("E07", f"the header's crop.{name} {length} is out of range 1..{MAX_CROP_SIDE}")
        profile, is_shaped = _PROFILES[profile]
        model, sources, pixels = take(f">{MODEL_HASH_BYTES}s{SOURCES_HASH_BYTES}s{SOURCES_HASH_BYTES}s")
        quantizers = {}
        for part in coded_parts(profile.parts, is_shaped):
            bits, low, high = take(">Bhh")
            if not 1 <= bits <= MAX_QUANTIZER_BITS or high <= low:
                raise StreamError("E08", f"the quantizer of {part} is invalid: {bits} bits, {low} to {high}")
            quantizers[part] = Quantizer(bits, low / 256, high / 256)
        audio = Audio(*take(">BH")) if has_audio else None
        if audio and (audio.frame_ms not in (10, 20, 40, 60) or audio.pre_skip > MAX_PRE_SKIP):
            values = f"frame_ms {audio.frame_ms}, pre_skip {audio.pre_skip}"
            raise StreamError("E09", f"the audio parameters are out of range: {values}")
        scenes, picture_side = None, SIDE
        for kind, extension in elements.extensions():
            scenes = Scenes.parse(extension) if kind == _SCENES else scenes
            picture_side = _parse_size(extension) if kind == _SIZE else picture_side
        crop, fps = Crop(width, height, x, y, side), Fraction(num, den)
        return cls(profile, quantizers, fps, interval, crop, model, sources, pixels, audio, scenes, picture_side)


def _parse_size(extension: bytes) -> int:
    """Side of the source pictures. Raises StreamError (E28)."""
    if extension != struct.pack(">H", LARGE_SIDE):
        raise StreamError("E28", f"the header's size of pictures is not {LARGE_SIDE}: {extension[:4].hex() or 'empty'}")
    return LARGE_SIDE


class _Elements:
    """Reads the elements of a header one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """The next elements, of a layout of `struct`. Raises StreamError (E03)."""
        size = struct.calcsize(layout)
        if self._at + size > len(self._body):
            raise StreamError("E03", "the header is damaged: header_length is too small for its elements")
        self._at += size
        return struct.unpack_from(layout, self._body, self._at - size)

    def extensions(self) -> Iterator[tuple[int, bytes]]:
        """extension_type and extension of what is left. Raises StreamError (E03)."""
        while self._at < len(self._body):
            kind, size = self.take(">BH")
            yield kind, self.take(f"{size}s")[0]


@dataclass(frozen=True)
class Packet:
    """A packet of a stream.

    Attributes:
        kind: what it carries.
        number: counts frames (MOTION, KEY, REFRESH) or audio packets (AUDIO). The bytes carry its low six bits only;
            the payloads of KEY and REFRESH have it in full. Of LAYER: the frame that comes next.
        payload: an empty one of kind MOTION means that the frame has no face: the receiver holds the last picture.
    """

    kind: Kind
    number: int
    payload: bytes

    def __bytes__(self) -> bytes:
        fixed = next((head for head, kind in _FIXED_HEADS.items() if kind == self.kind), None)
        head = bytes([self.kind << 6 | self.number & 63 if fixed is None else fixed])
        body = head + leb128(len(self.payload)) + self.payload
        sync = SYNC if self.kind in SYNCED else b""
        return sync + body + struct.pack(">H", binascii.crc_hqx(body, 0xFFFF))

    @classmethod
    def parse(cls, data: bytes | bytearray, at: int = 0) -> tuple[Packet, int]:
        """Parses the packet at position `at`; returns (packet, position after it).

        The packet's number is what its head carries: the low six bits, 0 for END, REFRESH and LAYER.

        Raises StreamError: E04 more bytes are needed, E10 the packet is damaged.
        """
        start, synced = at, data[at : at + 1] == SYNC[:1]
        if synced:
            if len(data) < at + 4:
                raise StreamError("E04", "a packet is truncated")
            if data[at : at + 4] != SYNC:
                raise StreamError("E10", "a packet is damaged: sync word")
            start = at = at + 4
        if at >= len(data):
            raise StreamError("E04", "a packet is truncated")
        kind, number = _kind_and_number(data[at])
        if kind is None or synced != (kind in SYNCED):
            raise StreamError("E10", "a packet is damaged: kind")
        try:
            size, at = parse_leb128(data, at + 1, "payload_size")
        except StreamError as error:
            raise StreamError("E10" if error.rule == "E05" else error.rule, "a packet is damaged: size") from None
        if size > MAX_PAYLOAD[kind]:
            raise StreamError("E10", "a packet is damaged: size")
        if at + size + 2 > len(data):
            raise StreamError("E04", "a packet is truncated")
        if binascii.crc_hqx(bytes(data[start : at + size]), 0xFFFF) != struct.unpack_from(">H", data, at + size)[0]:
            raise StreamError("E10", "a packet is damaged: checksum")
        return cls(kind, number, bytes(data[at : at + size])), at + size + 2


def _kind_and_number(head: int) -> tuple[Kind | None, int]:
    if head >> 6 == Kind.END:
        return _FIXED_HEADS.get(head), 0
    return Kind(head >> 6), head & 63


@dataclass(frozen=True)
class KeyPayload:
    """Payload of a KEY packet (4.2).

    Attributes:
        frame: the packet's number in full.
        audio_packets: how many AUDIO packets came before this packet.
        coded: the entropy-coded integers.
    """

    frame: int
    audio_packets: int
    coded: bytes

    def __bytes__(self) -> bytes:
        return leb128(self.frame) + leb128(self.audio_packets) + self.coded

    @classmethod
    def parse(cls, data: bytes) -> KeyPayload:
        """Raises StreamError (E04, E05)."""
        frame, at = parse_leb128(data, 0, "frame")
        audio_packets, at = parse_leb128(data, at, "audio_packets")
        return cls(frame, audio_packets, data[at:])


@dataclass(frozen=True)
class RefreshPayload:
    """Payload of a REFRESH packet: the motion of its own frame and a slice of a keyframe (4.4).

    Attributes:
        frame, audio_packets: as in a keyframe.
        slice, slices: index of this slice, and how many (2 to 16) the keyframe has. The keyframe is that of frame
            `frame - slice`.
        motion: the payload of a MOTION packet of this frame; not empty in slice 0.
        coded: this slice of the keyframe's entropy-coded integers.
    """

    frame: int
    audio_packets: int
    slice: int
    slices: int
    motion: bytes
    coded: bytes

    def __bytes__(self) -> bytes:
        numbers = leb128(self.frame) + leb128(self.audio_packets) + bytes([self.slice, self.slices])
        return numbers + leb128(len(self.motion)) + self.motion + self.coded

    @classmethod
    def parse(cls, data: bytes) -> RefreshPayload:
        """Raises StreamError (E04, E05, E23)."""
        frame, at = parse_leb128(data, 0, "frame")
        audio_packets, at = parse_leb128(data, at, "audio_packets")
        if at + 2 > len(data):
            raise StreamError("E04", "slice is truncated")
        index, slices = data[at], data[at + 1]
        size, at = parse_leb128(data, at + 2, "motion_size")
        if at + size > len(data):
            raise StreamError("E04", "motion is truncated")
        if not 2 <= slices <= MAX_SLICES or index >= slices or index > frame or (index == 0 and size == 0):
            values = f"slice {index} of {slices}, frame {frame}, {size} bytes of motion"
            raise StreamError("E23", f"slice or slices is out of range: {values}")
        return cls(frame, audio_packets, index, slices, data[at : at + size], data[at + size :])


@dataclass(frozen=True)
class EndPayload:
    """Payload of the END packet (4.2).

    Attributes:
        frames, audio_packets: how many the stream has.
        keyframes: (frame number, byte offset of the sync word) of each keyframe, in order.
    """

    frames: int
    audio_packets: int
    keyframes: tuple[tuple[int, int], ...]

    def __bytes__(self) -> bytes:
        out = bytearray(leb128(self.frames) + leb128(self.audio_packets) + leb128(len(self.keyframes)))
        frame = offset = 0
        for next_frame, next_offset in self.keyframes:
            out += leb128(next_frame - frame) + leb128(next_offset - offset)
            frame, offset = next_frame, next_offset
        return bytes(out)

    @classmethod
    def parse(cls, data: bytes) -> EndPayload:
        """Raises StreamError (E04, E05, E11)."""
        frames, at = parse_leb128(data, 0, "frames")
        audio_packets, at = parse_leb128(data, at, "audio_packets")
        count, at = parse_leb128(data, at, "keyframe_count")
        if count > (len(data) - at) // 2:
            raise StreamError("E11", "keyframe_count is larger than its packet can hold")
        keyframes, frame, offset = [], 0, 0
        for _ in range(count):
            step, at = parse_leb128(data, at, "index")
            jump, at = parse_leb128(data, at, "index")
            frame, offset = frame + step, offset + jump
            keyframes.append((frame, offset))
        return cls(frames, audio_packets, tuple(keyframes))

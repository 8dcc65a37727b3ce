"""Messages of a call over two data channels (bitstream_spec.md, section 12). Bytes only.

    control   reliable, in order:    Hello, SetupPiece, PieceGot, Accepted, Refused, KeyframeWanted, Leave
    media     unreliable, any order: Media: a datagram of `codec.call.datagram`, feedback on what has come, or both

Every `parse` raises StreamError (E24).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from fvc.codec.base.constants import MAX_CHANNEL_PIECE, MAX_CHANNEL_PIECES, MAX_DATAGRAM, MAX_FEEDBACK
from fvc.codec.base.errors import StreamError

VERSION = 1  # of section 12
CONTROL, MEDIA = "fvc-control", "fvc-media"  # labels of the channels
TICK = 0.004  # seconds: times of arrival are counted in these
_MAX_REASON = 200  # bytes
_HAS_FEEDBACK, _HAS_DATAGRAM = 1, 2  # bits of a media message's first byte
_MISSING = 0xFFFF


@dataclass(frozen=True)
class Hello:
    """The first control message of each side."""

    version: int = VERSION

    def __bytes__(self) -> bytes:
        return bytes([0, self.version])


@dataclass(frozen=True)
class SetupPiece:
    """The `index`-th of `count` pieces of set-up `number` (8 bits)."""

    number: int
    index: int
    count: int
    data: bytes

    def __bytes__(self) -> bytes:
        return struct.pack(">BBHH", 1, self.number, self.index, self.count) + self.data


@dataclass(frozen=True)
class PieceGot:
    """A piece has come, at `time` (in ticks, 16 bits) of the receiver's clock."""

    number: int
    index: int
    time: int

    def __bytes__(self) -> bytes:
        return struct.pack(">BBHH", 2, self.number, self.index, self.time)


@dataclass(frozen=True)
class Accepted:
    """Pictures of set-up `number` are in use from now on."""

    number: int

    def __bytes__(self) -> bytes:
        return bytes([3, self.number])


@dataclass(frozen=True)
class Refused:
    """Set-up `number` cannot be used."""

    number: int
    reason: str

    def __bytes__(self) -> bytes:
        return bytes([4, self.number]) + _text(self.reason)


@dataclass(frozen=True)
class KeyframeWanted:
    """Frames are missing that no copy will bring."""

    def __bytes__(self) -> bytes:
        return bytes([5])


@dataclass(frozen=True)
class Leave:
    """The sender of this leaves the call."""

    reason: str = ""

    def __bytes__(self) -> bytes:
        return bytes([6]) + _text(self.reason)


Control = Hello | SetupPiece | PieceGot | Accepted | Refused | KeyframeWanted | Leave


def _text(reason: str) -> bytes:
    return reason.encode()[:_MAX_REASON].decode(errors="ignore").encode()


def parse_control(data: bytes) -> Control | None:
    """One control message; None for a kind that this version does not know."""
    if not data:
        raise StreamError("E24", "a control message is empty")
    parse = _PARSERS.get(data[0])
    if parse is None:
        return None
    try:
        return parse(data)
    except (struct.error, IndexError):
        raise StreamError("E24", "a control message is truncated") from None


def _piece(data: bytes) -> SetupPiece:
    number, index, count = struct.unpack_from(">BHH", data, 1)
    size = len(data) - 6
    if not 0 <= index < count <= MAX_CHANNEL_PIECES or not 1 <= size <= MAX_CHANNEL_PIECE:
        raise StreamError("E24", "a piece of the set-up has an index, count or size out of range")
    if size != MAX_CHANNEL_PIECE and index != count - 1:
        raise StreamError("E24", "a piece of the set-up other than the last one is too short")
    return SetupPiece(number, index, count, data[6:])


def _reason(data: bytes) -> str:
    return data[:_MAX_REASON].decode(errors="replace")


_PARSERS: dict[int, Callable[[bytes], Control]] = {
    0: lambda data: Hello(data[1]),
    1: _piece,
    2: lambda data: PieceGot(*struct.unpack_from(">BHH", data, 1)),
    3: lambda data: Accepted(data[1]),
    4: lambda data: Refused(data[1], _reason(data[2:])),
    5: lambda data: KeyframeWanted(),
    6: lambda data: Leave(_reason(data[1:])),
}


@dataclass(frozen=True)
class Feedback:
    """When media messages came: of message `newest` (16 bits), the one before it, and so on; None: not yet."""

    newest: int
    times: tuple[int | None, ...]


@dataclass(frozen=True)
class Media:
    """A message of the media channel. Without feedback and datagram it only says that its sender is there.

    Attributes:
        sequence: counts messages with a datagram, 16 bits.
    """

    feedback: Feedback | None = None
    sequence: int = 0
    datagram: bytes = b""

    def __bytes__(self) -> bytes:
        flags = (_HAS_FEEDBACK if self.feedback else 0) | (_HAS_DATAGRAM if self.datagram else 0)
        out = bytes([flags])
        if self.feedback is not None:
            times = [_MISSING if time is None else time for time in self.feedback.times]
            out += struct.pack(f">HB{len(times)}H", self.feedback.newest, len(times), *times)
        return out + (struct.pack(">H", self.sequence) + self.datagram if self.datagram else b"")

    @classmethod
    def parse(cls, data: bytes) -> Media:
        if not data or data[0] > _HAS_FEEDBACK | _HAS_DATAGRAM:
            raise StreamError("E24", "a media message is damaged: its first byte")
        try:
            feedback, at = _feedback(data) if data[0] & _HAS_FEEDBACK else (None, 1)
            if not data[0] & _HAS_DATAGRAM:
                return cls(feedback)
            (sequence,) = struct.unpack_from(">H", data, at)
        except (struct.error, IndexError):
            raise StreamError("E24", "a media message is truncated") from None
        if not 3 <= len(data) - at - 2 <= MAX_DATAGRAM:
            raise StreamError("E24", "a media message has a datagram of the wrong size")
        return cls(feedback, sequence, data[at + 2 :])


def _feedback(data: bytes) -> tuple[Feedback, int]:
    newest, count = struct.unpack_from(">HB", data, 1)
    if not 1 <= count <= MAX_FEEDBACK:
        raise StreamError("E24", "a media message has feedback on too few or too many messages")
    times = struct.unpack_from(f">{count}H", data, 4)
    return Feedback(newest, tuple(None if time == _MISSING else time for time in times)), 4 + 2 * count


def ticks(seconds: float) -> int:
    """A time as messages carry it: 16 bits, never the value that stands for "not yet"."""
    return min(int(seconds / TICK) & 0xFFFF, _MISSING - 1)

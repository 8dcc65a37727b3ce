"""RTP and RTCP packets of a call (bitstream_spec.md, section 11). Bytes only; knows nothing about sockets or clocks.

    Rtp      one datagram of `codec.call.datagram`                    RFC 3550, 5.1
    App      a piece of the set-up, or an answer to one               RFC 3550, 6.7, name "FVC2"
    Bye      the call is over, or refused, and why                    RFC 3550, 6.6
    Report   the receiver is there, and this is what it has received  RFC 3550, 6.4.2
    Pli      a request for a keyframe                                 RFC 4585, 6.3.1

Both kinds share one port (RFC 5761); control packets come alone (RFC 5506). Every `parse` raises StreamError (E24).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fvc.codec.base.constants import RTP_PAYLOAD_TYPE
from fvc.codec.base.errors import StreamError

MAX_PACKET = 1400  # bytes: room for the largest datagram or set-up piece, and RTP or RTCP headers
_NAME = b"FVC2"  # its digit is the version of section 11
_REPORT, _BYE, _APP, _FEEDBACK = 201, 203, 204, 206  # RTCP packet types
_PLI = 1
_BLOCK_BYTES = 24  # of one reception report
_MAX_REASON = 200  # bytes


def is_control(data: bytes) -> bool:
    """Whether a packet is RTCP rather than RTP (RFC 5761, 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


@dataclass(frozen=True)
class Rtp:
    """One RTP packet without contributing sources or extension.

    Attributes:
        sequence: 16 bits; timestamp: 32 bits, 90 kHz; ssrc: 32 bits.
    """

    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes

    def __bytes__(self) -> bytes:
        return struct.pack(">BBHII", 0x80, RTP_PAYLOAD_TYPE, self.sequence, self.timestamp, self.ssrc) + self.payload

    @classmethod
    def parse(cls, data: bytes) -> Rtp:
        """Accepts contributing sources, extensions and padding, which other senders may add, and drops them."""
        if not 12 <= len(data) <= MAX_PACKET or data[0] >> 6 != 2:
            raise StreamError("E24", "an RTP packet is damaged: size or version")
        first, kind, sequence, timestamp, ssrc = struct.unpack_from(">BBHII", data)
        if kind & 0x7F != RTP_PAYLOAD_TYPE:
            raise StreamError("E24", "an RTP packet has an unknown payload type")
        at = 12 + 4 * (first & 15)
        if first & 0x10:
            if at + 4 > len(data):
                raise StreamError("E24", "an RTP packet is damaged: extension")
            at += 4 + 4 * struct.unpack_from(">H", data, at + 2)[0]
        padding = data[-1] if first & 0x20 else 0
        if at + padding > len(data) or (first & 0x20 and not padding):
            raise StreamError("E24", "an RTP packet is damaged: headers or padding")
        return cls(sequence, timestamp, ssrc, data[at : len(data) - padding])


@dataclass(frozen=True)
class App:
    """An application-defined control packet. `subtype` has 5 bits; `data` may have any length."""

    subtype: int
    ssrc: int
    data: bytes

    def __bytes__(self) -> bytes:
        return _control(_APP, self.subtype, struct.pack(">I", self.ssrc) + _NAME + self.data)


@dataclass(frozen=True)
class Bye:
    """The sender of this leaves."""

    ssrc: int
    reason: str = ""

    def __bytes__(self) -> bytes:
        text = self.reason.encode()[:_MAX_REASON].decode(errors="ignore").encode()
        text = bytes([len(text)]) + text if text else b""
        return _control(_BYE, 1, struct.pack(">I", self.ssrc) + text + bytes(-len(text) % 4), padded=False)


@dataclass(frozen=True)
class Report:
    """Receiver report with one block: what `ssrc` has received of `media`.

    Attributes:
        lost: packets that did not come, in all; -2^23 to 2^23 - 1.
        highest: extended sequence number of the newest packet, 32 bits.
        jitter: in RTP time stamps, 32 bits.
    """

    ssrc: int
    media: int
    lost: int = 0
    highest: int = 0
    jitter: int = 0

    def __bytes__(self) -> bytes:
        lost = min(max(self.lost, -1 << 23), (1 << 23) - 1) & 0xFFFFFF  # top byte: fraction lost, not measured
        block = struct.pack(">IIIIII", self.media, lost, self.highest, self.jitter, 0, 0)
        return _control(_REPORT, 1, struct.pack(">I", self.ssrc) + block)


@dataclass(frozen=True)
class Pli:
    """Picture loss indication: `ssrc` asks `media` for a keyframe."""

    ssrc: int
    media: int

    def __bytes__(self) -> bytes:
        return _control(_FEEDBACK, _PLI, struct.pack(">II", self.ssrc, self.media))


def _control(kind: int, count: int, body: bytes, padded: bool = True) -> bytes:
    padding = -len(body) % 4 if padded else 0
    body += bytes(padding - 1) + bytes([padding]) if padding else b""
    return struct.pack(">BBH", 0x80 | (0x20 if padding else 0) | count, kind, len(body) // 4) + body


Control = App | Bye | Report | Pli


def parse_control(data: bytes) -> Control | None:
    """One RTCP packet; None for a kind that is not used here. Later packets of a compound are ignored."""
    if not 8 <= len(data) <= MAX_PACKET or data[0] >> 6 != 2:
        raise StreamError("E24", "a control packet is damaged: size or version")
    first, kind, words = struct.unpack_from(">BBH", data)
    body = data[4 : 4 + 4 * words]
    if len(body) != 4 * words or words < 1:
        raise StreamError("E24", "a control packet is damaged: length")
    if first & 0x20:
        if not 1 <= body[-1] <= len(body) - 4:
            raise StreamError("E24", "a control packet is damaged: padding")
        body = body[: -body[-1]]
    ssrc = struct.unpack_from(">I", body)[0]
    if kind == _APP:
        return App(first & 31, ssrc, body[8:]) if body[4:8] == _NAME else None
    if kind == _BYE:
        size = body[4] if len(body) > 4 else 0
        return Bye(ssrc, body[5 : 5 + size].decode(errors="replace"))
    if kind == _REPORT and first & 31 and len(body) >= 4 + _BLOCK_BYTES:
        media, lost, highest, jitter = struct.unpack_from(">IIII", body, 4)
        return Report(ssrc, media, (lost & 0xFFFFFF ^ 0x800000) - 0x800000, highest, jitter)
    if kind == _FEEDBACK and first & 31 == _PLI and len(body) >= 8:
        return Pli(ssrc, struct.unpack_from(">I", body, 4)[0])
    return None

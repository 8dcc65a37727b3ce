"""Datagrams: what a live link carries, one UDP or RTP payload each (bitstream_spec.md, section 10).

A datagram holds the packets of one or a few frames and, with redundancy, copies of those of earlier frames. It states
the newest frame's number in full, so no loss is too long to be noticed. Knows nothing about sockets or clocks.

    Encoder -> Packetizer -> datagrams -> the network -> Depacketizer -> Decoder.put
"""

from __future__ import annotations

import binascii
import struct
from collections import deque
from dataclasses import dataclass

from fvc.codec.base.constants import MAX_DATAGRAM, REORDERING_WINDOW
from fvc.codec.base.errors import StreamError, UsageError
from fvc.codec.wire.bitstream import (
    MAX_PAYLOAD,
    SYNCED,
    Header,
    KeyPayload,
    Kind,
    Packet,
    RefreshPayload,
    leb128,
    parse_leb128,
)

MAX_AGE = 63  # frames by which a copy may be older than the newest frame of its datagram: six bits
_KINDS = (Kind.MOTION, Kind.KEY, Kind.AUDIO, Kind.REFRESH)  # by the upper two bits of an entry's head


@dataclass(frozen=True)
class Datagram:
    """Packets that travel together.

    Attributes:
        frame: number of the newest frame that had been coded when this was sent.
        entries: packets with full numbers, oldest first; AUDIO packets within 32 of what is due at `frame`.
    """

    frame: int
    entries: tuple[Packet, ...]

    def __bytes__(self) -> bytes:
        body = leb128(self.frame) + b"".join(map(self._entry, self.entries))
        return body + struct.pack(">H", binascii.crc_hqx(body, 0xFFFF))

    def _entry(self, packet: Packet) -> bytes:
        low = packet.number if packet.kind == Kind.AUDIO else self.frame - packet.number
        head = _KINDS.index(packet.kind) << 6 | low & 63
        return bytes([head]) + leb128(len(packet.payload)) + packet.payload

    @classmethod
    def parse(cls, data: bytes, header: Header) -> Datagram:
        """Raises StreamError: E24 the datagram is damaged, E25 an entry contradicts it."""
        if not 3 <= len(data) <= MAX_DATAGRAM:
            raise StreamError("E24", "a datagram is damaged: size")
        body = data[:-2]
        if binascii.crc_hqx(body, 0xFFFF) != struct.unpack(">H", data[-2:])[0]:
            raise StreamError("E24", "a datagram is damaged: checksum")
        try:
            frame, at = parse_leb128(body, 0, "frame")
            entries = []
            while at < len(body):
                head = body[at]
                size, at = parse_leb128(body, at + 1, "payload_size")
                if at + size > len(body):
                    raise StreamError("E24", "a datagram is damaged: an entry is truncated")
                entries.append(_read_entry(head, body[at : at + size], frame, header))
                at += size
        except StreamError as error:
            rule = "E25" if error.rule == "E25" else "E24"
            raise StreamError(rule, error.fault) from None
        return cls(frame, tuple(entries))


def audio_due(frame: int, header: Header) -> int:
    """How many AUDIO packets end up to frame `frame`; 0 without sound."""
    if header.audio is None:
        return 0
    return 1000 * frame * header.fps.denominator // (header.fps.numerator * header.audio.frame_ms)


def audio_begun(frame: int, header: Header) -> int:
    """How many AUDIO packets begin before frame `frame`; 0 without sound."""
    return -audio_due(-frame, header)


def _read_entry(head: int, payload: bytes, frame: int, header: Header) -> Packet:
    kind, low = _KINDS[head >> 6], head & 63
    if len(payload) > MAX_PAYLOAD[kind]:
        raise StreamError("E25", "an entry of a datagram is too large")
    number = frame - low
    if kind == Kind.AUDIO:
        due = audio_due(frame, header)
        number = due + (low - due + 32) % 64 - 32
    if number < 0:
        raise StreamError("E25", "an entry of a datagram is older than the stream")
    if kind in SYNCED:
        stated = KeyPayload.parse(payload).frame if kind == Kind.KEY else RefreshPayload.parse(payload).frame
        if stated != number:
            raise StreamError("E25", f"an entry of a datagram states frame {stated}, its head frame {number}")
    return Packet(kind, number, payload)


class Packetizer:
    """Packs packets, in the order in which they were coded, into datagrams.

    Args:
        redundancy: how many later datagrams carry a copy of each frame, 0 to 6. Copies are exact: a frame is coded as
            the difference from the one before, so whatever replaces it must decode to the same integers.
        frames_per_datagram: 1 to 8; more saves headers and costs delay.
        spread: copies go 1, 2, 4, 8 ... datagrams later rather than 1, 2, 3, 4: against long bursts of loss.

    Sound is not copied: Opus conceals a lost packet, and copies would cost more than those of the motion. The oldest
    copies are left out where a datagram would be larger than 1200 bytes.

    Attributes:
        copies_left_out: the number of copies for which there was no room.
    """

    def __init__(self, redundancy: int = 0, frames_per_datagram: int = 1, spread: bool = False) -> None:
        self._sent = deque[list[Packet]]()  # motion by datagram, newest first
        self._motion: list[Packet] = []
        self._sound: list[Packet] = []
        self._newest = 0  # frame
        self.copies_left_out = 0
        self.change(redundancy, frames_per_datagram, spread)

    def change(self, redundancy: int, frames_per_datagram: int, spread: bool = False) -> None:
        """Other choices from the next datagram on; the arguments are those of the class."""
        if not 0 <= redundancy <= 6:
            raise UsageError(f"redundancy {redundancy}: must be 0 to 6")
        if not 1 <= frames_per_datagram <= 8:
            raise UsageError(f"{frames_per_datagram} frames per datagram: must be 1 to 8")
        self._later = [1 << n if spread else n + 1 for n in range(redundancy)]  # datagrams until each copy
        if (max(self._later, default=0) + 1) * frames_per_datagram - 1 > MAX_AGE:
            raise UsageError(f"{frames_per_datagram} frames per datagram: too many for copies spread so far")
        self._frames_each = frames_per_datagram
        self._sent = deque(self._sent, maxlen=max(self._later, default=0))

    def add(self, packet: Packet) -> list[bytes]:
        """Takes a packet with its full number; returns the datagrams that are complete, usually one or none.

        Raises UsageError for a packet that no datagram can hold: END, or one that is too large.
        """
        if packet.kind not in _KINDS:
            raise UsageError(f"{packet.kind.name} packet: not for datagrams")
        if len(packet.payload) > MAX_DATAGRAM - 10:
            raise UsageError(f"{packet.kind.name} packet of {len(packet.payload)} bytes: too large for a datagram")
        ready = self.flush() if self._size([*self._motion, *self._sound, packet]) > MAX_DATAGRAM else []
        if packet.kind == Kind.AUDIO:
            self._sound.append(packet)
            return ready
        self._newest = packet.number
        self._motion.append(packet)
        return [*ready, *self.flush()] if len(self._motion) >= self._frames_each else ready

    def flush(self) -> list[bytes]:
        """A datagram of everything added since the last one; none if that is nothing."""
        if not self._motion and not self._sound:
            return []
        copies = [p for n in reversed(self._later) if n <= len(self._sent) for p in self._sent[n - 1]]
        copies = [p for p in copies if self._newest - p.number <= MAX_AGE]
        while self._size([*copies, *self._motion, *self._sound]) > MAX_DATAGRAM:
            del copies[0]
            self.copies_left_out += 1
        data = bytes(Datagram(self._newest, (*copies, *self._motion, *self._sound)))
        if self._motion:
            self._sent.appendleft(self._motion)
        self._motion, self._sound = [], []
        return [data]

    def _size(self, packets: list[Packet]) -> int:
        return len(bytes(Datagram(self._newest, tuple(packets))))


class Depacketizer:
    """Datagrams in any order -> their packets, each once. Does not reorder them: the decoder does.

    A datagram whose frame is far ahead of all others is kept until a second one agrees: a damaged number that passes
    the checksum must not make everything after it look late.

    Attributes:
        received, damaged, late: counts of datagrams; `late` ones are 128 frames or more older than the newest.
        newest: the highest frame number that arrived, -1 before any.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._frames, self._sound = _Seen(), _Seen()
        self._doubtful: Datagram | None = None
        self.received = self.damaged = self.late = 0

    @property
    def newest(self) -> int:
        return self._frames.newest

    def add(self, data: bytes) -> list[Packet]:
        """The packets of a datagram that are new, in its order; none if it is damaged or late."""
        self.received += 1
        try:
            datagram = Datagram.parse(data, self._header)
        except StreamError:
            self.damaged += 1
            return []
        if self.newest >= 0 and datagram.frame <= self.newest - REORDERING_WINDOW:
            self.late += 1
            return []
        if self.newest < 0 or datagram.frame <= self.newest + REORDERING_WINDOW:
            return self._fresh(datagram)
        before, self._doubtful = self._doubtful, datagram
        if before is None or abs(datagram.frame - before.frame) > REORDERING_WINDOW:
            return []
        self._doubtful = None
        return [*self._fresh(before), *self._fresh(datagram)]

    def missing(self) -> list[int]:
        """Frames older than the newest of which no packet has come, at most 127; still older ones are given up."""
        return self._frames.missing()

    def _fresh(self, datagram: Datagram) -> list[Packet]:
        return [p for p in datagram.entries if (self._sound if p.kind == Kind.AUDIO else self._frames).is_new(p.number)]


class _Seen:
    """Which of the newest `REORDERING_WINDOW` numbers have come."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._first: int | None = None
        self.newest = -1

    def is_new(self, number: int) -> bool:
        if number <= self.newest - REORDERING_WINDOW or number in self._numbers:
            return False
        self._numbers.add(number)
        self._first = number if self._first is None else self._first
        if number > self.newest:
            self.newest = number
            self._numbers = {n for n in self._numbers if n > number - REORDERING_WINDOW}
        return True

    def missing(self) -> list[int]:
        first = max(self._first or 0, self.newest - REORDERING_WINDOW + 1)
        return [n for n in range(first, self.newest) if n not in self._numbers]

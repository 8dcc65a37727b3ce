"""The set-up of a call, sent reliably: header and source set in pieces, with acknowledgements.

See bitstream_spec.md, section 11.2. The sender repeats the first piece until it is challenged, then each piece until
it is acknowledged; the receiver holds back the acknowledgement of the first piece until it can draw. A later
set-up with the next number brings better source pictures while the call goes on. Knows nothing about sockets; callers
say what time it is, in seconds.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, replace

from fvc.codec.base.constants import MAX_SETUP_PIECE, MAX_SETUP_PIECES, MIN_CALL_FPS
from fvc.codec.base.errors import StreamError
from fvc.codec.wire.bitstream import Header
from fvc.codec.wire.source_set import SourceSet

PIECE, ACK, CHALLENGE = 0, 1, 2  # subtypes of `rtp.App`
_REPEAT, _MAX_WAIT = 0.3, 2.4  # seconds until a piece is sent again, doubled each time up to the second
_MAX_REPEATS = 8  # of a piece in a row without an acknowledgement of its set-up
_BURST = 4 * MAX_SETUP_PIECE  # bytes that may go at once
_NEVER = float("-inf")


@dataclass(frozen=True)
class Setup:
    """Everything that a receiver needs before the first frame."""

    header: Header
    source_set: SourceSet

    def __bytes__(self) -> bytes:
        return bytes(self.header) + bytes(self.source_set)

    @classmethod
    def parse(cls, data: bytes) -> Setup:
        """Raises StreamError: the rules of headers and source sets; E25 if they do not suit a call or each other."""
        size = Header.size(data[:7])
        header, source_set = Header.parse(data[:size]), SourceSet.parse(data[size:])
        if header.fps < MIN_CALL_FPS:
            raise StreamError("E25", f"the set-up's frame rate {header.fps} is below {MIN_CALL_FPS} per second")
        if header.sources_hash != source_set.sources_hash or header.model_hash != source_set.model_hash:
            raise StreamError("E25", "the set-up's source set is not that of its header")
        if header.side != source_set.side:
            raise StreamError("E25", f"the set-up's pictures have {source_set.side} pixels, not {header.side}")
        if not set(header.profile.parts) <= set(source_set.profile.parts):
            raise StreamError("E25", "the set-up's source set lacks parts of the profile")
        return cls(header, source_set)

    def with_sources(self, source_set: SourceSet) -> Setup:
        """The same call with other source pictures."""
        names, pixels = source_set.sources_hash, source_set.pixels_hash
        return Setup(replace(self.header, sources_hash=names, pixels_hash=pixels), source_set)


@dataclass(frozen=True)
class Piece:
    """A piece of set-up `number` (8 bits): the `index`-th of `count`.

    Attributes:
        peer: the receiver's SSRC, known from its challenge; 0 before.
    """

    peer: int
    number: int
    index: int
    count: int
    data: bytes

    def __bytes__(self) -> bytes:
        return struct.pack(">IBHH", self.peer, self.number, self.index, self.count) + self.data

    @classmethod
    def parse(cls, data: bytes) -> Piece:
        """Raises StreamError (E25)."""
        if len(data) < 10:
            raise StreamError("E25", "a piece of the set-up is truncated")
        peer, number, index, count = struct.unpack_from(">IBHH", data)
        is_last, size = index == count - 1, len(data) - 9
        if not 0 <= index < count <= MAX_SETUP_PIECES or size > MAX_SETUP_PIECE:
            raise StreamError("E25", "a piece of the set-up has an index, count or size out of range")
        if size != MAX_SETUP_PIECE and not is_last:
            raise StreamError("E25", "a piece of the set-up other than the last one is too short")
        return cls(peer, number, index, count, data[9:])


@dataclass(frozen=True)
class Ack:
    """Which pieces of set-up `number` have come, as a bitmap: the top bit of the first byte is piece 0.

    Attributes:
        media: the sender's SSRC.
    """

    media: int
    number: int
    arrived: frozenset[int]
    count: int

    def __bytes__(self) -> bytes:
        bits = bytearray(-(-self.count // 8))
        for index in self.arrived:
            bits[index // 8] |= 0x80 >> index % 8
        return struct.pack(">IBH", self.media, self.number, self.count) + bytes(bits)

    @classmethod
    def parse(cls, data: bytes) -> Ack:
        """Raises StreamError (E25)."""
        if len(data) < 7:
            raise StreamError("E25", "an acknowledgement is truncated")
        media, number, count = struct.unpack_from(">IBH", data)
        if not 1 <= count <= MAX_SETUP_PIECES or len(data) != 7 + -(-count // 8):
            raise StreamError("E25", "an acknowledgement has the wrong size")
        arrived = frozenset(n for n in range(count) if data[7 + n // 8] & 0x80 >> n % 8)
        return cls(media, number, arrived, count)


@dataclass(frozen=True)
class Challenge:
    """The receiver's answer to a piece that does not name its SSRC: it keeps only pieces that do.

    Attributes:
        media: the sender's SSRC.
    """

    media: int

    def __bytes__(self) -> bytes:
        return struct.pack(">I", self.media)

    @classmethod
    def parse(cls, data: bytes) -> Challenge:
        """Raises StreamError (E25)."""
        if len(data) != 4:
            raise StreamError("E25", "a challenge has the wrong size")
        return cls(*struct.unpack(">I", data))


class SetupSender:
    """Repeats the pieces of one set-up until all are acknowledged, at most `bitrate` bits per second.

    Until the receiver reacts to this set-up, only the first piece is sent.
    """

    def __init__(self, number: int, setup: bytes, bitrate: float) -> None:
        cuts = range(0, len(setup), MAX_SETUP_PIECE)
        if len(cuts) > MAX_SETUP_PIECES:
            raise StreamError("E25", f"a set-up of {len(setup)} bytes is too large")
        self.number, self._count = number & 255, len(cuts)
        self._data = [setup[at : at + MAX_SETUP_PIECE] for at in cuts]
        self._open = dict.fromkeys(range(len(cuts)), _NEVER)  # when each piece was last sent
        self._wait = dict.fromkeys(self._open, _REPEAT)
        self._is_answered = False
        self._unanswered = Counter[int]()  # how often each piece was sent since anything was acknowledged
        self._rate, self._credit, self._credited = bitrate / 8, float(_BURST), _NEVER

    @property
    def done(self) -> bool:
        """Whether the receiver has all pieces."""
        return not self._open

    @property
    def is_exhausted(self) -> bool:
        """Whether a piece was repeated too often without an acknowledgement of anything in this set-up."""
        return max(self._unanswered.values(), default=0) > _MAX_REPEATS

    def acknowledge(self, ack: Ack) -> None:
        """Takes an acknowledgement; one of another set-up is ignored."""
        if (ack.number, ack.count) == (self.number, self._count):
            if not self._is_answered:
                self.restart()
            self._unanswered.clear()
            for index in ack.arrived:
                self._open.pop(index, None)

    def restart(self) -> None:
        """The receiver now accepts pieces: all unacknowledged ones fall due, those not yet sent first."""
        self._wait = dict.fromkeys(self._open, _REPEAT)
        self._is_answered = True
        self._unanswered.clear()

    def give_up(self) -> None:
        """Stops sending."""
        self._open.clear()

    def due(self, now: float, peer: int) -> list[Piece]:
        """Pieces to send now to the receiver with the SSRC `peer` (0: not known yet), the longest overdue first."""
        if self._credited > _NEVER:
            self._credit = min(self._credit + self._rate * (now - self._credited), _BURST)
        self._credited, out = now, []
        for index in self._waiting():
            if now < self._open[index] + self._wait[index] or self._credit < len(self._data[index]):
                break
            self._credit -= len(self._data[index])
            if self._open[index] > _NEVER:
                self._wait[index] = min(2 * self._wait[index], _MAX_WAIT)
            self._open[index] = now
            self._unanswered[index] += 1
            out.append(Piece(peer, self.number, index, self._count, self._data[index]))
        return out

    def next_due(self) -> float | None:
        """When `due` will return a piece again; None if all are acknowledged."""
        waiting = self._waiting()
        if not waiting:
            return None
        missing = max(len(self._data[waiting[0]]) - self._credit, 0)
        return max(self._open[waiting[0]] + self._wait[waiting[0]], self._credited + missing / self._rate)

    def _waiting(self) -> list[int]:
        """Pieces to send, in the order in which they fall due."""
        pieces = [n for n in self._open if n == 0 or self._is_answered]
        return sorted(pieces, key=lambda n: (self._open[n] + self._wait[n], n))


@dataclass
class _Collected:
    """The pieces of one set-up that have come."""

    number: int
    count: int
    pieces: dict[int, bytes]


class SetupReceiver:
    """Collects the pieces of one sender's set-ups, one at a time, at most a megabyte.

    Args:
        media: the sender's SSRC, for the acknowledgements.
    """

    def __init__(self, media: int) -> None:
        self._media = media
        self._collected: _Collected | None = None
        self._accepted: Ack | None = None
        self._newest: int | None = None  # number of the newest set-up of which a piece came

    def add(self, piece: Piece) -> bool:
        """Takes a piece; returns whether it is a new one."""
        if self._accepted is not None and piece.number == self._accepted.number:
            return False
        if self._newest is None or 0 < (piece.number - self._newest) & 255 < 128:
            self._newest, self._collected = piece.number, _Collected(piece.number, piece.count, {})
        found = self._collected
        if found is None or (piece.number, piece.count) != (found.number, found.count) or piece.index in found.pieces:
            return False
        found.pieces[piece.index] = piece.data
        return True

    def whole(self) -> bytes | None:
        """The set-up that is being collected, once it is complete."""
        found = self._collected
        if found is None or len(found.pieces) < found.count:
            return None
        return b"".join(found.pieces[n] for n in range(found.count))

    def accept(self) -> Ack | None:
        """Marks the collected set-up as in use; returns the acknowledgement of all its pieces."""
        if self._collected is not None:
            number, count = self._collected.number, self._collected.count
            self._accepted, self._collected = Ack(self._media, number, frozenset(range(count)), count), None
        return self._accepted

    def forget(self) -> None:
        """Drops what was collected; set-ups with the next numbers can still come."""
        self._collected = None

    def ack(self, number: int) -> Ack | None:
        """The answer to a piece of set-up `number`. Piece 0 is not acknowledged before the set-up is in use."""
        if self._accepted is not None and number == self._accepted.number:
            return self._accepted
        found = self._collected
        if found is None or number != found.number:
            return None
        return Ack(self._media, number, frozenset(found.pieces) - {0}, found.count)

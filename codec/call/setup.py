"""The set-up of a call, sent so that nothing is lost: header and source set in pieces, with acknowledgements.

Bitstream_spec.md, section 11.2. The sender repeats each piece until the receiver's bitmap has it; the receiver holds
back the last acknowledgement until it can draw. A later set-up with the next number brings better source pictures
while the call goes on. Knows nothing about sockets; callers say what time it is, in seconds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fvc.codec.constants import MAX_SETUP_PIECE, MAX_SETUP_PIECES
from fvc.codec.errors import StreamError
from fvc.codec.wire.bitstream import Header
from fvc.codec.wire.source_set import SourceSet

PIECE, ACK = 0, 1  # subtypes of `rtp.App`
_REPEAT, _MOST_WAIT = 0.3, 2.4  # seconds until a piece is sent again, doubled each time up to the second
_BURST = 4 * MAX_SETUP_PIECE  # bytes that may go at once


@dataclass(frozen=True)
class Setup:
    """What a receiver must have before the first frame."""

    header: Header
    source_set: SourceSet

    def __bytes__(self) -> bytes:
        return bytes(self.header) + bytes(self.source_set)

    @classmethod
    def parse(cls, data: bytes) -> Setup:
        """Raises StreamError: the rules of headers and source sets; E25 if they do not belong together."""
        size = Header.size(data[:7])
        header, source_set = Header.parse(data[:size]), SourceSet.parse(data[size:])
        has_parts = set(header.profile.parts) <= set(source_set.profile.parts)
        if header.sources_hash != source_set.sources_hash or header.model_hash != source_set.model_hash:
            raise StreamError("E25", "the set-up's source set is not that of its header")
        if not has_parts:
            raise StreamError("E25", "the set-up's source set lacks parts of the profile")
        return cls(header, source_set)


@dataclass(frozen=True)
class Piece:
    """A piece of set-up `number` (8 bits): the `index`-th of `count`."""

    number: int
    index: int
    count: int
    data: bytes

    def __bytes__(self) -> bytes:
        return struct.pack(">BHH", self.number, self.index, self.count) + self.data

    @classmethod
    def parse(cls, data: bytes) -> Piece:
        """Raises StreamError (E25)."""
        if len(data) < 6:
            raise StreamError("E25", "a piece of the set-up is truncated")
        number, index, count = struct.unpack_from(">BHH", data)
        is_last, size = index == count - 1, len(data) - 5
        if (
            not 0 <= index < count <= MAX_SETUP_PIECES
            or size > MAX_SETUP_PIECE
            or (size != MAX_SETUP_PIECE and not is_last)
        ):
            raise StreamError("E25", "a piece of the set-up has no place in it")
        return cls(number, index, count, data[5:])


@dataclass(frozen=True)
class Ack:
    """Which pieces of set-up `number` have come, as a bitmap: the top bit of the first byte is piece 0."""

    number: int
    arrived: frozenset[int]
    count: int

    def __bytes__(self) -> bytes:
        bits = bytearray(-(-self.count // 8))
        for index in self.arrived:
            bits[index // 8] |= 0x80 >> index % 8
        return struct.pack(">BH", self.number, self.count) + bytes(bits)

    @classmethod
    def parse(cls, data: bytes) -> Ack:
        """Raises StreamError (E25)."""
        if len(data) < 3:
            raise StreamError("E25", "an acknowledgement is truncated")
        number, count = struct.unpack_from(">BH", data)
        if not 1 <= count <= MAX_SETUP_PIECES or len(data) != 3 + -(-count // 8):
            raise StreamError("E25", "an acknowledgement has the wrong size")
        arrived = frozenset(n for n in range(count) if data[3 + n // 8] & 0x80 >> n % 8)
        return cls(number, arrived, count)


class SetupSender:
    """Repeats the pieces of one set-up until all are acknowledged, at most `bitrate` bits per second."""

    def __init__(self, number: int, setup: bytes, bitrate: float) -> None:
        cuts = range(0, len(setup), MAX_SETUP_PIECE)
        if len(cuts) > MAX_SETUP_PIECES:
            raise StreamError("E25", f"a set-up of {len(setup)} bytes is too large")
        self.pieces = [Piece(number & 255, i, len(cuts), setup[at : at + MAX_SETUP_PIECE]) for i, at in enumerate(cuts)]
        self._open: dict[int, float] = dict.fromkeys(range(len(cuts)), float("-inf"))  # when each was last sent
        self._patience = dict.fromkeys(self._open, _REPEAT)
        self._rate, self._credit, self._credited = bitrate / 8, float(_BURST), float("-inf")

    @property
    def done(self) -> bool:
        """Whether the receiver has all."""
        return not self._open

    def acknowledge(self, ack: Ack) -> None:
        """Takes an acknowledgement; one of another set-up says nothing."""
        if (ack.number, ack.count) == (self.pieces[0].number, len(self.pieces)):
            for index in ack.arrived:
                self._open.pop(index, None)

    def due(self, now: float) -> list[Piece]:
        """What to send now, longest unsent first."""
        if self._credited > float("-inf"):
            self._credit = min(self._credit + self._rate * (now - self._credited), _BURST)
        self._credited, out = now, []
        for index in sorted(self._open, key=lambda n: (self._open[n], n)):
            piece = self.pieces[index]
            if now < self._open[index] + self._patience[index]:
                continue
            if self._credit < len(piece.data):
                break
            self._credit -= len(piece.data)
            if self._open[index] > float("-inf"):
                self._patience[index] = min(2 * self._patience[index], _MOST_WAIT)
            self._open[index] = now
            out.append(piece)
        return out


class SetupReceiver:
    """Collects pieces of one set-up at a time, at most a megabyte.

    Attributes:
        accepted: number of the set-up in use, None before any.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._count, self._pieces = 0, dict[int, bytes]()
        self.accepted: int | None = None
        self._accepted_ack: Ack | None = None

    def add(self, piece: Piece) -> bytes | None:
        """Takes a piece; returns the whole set-up when this was the last one that it lacked."""
        if piece.number == self.accepted:
            return None
        is_next = self._number is None or 0 < (piece.number - self._number) & 255 < 128
        if self._number is None or (is_next and piece.number != self._number):
            self._number, self._count, self._pieces = piece.number, piece.count, {}
        if (piece.number, piece.count) != (self._number, self._count) or piece.index in self._pieces:
            return None
        self._pieces[piece.index] = piece.data
        if len(self._pieces) < self._count:
            return None
        return b"".join(self._pieces[n] for n in range(self._count))

    def accept(self) -> None:
        """The set-up that is complete is in use."""
        assert self._number is not None
        self.accepted = self._number
        self._accepted_ack = Ack(self._number, frozenset(range(self._count)), self._count)

    def ack(self, number: int) -> Ack | None:
        """What to answer to a piece of set-up `number`. Without its piece 0 until it is in use."""
        if number == self.accepted:
            return self._accepted_ack
        if number != self._number:
            return None
        return Ack(number, frozenset(self._pieces) - {0}, self._count)

    def forget(self) -> None:
        """Drops what is incomplete."""
        self._number, self._count, self._pieces = None, 0, {}

"""A set-up in pieces over the reliable channel, no faster than the link carries it (bitstream_spec.md, 12.2)."""

from __future__ import annotations

from collections import deque

from fvc.codec.base.constants import MAX_CHANNEL_PIECE, MAX_CHANNEL_PIECES
from fvc.codec.base.errors import StreamError
from fvc.codec.channel.congestion import CHANNEL_HEADER_BYTES
from fvc.codec.channel.messages import PieceGot, SetupPiece

_MOST_UNCONFIRMED = 24  # pieces that may be on their way: the reliable channel would queue more without bound


class SetupPace:
    """The set-up that is on its way to the other side; a later one takes the place of one that is not complete.

    Attributes:
        number: of the newest set-up, 8 bits.
        is_done: the other side has answered it, or there was none yet.
    """

    def __init__(self) -> None:
        self.number, self.is_done = 0, True
        self._waiting = deque[SetupPiece]()
        self._flying: dict[int, tuple[float, int]] = {}  # piece -> when it was sent, and its bytes on the wire
        self._next = float("-inf")

    @property
    def is_sent(self) -> bool:
        """Whether all pieces were sent."""
        return not self._waiting

    def begin(self, setup: bytes) -> None:
        """Begins to send a set-up. Raises StreamError where it is too large."""
        cuts = range(0, len(setup), MAX_CHANNEL_PIECE)
        if len(cuts) > MAX_CHANNEL_PIECES:
            raise StreamError("E25", f"a set-up of {len(setup)} bytes is too large")
        self.number, self.is_done = self.number + 1 & 255, False
        pieces = (setup[at : at + MAX_CHANNEL_PIECE] for at in cuts)
        self._waiting = deque(SetupPiece(self.number, n, len(cuts), data) for n, data in enumerate(pieces))
        self._flying.clear()

    def accept(self) -> None:
        """The other side has answered the newest set-up."""
        self.is_done = True

    def got(self, got: PieceGot) -> tuple[float, int] | None:
        """When a piece that came was sent, and its bytes on the wire; None: it is not one that is on its way."""
        return self._flying.pop(got.index, None) if got.number == self.number else None

    def due(self, now: float, rate: float) -> list[SetupPiece]:
        """Pieces to send now, at `rate` bits per second with all headers."""
        out = []
        while self._waiting and now >= self._next and len(self._flying) < _MOST_UNCONFIRMED:
            piece = self._waiting.popleft()
            size = len(piece.data) + 6 + CHANNEL_HEADER_BYTES
            self._next = max(self._next, now - 0.02) + 8 * size / rate
            self._flying[piece.index] = now, size
            out.append(piece)
        return out

    def next_due(self, now: float) -> float:
        """When `due` will return a piece again; infinite: not before something comes."""
        if not self._waiting or len(self._flying) >= _MOST_UNCONFIRMED:
            return float("inf")
        return max(self._next, now)

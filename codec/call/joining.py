"""Senders that are still sending their set-up: which ones a receiver accepts before a call (bitstream_spec.md, 11.2).

Anybody can reach the port, and can forge addresses. So a receiver keeps no state for an address until it has repeated
the challenge that was sent to it. Challenges are computed, not stored, and are smaller than the packets that they
answer. State for the other senders is bounded: in their number, in all and per host, and in time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fvc.codec.base.errors import StreamError
from fvc.codec.call.session import Address
from fvc.codec.call.setup import Ack, Piece, Setup, SetupReceiver
from fvc.codec.wire.bitstream import Header

MAX_SENDERS, MAX_OF_A_HOST = 16, 4
_MAX_STANDSTILL = 5.0  # seconds without a new piece, after which an incomplete set-up is dropped
_MAX_ABSENCE = 10.0  # seconds without any piece, after which a complete set-up is dropped
_MAX_AGE = 120.0  # seconds, after which an incomplete set-up is dropped in any case


class Challenges:
    """Challenges that prove an address: to repeat the SSRC that the receiver uses towards it, it must receive there.

    Args:
        secret: of this receiver; None: a random one.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secrets.token_bytes(32) if secret is None else secret

    def ssrc(self, address: Address, media: int) -> int:
        """The receiver's SSRC towards the sender `media` at `address`, 32 bits; never 0."""
        digest = hmac.digest(self._secret, repr((address, media)).encode(), "sha256")
        return int.from_bytes(digest[:4], "big") or 1


@dataclass(frozen=True, eq=False)
class Offer:
    """A complete and valid set-up of one sender; it waits until its source pictures can be drawn.

    Attributes:
        is_call: whether it begins a call; otherwise it brings other source pictures to the one there is.
        since: when it was complete.
    """

    setup: Setup
    address: Address
    is_call: bool
    since: float


class Sender:
    """A sender that has proved its address, and the set-up that comes from it.

    Attributes:
        media, ssrc: its SSRC, and the receiver's towards it.
        offer: the complete set-up that waits to be accepted, or None. While one waits, no other is collected.
        progressed: when a new piece last came; heard: when any piece last came.
    """

    def __init__(self, address: Address, media: int, ssrc: int, now: float) -> None:
        self.address, self.media, self.ssrc = address, media, ssrc
        self.offer: Offer | None = None
        self.began = self.progressed = self.heard = now
        self._pieces = SetupReceiver(media)

    def take(self, piece: Piece, now: float, header: Header | None = None) -> Ack | None:
        """Takes a piece; returns the answer.

        Args:
            header: of the ongoing call; None: there is none yet.

        Raises StreamError if it completes a set-up that is invalid; this one is then dropped.
        """
        self.heard = now
        if self.offer is None and self._pieces.add(piece):
            self.progressed = now
            if (whole := self._pieces.whole()) is not None:
                self.offer = self._offered(whole, header, now)
        return self._pieces.ack(piece.number)

    def accept(self) -> Ack | None:
        """Marks the offer as in use; returns the acknowledgement of all its pieces."""
        self.offer = None
        return self._pieces.accept()

    def decline(self) -> None:
        """Drops the offer; later ones may still be accepted."""
        self.offer = None
        self._pieces.forget()

    def lapses(self) -> float:
        """When this sender is forgotten, unless something comes."""
        if self.offer is not None:
            return self.heard + _MAX_ABSENCE
        return min(self.progressed + _MAX_STANDSTILL, self.began + _MAX_AGE)

    def _offered(self, whole: bytes, header: Header | None, now: float) -> Offer:
        try:
            setup = Setup.parse(whole)
            if header is not None and not same_call(header, setup.header):
                raise StreamError("E25", "a set-up changes more than the source pictures")
        except StreamError:
            self._pieces.forget()
            raise
        return Offer(setup, self.address, header is None, now)


def same_call(header: Header, other: Header) -> bool:
    """Whether two headers differ at most in their source pictures."""
    return replace(header, sources_hash=other.sources_hash, pixels_hash=other.pixels_hash) == other


class Senders:
    """The senders that are still sending their set-up, by address; at most `MAX_SENDERS`."""

    def __init__(self) -> None:
        self._senders: dict[Address, Sender] = {}

    def __iter__(self) -> Iterator[Sender]:
        return iter([*self._senders.values()])

    def __len__(self) -> int:
        return len(self._senders)

    def at(self, address: Address, media: int) -> Sender | None:
        """The sender with this address and SSRC."""
        found = self._senders.get(address)
        return found if found is not None and found.media == media else None

    def admit(self, address: Address, media: int, ssrc: int, now: float) -> Sender | None:
        """The sender with this address and SSRC, a new one if need be; None where there is no room.

        A new SSRC replaces an old one at the same address. If a host has too many senders, the one of them that has
        had no new piece for the longest time is dropped; likewise if there are too many in all, but only after half of
        `_MAX_STANDSTILL`. A sender with a complete set-up is never dropped for another.
        """
        if (found := self.at(address, media)) is not None:
            return found
        self.drop(address)
        if len([sender for sender in self if sender.address[0] == address[0]]) >= MAX_OF_A_HOST:
            idle = self._idlest(address[0])
            if idle is None:
                return None
            self.drop(idle.address)
        if len(self) >= MAX_SENDERS:
            idle = self._idlest()
            if idle is None or now < idle.progressed + _MAX_STANDSTILL / 2:
                return None
            self.drop(idle.address)
        self._senders[address] = Sender(address, media, ssrc, now)
        return self._senders[address]

    def _idlest(self, host: object = None) -> Sender | None:
        """The sender (of a host) with an incomplete set-up that has had no new piece for the longest time."""
        incomplete = [s for s in self if s.offer is None and (host is None or s.address[0] == host)]
        return min(incomplete, key=lambda sender: sender.progressed, default=None)

    def drop(self, address: Address) -> None:
        """Forgets a sender, if there is one at this address."""
        self._senders.pop(address, None)

    def drop_lapsed(self, now: float) -> None:
        """Forgets the senders whose time has run out."""
        for sender in self:
            if now >= sender.lapses():
                self.drop(sender.address)

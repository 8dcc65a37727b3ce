"""Senders that are still sending their set-up: which ones a receiver accepts before a call (bitstream_spec.md, 11.2).

Anybody can reach the port, and can forge addresses. So a receiver keeps no state for an address until it has repeated
the challenge that was sent to it. Challenges are computed, not stored, and are smaller than the packets that they
answer. State for the other senders is bounded: in their number, in all and per network, and in time. A network is what
one host may have addresses of at no cost: a /24 of IPv4, a /64 of IPv6. Where there are too many, the slowest makes
room.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fvc.codec.base.errors import StreamError
from fvc.codec.call.session import Address
from fvc.codec.call.setup import Ack, Piece, Setup, SetupReceiver
from fvc.codec.wire.bitstream import Header

MAX_SENDERS, MAX_OF_A_NETWORK = 16, 4
_PREFIX = {4: 24, 6: 64}  # bits of an address that name its network, by version of IP
_GRACE = 2.5  # seconds in which no sender of another network takes a sender's place; most set-ups take less
_LEAST_AGE = 1.0  # seconds; younger senders count as this old when their pace is told
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
        self._pieces, self._new = SetupReceiver(media), 0

    def pace(self, now: float) -> float:
        """New pieces a second so far."""
        return self._new / max(now - self.began, _LEAST_AGE)

    def take(self, piece: Piece, now: float, header: Header | None = None) -> Ack | None:
        """Takes a piece; returns the answer.

        Args:
            header: of the ongoing call; None: there is none yet.

        Raises StreamError if it completes a set-up that is invalid; this one is then dropped.
        """
        self.heard = now
        if self.offer is None and self._pieces.add(piece):
            self.progressed, self._new = now, self._new + 1
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


def _network(address: Address) -> object:
    """What is the same for all addresses that one host may have."""
    try:
        found = ipaddress.ip_address(address[0])
    except ValueError:  # of another kind
        return address[0]
    return found.version, int(found) >> found.max_prefixlen - _PREFIX[found.version]


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

        A new SSRC replaces an old one at the same address. If a network has too many senders, the one of them whose
        pieces come most slowly is dropped; likewise if there are too many in all, but none in its first `_GRACE`
        seconds. So a place is kept only by sending as fast as whoever wants it. A sender with a complete set-up is
        never dropped for another.
        """
        if (found := self.at(address, media)) is not None:
            return found
        self.drop(address)
        near = [sender for sender in self if _network(sender.address) == _network(address)]
        if len(near) >= MAX_OF_A_NETWORK and not self._make_room(near, now):
            return None
        old = [sender for sender in self if now >= sender.began + _GRACE]
        if len(self) >= MAX_SENDERS and not self._make_room(old, now):
            return None
        self._senders[address] = Sender(address, media, ssrc, now)
        return self._senders[address]

    def _make_room(self, senders: list[Sender], now: float) -> bool:
        """Drops the slowest of these senders that has no complete set-up; returns whether there was one."""
        incomplete = [sender for sender in senders if sender.offer is None]
        if not incomplete:
            return False
        self.drop(min(incomplete, key=lambda sender: sender.pace(now)).address)
        return True

    def drop(self, address: Address) -> None:
        """Forgets a sender, if there is one at this address."""
        self._senders.pop(address, None)

    def drop_lapsed(self, now: float) -> None:
        """Forgets the senders whose time has run out."""
        for sender in self:
            if now >= sender.lapses():
                self.drop(sender.address)

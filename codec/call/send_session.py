"""The sender's end of a call, without socket and clock (bitstream_spec.md, section 11).

    Setup -> pieces, until they are acknowledged;  packets -> Packetizer -> RTP;  hears Challenge, Ack, Pli, Report, Bye

See `codec.call.session` for how a session is driven. Packets from the network can hold anything: those that do not
name this sender's SSRC, or come from another receiver than the first to send a challenge, are dropped.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fvc.codec.base.errors import StreamError, UsageError
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.rtp import App, Bye, Control, Pli, Report, is_control, parse_control
from fvc.codec.call.rtp_stream import RtpSender
from fvc.codec.call.session import MIN_TIMEOUT, Address
from fvc.codec.call.setup import ACK, CHALLENGE, PIECE, Ack, Challenge, Setup, SetupSender
from fvc.codec.call.traffic import Traffic
from fvc.codec.wire.bitstream import Kind, Packet

_MAX_ATTEMPTS = 2  # numbers under which a set-up is sent before it is given up


@dataclass(frozen=True)
class Ready:
    """The receiver uses the newest set-up."""


@dataclass(frozen=True)
class KeyframeWanted:
    """The receiver lacks frames: the next one should be a keyframe."""


@dataclass(frozen=True)
class SetupGivenUp:
    """The receiver does not accept the newest set-up; the one before stays in use."""


@dataclass(frozen=True)
class SendEnded:
    """The call is over.

    Attributes:
        reason: the receiver's; None: it fell silent.
        was_there: whether the receiver has ever answered.
    """

    reason: str | None
    was_there: bool


Event = Ready | KeyframeWanted | SetupGivenUp | SendEnded


@dataclass(frozen=True)
class _Receiver:
    """The receiver that has answered."""

    address: Address
    ssrc: int


class SendSession:
    """See the module.

    Args:
        packetizer: how packets become datagrams.
        setup_bitrate: bits per second at which set-ups are sent.
        addresses: where the receiver may be; the first that answers is it.
        timeout: seconds without a word from the receiver after which it is given up; once it has answered, at least 3.
        now: the time.
        seed: of the random numbers that RTP needs; None: unpredictable ones.

    Attributes:
        setups, media: the traffic sent so far.
        report: the receiver's newest report; None before any.
    """

    def __init__(
        self,
        setup: Setup,
        packetizer: Packetizer,
        setup_bitrate: float,
        addresses: Sequence[Address],
        timeout: float,
        now: float,
        seed: int | None = None,
    ) -> None:
        if not addresses:
            raise UsageError("a call needs an address")
        draw: random.Random = random.SystemRandom() if seed is None else random.Random(seed)
        self.ssrc = draw.getrandbits(32) or 1
        self._rtp = RtpSender(self.ssrc, setup.header.fps, draw.getrandbits(16), draw.getrandbits(32))
        self._packetizer, self._bitrate = packetizer, setup_bitrate
        self._addresses, self._timeout = list(addresses), timeout
        self._receiver: _Receiver | None = None
        self._setup, self._attempts = bytes(setup), 0
        self._sender = SetupSender(1, self._setup, setup_bitrate)
        self._is_ready = self._has_ended = False
        self._heard, self._frame = now, 0
        self._to_send = deque[tuple[bytes, Address]]()
        self._events = deque[Event]()
        self.setups, self.media = Traffic(), Traffic()
        self.report: Report | None = None

    @property
    def is_ready(self) -> bool:
        """Whether no set-up is on the way: the receiver uses the newest one, or it was given up."""
        return self._is_ready

    @property
    def peer(self) -> Address | None:
        """The receiver's address; None before it has answered."""
        return None if self._receiver is None else self._receiver.address

    def extend(self, setup: Setup) -> None:
        """Sends a set-up with other source pictures while the frames go on."""
        self._setup, self._attempts, self._is_ready = bytes(setup), 0, False
        self._sender = SetupSender(self._sender.number + 1, self._setup, self._bitrate)

    def send(self, packet: Packet) -> None:
        """Sends a packet of the stream."""
        if packet.kind != Kind.AUDIO:
            self._frame = packet.number
        self._send_media(self._packetizer.add(packet))

    def close(self, reason: str = "") -> None:
        """Sends what is left, and one Bye. It may get lost, and each call sends another one."""
        self._send_media(self._packetizer.flush())
        if self._receiver is not None:
            self._to_send.append((self.media.count(bytes(Bye(self.ssrc, reason))), self._receiver.address))

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        """Takes a packet from the network. Never raises, whatever it holds."""
        try:
            packet = parse_control(data) if is_control(data) else None
            is_ours = packet is not None and self._take(packet, address)
        except StreamError:
            return
        if is_ours:
            self._heard = now
        if self._sender.done and not self._is_ready:
            self._is_ready = True
            self._events.append(Ready())

    def _take(self, packet: Control, address: Address) -> bool:
        """Takes a packet; returns whether it is the receiver's."""
        if isinstance(packet, App) and packet.subtype == CHALLENGE:
            return Challenge.parse(packet.data).media == self.ssrc and self._take_challenge(packet.ssrc, address)
        if self._receiver != _Receiver(address, packet.ssrc):
            return False
        match packet:
            case App(subtype=subtype) if subtype == ACK:
                ack = Ack.parse(packet.data)
                if ack.media != self.ssrc:
                    return False
                self._sender.acknowledge(ack)
            case Pli(media=self.ssrc):
                self._events.append(KeyframeWanted())
            case Report(media=self.ssrc):
                self.report = packet
            case Bye():
                self._end(packet.reason or "it hung up")
            case _:
                return False
        return True

    def _take_challenge(self, ssrc: int, address: Address) -> bool:
        """Takes a challenge; returns whether it is the receiver's.

        The first of the addresses to send one is the receiver. A new SSRC from it during a set-up: it has restarted.
        """
        is_known = self._receiver is not None and self._receiver.address == address
        if (self._receiver is None and address in self._addresses) or (is_known and not self._is_ready):
            if self._receiver != _Receiver(address, ssrc):
                self._receiver = _Receiver(address, ssrc)
                self._sender.restart()
            return True
        return False

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """The datagrams to send now, each with its address."""
        out = [*self._to_send]
        self._to_send.clear()
        if self._has_ended:
            return out
        for piece in self._sender.due(now, 0 if self._receiver is None else self._receiver.ssrc):
            data = self.setups.count(bytes(App(PIECE, self.ssrc, bytes(piece))))
            out.append((data, self._next_address() if self._receiver is None else self._receiver.address))
        return out

    def next_timer(self) -> float | None:
        """When `handle_timer` or `datagrams_to_send` has something to do."""
        if self._has_ended:
            return None
        piece = self._sender.next_due()
        return min(self._heard + self._patience, float("inf") if piece is None else piece)

    def handle_timer(self, now: float) -> None:
        """Does what is due. Pass in what has arrived before, or the receiver may wrongly count as silent."""
        if self._has_ended:
            return
        if now >= self._heard + self._patience:
            self._end(None)
        elif self._receiver is not None and self._sender.is_exhausted:
            self._try_next_number()

    def _try_next_number(self) -> None:
        """Sends the set-up under another number: the old one got no answer, by loss or since somebody else used it."""
        self._attempts += 1
        self._sender = SetupSender(self._sender.number + 1, self._setup, self._bitrate)
        if self._attempts >= _MAX_ATTEMPTS:
            self._sender.give_up()
            self._is_ready = True
            self._events.append(SetupGivenUp())

    def next_event(self) -> Event | None:
        """The oldest event that has not been returned yet; None: there is none."""
        return self._events.popleft() if self._events else None

    @property
    def _patience(self) -> float:
        return self._timeout if self._receiver is None else max(self._timeout, MIN_TIMEOUT)

    def _next_address(self) -> Address:
        self._addresses.append(self._addresses.pop(0))
        return self._addresses[-1]

    def _end(self, reason: str | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._events.append(SendEnded(reason, self._receiver is not None))

    def _send_media(self, datagrams: list[bytes]) -> None:
        if self._receiver is None:
            return
        for datagram in datagrams:
            data = self.media.count(self._rtp.packet(datagram, self._frame))
            self._to_send.append((data, self._receiver.address))

"""The receiver's end of a call, without socket and clock (bitstream_spec.md, section 11).

    before a call:  pieces -> Sender -> `offer` -> `accept`
    in a call:      RTP -> Playing -> Shots
    answers:        Challenge, Ack, Pli, Report, Bye


See `codec.call.session` for how a session is driven. Packets from the network can hold anything: those that do not
belong to this call or cannot be parsed are counted and dropped, and all buffers are bounded. An answer names the SSRC
of the sender; until that one has proved its address, it gets no more bytes than it has sent (`codec.call.joining`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from fvc.codec.base.constants import RTP_CLOCK
from fvc.codec.base.errors import StreamError
from fvc.codec.call.joining import Challenges, Offer, Sender, Senders, same_call
from fvc.codec.call.playing import Playback, Playing, Shot
from fvc.codec.call.rtp import App, Bye, Pli, Report, Rtp, is_control, parse_control
from fvc.codec.call.rtp_stream import RtpStatistics
from fvc.codec.call.session import MIN_TIMEOUT, REPORT_INTERVAL, SILENCE, Address
from fvc.codec.call.setup import ACK, CHALLENGE, PIECE, Ack, Challenge, Piece
from fvc.codec.call.traffic import Traffic
from fvc.codec.decoder import Tally
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Header

_MOVE_AFTER = 1.0  # seconds without a packet from the sender's address, before another address is believed
_BUSY_AFTER = SILENCE + 1.0  # seconds that another sender's set-up waits for the call to fall silent
BUSY = "in another call"


@dataclass(frozen=True)
class Joined:
    """A set-up was accepted: frames may come.

    Attributes:
        is_new: whether a call begins; otherwise the sender of the call has restarted.
    """

    header: Header
    address: Address
    is_new: bool


@dataclass(frozen=True)
class SourcesReplaced:
    """Other source pictures are in use from now on."""

    header: Header


@dataclass(frozen=True)
class Declined:
    """A sender's set-up was refused; the session goes on."""

    address: Address
    reason: str


@dataclass(frozen=True)
class Moved:
    """The sender of the call has another address now."""

    address: Address


@dataclass(frozen=True)
class CallEnded:
    """The call is over.

    Attributes:
        is_timeout: the sender fell silent; otherwise it has left, and everything that came was shown.
    """

    is_timeout: bool


@dataclass(frozen=True)
class CameToNothing:
    """A call ended before its first frame; the session waits for another one."""

    address: Address


Event = Joined | SourcesReplaced | Declined | Moved | CallEnded | CameToNothing


@dataclass
class Reception:
    """Counters of a receiver."""

    all: Traffic = field(default_factory=Traffic)  # every packet that came
    media: Traffic = field(default_factory=Traffic)  # RTP packets and Bye
    answers: Traffic = field(default_factory=Traffic)  # everything that was sent back
    refused: int = 0  # packets that do not belong to this call, or are damaged
    playback: Playback = field(default_factory=Playback)
    rtp: RtpStatistics = field(default_factory=RtpStatistics)


class _Call:
    """The ongoing call."""

    def __init__(self, sender: Sender, playing: Playing, now: float) -> None:
        self.sender, self.playing = sender, playing
        self.began = self.heard = self.reported = now
        self.has_ended = False

    def has_left(self, now: float) -> bool:
        """Whether the sender has left and everything that came was shown, or it has been silent since."""
        return self.playing.is_complete and (self.playing.is_shown() or now > self.heard + SILENCE)


class ReceiveSession:
    """See the module.

    Args:
        delay: seconds from the earliest arrival to playout.
        timeout: seconds of silence after which a call is over, at least 3.
        secret: what challenges are made from; None: random bytes.

    Attributes:
        header: of the call, with the newest source pictures; None before there is one.
    """

    def __init__(self, delay: float, timeout: float, secret: bytes | None = None) -> None:
        self._delay, self._timeout, self._challenges = delay, max(timeout, MIN_TIMEOUT), Challenges(secret)
        self._senders = Senders()
        self._call: _Call | None = None
        self._played: list[Playing] = []  # one for each time that the sender restarted
        self._has_shown = False  # a frame of the call
        self._to_send = deque[tuple[bytes, Address]]()
        self._events = deque[Event]()
        self._media_began: float | None = None
        self._media_ended = 0.0
        self.header: Header | None = None
        self.count = Reception()

    @property
    def peer(self) -> Address | None:
        """The address of the call's sender; None where there is no call."""
        return None if self._call is None else self._call.sender.address

    @property
    def is_idle(self) -> bool:
        """Whether nobody has called: there is no call, and no set-up is on the way."""
        return self._call is None and not len(self._senders)

    @property
    def playing(self) -> Playing | None:
        """What is played; None before there is a call."""
        return None if self._call is None else self._call.playing

    @property
    def media_seconds(self) -> float:
        """From the first RTP packet to the last one."""
        return 0.0 if self._media_began is None else self._media_ended - self._media_began

    def is_silent(self, now: float) -> bool:
        """Whether the call's sender has been silent so long that it may have moved or restarted."""
        return self._call is not None and now > self._call.heard + SILENCE

    # What comes from the network

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        """Takes a packet from the network. Never raises, whatever it holds."""
        self.count.all.count(data)
        try:
            is_ours = (self._take_control if is_control(data) else self._take_rtp)(data, address, now)
        except StreamError:
            is_ours = False
        self.count.refused += not is_ours

    def _take_rtp(self, data: bytes, address: Address, now: float) -> bool:
        packet, call = Rtp.parse(data), self._call
        if call is None or packet.ssrc != call.sender.media:
            return False
        if address != call.sender.address:
            if now < call.heard + _MOVE_AFTER:
                return False
            call.sender.address = address
            self._events.append(Moved(address))
        call.heard = self._media_ended = now
        self._media_began = now if self._media_began is None else self._media_began
        self.count.media.count(data)
        self.count.rtp.add(packet, now)
        call.playing.take(packet.payload, now)
        return True

    def _take_control(self, data: bytes, address: Address, now: float) -> bool:
        packet = parse_control(data)
        if isinstance(packet, Bye):
            return self._take_bye(data, packet, address)
        if not isinstance(packet, App) or packet.subtype != PIECE:
            return False
        piece, call = Piece.parse(packet.data), self._call
        if call is not None and (address, packet.ssrc) == (call.sender.address, call.sender.media):
            if piece.peer != call.sender.ssrc:
                return False
            call.heard = now
            self._answer(call.sender, call.sender.take(piece, now, call.playing.header))
            return True
        return self._take_stranger(packet.ssrc, piece, address, now)

    def _take_stranger(self, media: int, piece: Piece, address: Address, now: float) -> bool:
        """Takes a piece of a set-up that would begin a call."""
        ssrc = self._challenges.ssrc(address, media)
        if piece.peer != ssrc:  # its address may be forged: nothing is kept, and the answer is smaller than the piece
            self._send(bytes(App(CHALLENGE, ssrc, bytes(Challenge(media)))), address)
            return True
        sender = self._senders.admit(address, media, ssrc, now)
        if sender is None:
            return False
        try:
            self._answer(sender, sender.take(piece, now))
        except StreamError as error:
            self._dismiss(sender, str(error))
            raise
        return True

    def _take_bye(self, data: bytes, packet: Bye, address: Address) -> bool:
        call = self._call
        if call is not None and (address, packet.ssrc) == (call.sender.address, call.sender.media):
            call.playing.is_complete = True
            self.count.media.count(data)
            return True
        if self._senders.at(address, packet.ssrc) is None:
            return False
        self._senders.drop(address)
        return True

    # Set-ups

    def offer(self, now: float) -> Offer | None:
        """The set-up whose source pictures are wanted now: hand it to `accept` or `refuse`. None: there is none."""
        if self._call is not None and self._call.sender.offer is not None:
            return self._call.sender.offer
        offers = [sender.offer for sender in self._senders if sender.offer is not None and self._may_join(sender, now)]
        return min(offers, key=lambda offer: offer.since, default=None)

    def accept(self, offer: Offer, renderer: Renderer, now: float) -> bool:
        """Puts an offer to use; `renderer` was made from its source pictures.

        Returns False if the offer no longer stands, and the renderer is not needed: the sender may have left, or
        another may have begun a call, while the renderer was made.
        """
        call = self._call
        if call is not None and call.sender.offer is offer:
            call.playing.replace_sources(renderer)
            self._answer(call.sender, call.sender.accept())
            self.header = offer.setup.header
            self._events.append(SourcesReplaced(self.header))
            return True
        sender = self._sender_of(offer)
        if sender is None or not self._may_join(sender, now):
            return False
        self._senders.drop(sender.address)
        self._begin(sender, offer, renderer, now)
        return True

    def refuse(self, offer: Offer, reason: str) -> None:
        """Declines an offer that cannot be used. A sender that wanted to begin a call gets the reason."""
        sender = self._sender_of(offer)
        if sender is not None:
            self._dismiss(sender, reason)
        elif self._call is not None and self._call.sender.offer is offer:
            self._call.sender.decline()
            self._events.append(Declined(offer.address, reason))

    def _begin(self, sender: Sender, offer: Offer, renderer: Renderer, now: float) -> None:
        header, is_new = offer.setup.header, self._call is None
        self.count.rtp.restart()
        self._call = _Call(sender, Playing(header, renderer, self._delay, self.count.playback), now)
        self._played.append(self._call.playing)
        self.header = header
        self._answer(sender, sender.accept())
        self._events.append(Joined(header, sender.address, is_new))

    def _sender_of(self, offer: Offer) -> Sender | None:
        return next((sender for sender in self._senders if sender.offer is offer), None)

    def _may_join(self, sender: Sender, now: float) -> bool:
        """Whether a set-up may begin a call: there is none, or its silent sender has restarted on the same host."""
        if self._call is None:
            return True
        old, offer = self._call.playing.header, sender.offer
        if offer is None or not self.is_silent(now) or self._call.playing.is_complete:
            return False
        is_same_host = sender.address[0] == self._call.sender.address[0]
        return is_same_host and same_call(replace(old, crop=offer.setup.header.crop), offer.setup.header)

    def _dismiss(self, sender: Sender, reason: str) -> None:
        self._send(bytes(Bye(sender.ssrc, reason)), sender.address)
        self._senders.drop(sender.address)
        self._events.append(Declined(sender.address, reason))

    def _answer(self, sender: Sender, ack: Ack | None) -> None:
        if ack is not None:
            self._send(bytes(App(ACK, sender.ssrc, bytes(ack))), sender.address)

    # Time

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do; None: not before something arrives."""
        moments = [sender.lapses() for sender in self._senders]
        moments += [sender.offer.since + _BUSY_AFTER for sender in self._senders if sender.offer and self._call]
        if self._call is not None and not self._call.has_ended:
            moments += [self._call.reported + REPORT_INTERVAL, self._heard(self._call) + self._timeout]
        return min(moments, default=None)

    def handle_timer(self, now: float) -> None:
        """Does what is due. Pass in what has arrived before, or the sender may wrongly count as silent."""
        self._senders.drop_lapsed(now)
        call = self._call
        if call is None or call.has_ended:
            return
        for sender in self._senders:
            if sender.offer is not None and now >= sender.offer.since + _BUSY_AFTER and not self._may_join(sender, now):
                self._dismiss(sender, BUSY)
        is_timeout = now >= self._heard(call) + self._timeout
        if (call.has_left(now) or is_timeout) and not self._has_shown:
            self._forget(call)
            return
        if call.has_left(now) or is_timeout:
            call.has_ended = True
            self._events.append(CallEnded(is_timeout and not call.playing.is_complete))
            return
        if now >= call.reported + REPORT_INTERVAL:
            call.reported = now
            self._send(bytes(self._report(call.sender)), call.sender.address)

    def _heard(self, call: _Call) -> float:
        """When the call's sender was last heard; pieces of set-ups do not count while no media has come."""
        return call.began if self._media_began is None else call.heard

    def _forget(self, call: _Call) -> None:
        """Ends a call that has shown nothing, as if it had not been: whoever calls next begins a new one."""
        self._send(bytes(Bye(call.sender.ssrc, "no frame came")), call.sender.address)
        self._call, self.header, self._media_began = None, None, None
        self._played.clear()
        self.count.media, self.count.rtp, self.count.playback = Traffic(), RtpStatistics(), Playback()
        self._events.append(CameToNothing(call.sender.address))

    def play(self, now: float) -> list[Shot]:
        """The frames that fell due since the last call; where frames are missing, a keyframe is requested."""
        call = self._call
        if call is None:
            return []
        shots = call.playing.play(now)
        self._has_shown |= bool(shots)
        if call.playing.takes_keyframe_request(now):
            self._send(bytes(Pli(call.sender.ssrc, call.sender.media)), call.sender.address)
        return shots

    def close(self, reason: str = "") -> None:
        """Tells everybody who has called that the receiver leaves, and why."""
        senders = [*self._senders]
        if self._call is not None:
            senders.append(self._call.sender)
        for sender in senders:
            self._send(bytes(Bye(sender.ssrc, reason)), sender.address)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """The datagrams to send now, each with its address."""
        out = [*self._to_send]
        self._to_send.clear()
        return out

    def next_event(self) -> Event | None:
        """The oldest event that has not been returned yet; None: there is none."""
        return self._events.popleft() if self._events else None

    def tally(self) -> Tally:
        """Counts of the call's frames, including those before its sender restarted."""
        total = Tally()
        for playing in self._played:
            for name, value in vars(playing.decoder.tally).items():
                setattr(total, name, getattr(total, name) + value)
        return total

    def datagrams(self) -> tuple[int, int]:
        """How many datagrams of the call were damaged, and how many came too late to be of use."""
        seen = [playing.depacketizer for playing in self._played]
        return sum(one.damaged for one in seen), sum(one.late for one in seen)

    def _report(self, sender: Sender) -> Report:
        rtp = self.count.rtp
        return Report(sender.ssrc, sender.media, rtp.lost, rtp.highest, int(rtp.jitter * RTP_CLOCK))

    def _send(self, data: bytes, address: Address) -> None:
        self._to_send.append((self.count.answers.count(data), address))

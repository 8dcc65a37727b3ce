"""One side of a call over data channels, which sends and receives; sans-IO (bitstream_spec.md, section 12).

    own set-up -> pieces, at the link's pace        packets -> Packetizer -> Media
    their pieces -> `offer` -> `accept`             Media -> Playing -> Shots

The channels are those of WebRTC: encrypted, authenticated, and the control channel is reliable. So there are no
challenges and repeats as in section 11. Messages can hold anything: what cannot be parsed is counted and dropped, and
all buffers are bounded. Driven as the sessions of `codec.call.session` are, except that messages have a channel.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fvc.codec.base.errors import StreamError
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.joining import same_call
from fvc.codec.call.playing import Playback, Playing, Shot
from fvc.codec.call.session import MIN_TIMEOUT
from fvc.codec.call.setup import Setup
from fvc.codec.call.traffic import Traffic
from fvc.codec.channel.congestion import CHANNEL_HEADER_BYTES, LinkEstimate, Way, best_way, ways
from fvc.codec.channel.feedback import Arrivals, Flight
from fvc.codec.channel.messages import (
    CONTROL,
    MEDIA,
    VERSION,
    Accepted,
    Hello,
    KeyframeWanted,
    Leave,
    Media,
    PieceGot,
    Refused,
    SetupPiece,
    parse_control,
    ticks,
)
from fvc.codec.channel.pace import SetupPace
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Header, Kind, Packet

_STILL_THERE = 1.0  # seconds without a message after which an empty one says that this side is there


@dataclass(frozen=True)
class PeerReady:
    """The other side uses our set-up: frames may go."""

    is_first: bool


@dataclass(frozen=True)
class SetupRefused:
    """The other side cannot use our set-up."""

    reason: str


@dataclass(frozen=True)
class PeerWantsKeyframe:
    """The next frame should be a keyframe."""


@dataclass(frozen=True)
class PeerLeft:
    """The call is over. `reason`: the other side's; None: it fell silent."""

    reason: str | None


Event = PeerReady | SetupRefused | PeerWantsKeyframe | PeerLeft


class PeerSession:
    """See the module.

    Args:
        delay: seconds from the earliest arrival of frames to playout; timeout: of silence, at least 3.
        now: the time.

    Attributes:
        estimate: of the link to the other side; way: how packets are sent now.
        header: of what the other side sends; None before its set-up was accepted.
        sent, heard: traffic on the wire, with headers of data channels; control messages included.
        refused: messages that could not be parsed, or belong to nothing.
    """

    def __init__(self, delay: float, timeout: float, now: float) -> None:
        self._delay, self._timeout = delay, max(timeout, MIN_TIMEOUT)
        self.estimate, self.playback = LinkEstimate(), Playback()
        self.sent, self.heard = (Traffic(header_bytes=CHANNEL_HEADER_BYTES) for _ in range(2))
        self.refused = 0
        self.playing: Playing | None = None
        self.header: Header | None = None
        self.way: Way | None = None
        self._ways: list[Way] = []
        self._packetizer = Packetizer()
        self._pace, self._flight, self._arrivals = SetupPace(), Flight(self.estimate), Arrivals()
        self._pieces: list[bytes] = []
        self._collecting: tuple[int, int] | None = None  # number and count of the set-up that is on the way
        self._offer: tuple[int, Setup] | None = None
        self._to_send = deque[tuple[str, bytes]]([(CONTROL, bytes(Hello()))])
        self._events = deque[Event]()
        self._last_heard = self._last_sent = self._last_flush = now
        self._is_ready = self.has_ended = False

    # What this side sends

    @property
    def is_ready(self) -> bool:
        """Whether the other side draws from a set-up of ours."""
        return self._is_ready

    @property
    def has_room_for_setup(self) -> bool:
        """Whether no set-up of ours is on the way."""
        return self._pace.is_done

    def offer_setup(self, setup: Setup, motion: float = 1100.0, sound: float = 0.0) -> None:
        """Sends a set-up, at the link's pace. `motion` and `sound` are bits per second that frames will need."""
        self._ways = ways(float(setup.header.fps), motion, sound)
        self.way = self.way or best_way(self._ways, 0)
        self._pace.begin(bytes(setup))

    def send(self, packet: Packet, now: float) -> None:
        """Sends a packet of the stream; before the other side is ready, it is dropped."""
        if self._is_ready and not self.has_ended:
            if packet.kind != Kind.AUDIO:
                self._adapt()
            for datagram in self._packetizer.add(packet):
                self._send_datagram(datagram, now)

    def _adapt(self) -> None:
        """Follows the link: how many frames a datagram has, and how many copies."""
        share = 0.75 if not self._pace.is_done else 1.0  # a set-up on the way has a quarter of the link
        way = best_way(self._ways, share * self.estimate.rate, self.estimate.loss, self.way)
        if way != self.way:
            self.way = way
            self._packetizer.change(way.copies, way.frames)

    def _send_datagram(self, datagram: bytes, now: float) -> None:
        sequence = self._flight.add(len(datagram) + CHANNEL_HEADER_BYTES + 3, now)
        self._post(MEDIA, bytes(Media(self._arrivals.take(now), sequence, datagram)), now)

    def close(self, reason: str = "", now: float = 0.0) -> None:
        """Sends what is left, and says that this side leaves."""
        for datagram in self._packetizer.flush() if self._is_ready else ():
            self._send_datagram(datagram, now)
        self._post(CONTROL, bytes(Leave(reason)), now)

    def messages_to_send(self, now: float) -> list[tuple[str, bytes]]:
        """Messages to send now, each with its channel."""
        media = self._flight.rate(now) if self._is_ready else 0.0
        if not self.has_ended:
            for piece in self._pace.due(now, max(self.estimate.rate - media, 0.2 * self.estimate.rate)):
                self._post(CONTROL, bytes(piece), now)
        out = [*self._to_send]
        self._to_send.clear()
        return out

    def _post(self, channel: str, message: bytes, now: float) -> None:
        self._last_sent = now
        self._to_send.append((channel, self.sent.count(message)))

    # What comes

    def receive(self, channel: str, message: bytes, now: float) -> None:
        """Takes a message of the other side. Never raises, whatever it holds."""
        self._last_heard = now
        self.heard.count(message)
        try:
            if channel == MEDIA:
                self._take_media(Media.parse(message), now)
            else:
                self._take_control(message, now)
        except StreamError:
            self.refused += 1

    def _take_media(self, media: Media, now: float) -> None:
        if media.feedback is not None:
            self._flight.take(media.feedback, now)
        if not media.datagram:
            return
        self._arrivals.add(media.sequence, now)
        if self.playing is not None:
            self.playing.take(media.datagram, now)

    def _take_control(self, message: bytes, now: float) -> None:
        match parse_control(message):
            case Hello(version) if version != VERSION:
                self._end(f"it speaks version {version} of calls, this is {VERSION}")
            case SetupPiece() as piece:
                self._take_piece(piece, now)
            case PieceGot() as got:
                if (flown := self._pace.got(got)) is not None:
                    self.estimate.came(flown[0], self._flight.unwrap(got.time), flown[1], now)
            case Accepted(number) if number == self._pace.number and self._pace.is_sent:
                self._pace.accept()
                self._events.append(PeerReady(not self._is_ready))
                self._is_ready = True
            case Refused(number, reason) if number == self._pace.number:
                self._pace.accept()
                self._events.append(SetupRefused(reason))
            case KeyframeWanted():
                self._events.append(PeerWantsKeyframe())
            case Leave(reason):
                self._end(reason)

    def _take_piece(self, piece: SetupPiece, now: float) -> None:
        """Pieces come in order; any other order is an error, and begins anew with the next first piece."""
        if piece.index == 0:
            self._pieces, self._collecting = [], (piece.number, piece.count)
        if self._collecting != (piece.number, piece.count) or piece.index != len(self._pieces):
            self._pieces, self._collecting = [], None
            raise StreamError("E24", "a piece of the set-up is out of order")
        self._pieces.append(piece.data)
        self._post(CONTROL, bytes(PieceGot(piece.number, piece.index, ticks(now))), now)
        if len(self._pieces) == piece.count:
            whole, self._pieces, self._collecting = b"".join(self._pieces), [], None
            self._take_setup(piece.number, whole, now)

    def _take_setup(self, number: int, whole: bytes, now: float) -> None:
        try:
            setup = Setup.parse(whole)
            if self.header is not None and not same_call(self.header, setup.header):
                raise StreamError("E25", "a set-up changes more than the source pictures")
        except StreamError as error:
            self._post(CONTROL, bytes(Refused(number, str(error))), now)
            raise
        self._offer = number, setup

    @property
    def offer(self) -> Setup | None:
        """The newest set-up of the other side that is not in use yet: hand a renderer to `accept`, or `refuse`."""
        return None if self._offer is None else self._offer[1]

    def accept(self, setup: Setup, renderer: Renderer, now: float) -> None:
        """Puts an offer to use; `renderer` was made from its pictures. Nothing happens if a newer one has come."""
        if self._offer is None or self._offer[1] is not setup:
            return
        (number, _), self._offer = self._offer, None
        if self.playing is None:
            self.playing = Playing(setup.header, renderer, self._delay, self.playback)
        else:
            self.playing.replace_sources(renderer)
        self.header = setup.header
        self._post(CONTROL, bytes(Accepted(number)), now)

    def refuse(self, setup: Setup, reason: str, now: float) -> None:
        """Declines an offer."""
        if self._offer is not None and self._offer[1] is setup:
            self._post(CONTROL, bytes(Refused(self._offer[0], reason)), now)
            self._offer = None

    # Time

    def next_timer(self, now: float) -> float:
        """When `handle_timer` or `messages_to_send` has something to do."""
        return min(
            self._last_heard + self._timeout, self._last_sent + _STILL_THERE, self._pace.next_due(now), now + 0.1
        )

    def handle_timer(self, now: float) -> None:
        """Does what is due."""
        if self.has_ended:
            return
        if now >= self._last_heard + self._timeout:
            self._end(None)
        elif self._arrivals.is_due(now):
            self._post(MEDIA, bytes(Media(self._arrivals.take(now))), now)
        elif now >= self._last_sent + _STILL_THERE:
            self._post(MEDIA, bytes(Media()), now)
        self._flight.handle_timer(now)

    def play(self, now: float) -> list[Shot]:
        """The frames that fell due since the last call; where frames are missing, a keyframe is requested."""
        if self.playing is None:
            return []
        shots = self.playing.play(now)
        if self.playing.takes_keyframe_request(now):
            self._post(CONTROL, bytes(KeyframeWanted()), now)
        return shots

    def next_event(self) -> Event | None:
        """The oldest event that has not been returned yet; None: there is none."""
        return self._events.popleft() if self._events else None

    def _end(self, reason: str | None) -> None:
        if not self.has_ended:
            self.has_ended = True
            if self.playing is not None:
                self.playing.is_complete = True
            self._events.append(PeerLeft(reason))

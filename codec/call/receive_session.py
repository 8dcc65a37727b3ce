"""The receiver's end of a call, without socket and clock (bitstream_spec.md, section 11).

    pieces -> Setup;  RTP -> Depacketizer -> Decoder;  PlayoutClock says when frames fall due;  says Ack, Pli, Bye

Whatever comes from the network can be anything: what is none of this call or cannot be understood is counted and
dropped, and all buffers are bounded. Pictures and sounds lie on one line of time, so they cannot drift apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from fvc.codec.call.datagram import Depacketizer, audio_begun
from fvc.codec.call.playout import PlayoutClock
from fvc.codec.call.rtp import App, Bye, Pli, Rtp, is_control, parse_control
from fvc.codec.call.send_session import Traffic
from fvc.codec.call.setup import ACK, PIECE, Piece, Setup, SetupReceiver
from fvc.codec.constants import RTP_CLOCK
from fvc.codec.decoder import Decoder
from fvc.codec.errors import StreamError
from fvc.codec.motion.concealment import Shown
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Header, Kind

SILENCE = 2.0  # seconds without a packet after which playout stands still
_PLI_EVERY, _PLI_AFTER = 0.5, 0.2  # seconds between requests, and without a decoded frame before one
_CATCH_UP = 2.0  # seconds of frames that are shown late rather than left out
_SOUND_ROOM = 256  # sound packets that may wait


@dataclass(frozen=True)
class Shot:
    """One frame that fell due.

    Attributes:
        rgb: uint8 [256, 256, 3], the array of the frame before where the picture is that one's.
        sound: the Opus packets that begin with it, None for lost ones; first_sound: number of the first.
        due: when it fell due.
    """

    index: int
    rgb: np.ndarray
    sound: list[bytes | None]
    first_sound: int
    due: float


@dataclass
class Reception:
    """What a receiver counts."""

    all: Traffic = field(default_factory=Traffic)  # every packet that came
    media: Traffic = field(default_factory=Traffic)  # RTP and the end
    refused: int = 0  # packets that are none of this call, or damaged
    sound_lost: int = 0
    undrawn: int = 0  # pictures that were left out because drawing took too long
    keyframe_requests: int = 0
    longest_outage: int = 0  # frames in a row for which nothing new was known


class RtpStatistics:
    """Loss and jitter as RFC 3550 defines them (A.3, A.8)."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._highest = self._received = 0
        self._transit: float | None = None
        self.jitter = 0.0  # seconds

    @property
    def lost(self) -> int:
        """Packets that were expected and did not come; doubled ones make up for lost ones."""
        return 0 if self._first is None else max(self._highest - self._first + 1 - self._received, 0)

    def add(self, packet: Rtp, now: float) -> None:
        """One more packet."""
        if self._first is None:
            self._first = self._highest = packet.sequence
        step = (packet.sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        self._highest = max(self._highest, self._highest + step)
        self._received += 1
        transit = now - packet.timestamp / RTP_CLOCK
        if self._transit is not None and abs(transit - self._transit) < 60:  # else the time stamp wrapped
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit = transit


class ReceivingSession:
    """See the module.

    Args:
        delay: seconds from the earliest arrival to playout.

    Attributes:
        offer: a whole set-up that waits for `accept` or `refuse`; meanwhile no other is collected.
        header, decoder: of the call, None before the first set-up was accepted.
        media: the sender's SSRC; None before it is known.
        ended: the sender said that the call is over.
        heard: when something of this call came; None before.
        started: when its first RTP packet came.
    """

    def __init__(self, delay: float, seed: int | None = None) -> None:
        self._delay, self._ssrc, self._pieces = delay, random.Random(seed).getrandbits(32), SetupReceiver()
        self.offer: Setup | None = None
        self.header: Header | None = None
        self.decoder: Decoder | None = None
        self.media: int | None = None
        self.ended = False
        self.heard: float | None = None
        self.started: float | None = None
        self.count, self.rtp = Reception(), RtpStatistics()
        self._sound: dict[int, bytes] = {}
        self._position = self._next_sound = self._outage = 0
        self._asked, self._owed = float("-inf"), Fraction(0)
        self._pending: DrawInputs | None = None
        self._picture: np.ndarray | None = None

    def handle(self, data: bytes, now: float) -> list[bytes]:
        """Takes a packet; returns what to answer."""
        self.count.all.count(data)
        try:
            answer = self._take_control(data) if is_control(data) else self._take_rtp(data, now)
        except StreamError:
            answer = None
        if answer is None:
            self.count.refused += 1
            return []
        self.heard = now
        return answer

    def _take_control(self, data: bytes) -> list[bytes] | None:
        packet = parse_control(data)
        if isinstance(packet, Bye) and packet.ssrc == self.media:
            self.ended = True
            self.count.media.count(data)
            return []
        if not isinstance(packet, App) or packet.subtype != PIECE or self.media not in (None, packet.ssrc):
            return None
        piece = Piece.parse(packet.data)
        self.media = packet.ssrc
        if self.offer is None and (whole := self._pieces.add(piece)) is not None:
            self._take_setup(whole)
        ack = self._pieces.ack(piece.number)
        return [] if ack is None else [bytes(App(ACK, self._ssrc, bytes(ack)))]

    def _take_setup(self, whole: bytes) -> None:
        try:
            setup = Setup.parse(whole)
            if self.header is not None:
                now = setup.header
                if replace(self.header, sources_hash=now.sources_hash, pixels_hash=now.pixels_hash) != now:
                    raise StreamError("E25", "a set-up changes more than the source pictures")
        except StreamError:
            self._pieces.forget()
            raise
        self.offer = setup

    def accept(self, renderer: Renderer) -> list[bytes]:
        """The offer is in use from now on; `renderer` has its source pictures. Returns what to tell the sender."""
        assert self.offer is not None
        setup, self.offer = self.offer, None
        self._pieces.accept()
        if self.header is None:
            self.header = setup.header
            self.decoder = Decoder(setup.header, renderer)
            self._depacketizer = Depacketizer(setup.header)
            self._clock = PlayoutClock(setup.header.fps, self._delay)
        elif self.decoder is not None:
            self.decoder.renderer.draw = renderer.draw  # the poses shown so far stay known
        assert self._pieces.accepted is not None
        ack = self._pieces.ack(self._pieces.accepted)
        return [] if ack is None else [bytes(App(ACK, self._ssrc, bytes(ack)))]

    def bye(self, reason: str = "") -> bytes:
        """Tells the sender to stop, and why."""
        return bytes(Bye(self._ssrc, reason))

    def _take_rtp(self, data: bytes, now: float) -> list[bytes] | None:
        packet = Rtp.parse(data)
        if self.decoder is None or packet.ssrc != self.media:
            return None
        self.count.media.count(data)
        self.rtp.add(packet, now)
        self.started = now if self.started is None else self.started
        before = self._depacketizer.newest
        for item in self._depacketizer.add(packet.payload):
            if item.kind != Kind.AUDIO:
                self.decoder.put(item)
            elif 0 <= item.number - self._next_sound < _SOUND_ROOM:
                self._sound[item.number] = item.payload
        if self._depacketizer.newest > before:
            self._clock.arrived(self._depacketizer.newest, now)
        return []

    def next_due(self) -> float | None:
        """When the next frame falls due; None where nothing is known of it."""
        return None if self.decoder is None else self._clock.time_of(self._position)

    def play(self, now: float) -> list[Shot]:
        """The frames that fell due since the last call. Only the newest is drawn: the others are late already."""
        if self.decoder is None or self.heard is None or now > self.heard + SILENCE:
            return []
        newest = self._clock.newest_due(now)
        if newest is None:
            return []
        if self.ended:
            newest = min(newest, self._depacketizer.newest)
        assert self.header is not None
        if newest - self._position > _CATCH_UP * self.header.fps:  # the sender's clock jumped, or all was silent
            self._skip(newest)
        shots = [self._shot(index, index == newest) for index in range(self._position, newest + 1)]
        self._position = max(self._position, newest + 1)
        return shots

    def _skip(self, frame: int) -> None:
        """Goes on with `frame`; sound skips as much time, up to half a packet that the next skip makes up for."""
        assert self.header is not None
        if self.header.audio is not None:
            packet = Fraction(self.header.audio.frame_ms, 1000)
            self._owed += (frame - self._position) / self.header.fps
            packets = round(self._owed / packet)
            self._owed -= packets * packet
            self._next_sound += packets
            self._sound = {n: payload for n, payload in self._sound.items() if n >= self._next_sound}
        self._position = frame

    def _shot(self, index: int, is_newest: bool) -> Shot:
        assert self.decoder is not None
        inputs = self.decoder.next(index)
        self._outage = self._outage + 1 if self.decoder.shown == Shown.HELD else 0
        self.count.longest_outage = max(self.count.longest_outage, self._outage)
        self._pending = self._pending if inputs is None else inputs
        if self._pending is not None and (is_newest or self._picture is None):
            self._picture, self._pending = self.decoder.renderer.draw(self._pending), None
        self.count.undrawn += not is_newest and inputs is not None
        due = self._clock.time_of(index)
        assert self._picture is not None
        assert due is not None
        first_sound = self._next_sound
        return Shot(index, self._picture, self._sounds(index), first_sound, due)

    def _sounds(self, index: int) -> list[bytes | None]:
        """The sound packets that begin before the frame after `index`."""
        assert self.header is not None
        due = [self._sound.pop(n, None) for n in range(self._next_sound, audio_begun(index + 1, self.header))]
        self._next_sound += len(due)
        self.count.sound_lost += due.count(None)
        return due

    def requests(self, now: float) -> list[bytes]:
        """A request for a keyframe, where frames are missing that no copy will bring any more."""
        if self.header is None or self.media is None or self._outage < max(_PLI_AFTER * self.header.fps, 1):
            return []
        if now < self._asked + _PLI_EVERY:
            return []
        self._asked = now
        self.count.keyframe_requests += 1
        return [bytes(Pli(self._ssrc, self.media))]

    def is_over(self, now: float, timeout: float) -> bool:
        """Whether all that came was shown after the sender left, or nothing has come for `timeout` seconds."""
        if self.heard is None:
            return False
        is_shown = self.decoder is None or self._position > self._depacketizer.newest
        return (self.ended and (is_shown or now > self.heard + SILENCE)) or now > self.heard + timeout

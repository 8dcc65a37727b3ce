"""Datagrams in, pictures and sounds out when they fall due: the receiving half of a call, over any transport.

    datagram -> Depacketizer -> Decoder;  PlayoutClock says when frames fall due

Knows neither RTP nor set-ups nor sockets; callers say what time it is, in seconds. Pictures and sounds share one
timeline, so they cannot drift apart. Datagrams can hold anything, and all buffers are bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from fvc.codec.call.datagram import Depacketizer, audio_begun
from fvc.codec.call.playout import PlayoutClock
from fvc.codec.call.session import SILENCE
from fvc.codec.decoder import Decoder
from fvc.codec.media.resizing import resized
from fvc.codec.motion.concealment import Shown
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Header, Kind

_REQUEST_INTERVAL, _REQUEST_AFTER = 0.5, 0.2  # seconds between requests, and without a decoded frame before one
_MAX_CATCH_UP = 2.0  # seconds of frames that are shown late rather than left out
_MAX_SOUND_PACKETS = 256  # that may wait


@dataclass(frozen=True)
class Shot:
    """One frame that fell due.

    Attributes:
        rgb: uint8 [256, 256, 3]; where the picture is unchanged, the same array as in the shot before.
        sound: the Opus packets that begin with it, None for lost ones; first_sound: number of the first.
        due: when it fell due.
    """

    index: int
    rgb: np.ndarray
    sound: list[bytes | None]
    first_sound: int
    due: float


@dataclass
class Playback:
    """Counts of what happened to the frames and sounds of a call."""

    skipped: int = 0  # frames that were left out, with their sound: the receiver or the sender's clock was too far off
    undrawn: int = 0  # pictures that were left out because drawing took too long
    sound_lost: int = 0  # packets
    keyframe_requests: int = 0
    longest_outage: int = 0  # frames in a row for which nothing new was known


class Playing:
    """Plays what one sender sends.

    Args:
        renderer: has the source pictures of the call.
        delay: seconds from the earliest arrival to playout.

    Attributes:
        heard: when the last datagram came; None before any.
        is_complete: the sender has said that nothing more comes.
    """

    def __init__(self, header: Header, renderer: Renderer, delay: float, count: Playback | None = None) -> None:
        self.header, self.decoder = header, Decoder(header, renderer)
        self.depacketizer, self._clock = Depacketizer(header), PlayoutClock(header.fps, delay)
        self.count = Playback() if count is None else count
        self.heard: float | None = None
        self.is_complete = False
        self._sound: dict[int, bytes] = {}
        self._position = self._next_sound = self._outage = 0
        self._requested, self._owed = float("-inf"), Fraction(0)
        self._pending: DrawInputs | None = None
        self._picture: np.ndarray | None = None

    @property
    def sounds_waiting(self) -> int:
        """How many sound packets wait until they fall due; at most 256."""
        return len(self._sound)

    def take(self, datagram: bytes, now: float) -> None:
        """Takes a datagram that has just arrived."""
        self.heard = now
        before = self.depacketizer.newest
        for item in self.depacketizer.add(datagram):
            if item.kind != Kind.AUDIO:
                self.decoder.put(item)
            elif 0 <= item.number - self._next_sound < _MAX_SOUND_PACKETS:
                self._sound[item.number] = item.payload
        if self.depacketizer.newest > before:
            self._clock.arrived(self.depacketizer.newest, now)

    def replace_sources(self, renderer: Renderer) -> None:
        """Draws with other source pictures from now on; the pose history is kept."""
        self.decoder.renderer.draw = renderer.draw

    def next_due(self) -> float | None:
        """When the next frame falls due; None where nothing is known of it."""
        return self._clock.time_of(self._position)

    def is_shown(self) -> bool:
        """Whether everything that has arrived was shown."""
        return self._position > self.depacketizer.newest

    def play(self, now: float) -> list[Shot]:
        """The frames that fell due since the last call. Only the newest is drawn: the others are late already."""
        newest = self._clock.newest_due(now)
        if newest is None or self.heard is None or now > self.heard + SILENCE:
            return []
        if self.is_complete:
            newest = min(newest, self.depacketizer.newest)
        if newest - self._position > _MAX_CATCH_UP * self.header.fps:  # the sender's clock jumped, or all was silent
            self._skip(newest)
        shots = [self._shot(index, index == newest, now) for index in range(self._position, newest + 1)]
        self._position = max(self._position, newest + 1)
        return shots

    def takes_keyframe_request(self, now: float) -> bool:
        """Whether to ask for a keyframe now: frames are missing that no copy will bring any more."""
        is_out = self._outage >= max(_REQUEST_AFTER * self.header.fps, 1)
        if not is_out or now < self._requested + _REQUEST_INTERVAL:
            return False
        self._requested = now
        self.count.keyframe_requests += 1
        return True

    def _skip(self, frame: int) -> None:
        """Goes on with `frame`. Sound skips the same time in whole packets; the next skip makes up for the rounding."""
        if self.header.audio is not None:
            packet = Fraction(self.header.audio.frame_ms, 1000)
            self._owed += (frame - self._position) / self.header.fps
            packets = round(self._owed / packet)
            self._owed -= packets * packet
            self._next_sound += packets
            self._sound = {n: payload for n, payload in self._sound.items() if n >= self._next_sound}
        self.count.skipped += frame - self._position
        self._position = frame

    def _shot(self, index: int, is_newest: bool, now: float) -> Shot:
        inputs = self.decoder.next(index)
        self._outage = self._outage + 1 if self._is_missing(index) else 0
        self.count.longest_outage = max(self.count.longest_outage, self._outage)
        self._pending = self._pending if inputs is None else inputs
        if self._pending is not None and (is_newest or self._picture is None):
            self._picture, self._pending = resized(self.decoder.renderer.draw(self._pending), self.header.side), None
        self.count.undrawn += not is_newest and inputs is not None
        side = self.header.side
        picture = np.zeros((side, side, 3), np.uint8) if self._picture is None else self._picture
        due, first_sound = self._clock.time_of(index), self._next_sound
        return Shot(index, picture, self._sounds(index), first_sound, now if due is None else due)

    def _is_missing(self, index: int) -> bool:
        """Whether nothing new is known of a frame. That it shows no face counts as new."""
        last = self.decoder.last
        return self.decoder.shown == Shown.HELD and (last is None or last[0] < index)

    def _sounds(self, index: int) -> list[bytes | None]:
        """The sound packets that begin before the frame after `index`."""
        due = [self._sound.pop(n, None) for n in range(self._next_sound, audio_begun(index + 1, self.header))]
        self._next_sound += len(due)
        self.count.sound_lost += due.count(None)
        return due

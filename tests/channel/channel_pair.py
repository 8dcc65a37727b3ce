"""Two peers over simulated channels and a link of a given rate, in simulated time."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from long_talk import Talker

from fvc.codec.call.playing import Shot
from fvc.codec.call.setup import Setup
from fvc.codec.channel.congestion import CHANNEL_HEADER_BYTES
from fvc.codec.channel.messages import CONTROL
from fvc.codec.channel.peer import Event, PeerSession, PeerWantsKeyframe
from fvc.codec.motion.concealment import Shown
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Renderer

STEP = 0.005


class Bottleneck:
    """One direction: a queue in front of a link of `rate` bits per second, then delay, jitter and loss.

    Control messages are repeated until they arrive and do not overtake each other, as the reliable channel's do.

    Attributes:
        offered: second -> bits that were handed to the queue in it.
        waits: when each message was handed over, and the seconds that it waited.
    """

    def __init__(self, rate: float, delay: float = 0.05, jitter: float = 0.0, loss: float = 0.0, seed: int = 1):
        self.rate, self.delay, self.jitter, self.loss = rate, delay, jitter, loss
        self._random = random.Random(seed)
        self._free = self._last_control = 0.0
        self._flying: list[tuple[float, int, str, bytes]] = []
        self._count = 0
        self.offered: dict[int, int] = {}
        self.waits = deque[tuple[float, float]]()

    def send(self, now: float, channel: str, message: bytes) -> None:
        bits = 8 * (len(message) + CHANNEL_HEADER_BYTES)
        self.offered[int(now)] = self.offered.get(int(now), 0) + bits
        while True:
            start = max(now, self._free)
            self.waits.append((now, start - now))
            self._free = start + bits / self.rate
            arrival = self._free + self.delay
            arrival += self._random.expovariate(1 / self.jitter) if self.jitter else 0.0
            if self._random.random() >= self.loss:
                break
            if channel != CONTROL:
                return
            now = arrival + 0.3
        if channel == CONTROL:
            arrival = self._last_control = max(arrival, self._last_control)
        self._count += 1
        heapq.heappush(self._flying, (arrival, self._count, channel, message))

    def arrived(self, now: float) -> list[tuple[str, bytes]]:
        out = []
        while self._flying and self._flying[0][0] <= now:
            out.append(heapq.heappop(self._flying)[2:])
        return out


@dataclass
class Side:
    session: PeerSession
    events: list[Event] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)


class Pair:
    """Two sides; `talk` sends packets from the first to the second."""

    def __init__(self, there: Bottleneck, back: Bottleneck | None = None, delay: float = 0.4) -> None:
        self.there, self.back = there, back or Bottleneck(1e6)
        self.now = 100.0
        self.began, self.talker, self._keyframes = 0.0, Talker(), 0
        self.shown: list[Shown] = []  # what each frame was, at the second side
        self.a, self.b = (Side(PeerSession(delay, 10, self.now)) for _ in range(2))

    def step(self) -> None:
        for side, out, way_in in ((self.a, self.there, self.back), (self.b, self.back, self.there)):
            session = side.session
            for channel, message in way_in.arrived(self.now):
                session.receive(channel, message, self.now)
            session.handle_timer(self.now)
            if (setup := session.offer) is not None:
                session.accept(setup, Renderer(draw, setup.source_set.samples[0], setup.header.fps), self.now)
            shots = session.play(self.now)
            side.shots += shots
            if side is self.b and session.playing is not None:
                self.shown += [session.playing.decoder.shown for _ in shots]
            while (event := session.next_event()) is not None:
                side.events.append(event)
            for channel, message in session.messages_to_send(self.now):
                out.send(self.now, channel, message)
        self.now += STEP

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.step()

    def connect(self, setup: Setup, seconds: float = 60, sound: float = 0.0) -> float:
        """Sends a set-up; returns after how long it was in use."""
        start = self.now
        self.a.session.offer_setup(setup, sound=sound)
        while not self.a.session.is_ready:
            self.step()
            assert self.now < start + seconds
        return self.now - start

    def talk(self, seconds: float) -> None:
        """The first side speaks to the second, and sends a keyframe where it is asked for one."""
        start = self.now
        self.began = self.began or start
        for n in range(round(15 * seconds)):
            while self.now < start + n / 15:
                self.step()
            wanted = len([e for e in self.a.events if isinstance(e, PeerWantsKeyframe)])
            self.a.session.send(self.talker.packet(wanted > self._keyframes), self.now)
            self._keyframes = wanted
            self.step()

    def freezes(self) -> list[float]:
        """Seconds of each spell in which the second side showed nothing new, of more than a frame."""
        out, held = [], 0
        for shown in [*self.shown, Shown.DECODED]:
            if shown == Shown.HELD:
                held += 1
            elif held:
                out.append(held / 15)
                held = 0
        return out


def draw(inputs: DrawInputs) -> np.ndarray:
    return np.zeros((256, 256, 3), np.uint8)

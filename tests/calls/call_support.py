"""Calls in simulated time, for the tests in this folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from conftest import Encoded

from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.joining import Offer
from fvc.codec.call.playing import Playing, Shot
from fvc.codec.call.receive_session import Event as ReceiveEvent
from fvc.codec.call.receive_session import ReceiveSession
from fvc.codec.call.send_session import Event as SendEvent
from fvc.codec.call.send_session import SendSession
from fvc.codec.call.session import Address
from fvc.codec.call.setup import Setup
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.calls.channel import Channel, Link

CLEAN = Link(jitter_ms=0, doubled=0)
BAD = Link(loss=0.1, jitter_ms=50)
CALLER, RECEIVER = ("192.0.2.1", 4000), ("192.0.2.9", 5004)
STEP = 0.005  # seconds of simulated time


def setup_of(encoded: Encoded) -> Setup:
    """The set-up of a call with the shared clip."""
    header, _ = encoded.parsed()
    return Setup(header, SourceSet.parse(encoded.sources.read_bytes()))


def packets_of(encoded: Encoded) -> list[Packet]:
    """The packets that such a call sends."""
    return [p for p in encoded.parsed()[1] if p.kind != Kind.END]


def frames_of(packets: list[Packet]) -> list[Packet]:
    """The packets without those of the sound."""
    return [p for p in packets if p.kind != Kind.AUDIO]


@dataclass
class Caller:
    """A sender at an address of its own."""

    session: SendSession
    address: Address = CALLER
    events: list[SendEvent] = field(default_factory=list)
    is_there: bool = True  # otherwise it has vanished: it sends and hears nothing


class Rehearsal:
    """A receiver and its callers over simulated links, in steps of 5 ms of simulated time.

    Attributes:
        offers: the set-ups that were offered; `builds` makes renderers of them as they come.
        answered, received: bytes that the receiver has sent to, and got from, each address.
    """

    def __init__(self, setup: Setup, link: Link = CLEAN, redundancy: int = 2, delay: float = 0.3, timeout: float = 10):
        self.setup, self.redundancy, self.timeout = setup, redundancy, timeout
        self.now = 10.0
        self.receiving = ReceiveSession(delay, timeout, secret=b"receiver")
        self.there, self.back = Channel(link, 3), Channel(link, 4)
        self.callers = list[Caller]()
        self.caller = self.add_caller(seed=1)
        self.events = list[ReceiveEvent]()
        self.shots, self.offers, self.accepted = list[Shot](), list[Offer](), list[bool]()
        self.answered, self.received = dict[Address, int](), dict[Address, int]()
        self.drawn, self.lateness, self.builds = 0, 0.0, True
        self.is_receiver_there = True

    def add_caller(self, address: Address = CALLER, seed: int = 1, setup: Setup | None = None) -> Caller:
        """Adds a sender."""
        wanted = self.setup if setup is None else setup
        packetizer = Packetizer(self.redundancy)
        session = SendSession(wanted, packetizer, 256_000, [RECEIVER], self.timeout, self.now, seed)
        self.callers.append(Caller(session, address))
        return self.callers[-1]

    @property
    def sending(self) -> SendSession:
        """The first caller's session."""
        return self.caller.session

    @property
    def playing(self) -> Playing:
        """The receiver's playback."""
        playing = self.receiving.playing
        assert playing is not None
        return playing

    def draw(self, inputs: DrawInputs) -> np.ndarray:
        self.drawn += 1
        picture = np.zeros((256, 256, 3), np.uint8)
        picture[:2, :33] = np.rint(inputs.parts["sup"].T * 100 + 128)[..., None]
        return picture

    def renderer(self, offer: Offer) -> Renderer:
        return Renderer(self.draw, offer.setup.source_set.samples[0], offer.setup.header.fps)

    def hear(self, data: bytes, address: Address = CALLER) -> None:
        """Delivers a packet to the receiver."""
        self.received[address] = self.received.get(address, 0) + len(data)
        self.receiving.receive_datagram(data, address, self.now)

    def step(self, packets: list[Packet] = []) -> None:  # noqa: B006
        """Runs 5 ms, in which the first caller sends these packets."""
        for packet in packets:
            self.sending.send(packet)
        self._callers_speak()
        if self.is_receiver_there:
            self._receiver_works()
        self._callers_hear()
        self.now += STEP

    def _receiver_works(self) -> None:
        self.receiving.handle_timer(self.now)
        offer = self.receiving.offer(self.now)
        if offer is not None and offer not in self.offers:
            self.offers.append(offer)
        if offer is not None and self.builds:
            self.accepted.append(self.receiving.accept(offer, self.renderer(offer), self.now))
        shots = self.receiving.play(self.now)
        self.lateness = max([self.lateness, *(self.now - shot.due for shot in shots)])
        self.shots += shots
        while (event := self.receiving.next_event()) is not None:
            self.events.append(event)
        self._receiver_speaks()

    def _callers_speak(self) -> None:
        for caller in self.callers:
            for data, to in caller.session.datagrams_to_send(self.now):
                assert to == RECEIVER
                if not caller.is_there:
                    continue
                if caller is self.caller:
                    self.there.send(self.now, data)
                else:
                    self.hear(data, caller.address)
        for data in self.there.arrived(self.now):
            if self.is_receiver_there:
                self.hear(data, self.caller.address)

    def _receiver_speaks(self) -> None:
        for data, to in self.receiving.datagrams_to_send(self.now):
            self.answered[to] = self.answered.get(to, 0) + len(data)
            if to == self.caller.address:
                self.back.send(self.now, data)
                continue
            for caller in self.callers:
                if caller.address == to and caller.is_there:
                    caller.session.receive_datagram(data, RECEIVER, self.now)

    def _callers_hear(self) -> None:
        for data in self.back.arrived(self.now) if self.caller.is_there else ():
            self.sending.receive_datagram(data, RECEIVER, self.now)
        for caller in self.callers:
            caller.session.handle_timer(self.now)
            while (event := caller.session.next_event()) is not None:
                caller.events.append(event)

    def run(self, seconds: float) -> None:
        """Runs for some time without new packets of the stream."""
        for _ in range(round(seconds / STEP)):
            self.step()

    def connect(self) -> None:
        """Runs until the first caller may send frames."""
        start = self.now
        while not self.sending.is_ready:
            self.step()
            assert self.now < start + 60

    def say(self, packets: list[Packet], fps: float = 10) -> None:
        """Sends the first caller's packets when due; sound before the frame in which it begins, as in the file."""
        start = self.now - packets[0].number / fps
        for packet in packets:
            while packet.kind != Kind.AUDIO and self.now < start + packet.number / fps:
                self.step()
            self.step([packet])

    def talk(self, packets: list[Packet], fps: float = 10) -> None:
        """Runs a whole call."""
        self.connect()
        self.say(packets, fps)
        for _ in range(3):
            self.sending.close()
            self.step()
        start = self.now
        while not self.has("CallEnded"):
            self.step()
            assert self.now < start + 60

    def has(self, name: str) -> bool:
        """Whether the receiver's session has reported this event."""
        return name in self.names()

    def names(self) -> list[str]:
        """The class names of the events of the receiver's session, in order."""
        return [type(event).__name__ for event in self.events]


def only(events: list[Any], kind: type) -> Any:
    """The one event of a kind."""
    (found,) = [event for event in events if isinstance(event, kind)]
    return found

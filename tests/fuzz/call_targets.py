"""What a stranger who can reach the port can send: readers of section 11, both sessions, and the receiver's loop.

Random bytes never name a random SSRC or fit a checksum, so most inputs are scripts: steps of a call, whose packets get
what is right in them. A step is u(8) for what it is (`_packet`), u(8) for who sends it and how much time passes, u(8)
for its size, and so many bytes.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fvc.calls.receive import ReceivedCall
from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError, SourcesError, StreamError
from fvc.codec.base.reporting import silent
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.joining import MAX_SENDERS, Challenges, Offer
from fvc.codec.call.playing import Shot
from fvc.codec.call.receive_session import ReceiveSession
from fvc.codec.call.rtp import MAX_PACKET, App, Bye, Pli, Report, Rtp, is_control, parse_control
from fvc.codec.call.send_session import SendSession
from fvc.codec.call.session import Address
from fvc.codec.call.setup import ACK, CHALLENGE, PIECE, Ack, Challenge, Piece, Setup
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Header, Kind, Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet

VECTORS = Path(__file__).parent.parent / "vectors"
ADDRESSES = (("192.0.2.1", 1), ("192.0.2.1", 2), ("198.51.100.1", 1))
MEDIA = (11, 12, 13)  # the senders' SSRCs, by address
SECRET = b"fuzz"
PEER = ("192.0.2.9", 5004)
_MAX_STEPS = 60
_MOMENTS = (0.0, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 11.0)  # seconds that pass before a step
_BLANK = np.zeros((SIDE, SIDE, 3), np.uint8)


def rtp(data: bytes) -> None:
    """One packet, as it is: what is understood means the same when it is written again."""
    with suppress(StreamError):
        if is_control(data):
            packet = parse_control(data)
            assert packet is None or parse_control(bytes(packet)) == packet or isinstance(packet, Bye)
        else:
            media = Rtp.parse(data)
            assert len(media.payload) <= len(data)
            assert Rtp.parse(bytes(media)) == media
    for kind in (Piece, Ack, Challenge):
        with suppress(StreamError):
            part = kind.parse(data)
            assert kind.parse(bytes(part)) == part  # type: ignore[arg-type]


def setup(data: bytes) -> None:
    """A whole set-up: as it is, and with a source set that is the one of its header."""
    for variant in (data, bytes(_golden_setup().header) + data, _matched(data)):
        with suppress(StreamError):
            found = Setup.parse(variant)
            assert found.header.fps >= 1
            assert found.header.sources_hash == found.source_set.sources_hash
            assert Setup.parse(bytes(found)).header == found.header


def receiver(data: bytes) -> None:
    """The receiver's session: nobody gets more than was sent from there before an address is proved, all is bounded."""
    session, now = ReceiveSession(0.1, 5, SECRET), 0.0
    received, answered = dict[Address, int](), dict[Address, int]()
    proved, offers = set[Address](), list[Offer]()
    for moment, address, packet, names_peer, kind in _script(data):
        now += moment
        received[address] = received.get(address, 0) + len(packet)
        proved |= {address} if names_peer else set()
        session.receive_datagram(packet, address, now)
        session.handle_timer(now)
        offer = session.offer(now)
        if offer is not None and not kind & 0x80:
            offers.append(offer)
            accepted = session.accept(offer, _renderer(offer), now)
            assert accepted
            assert session.header == offer.setup.header
        elif offer is not None and kind & 0x40:
            session.refuse(offer, "no")
        assert not any(session.accept(old, _renderer(old), now) for old in offers)
        for shot in session.play(now):
            assert shot.rgb.shape == _BLANK.shape
            assert len(shot.sound) <= 101
        for answer, to in session.datagrams_to_send(now):
            answered[to] = answered.get(to, 0) + len(answer)
            assert len(answer) <= MAX_PACKET
        while session.next_event() is not None:
            pass
        timer = session.next_timer()
        assert timer is None or timer > now - 60
        assert session.playing is None or session.playing.sounds_waiting <= 256
    assert all(answered.get(a, 0) <= received[a] for a in received if a not in proved)
    assert set(answered) <= set(received)
    assert len([*session._senders]) <= MAX_SENDERS
    session.close("over")


def sender(data: bytes) -> None:
    """The sender's session: only who has the SSRCs can end the call or make it ready."""
    session, now = SendSession(_golden_setup(), Packetizer(1), 1e6, [PEER], 5, 0.0, seed=1), 0.0
    ssrc, knows = 21, False
    for n, (moment, who, kind, body) in enumerate(_steps(data)):
        now += moment
        session.datagrams_to_send(now)
        is_known = bool(who & 1)  # the packet names the sender's SSRC, and has the receiver's
        packet = _answer(kind, body, session.ssrc if is_known else who, ssrc if is_known else who)
        knows |= is_known and kind % 6 < 5
        session.receive_datagram(packet, PEER if who < 3 else ADDRESSES[0], now)
        session.handle_timer(now)
        session.send(Packet(Kind.MOTION, n, body[:20]))
        if kind & 0x40:
            session.extend(_golden_setup())
        out = session.datagrams_to_send(now)
        assert sum(len(one) for one, _ in out) < 20_000
        while (event := session.next_event()) is not None:
            assert knows or "SendEnded(reason=None" in repr(event) or "SetupGivenUp" in repr(event)
    session.close()


def loop(data: bytes) -> None:
    """The receiver's loop over a transport that delivers what the input says, in simulated time: it comes to an end."""
    carrier = _Carrier([(moment, address, packet) for moment, address, packet, _, _ in _script(data)])
    call = ReceivedCall(carrier, ReceiveSession(0.1, 5, SECRET), silent, _make, carrier.clock)
    shown, begun = 0, list[Header]()

    class Sinks:
        def begin(self, header: Header, weights: bytes) -> None:
            begun.append(header)

        def take(self, shot: Shot) -> None:
            pass

    with suppress(FvcError):
        for shot in call.shots(5, _AtOnce(), Sinks()):  # type: ignore[arg-type]
            shown += shot is not None
            if carrier.now > carrier.last + 200:
                raise AssertionError("the loop goes on although nothing comes")
    assert len(begun) <= 1
    assert shown == call.frames
    if begun:
        assert call.report()["frames"] == shown


TARGETS: dict[str, Callable[[bytes], None]] = {f.__name__: f for f in (rtp, setup, receiver, sender, loop)}


class _Carrier:
    """A `Transport` whose clock only waiting moves."""

    def __init__(self, packets: list[tuple[float, Address, bytes]]) -> None:
        self.now = self.last = 0.0
        self._waiting = list[tuple[float, Address, bytes]]()
        for moment, address, packet in packets:
            self.last += moment
            self._waiting.append((self.last, address, packet))
        self._only: Address | None = None

    def clock(self) -> float:
        return self.now

    def send(self, data: bytes, to: Address) -> None:
        assert len(data) <= MAX_PACKET

    def receive(self, until: float) -> Iterator[tuple[bytes, Address]]:
        until = max(until, self.now + 0.02)  # coarse steps: an input has 1 s of CPU
        if not self._waiting or self._waiting[0][0] > until:
            self.now = until
            return
        self.now = max(self.now, self._waiting[0][0])
        while self._waiting and self._waiting[0][0] <= self.now:
            _, address, packet = self._waiting.pop(0)
            if self._only in (None, address):
                yield packet, address

    def listen_to(self, peer: Address | None) -> None:
        self._only = peer


class _AtOnce(Executor):
    """Does what it is given before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            future.set_result(fn(*args, **kwargs))
        except FvcError as error:
            future.set_exception(error)
        return future


def _make(offer: Offer, note: object) -> tuple[Renderer, bytes]:
    if offer.setup.header.crop.x % 8 == 7:
        raise SourcesError("made for weights that are not installed")
    return _renderer(offer), b"weights!"


def _renderer(offer: Offer) -> Renderer:
    header = offer.setup.header
    return Renderer(lambda _: _BLANK, offer.setup.source_set.samples[0].only(header.profile.parts), header.fps)


@cache
def _golden_setup() -> Setup:
    data = (VECTORS / "audio.fvc").read_bytes()
    header = Header.parse(data[: Header.size(data[:7])])
    return Setup.parse(_matched_with(header, (VECTORS / "sources.fvs").read_bytes()))


def _matched(data: bytes) -> bytes:
    """A set-up of the golden header and whatever source set the bytes are."""
    return _matched_with(_golden_setup().header, data)


def _matched_with(header: Header, sources: bytes) -> bytes:
    with suppress(StreamError):
        found = SourceSet.parse(sources)
        hashes = {"sources_hash": found.sources_hash, "pixels_hash": found.pixels_hash, "model_hash": found.model_hash}
        header = replace(header, **hashes)  # type: ignore[arg-type]
    return bytes(header) + sources


def _steps(data: bytes) -> Iterator[tuple[float, int, int, bytes]]:
    """(seconds that pass, who, kind, body) of each step."""
    at = 0
    for _ in range(_MAX_STEPS):
        if at + 3 > len(data):
            return
        kind, who, size = data[at : at + 3]
        yield _MOMENTS[who >> 5], who & 31, kind, data[at + 3 : at + 3 + size]
        at += 3 + size


def _script(data: bytes) -> Iterator[tuple[float, Address, bytes, bool, int]]:
    """(seconds that pass, address, packet, whether it names what only a challenge tells, kind) of each step."""
    challenges = Challenges(SECRET)
    for moment, who, kind, body in _steps(data):
        n = who % len(ADDRESSES)
        peer = challenges.ssrc(ADDRESSES[n], MEDIA[n])
        for packet, names_peer in _packets(kind, body, MEDIA[n], peer):
            yield moment, ADDRESSES[n], packet, names_peer, kind
            moment = 0.0


def _packets(kind: int, body: bytes, media: int, peer: int) -> list[tuple[bytes, bool]]:
    """The packets of a step towards the receiver."""
    if kind % 8 == 0:
        return [(body, _names(body, peer))]
    if kind % 8 == 1:  # a piece with the right peer
        return [(bytes(App(PIECE, media, struct.pack(">I", peer) + body)), True)]
    if kind % 8 == 2:  # one without
        return [(bytes(App(PIECE, media, body)), _names(body, peer))]
    if kind % 8 in (3, 4):  # a whole set-up, as it should be or a little different
        blob = bytearray(bytes(_golden_setup()))
        number = body[0] if body else 1
        if kind % 8 == 4:
            for place, value in zip(body[1::2], body[2::2], strict=False):
                blob[place % len(blob)] ^= value
            end = Header.size(bytes(_golden_setup())[:7]) - 4
            blob[end : end + 4] = struct.pack(">I", binascii.crc32(blob[:end]))
        pieces = [blob[at : at + 1024] for at in range(0, len(blob), 1024)]
        out = [Piece(peer, number, i, len(pieces), bytes(piece)) for i, piece in enumerate(pieces)]
        return [(bytes(App(PIECE, media, bytes(piece))), True) for piece in out]
    if kind % 8 == 5:  # a datagram with the right checksum
        sealed = body + struct.pack(">H", binascii.crc_hqx(body, 0xFFFF))
        return [(bytes(Rtp(kind * 31 & 0xFFFF, len(body) * 999, media, sealed)), False)]
    if kind % 8 == 6:
        return [(bytes(Rtp(len(body), kind, media, body)), False)]
    return [(bytes(Bye(media, body.decode(errors="replace"))), False)]


def _names(body: bytes, peer: int) -> bool:
    return struct.pack(">I", peer) in body


def _answer(kind: int, body: bytes, media: int, ssrc: int) -> bytes:
    """A packet towards the sender."""
    if kind % 6 == 0:
        return bytes(App(CHALLENGE, ssrc, bytes(Challenge(media))))
    if kind % 6 == 1:
        return bytes(App(ACK, ssrc, struct.pack(">I", media) + body))
    if kind % 6 == 2:
        return bytes(Pli(ssrc, media))
    if kind % 6 == 3:
        return bytes(Report(ssrc, media, len(body)))
    if kind % 6 == 4:
        return bytes(Bye(ssrc, body.decode(errors="replace")))
    return body


def seeds(name: str) -> list[bytes]:
    """First inputs of a target."""
    whole = _golden_setup()
    if name == "setup":
        return [bytes(whole), bytes(whole.source_set)]
    if name == "rtp":
        packets = [Rtp(1, 2, 3, b"xyz"), App(0, 7, bytes(Piece(5, 1, 0, 1, b"x"))), Bye(7, "why"), Pli(7, 8)]
        parts = [Piece(5, 1, 0, 1, b"x"), Ack(3, 1, frozenset({0, 8}), 9), Challenge(9), Report(7, 8, -1, 9, 10)]
        return [bytes(packet) for packet in (*packets, *parts)]
    if name == "sender":
        count = -(-len(bytes(whole)) // 1024)
        acked = bytes(Ack(0, 1, frozenset(range(count)), count))[4:]
        return [_step(0, 1) + _step(1, 33, acked) + _step(3, 65) + _step(2, 1) + _step(4, 1, b"bye"), _step(0x40, 1)]
    call = _step(3, 0, b"\1") + b"".join(_step(5, 64, one) for one in _datagrams()[:12])
    again = call + _step(3, 0, b"\2") + _step(3, 161, b"\1") + _step(7, 0)
    return [call + _step(7, 32), again, _step(4, 0, b"\1\x09\x07") + _step(1, 1, b"\1\0\0\0\2x"), _step(2, 2, b"x")]


def _step(kind: int, who: int, body: bytes = b"") -> bytes:
    return bytes([kind, who, len(body)]) + body


@cache
def _datagrams() -> list[bytes]:
    """Those of a golden stream, without their checksums."""
    with open(VECTORS / "audio.fvc", "rb") as file:
        packets = [p for p in StreamReader(file).packets() if isinstance(p, Packet) and p.kind != Kind.END]
    packetizer = Packetizer(1)
    return [data[:-2] for packet in packets for data in packetizer.add(packet) if len(data) < 258]

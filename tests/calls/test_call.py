"""Calls over UDP: RTP, the reliable set-up, playout, both sessions over a bad link (fake clock), and one real call."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from conftest import Encoded, Result, Run
from test_opus import beeps, make, onsets

from fvc.calls.capture import Wait, file_frames, paced
from fvc.calls.display import VirtualCamera
from fvc.calls.receive import _SpeakerSink, receive
from fvc.calls.send import send
from fvc.calls.soundcard import Loudspeaker, Microphone, SoundLine
from fvc.calls.udp import parse_address
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.playout import PlayoutClock
from fvc.codec.call.receive_session import ReceivingSession, RtpStatistics, Shot
from fvc.codec.call.rtp import App, Bye, Pli, Rtp, is_control, parse_control
from fvc.codec.call.send_session import SendingSession
from fvc.codec.call.setup import Ack, Piece, Setup, SetupReceiver, SetupSender
from fvc.codec.errors import FvcError, LinkError, OutputError, StreamError, UsageError
from fvc.codec.media.opus import RATE, OpusDecoder, OpusParams, encode_opus
from fvc.codec.media.video import Frame
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Audio, Kind, Packet
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.calls import long_call
from fvc.evaluation.calls.call import read_talk
from fvc.evaluation.calls.channel import Channel, Link


class TestRtp:
    def test_bytes_are_those_of_rfc_3550(self) -> None:
        packet = Rtp(0x1234, 0x89ABCDEF, 0xDEADBEEF, b"xyz")
        assert bytes(packet).hex(" ") == "80 60 12 34 89 ab cd ef de ad be ef 78 79 7a"
        assert Rtp.parse(bytes(packet)) == packet
        assert not is_control(bytes(packet))

    def test_what_other_senders_add_is_dropped(self) -> None:
        head = bytes.fromhex("b2 e0 0001 00000002 00000003")  # padding, extension, two sources, marker
        data = head + bytes(8) + bytes.fromhex("bede 0001 00000000") + b"xyz" + b"\0\0\3"
        assert Rtp.parse(data) == Rtp(1, 2, 3, b"xyz")

    def test_every_cut_is_refused_or_shorter(self) -> None:
        data = bytes.fromhex("b2600001 00000002 00000003") + bytes(8) + bytes.fromhex("bede000100000000") + b"x\0\2"
        for size in range(len(data)):
            with contextlib.suppress(StreamError):
                assert len(Rtp.parse(data[:size]).payload) < 3

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (b"", "size"),
            (bytes(12), "version"),
            (bytes.fromhex("806100010000000200000003"), "payload type"),
            (bytes.fromhex("a06000010000000200000003") + b"\0", "padding"),
            (bytes.fromhex("a06000010000000200000003") + b"\x09", "padding"),
            (bytes([0x80, 96]) + bytes(1399), "size"),
        ],
    )
    def test_refused(self, data: bytes, fault: str) -> None:
        with pytest.raises(StreamError, match=fault):
            Rtp.parse(data)

    @pytest.mark.parametrize("size", range(9))
    def test_control_packets(self, size: int) -> None:
        for packet in (App(1, 7, b"abcdefgh"[:size]), Bye(7, "because of"[:size]), Pli(7, 8)):
            data = bytes(packet)
            assert is_control(data)
            assert len(data) % 4 == 0
            assert parse_control(data) == packet
            for cut in range(len(data)):
                with pytest.raises(StreamError):
                    parse_control(data[:cut])

    def test_other_control_packets_mean_nothing(self) -> None:
        assert parse_control(bytes.fromhex("80c90001 00000007")) is None  # an empty receiver report

    def test_statistics(self) -> None:
        seen = RtpStatistics()
        for number in (65533, 65535, 65534, 0, 2):  # 1 is missing, the counter wraps
            seen.add(Rtp(number, (number & 7) * 9000, 1, b""), 0.1 * (number & 7))
        assert seen.lost == 1
        assert seen.jitter < 1e-9
        seen.add(Rtp(3, 3 * 9000, 1, b""), 0.3 + 0.16)
        assert seen.jitter == pytest.approx(0.01)


class TestSetup:
    def test_pieces_and_acknowledgements(self) -> None:
        piece = Piece(3, 1, 2, b"x" * 5)
        assert Piece.parse(bytes(piece)) == piece
        ack = Ack(3, frozenset({0, 8}), 9)
        assert bytes(ack).hex() == "0300098080"
        assert Ack.parse(bytes(ack)) == ack

    @pytest.mark.parametrize("data", ["", "0000000001", "000001000178", "00000000007878", "000000040178"])
    def test_pieces_without_a_place(self, data: str) -> None:
        with pytest.raises(StreamError, match="piece"):
            Piece.parse(bytes.fromhex(data))

    @pytest.mark.parametrize("data", ["", "0000", "000000", "000001", "0000010000", "00ffff00"])
    def test_acknowledgements_of_the_wrong_size(self, data: str) -> None:
        with pytest.raises(StreamError, match="acknowledgement"):
            Ack.parse(bytes.fromhex(data))

    @pytest.mark.parametrize("loss", [0.0, 0.1, 0.5])
    def test_all_of_it_arrives(self, loss: float) -> None:
        blob = random.Random(1).randbytes(20_000)
        sender, receiver, draw = SetupSender(1, blob, 128_000), SetupReceiver(), random.Random(2)
        now, sent, got = 0.0, 0, None
        while not sender.done and now < 60:
            for piece in sender.due(now):
                sent += len(piece.data)
                if draw.random() < loss:
                    continue
                whole = receiver.add(piece)
                if whole is not None:
                    assert got is None
                    got = whole
                    receiver.accept()
                ack = receiver.ack(piece.number)
                if draw.random() >= loss and ack is not None:
                    sender.acknowledge(Ack.parse(bytes(ack)))
            now += 0.02
        assert got == blob
        assert sent * 8 <= 128_000 * now + 8 * 4096  # the rate is kept
        assert sent >= len(blob) and (loss or sent < 1.5 * len(blob))  # noqa: PT018

    def test_the_last_acknowledgement_waits(self) -> None:
        sender, receiver = SetupSender(1, b"x" * 3000, 1e9), SetupReceiver()
        for piece in sender.due(0):
            receiver.add(piece)
            ack = receiver.ack(1)
            assert ack is not None
            sender.acknowledge(ack)
        assert not sender.done
        assert [piece.index for piece in sender.due(1)] == [0]
        receiver.accept()
        ack = receiver.ack(1)
        assert ack is not None
        sender.acknowledge(ack)
        assert sender.done

    def test_a_newer_set_up_replaces_an_older_one(self) -> None:
        receiver = SetupReceiver()
        old, new = SetupSender(1, b"o" * 3000, 1e9), SetupSender(2, b"n" * 2000, 1e9)
        old_pieces = old.due(0)
        assert receiver.add(old_pieces[0]) is None
        whole = [receiver.add(piece) for piece in new.due(0)]
        assert whole[-1] == b"n" * 2000
        assert receiver.add(old_pieces[1]) is None
        assert receiver.ack(1) is None

    def test_what_does_not_belong_together(self, setup: Setup) -> None:
        with pytest.raises(StreamError, match="not that of its header"):
            Setup.parse(bytes(replace(setup.header, sources_hash=bytes(16))) + bytes(setup.source_set))
        assert Setup.parse(bytes(setup)).header == setup.header


class TestPlayout:
    def test_the_earliest_arrival_counts(self) -> None:
        clock = PlayoutClock(Fraction(10), 0.2)
        assert clock.newest_due(5) is None
        for frame, late in enumerate([0.09, 0.05, 0.0, 0.08, 0.02]):
            clock.arrived(frame, 100 + frame / 10 + late)
        assert clock.time_of(10) == pytest.approx(100 + 1 + 0.2)
        assert clock.newest_due(101.19) == 9
        assert clock.newest_due(101.21) == 10

    def test_a_slower_clock_is_followed(self) -> None:
        clock = PlayoutClock(Fraction(10), 0.1)
        for frame in range(3000):  # 0.1 % slow
            clock.arrived(frame, frame * 0.1001)
        due = clock.time_of(3000)
        assert due is not None
        assert due == pytest.approx(300.3 + 0.1, abs=0.03)

    def test_a_clock_that_jumps(self) -> None:
        clock = PlayoutClock(Fraction(10), 0.1)
        clock.arrived(0, 50)
        clock.arrived(1_000_000, 50.1)
        assert clock.restarts == 1
        assert clock.newest_due(50.21) == 1_000_000


@pytest.fixture(scope="session")
def setup(encoded: Encoded) -> Setup:
    header, _ = encoded.parsed()
    return Setup(header, SourceSet.parse(encoded.sources.read_bytes()))


@pytest.fixture(scope="session")
def packets(encoded: Encoded) -> list[Packet]:
    return [p for p in encoded.parsed()[1] if p.kind != Kind.END]


class Rehearsal:
    """A call between two sessions over two simulated links, in steps of 5 ms of simulated time."""

    def __init__(self, setup: Setup, link: Link, redundancy: int = 2, delay: float = 0.3) -> None:
        self.sending = SendingSession(setup, Packetizer(redundancy), 256_000, seed=1)
        self.receiving = ReceivingSession(delay, seed=2)
        self.there, self.back = Channel(link, 3), Channel(link, 4)
        self.shots: list[Shot] = []
        self.drawn = 0
        self.lateness, self.now = 0.0, 10.0

    def draw(self, inputs: DrawInputs) -> np.ndarray:
        self.drawn += 1
        picture = np.zeros((256, 256, 3), np.uint8)
        picture[:2, :33] = np.rint(inputs.parts["sup"].T * 100 + 128)[..., None]
        return picture

    def step(self, datagrams: list[bytes] = []) -> None:  # noqa: B006
        for data in [*datagrams, *self.sending.due(self.now)]:
            self.there.send(self.now, data)
        for data in self.there.arrived(self.now):
            for answer in self.receiving.handle(data, self.now):
                self.back.send(self.now, answer)
        if self.receiving.offer is not None:
            header, rest = self.receiving.offer.header, self.receiving.offer.source_set.samples[0]
            for answer in self.receiving.accept(Renderer(self.draw, rest, header.fps)):
                self.back.send(self.now, answer)
        shots = self.receiving.play(self.now)
        self.lateness = max([self.lateness, *(self.now - shot.due for shot in shots)])
        self.shots += shots
        for request in self.receiving.requests(self.now):
            self.back.send(self.now, request)
        for data in self.back.arrived(self.now):
            self.sending.handle(data, self.now)
        self.now += 0.005

    def talk(self, packets: list[Packet], fps: float) -> None:
        """Sound goes before the frame in which it begins, as in the file."""
        while not self.sending.ready:
            self.step()
            assert self.now < 60
        start = self.now
        for packet in packets:
            if packet.kind != Kind.AUDIO:
                while self.now < start + packet.number / fps:
                    self.step()
            self.step(self.sending.send(packet))
        for _ in range(3):
            self.step(self.sending.bye())
        while not self.receiving.is_over(self.now, 5):
            self.step()
            assert self.now < start + 60


CLEAN = Link(jitter_ms=0, doubled=0)
BAD = Link(loss=0.1, jitter_ms=50)


class TestSessions:
    def test_a_clean_link(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, CLEAN)
        call.talk(packets, float(setup.header.fps))
        frames = [p for p in packets if p.kind != Kind.AUDIO]
        sound = [p.payload for p in packets if p.kind == Kind.AUDIO]
        assert [shot.index for shot in call.shots] == [p.number for p in frames]
        heard = [payload for shot in call.shots for payload in shot.sound]
        assert heard == [*sound, None]  # the sound ends 40 ms before the last frame does
        decoder, count = call.receiving.decoder, call.receiving.count
        assert decoder is not None
        assert (decoder.held, call.receiving.rtp.lost, count.refused, count.undrawn) == (0, 0, 0, 0)
        assert count.media == call.sending.media
        assert call.lateness <= 0.006

    def test_a_bad_link(self, setup: Setup, packets: list[Packet]) -> None:
        """10 % loss, 50 ms mean jitter, datagrams that overtake each other and come twice."""
        call = Rehearsal(setup, BAD, redundancy=3)
        call.talk(packets, float(setup.header.fps))
        decoder = call.receiving.decoder
        assert decoder is not None
        assert call.there.lost > 0
        assert [shot.index for shot in call.shots] == list(range(len(call.shots)))  # smooth: each in its turn
        assert len(call.shots) >= max(p.number for p in packets if p.kind != Kind.AUDIO)
        assert decoder.tally.decoded >= 0.9 * len(call.shots)
        for shot in call.shots:  # sound and picture lie on one line of time
            due = (shot.index + 1) / float(setup.header.fps)
            sounds = sum(len(s.sound) for s in call.shots[: shot.index + 1])
            assert setup.header.audio is not None
            assert 0 <= sounds * setup.header.audio.frame_ms / 1000 - due <= 0.06 - 1e-9

    def test_a_keyframe_is_asked_for(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, CLEAN, redundancy=0)
        frames = [p for p in packets if p.kind != Kind.AUDIO]
        start = next(n for n, p in enumerate(frames) if n and p.kind == Kind.KEY)
        lost = [p for p in frames[: start + 6] if not start <= p.number < start + 2]  # the keyframe is lost
        call.talk(lost, float(setup.header.fps))
        assert call.receiving.count.keyframe_requests >= 1
        assert call.sending.take_keyframe_request()
        assert not call.sending.take_keyframe_request()

    def test_other_sources_while_the_call_goes_on(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, CLEAN)
        halves = packets[: len(packets) // 2], packets[len(packets) // 2 :]
        fps = float(setup.header.fps)
        other = replace(setup.source_set, samples=setup.source_set.samples[::-1], _head=b"")
        pixels = {"sources_hash": other.sources_hash, "pixels_hash": other.pixels_hash}
        while not call.sending.ready:
            call.step()
        start = call.now
        for half in halves:
            for packet in half:
                while packet.kind != Kind.AUDIO and call.now < start + packet.number / fps:
                    call.step()
                call.step(call.sending.send(packet))
            if half is halves[0]:
                call.sending.extend(Setup(replace(setup.header, **pixels), other))
                assert not call.sending.ready
        assert call.sending.ready
        decoder = call.receiving.decoder
        assert decoder is not None
        assert decoder.held == 0
        assert call.receiving.count.refused == 0

    def test_a_set_up_must_not_change_the_stream(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, CLEAN)
        call.talk(packets[:4], 10)
        call.sending.extend(replace(setup, header=replace(setup.header, fps=Fraction(9))))
        for _ in range(400):
            call.step()
        assert not call.sending.ready
        assert call.receiving.count.refused > 0
        assert call.receiving.header == setup.header

    def test_a_slow_receiver_leaves_pictures_out(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, CLEAN, delay=0)
        while not call.sending.ready:
            call.step()
        start = call.now
        for packet in [p for p in packets if p.kind != Kind.AUDIO][:9]:
            for data in call.sending.send(packet):
                call.receiving.handle(data, start + packet.number / 10)
        before = call.drawn
        shots = call.receiving.play(start + 0.81)
        assert [shot.index for shot in shots] == list(range(9))
        assert call.drawn <= before + 2  # the first, since there is no picture yet, and the newest
        assert call.receiving.count.undrawn >= 7

    def test_silence_stops_the_clock(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, CLEAN)
        call.talk(packets[:12], 10)
        shown = len(call.shots)
        assert call.receiving.play(call.now + 1000) == []
        assert call.receiving.is_over(call.now + 1000, 5)
        assert shown < 100

    def test_a_clock_that_jumps_is_not_filled_up(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, CLEAN)
        call.talk(packets[:12], 10)
        call.receiving.ended = False
        for number in (4_000_000_000, 4_000_000_001):
            call.step(call.sending.send(Packet(Kind.MOTION, number, b"x")))
        before = len(call.shots)
        for _ in range(200):
            call.step()
        assert len(call.shots) - before < 30
        assert call.shots[-1].index >= 4_000_000_000


def test_hostile_packets(setup: Setup, packets: list[Packet]) -> None:
    """Noise, mutated and cut packets of a real call, in any order, into both ends: counted, never raised, bounded."""
    call, draw = Rehearsal(setup, CLEAN), random.Random(5)
    call.talk(packets[:20], 10)
    real = [*SendingSession(setup, Packetizer(1), 1e9, seed=1).due(0)]
    for packet in packets[:20]:
        real += call.sending.send(packet)
    real += [bytes(Bye(1, "x")), bytes(Pli(1, 2)), bytes(App(1, 2, bytes(Ack(1, frozenset(), 9))))]
    fresh = ReceivingSession(0.1, seed=9)
    for _ in range(3000):
        data = bytearray(draw.choice(real))
        for _ in range(draw.randrange(4)):
            data[draw.randrange(len(data))] = draw.getrandbits(8)
        data = data[: draw.randrange(len(data) + 1)] if draw.random() < 0.3 else data
        if draw.random() < 0.1:
            data = bytearray(draw.randbytes(draw.randrange(1500)))
        call.now += 0.001
        call.receiving.handle(bytes(data), call.now)
        fresh.handle(bytes(data), call.now)
        call.sending.handle(bytes(data), call.now)
        call.receiving.play(call.now)
    assert call.receiving.count.refused > 100
    assert len(call.receiving._sound) <= 256
    assert call.receiving.decoder is not None


def test_late_frames_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]
    monkeypatch.setattr("fvc.calls.capture.time.monotonic", lambda: now[0])

    def wait(until: float) -> None:
        now[0] = max(now[0], until)

    shown = []
    for frame in paced([Frame(np.zeros((1, 1, 3), np.uint8), n) for n in range(10)], Fraction(10), wait):
        shown.append(frame.index)
        now[0] += 0.35 if frame.index == 3 else 0.01
    assert shown == [0, 1, 2, 3, 6, 7, 8, 9]


@pytest.mark.parametrize("text", ["", "5004", "host", "host:", "host:0", "host:65536", "host:x", ":5"])
def test_addresses(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_address(text)
    assert parse_address("127.0.0.1:5004") == ("127.0.0.1", 5004)


def start_receiver(**options: Any) -> tuple[threading.Thread, int, dict[str, Any]]:
    """`receive` in a thread: the thread, its port, and a dict that gets "report" or "error"."""
    opened, result, port = threading.Event(), dict[str, Any](), list[int]()

    def listening(number: int) -> None:
        port.append(number)
        opened.set()

    def run() -> None:
        try:
            result["report"] = receive(0, host="127.0.0.1", listening=listening, **options)
        except Exception as error:
            result["error"] = error
            opened.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert opened.wait(20)
    return thread, (port or [0])[0], result


def test_a_call_over_loopback(clip: Path, tmp_path: Path) -> None:
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", wait=60, timeout=20)
    sent = send(f"127.0.0.1:{port}", clip, profile="sup", fps="10", seconds=1.5, enrol_seconds=1, timeout=60)
    thread.join(60)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("fvc-")]
    report = result["report"]
    assert report["wire_bytes"] <= sent["wire_bytes"]
    assert report["packets"] >= sent["packets"] - 2  # of the three goodbyes the first one suffices
    assert report["packets_lost"] == 0
    assert report["frames"] >= 1  # a busy machine leaves frames out, but keeps time
    with av.open(str(tmp_path / "call.mp4")) as file:
        assert "Synthesised by fvc" in file.metadata["comment"]
        seconds = sum(frame.samples for frame in file.decode(audio=0)) / 48000
        assert seconds == pytest.approx(report["frames"] / 10, abs=0.1)


class FakeCamera(ModuleType):
    """As pyvirtualcam; keeps what it is sent."""

    def __init__(self, fault: str = "") -> None:
        super().__init__("pyvirtualcam")
        self.fault, self.sent, self.is_open, self.device = fault, list[np.ndarray](), False, "/dev/video9"

    def Camera(self, width: int, height: int, fps: float) -> FakeCamera:  # noqa: N802 (its name there)
        if self.fault:
            raise RuntimeError(self.fault)
        self.size, self.fps, self.is_open = (width, height), fps, True
        return self

    def send(self, rgb: np.ndarray) -> None:
        self.sent.append(rgb)

    def close(self) -> None:
        self.is_open = False


def test_a_virtual_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, picture = FakeCamera(), np.zeros((256, 256, 3), np.uint8)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", fake)
    with VirtualCamera(Fraction(15)) as camera:
        assert fake.is_open
        camera.show(Shot(0, picture, [], 0, 0.0))
    assert (fake.size, fake.fps, fake.is_open, camera.device) == ((256, 256), 15.0, False, "/dev/video9")
    assert fake.sent[0] is picture
    fake.fault = "v4l2loopback: no device\nand more lines"
    with pytest.raises(OutputError, match=r"^no virtual camera: v4l2loopback: no device$"):
        VirtualCamera(Fraction(15))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(FvcError, match=r"pip install 'fvc\[camera\]'"):
        VirtualCamera(Fraction(15))


class FakeStream:
    """A stream of sounddevice whose clock began elsewhere; `hear` and `want` are the sound card's side."""

    latency = 0.02

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.is_open = options, False

    @property
    def time(self) -> float:
        return 1000 + time.monotonic()

    def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def hear(self, pcm: np.ndarray) -> None:
        """int16 [n], until now."""
        when = SimpleNamespace(inputBufferAdcTime=self.time - len(pcm) / RATE)
        self.options["callback"](pcm[:, None], len(pcm), when, None)

    def want(self, count: int) -> np.ndarray:
        """float32 [count], heard from now on."""
        out, when = np.full((count, 1), np.nan, np.float32), SimpleNamespace(outputBufferDacTime=self.time)
        self.options["callback"](out, count, when, None)
        return out[:, 0]


class FakeSound(ModuleType):
    """As sounddevice; keeps the streams that were opened."""

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.PortAudioError, self.streams = type("PortAudioError", (Exception,), {}), list[FakeStream]()
        self.fault: Exception | None = None

    def InputStream(self, **options: Any) -> FakeStream:  # noqa: N802 (its name there)
        if self.fault is not None:
            raise self.fault
        self.streams.append(FakeStream(options))
        return self.streams[-1]

    OutputStream = InputStream


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> FakeSound:
    fake = FakeSound()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    monkeypatch.setattr("fvc.calls.soundcard.time.monotonic", lambda: now[0])
    return now


PICTURE = np.zeros((1, 1, 3), np.uint8)


def observed(clock: list[float], stream: FakeStream, pcm: np.ndarray, indices: Iterable[int]) -> Iterator[Frame]:
    """Frames of a camera of 10 fps at their times, while the microphone hears `pcm` in blocks of 10 ms."""
    start, done = clock[0], 0
    for index in indices:
        while done < index * RATE // 10:
            clock[0] = start + (done + 480) / RATE
            stream.hear(pcm[done : done + 480])
            done += 480
        yield Frame(PICTURE, index)


class TestSoundLine:
    def test_gaps_are_silent_and_overlaps_cut(self) -> None:
        line, ones = SoundLine(np.int16), np.ones(480, np.int16)
        line.write(5.0, ones)
        line.write(5.01 + 0.004, 2 * ones)  # a little late: goes on
        line.write(5.02 - 0.004, 3 * ones)
        line.write(5.05, 4 * ones)  # 20 ms are missing
        line.write(5.04, 5 * np.ones(1440, np.int16))  # 20 ms were there before
        at = 5 * RATE
        assert line.end == at + 7 * 480
        assert line.read(at - 480, 9 * 480).tolist() == np.repeat([0, 1, 2, 3, 0, 0, 4, 5, 0], 480).tolist()

    def test_what_is_too_old_is_silent(self) -> None:
        line = SoundLine(np.int16)
        for second in range(5):
            line.write(second, np.full(RATE, second + 1, np.int16))
        assert set(line.read(0, 5 * RATE)) == {0, 4, 5}
        line.write(3600.0, np.full(480, 7, np.int16))
        assert line.read(line.start, line.end - line.start).tolist() == [0] * (-line.start + line.end - 480) + [7] * 480


class TestMicrophone:
    def test_packets_are_those_of_a_file(self, sound: FakeSound, clock: list[float], tmp_path: Path) -> None:
        expected = encode_opus(make(tmp_path / "a.mkv", [(0, beeps(4))]), 16_000)
        assert expected is not None
        params, packets = expected
        pcm = (beeps(4) * 32767).astype(np.int16)
        with Microphone("3", 16_000, Fraction(10)) as microphone:
            (stream,) = sound.streams
            assert stream.is_open
            got = []
            for frame in microphone.beside(observed(clock, stream, pcm, range(40))):
                due = Fraction(frame.index + 1, 10)
                got += microphone.due(due)
                assert got[-1].number == int(due * 1000) // 60  # all that begins before the next frame is there
        assert microphone.audio == Audio(params.frame_ms, params.pre_skip)
        assert [packet.number for packet in got] == list(range(len(got)))
        assert len(got) >= 60
        assert [packet.payload for packet in got] == list(islice(packets, len(got)))
        assert (stream.options["samplerate"], stream.options["channels"], stream.options["device"]) == (RATE, 1, 3)
        assert not stream.is_open

    def test_numbers_keep_time_when_all_stalls(self, sound: FakeSound, clock: list[float]) -> None:
        """For 5 s nobody takes frames or packets, and 0.3 s of the sound are lost in the sound card."""
        pcm = (beeps(10, (0.5, 2.0, 7.0, 8.5)) * 32767).astype(np.int16)
        with Microphone("default", 24_000, Fraction(10)) as microphone:
            (stream,) = sound.streams
            assert stream.options["device"] is None
            frames = observed(clock, stream, pcm, [*range(20), *range(70, 98)])
            packets = []
            for frame in microphone.beside(frames):
                for packet in microphone.due(Fraction(frame.index + 1, 10)):
                    assert 0 <= (frame.index + 1) / 10 - packet.number * 0.06 < 31 * 0.06
                    packets.append(packet)
                if frame.index == 75:  # the sound card skips: its next block is that of 0.3 s later
                    clock[0] += 0.3
                    stream.hear(pcm[:0])
            decoder, by_number = OpusDecoder(OpusParams(frame_ms=60)), {p.number: p.payload for p in packets}
            heard = np.concatenate([decoder.decode(by_number.get(n)) for n in range(packets[-1].number)])
        assert len(by_number) == len(packets)
        assert onsets(heard) == pytest.approx([0.5, 7.0, 8.5], abs=0.02)
        assert len(heard) > 9 * RATE

    def test_slow_frames_are_refused(self, sound: FakeSound) -> None:
        with pytest.raises(UsageError, match="2 frames per second or more"):
            Microphone("default", 6000, Fraction(1))


def test_a_loudspeaker_keeps_time(sound: FakeSound, clock: list[float]) -> None:
    with Loudspeaker("default") as speaker:
        (stream,) = sound.streams
        assert not stream.want(480).any()
        clock[0] += 1
        tone = np.ones(4800, np.float32)
        speaker.play(tone, clock[0])
        speaker.play(tone, clock[0] + 0.3)
        heard = []
        for n in range(60):
            clock[0] = 51 + n / 100 + (n % 3) / 500  # PortAudio calls a little early or late
            heard.append(stream.want(480))
    edges = np.flatnonzero(np.diff(np.concatenate(heard))) / RATE
    assert edges == pytest.approx(np.array([0, 0.1, 0.3, 0.4]) + speaker.lag, abs=1e-3)
    assert speaker.lag < 0.1
    assert not stream.is_open


def test_a_slow_machine_gets_late_sound(sound: FakeSound, clock: list[float]) -> None:
    """Sound that is always late by 0.3 s is heard late and whole; later the lag goes away."""
    with Loudspeaker("default") as speaker:
        (stream,), least, heard, ramp = sound.streams, speaker.lag, list[np.ndarray](), np.arange(1.0, 10 * RATE + 1)
        stream.want(480)
        for n in range(3600):
            clock[0] = 50 + n / 100
            if n % 10 == 0 and n < 1000:
                speaker.play(ramp[480 * n : 480 * (n + 10)], clock[0] - 0.3)
            elif n % 10 == 0:
                speaker.play(np.zeros(4800), clock[0])
            heard.append(stream.want(480))
            if n == 999:
                assert speaker.lag == pytest.approx(0.31, abs=0.015)
        assert speaker.lag == least
        speaker.play(ramp[:480], clock[0] - 9)  # more than it makes up for
        assert speaker.lag == 1
    assert len(np.setdiff1d(ramp, np.concatenate(heard))) <= 480


@pytest.mark.parametrize("link", [CLEAN, Link(jitter_ms=30)])
def test_sound_and_picture_stay_together(
    setup: Setup, packets: list[Packet], link: Link, sound: FakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microphone and camera -> a call -> loudspeaker and window, in simulated time."""
    call, fps = Rehearsal(setup, link, delay=0.2), setup.header.fps
    monkeypatch.setattr("fvc.calls.soundcard.time.monotonic", lambda: call.now)
    moments = (1.0, 2.02, 2.93)
    pcm = (beeps(30, moments) * 32767).astype(np.int16)
    microphone, speaker = Microphone("default", 24_000, fps), Loudspeaker("default")
    sink, taken, shown, heard = _SpeakerSink(speaker, setup.header), 0, dict[int, float](), list[np.ndarray]()
    start: float | None = None

    def step(datagrams: list[bytes]) -> None:  # 5 ms
        nonlocal taken
        at = 0 if start is None else max(round((call.now - start) * RATE), 0)
        call.step(datagrams)
        sound.streams[0].hear(pcm[at : at + 240] if start is not None else np.zeros(240, np.int16))
        for shot in call.shots[taken:]:
            sink.take(shot)
            shown[shot.index] = call.now
        taken = len(call.shots)
        heard.append(sound.streams[1].want(240))

    while not call.sending.ready:
        step([])
    start, first = call.now, len(heard)

    def camera() -> Iterator[Frame]:
        for index in range(40):
            while call.now < start + index / float(fps) - 1e-9:
                step([])
            yield Frame(PICTURE, index)

    frames = [packet for packet in packets if packet.kind != Kind.AUDIO]
    for frame in microphone.beside(camera()):
        datagrams = [d for p in microphone.due((frame.index + 1) / fps) for d in call.sending.send(p)]
        packet = frames[frame.index] if frame.index < len(frames) else Packet(Kind.MOTION, frame.index, b"")
        step([*datagrams, *call.sending.send(packet)])
    for _ in range(100):
        step([])
    delay = float(np.median([shown[n] - start - n / float(fps) for n in range(10, 36)]))
    beeped = onsets(np.concatenate(heard[first:]))
    assert delay < 0.5 + link.jitter_ms / 1000
    assert np.array(beeped) - moments == pytest.approx([delay + speaker.lag] * 3, abs=0.015)
    assert None not in [packet for shot in call.shots if shot.index < 36 for packet in shot.sound]


def test_a_call_with_microphone_and_loudspeaker(
    clip: Path, tmp_path: Path, sound: FakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    def camera(index: int, fps: Fraction, wait: Wait) -> Iterator[Frame]:
        yield from paced(file_frames(clip, fps, loop=True), fps, wait)

    monkeypatch.setattr("fvc.calls.send.camera_frames", camera)
    over, heard = threading.Event(), list[np.ndarray]()
    tone = (9000 * np.sin(2 * np.pi * np.arange(480) / 48)).astype(np.int16)

    def sound_card() -> None:
        while not over.wait(0.01):
            for stream in [stream for stream in sound.streams if stream.is_open]:
                if stream.options["dtype"] == "int16":
                    stream.hear(tone)
                else:
                    heard.append(stream.want(480))

    card = threading.Thread(target=sound_card)
    card.start()
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", loudspeaker="default", wait=60, timeout=20)
    try:
        send(f"127.0.0.1:{port}", camera=0, microphone="default", fps="10", seconds=2, enrol_seconds=1, timeout=60)
        thread.join(60)
    finally:
        over.set()
        card.join()
    assert result["report"]["frames"] >= 1
    assert not any(stream.is_open for stream in sound.streams)
    spectrum = np.abs(np.fft.rfft(np.concatenate(heard)))
    assert np.argmax(spectrum) * RATE / len(heard) / 480 == pytest.approx(1000, abs=30)
    with av.open(str(tmp_path / "call.mp4")) as file:
        assert sum(np.abs(frame.to_ndarray()).sum() for frame in file.decode(audio=0)) > 0


def test_no_sound_card(sound: FakeSound, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak = ("send", "127.0.0.1:9", "--camera", 0, "--microphone", "usb")
    listen = ("receive", "127.0.0.1:0", "--loudspeaker", 7, "-o", tmp_path / "x.mp4")
    sound.fault = sound.PortAudioError("Error querying device 7\nand more")
    assert run(*listen) == Result(6, "", "fvc: loudspeaker 7: cannot be opened (Error querying device 7)\n")
    sound.fault = ValueError("No input device matching 'usb'")
    assert run(*speak) == Result(3, "", "fvc: microphone usb: cannot be opened (No input device matching 'usb')\n")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert run(*speak) == Result(1, "", "fvc: sounddevice is not installed; pip install 'fvc[sound]'\n")
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    assert run(*speak) == Result(1, "", "fvc: PortAudio is not installed (its package in Debian: libportaudio2)\n")


def test_nobody_answers(clip: Path) -> None:
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:9: no answer within 0\.3 s"):
        send("127.0.0.1:9", clip, profile="sup", enrol_seconds=0.3, timeout=0.3)


def test_no_call_comes(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no call came"):
        receive(0, tmp_path / "x.mp4", host="127.0.0.1", wait=0.1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call",
    [
        lambda: receive(0),
        lambda: receive(0, "x.mp4", delay=11),
        lambda: receive(0, "x.mp4", timeout=0),
        lambda: send("127.0.0.1:9"),
        lambda: send("127.0.0.1:9", "x.mp4", camera=1),
        lambda: send("127.0.0.1:9", "x.mp4", microphone="default"),
        lambda: send("127.0.0.1:9", camera=0, microphone="default", audio_bitrate=None),
        lambda: send("127.0.0.1:9", "x.mp4", redundancy=9),
        lambda: send("127.0.0.1:9", "x.mp4", enrol_seconds=0),
        lambda: send("127.0.0.1:9", "x.mp4", most_sources=9),
    ],
)
def test_absurd_arguments(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        call()


def test_a_long_call_through_both_sessions(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    monkeypatch.setattr(long_call, "load_talk", lambda clip, *_, **__: read_talk(clip, encoded.stream, False))
    arguments = ["--rtp", "--hours", "0.005", "--loss", "20", "--draw-every", "50", "--json", str(tmp_path / "r.json")]
    assert long_call.main([str(encoded.video), *arguments]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["wrong"] == 0
    assert report["compared"] > 150
    assert report["lost"] > 10
    assert capsys.readouterr().out

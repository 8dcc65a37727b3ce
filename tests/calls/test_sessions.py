"""Both ends of a call over simulated links: good ones, bad ones, and what happens in a long conversation."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from call_support import BAD, CALLER, CLEAN, RECEIVER, Rehearsal, frames_of, only, packets_of, setup_of
from conftest import Encoded

from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.playing import Playing
from fvc.codec.call.receive_session import CallEnded, Declined, Joined, SourcesReplaced
from fvc.codec.call.rtp import App, Bye, Pli, Report
from fvc.codec.call.send_session import KeyframeWanted, Ready, SendEnded, SendSession, SetupGivenUp
from fvc.codec.call.setup import Ack, Piece, Setup
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Kind, Packet


@pytest.fixture(scope="session")
def setup(encoded: Encoded) -> Setup:
    return setup_of(encoded)


@pytest.fixture(scope="session")
def packets(encoded: Encoded) -> list[Packet]:
    return packets_of(encoded)


def with_other_sources(setup: Setup) -> Setup:
    other = replace(setup.source_set, samples=setup.source_set.samples[::-1], _head=b"")
    header = replace(setup.header, sources_hash=other.sources_hash, pixels_hash=other.pixels_hash)
    return Setup(header, other)


class TestGoodCalls:
    def test_a_clean_link(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        call.talk(packets)
        sound = [p.payload for p in packets if p.kind == Kind.AUDIO]
        assert [shot.index for shot in call.shots] == [p.number for p in frames_of(packets)]
        heard = [payload for shot in call.shots for payload in shot.sound]
        assert heard == [*sound, None]  # the sound ends 40 ms before the last frame does
        count = call.receiving.count
        assert (call.receiving.tally().held, count.rtp.lost, count.refused, count.playback.undrawn) == (0, 0, 0, 0)
        assert count.media == call.sending.media
        assert call.lateness <= 0.006
        assert call.names() == ["Joined", "CallEnded"]
        assert not only(call.events, CallEnded).is_timeout
        assert call.receiving.datagrams() == (0, 0)

    def test_a_bad_link(self, setup: Setup, packets: list[Packet]) -> None:
        """10 % loss, 50 ms mean jitter, datagrams that overtake each other and come twice."""
        call = Rehearsal(setup, BAD, redundancy=3)
        call.talk(packets)
        assert call.there.lost > 0
        assert [shot.index for shot in call.shots] == list(range(len(call.shots)))  # smooth: each in its turn
        assert len(call.shots) >= max(p.number for p in frames_of(packets))
        assert call.receiving.tally().decoded >= 0.9 * len(call.shots)
        for shot in call.shots:  # sound and picture lie on one line of time
            due = (shot.index + 1) / float(setup.header.fps)
            sounds = sum(len(s.sound) for s in call.shots[: shot.index + 1])
            assert setup.header.audio is not None
            assert 0 <= sounds * setup.header.audio.frame_ms / 1000 - due <= 0.06 - 1e-9

    def test_a_keyframe_is_asked_for(self, setup: Setup, packets: list[Packet]) -> None:
        call, frames = Rehearsal(setup, redundancy=0), frames_of(packets)
        start = next(n for n, p in enumerate(frames) if n and p.kind == Kind.KEY)
        call.talk([p for p in frames[: start + 6] if not start <= p.number < start + 2])  # the keyframe is lost
        assert call.receiving.count.playback.keyframe_requests >= 1
        assert KeyframeWanted() in call.caller.events

    def test_nobody_asks_for_a_face_that_is_not_there(self, setup: Setup, packets: list[Packet]) -> None:
        call, key = Rehearsal(setup), frames_of(packets)[0]
        call.connect()
        call.say([key, *(Packet(Kind.MOTION, n, b"") for n in range(1, 40))])
        assert call.receiving.count.playback.keyframe_requests == 0
        assert call.receiving.count.playback.longest_outage == 0

    def test_other_sources_while_the_call_goes_on(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        half = len(packets) // 2
        call.connect()
        call.say(packets[:half])
        call.sending.extend(with_other_sources(setup))
        assert not call.sending.is_ready
        call.say(packets[half:])
        assert call.sending.is_ready
        assert call.caller.events == [Ready(), Ready()]
        assert call.names() == ["Joined", "SourcesReplaced"]
        assert call.receiving.header == only(call.events, SourcesReplaced).header == with_other_sources(setup).header
        assert (call.playing.decoder.held, call.receiving.count.refused) == (0, 0)

    def test_a_set_up_must_not_change_the_stream(self, setup: Setup, packets: list[Packet]) -> None:
        """Such a one is ignored, and the sender does not repeat it for ever: it stays with the one before."""
        call = Rehearsal(setup)
        call.connect()
        call.say(frames_of(packets)[:4])
        before = call.sending.setups.size
        call.sending.extend(replace(setup, header=replace(setup.header, fps=Fraction(9))))
        for n in range(70 * 10):
            call.sending.send(Packet(Kind.MOTION, 4 + n, b""))
            call.run(0.1)
        assert call.caller.events == [Ready(), SetupGivenUp()]
        assert call.sending.is_ready
        assert call.sending.setups.size - before < 18 * len(bytes(setup))
        assert call.receiving.count.refused > 0
        assert call.receiving.header == setup.header

    def test_a_hold_of_the_receiver_is_heard(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        call.connect()
        call.receiving.close("because")
        call.step()
        assert only(call.caller.events, SendEnded) == SendEnded("because", was_there=True)


class TestPlaying:
    """The receiving half, without RTP and set-up."""

    def playing(self, setup: Setup, drawn: list[int], delay: float = 0.3) -> Playing:
        def draw(inputs: DrawInputs) -> np.ndarray:
            drawn.append(1)
            return np.zeros((256, 256, 3), np.uint8)

        return Playing(setup.header, Renderer(draw, setup.source_set.samples[0], setup.header.fps), delay)

    def datagrams(self, packets: list[Packet]) -> list[bytes]:
        packetizer = Packetizer(1)
        return [data for packet in packets for data in packetizer.add(packet)]

    def test_a_slow_receiver_leaves_pictures_out(self, setup: Setup, packets: list[Packet]) -> None:
        drawn = list[int]()
        playing = self.playing(setup, drawn, delay=0)
        for n, data in enumerate(self.datagrams(frames_of(packets)[:9])):
            playing.take(data, n / 10)
        shots = playing.play(0.81)
        assert [shot.index for shot in shots] == list(range(9))
        assert len(drawn) <= 2  # the first, since there is no picture yet, and the newest
        assert playing.count.undrawn >= 7

    def test_a_receiver_that_was_away_says_what_it_skipped(self, setup: Setup, packets: list[Packet]) -> None:
        drawn = list[int]()
        playing, frames = self.playing(setup, drawn), frames_of(packets)
        data = self.datagrams([Packet(Kind.MOTION, n, b"") if n else frames[0] for n in range(60)])
        for n in range(10):
            playing.take(data[n], n / 10)
        assert len(playing.play(0.7)) == 5
        for n in range(10, 60):
            playing.take(data[n], n / 10)
        after = playing.play(6.0)
        assert [shot.index for shot in after] == [57]
        assert playing.count.skipped == 57 - 5

    def test_silence_stops_the_clock(self, setup: Setup, packets: list[Packet]) -> None:
        playing = self.playing(setup, [])
        for n, data in enumerate(self.datagrams(frames_of(packets)[:12])):
            playing.take(data, n / 10)
        assert len(playing.play(1.0)) == 8
        assert playing.play(1000) == []

    def test_a_clock_that_jumps_is_not_filled_up(self, setup: Setup, packets: list[Packet]) -> None:
        playing, shots = self.playing(setup, []), list[int]()
        far = [Packet(Kind.MOTION, number, b"x") for number in (4_000_000_000, 4_000_000_001)]
        for n, data in enumerate(self.datagrams([*frames_of(packets)[:12], *far])):
            playing.take(data, n / 10)
            shots += [shot.index for shot in playing.play(n / 10)]
        shots += [shot.index for n in range(13, 23) for shot in playing.play(n / 10)]
        assert len(shots) < 30
        assert shots[-1] >= 4_000_000_000

    def test_damaged_and_late_datagrams_are_counted(self, setup: Setup, packets: list[Packet]) -> None:
        playing = self.playing(setup, [])
        data = self.datagrams([Packet(Kind.MOTION, n, b"") for n in range(0, 400, 100)])
        for one in (*data, data[0], b"damaged"):
            playing.take(one, 1.0)
        assert (playing.depacketizer.late, playing.depacketizer.damaged) == (1, 1)


class TestTheEnd:
    def test_the_sender_notices_that_the_receiver_is_gone(self, setup: Setup, packets: list[Packet]) -> None:
        """It hears reports while all is well, and nothing more from a receiver that was killed."""
        call = Rehearsal(setup, timeout=4)
        call.connect()
        call.say(packets)
        start, report = call.now, call.sending.report
        assert isinstance(report, Report)
        assert report.media == call.sending.ssrc
        assert report.lost == 0
        call.is_receiver_there = False
        while SendEnded(None, was_there=True) not in call.caller.events:
            call.sending.send(Packet(Kind.MOTION, 1000 + round(10 * call.now), b""))
            call.run(0.1)
            assert call.now < start + 6
        assert call.now >= start + 3

    def test_a_good_call_does_not_end(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, timeout=0.1)  # reports come each second: at least three are waited for
        call.connect()
        call.say([*frames_of(packets), *(Packet(Kind.MOTION, n, b"") for n in range(len(frames_of(packets)), 100))])
        assert call.caller.events == [Ready()]
        assert call.names() == ["Joined"]

    def test_the_receiver_notices_that_the_sender_is_gone(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup, timeout=4)
        call.connect()
        call.say(packets)
        call.caller.is_there = False
        call.run(3.9)
        assert not call.has("CallEnded")
        call.run(0.3)
        assert only(call.events, CallEnded).is_timeout

    def test_a_receiver_that_was_stopped_goes_on(self, setup: Setup, packets: list[Packet]) -> None:
        """Stopped for 7 s with a timeout of 5 s: what waits at the socket is heard before silence is judged."""
        call = Rehearsal(setup, timeout=5)
        call.connect()
        call.say(frames_of(packets)[:10])
        waiting = list[bytes]()
        for number in range(10, 80):
            call.sending.send(Packet(Kind.MOTION, number, b""))
            waiting += [data for data, _ in call.sending.datagrams_to_send(call.now)]
            call.now += 0.1
        for data in waiting:
            call.hear(data)
        call.run(0.5)
        assert not call.has("CallEnded")
        assert call.shots[-1].index >= 70
        assert call.receiving.count.playback.skipped > 30

    def test_nobody_answers(self, setup: Setup) -> None:
        session = SendSession(setup, Packetizer(0), 128_000, [RECEIVER], 0.3, 0.0, seed=1)
        sent = 0
        for n in range(40):
            sent += len(session.datagrams_to_send(n / 100))
            session.handle_timer(n / 100)
        assert sent == 2  # it knocks with one piece, at 0 and 0.3 s
        assert session.next_event() == SendEnded(None, was_there=False)
        assert session.next_event() is None
        assert session.next_timer() is None


def test_addresses_are_tried_in_turn(setup: Setup) -> None:
    six = ("2001:db8::1", 5004, 0, 0)
    session = SendSession(setup, Packetizer(0), 128_000, [six, RECEIVER], 9, 0.0, seed=1)
    tried = [to for n in range(100) for _, to in session.datagrams_to_send(n / 100)]
    assert tried == [six, RECEIVER, six]


def test_timers_name_what_is_due(setup: Setup, packets: list[Packet]) -> None:
    """A loop that sleeps until the timers, instead of looking every 5 ms, has the same call."""
    call = Rehearsal(setup)
    for _ in range(40):
        call.step()
        timers = [call.sending.next_timer(), call.receiving.next_timer()]
        due = min(timer for timer in timers if timer is not None)
        call.now = max(call.now, min(due, call.now + 1))
        if call.sending.is_ready:
            break
    assert call.sending.is_ready
    reported = call.receiving.next_timer()
    assert reported is not None
    assert call.now <= reported <= call.now + 1


def test_hostile_packets(setup: Setup, packets: list[Packet]) -> None:
    """Noise, mutated and cut packets of a real call, in any order, into both ends: counted, never raised, bounded."""
    call, draw = Rehearsal(setup, CLEAN), random.Random(5)
    call.talk(packets[:20])
    real = [bytes(App(0, 1, bytes(Piece(2, 1, 0, 1, b"x")))), bytes(Bye(1, "x")), bytes(Pli(1, 2)), bytes(Report(1, 2))]
    real += [bytes(App(1, 2, bytes(Ack(3, 1, frozenset(), 9))))]
    for packet in packets[:20]:
        call.sending.send(packet)
        real += [data for data, _ in call.sending.datagrams_to_send(call.now)]
    fresh = Rehearsal(setup).receiving
    for _ in range(3000):
        data = bytearray(draw.choice(real))
        for _ in range(draw.randrange(4)):
            data[draw.randrange(len(data))] = draw.getrandbits(8)
        data = data[: draw.randrange(len(data) + 1)] if draw.random() < 0.3 else data
        if draw.random() < 0.1:
            data = bytearray(draw.randbytes(draw.randrange(1500)))
        call.now += 0.001
        for receiver in (call.receiving, fresh):
            receiver.receive_datagram(bytes(data), CALLER, call.now)
            receiver.play(call.now)
            receiver.handle_timer(call.now)
        call.sending.receive_datagram(bytes(data), RECEIVER, call.now)
    assert call.receiving.count.refused > 100
    assert call.playing.sounds_waiting <= 256
    assert not [event for event in call.events if isinstance(event, Declined)]
    assert only(call.events, Joined).header == setup.header

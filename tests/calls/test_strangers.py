"""Whoever can reach the port: what strangers cannot do to a receiver, to its callers, or to third parties."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from call_support import CALLER, CLEAN, RECEIVER, Rehearsal, frames_of, only, packets_of, setup_of
from conftest import Encoded

from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.joining import MAX_OF_A_NETWORK, MAX_SENDERS, Challenges, Senders
from fvc.codec.call.receive_session import BUSY, CallEnded, CameToNothing, Declined, Joined, Moved
from fvc.codec.call.rtp import App, Bye, Pli, Report, Rtp, parse_control
from fvc.codec.call.send_session import Ready, SendEnded, SendSession
from fvc.codec.call.session import Address
from fvc.codec.call.setup import ACK, CHALLENGE, PIECE, Ack, Challenge, Piece, Setup, SetupSender
from fvc.codec.wire.bitstream import Kind, Packet

STRANGER, VICTIM = ("198.51.100.66", 6666), ("203.0.113.5", 53)
MEDIA = 77  # the stranger's SSRC


@pytest.fixture(scope="session")
def setup(encoded: Encoded) -> Setup:
    return setup_of(encoded)


@pytest.fixture(scope="session")
def packets(encoded: Encoded) -> list[Packet]:
    return packets_of(encoded)


def empty(count: int, first: int = 0) -> list[Packet]:
    return [Packet(Kind.MOTION, first + n, b"") for n in range(count)]


class TestTheFaceIsTheCallers:
    """H2, M1: a renderer is used for the set-up that it was made for, and for no other."""

    def test_who_leaves_takes_the_pictures_along(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        call.caller.is_there, call.builds = False, False
        stranger = call.add_caller(STRANGER, seed=2)
        call.run(2)
        (offer,) = call.offers
        assert offer.address == STRANGER
        stranger.session.close()  # while its renderer is made
        stranger.is_there = True
        call.run(0.1)
        stranger.is_there = False
        call.caller.is_there = True  # and the real caller comes
        call.run(4)
        assert call.receiving.accept(offer, call.renderer(offer), call.now) is False
        assert call.names() == []
        (_, own) = call.offers
        assert own.address == CALLER
        assert call.receiving.accept(own, call.renderer(own), call.now) is True
        call.step()
        assert only(call.events, Joined) == Joined(setup.header, CALLER, is_new=True)

    def test_who_gives_up_is_not_accepted(self, setup: Setup) -> None:
        """No attack: somebody whose renderer takes longer than they wait."""
        call = Rehearsal(setup, timeout=0.4)
        call.builds = False
        call.run(2)
        (offer,) = call.offers
        call.run(20)  # the sender repeats its first piece all the time: the offer stands
        assert call.receiving.offer(call.now) is offer
        call.caller.is_there = False
        call.run(11)
        assert call.receiving.offer(call.now) is None
        assert not call.receiving.accept(offer, call.renderer(offer), call.now)
        assert call.receiving.is_idle

    def test_an_offer_is_taken_once(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        call.connect()
        (offer,) = call.offers
        assert not call.receiving.accept(offer, call.renderer(offer), call.now)


class TestRefusals:
    """M2, M7: what cannot be drawn is refused, and the receiver goes on waiting."""

    def test_unknown_weights(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        call.builds = False
        call.run(2)
        call.receiving.refuse(call.offers[0], "made for weights that are not installed")
        call.run(0.1)
        reason = "made for weights that are not installed"
        assert only(call.caller.events, SendEnded) == SendEnded(reason, was_there=True)
        assert only(call.events, Declined) == Declined(CALLER, reason)
        assert call.receiving.is_idle
        call.builds = True
        second = call.add_caller(STRANGER, seed=2)
        call.run(2)
        assert Ready() in second.events

    @pytest.mark.parametrize("fault", ["fps", "hash"])
    def test_bad_headers(self, setup: Setup, fault: str) -> None:
        wrong = {"fps": {"fps": Fraction(1, 65535)}, "hash": {"sources_hash": bytes(16)}}[fault]
        call = Rehearsal(Setup(replace(setup.header, **wrong), setup.source_set))  # type: ignore[arg-type]
        call.run(2)
        assert "[E25]" in str(only(call.caller.events, SendEnded).reason)
        assert call.offers == []
        assert call.receiving.is_idle
        assert call.receiving.count.refused == 1


class TestStrangersWithAnAddress:
    """M3: the first packet of somebody keeps nobody out."""

    def test_one_piece_now_and_then(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        ssrc = Challenges(b"receiver").ssrc(STRANGER, MEDIA)
        for n in range(8):  # it answers the challenge, too
            for peer in (0, ssrc):
                call.hear(bytes(App(PIECE, MEDIA, bytes(Piece(peer, 1, 1023, 1024, b"x")))), STRANGER)
            call.run(0.5)
            if n == 1:
                call.caller.is_there = True
        assert Ready() in call.caller.events
        assert only(call.events, Joined).address == CALLER

    def test_many_of_one_host(self, setup: Setup) -> None:
        """One host opens more and more half set-ups, without pause: others still get in."""
        call, challenges = Rehearsal(setup), Challenges(b"receiver")
        for n in range(400):
            address = (STRANGER[0], 1000 + n)
            data = Piece(challenges.ssrc(address, MEDIA), 1, 0, 9, bytes(1024))
            call.hear(bytes(App(PIECE, MEDIA, bytes(data))), address)
            call.step()
        call.connect()
        assert only(call.events, Joined).address == CALLER

    def test_there_is_room_for_some(self) -> None:
        senders = Senders()
        for n in range(100):
            senders.admit(("192.0.2.1", n), MEDIA, 1, now=0.01 * n)
        assert len(senders) == MAX_OF_A_NETWORK
        assert senders.at(("192.0.2.1", 99), MEDIA) is not None
        assert senders.at(("192.0.2.1", 99), MEDIA + 1) is None
        for n in range(100):
            senders.admit((f"10.0.{n}.1", 1), MEDIA, 1, now=1 + 0.01 * n)
        assert len(senders) == MAX_SENDERS
        assert senders.admit(VICTIM, MEDIA, 1, now=9) is not None  # one that stood still has made room
        assert len(senders) == MAX_SENDERS
        senders.drop_lapsed(60)
        assert len(senders) == 0

    @pytest.mark.parametrize(
        "network", ["198.51.100.{host}", "2001:db8:0:1::{host}", "10.{host}.0.1", "2001:db8:0:{host}::1"]
    )
    @pytest.mark.parametrize("pause", [0.5, 1.5])
    def test_all_places_are_taken_by_slow_senders(self, setup: Setup, network: str, pause: float) -> None:
        """Four sockets on each of four addresses, with a piece now and then, kept everybody out for two minutes.

        Neither many addresses of one network, nor networks enough for all places, keep a caller out.
        """
        call, challenges = Rehearsal(setup), Challenges(b"receiver")
        call.caller.is_there = False
        addresses = [(network.format(host=1 + n // 4), 1000 + n) for n in range(MAX_SENDERS)]
        for round_ in range(round(12 / pause)):
            for address in addresses:
                data = Piece(challenges.ssrc(address, MEDIA), 1, round_, 900, bytes(1024))
                call.hear(bytes(App(PIECE, MEDIA, bytes(data))), address)
            call.run(pause)
            call.caller.is_there = call.now >= 13
        assert Ready() in call.caller.events
        assert only(call.events, Joined).address == CALLER

    def test_the_slowest_makes_room(self) -> None:
        senders = Senders()
        addresses = [(f"10.0.{n}.1", 1) for n in range(MAX_SENDERS)]
        for n, address in enumerate(addresses):
            sender = senders.admit(address, MEDIA, 1, now=0)
            assert sender is not None
            for index in range(2 if n == 7 else 5):
                sender.take(Piece(1, 1, index, 9, bytes(1024)), now=0.1 * index)
        assert senders.admit(VICTIM, MEDIA, 1, now=2.4) is None
        assert senders.admit(VICTIM, MEDIA, 1, now=2.5) is not None
        assert [address for address in addresses if senders.at(address, MEDIA) is None] == [addresses[7]]

    def test_a_busy_receiver_says_so(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        call.connect()
        other = call.add_caller(STRANGER, seed=2)
        call.say(empty(60))
        assert only(other.events, SendEnded) == SendEnded(BUSY, was_there=True)
        assert call.names() == ["Joined", "Declined"]
        assert call.receiving.peer == CALLER

    def test_a_second_caller_does_not_get_a_silent_call(self, setup: Setup) -> None:
        """Somebody else calls while the link is down for 5 s: it is not shown in the caller's place."""
        call = Rehearsal(setup)
        call.connect()
        call.say(empty(10))
        call.caller.is_there = False
        call.add_caller(STRANGER, seed=2)
        call.run(5)
        call.caller.is_there = True
        call.say(empty(20, first=60))
        assert call.receiving.peer == CALLER
        assert len([event for event in call.events if isinstance(event, Joined)]) == 1


class TestCallsWithoutAFrame:
    """A set-up with nothing behind it ended the receiver: it says so, and takes the next call."""

    def next_call(self, call: Rehearsal, packets: list[Packet]) -> None:
        assert call.receiving.header is None
        call.caller = call.add_caller(seed=7)
        call.connect()
        call.say(packets)
        assert only([event for event in call.events if event != call.events[0]], Joined).is_new
        assert call.shots[0].index == 0
        assert call.receiving.tally().decoded == len(call.shots)
        assert call.receiving.count.rtp.lost == 0

    def test_who_leaves_at_once(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        call.caller.address = STRANGER
        call.connect()
        call.sending.close()
        call.run(0.2)
        assert call.events[1:] == [CameToNothing(STRANGER)]
        assert call.receiving.is_idle
        assert call.receiving.peer is None
        call.caller.is_there = False
        self.next_call(call, frames_of(packets)[:10])

    @pytest.mark.parametrize("repeats", [False, True])
    def test_who_says_nothing(self, setup: Setup, packets: list[Packet], repeats: bool) -> None:
        """Not even pieces of its set-up, again and again, make it last longer."""
        call = Rehearsal(setup, timeout=3)
        call.caller.address = STRANGER
        call.connect()
        ssrc = Challenges(b"receiver").ssrc(STRANGER, call.sending.ssrc)
        piece = bytes(App(PIECE, call.sending.ssrc, bytes(Piece(ssrc, 1, 0, 2, bytes(1024)))))
        for _ in range(4):
            if repeats:
                call.hear(piece, STRANGER)
            call.run(0.8)
        assert call.events[1:] == [CameToNothing(STRANGER)]
        assert only(call.caller.events, SendEnded) == SendEnded("no frame came", was_there=True)
        self.next_call(call, frames_of(packets)[:10])

    def test_nothing_is_left_of_its_figures(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        call.connect()
        call.sending.close()
        call.run(0.2)
        count = call.receiving.count
        assert (count.media.packets, count.rtp.lost, count.playback.skipped) == (0, 0, 0)
        assert call.receiving.media_seconds == 0

    def test_a_call_with_frames_ends(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        call.talk(frames_of(packets)[:3])
        assert call.names() == ["Joined", "CallEnded"]


class TestReflection:
    """M4: an address that has not answered gets less than was sent in its name, and costs no memory."""

    @pytest.mark.parametrize("count", [1, 2, 1024])
    def test_small_pieces(self, setup: Setup, count: int) -> None:
        call = Rehearsal(setup)
        call.caller.is_there = False
        for _ in range(2000):
            call.hear(bytes(App(PIECE, MEDIA, bytes(Piece(0, 1, count - 1, count, b"x")))), VICTIM)
            call.step()
        assert 0 < call.answered[VICTIM] < call.received[VICTIM]
        assert call.receiving.is_idle

    def test_a_whole_forged_set_up(self, setup: Setup) -> None:
        """Its pieces cannot name what only the victim was told."""
        call, forged = Rehearsal(setup), SetupSender(1, bytes(setup), 1e9)
        call.caller.is_there = False
        forged.restart()
        for guess in range(40):
            for n in range(20):
                for piece in forged.due(call.now + 10 * n, peer=guess):
                    call.hear(bytes(App(PIECE, MEDIA, bytes(piece))), VICTIM)
            call.run(0.05)
        call.hear(bytes(Rtp(1, 0, MEDIA, b"xxx")), VICTIM)
        call.run(5)
        assert call.answered[VICTIM] < call.received[VICTIM]
        assert call.offers == []

    def test_challenges_differ(self) -> None:
        challenges, other = Challenges(b"a"), Challenges(b"b")
        addresses = [("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.2", 1)]
        found = {challenges.ssrc(address, media) for address in addresses for media in (1, 2)}
        assert len(found) == 6
        assert found.isdisjoint({other.ssrc(address, 1) for address in addresses})
        assert challenges.ssrc(addresses[0], 1) == challenges.ssrc(addresses[0], 1)


class TestForgedPackets:
    """M5: who forges the other side's address must know both SSRCs, 64 bits that only the two have."""

    def test_the_sender_believes_the_receiver_alone(self, setup: Setup) -> None:
        call = Rehearsal(setup)
        call.connect()
        before = list(call.caller.events)
        forged = [bytes(Bye(ssrc, "abducted")) for ssrc in range(3000)]
        forged += [bytes(Pli(ssrc, ssrc)) for ssrc in range(100)]
        forged += [bytes(Report(ssrc, call.sending.ssrc)) for ssrc in range(100)]
        for data in forged:
            call.sending.receive_datagram(data, RECEIVER, call.now)
        call.step()
        assert call.caller.events == before
        assert call.sending.report is None

    def test_nobody_answers_in_the_receivers_place(self, setup: Setup) -> None:
        session = SendSession(setup, Packetizer(0), 128_000, [RECEIVER], 9, 0.0, seed=1)
        count = -(-len(bytes(setup)) // 1024)
        whole = frozenset(range(count))
        for ssrc in range(300):
            for data in (Ack(ssrc, 1, whole, count), Ack(0, 1, whole, count)):
                session.receive_datagram(bytes(App(ACK, ssrc, bytes(data))), RECEIVER, 0.1)
            session.receive_datagram(bytes(App(CHALLENGE, ssrc, bytes(Challenge(ssrc)))), RECEIVER, 0.1)
        assert not session.is_ready
        assert session.peer is None
        assert session.next_event() is None

    def test_another_receiver_is_not_taken(self, setup: Setup) -> None:
        """One at another address knows all: it is not whom the sender calls."""
        call = Rehearsal(setup)
        call.connect()
        ssrc, media = 5, call.sending.ssrc
        for data in (App(CHALLENGE, ssrc, bytes(Challenge(media))), Bye(ssrc, "x"), Pli(ssrc, media)):
            call.sending.receive_datagram(bytes(data), STRANGER, call.now)
            call.sending.receive_datagram(bytes(data), RECEIVER, call.now)
        assert call.sending.peer == RECEIVER
        call.step()
        assert call.caller.events == [Ready()]

    def test_the_receiver_believes_the_sender_alone(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        call.connect()
        call.say(frames_of(packets)[:5])
        refused = call.receiving.count.refused
        for data in (bytes(Bye(5)), bytes(Rtp(1, 2, 5, b"xxx"))):
            call.hear(data, CALLER)
        for data in (bytes(Bye(call.sending.ssrc)), bytes(Rtp(1, 2, call.sending.ssrc, b"xxx"))):
            call.hear(data, STRANGER)
        assert call.receiving.count.refused == refused + 4
        call.run(0.5)
        assert not call.has("CallEnded")

    def test_answers_name_the_sender(self, setup: Setup) -> None:
        """Every packet of the receiver has the SSRC that it was told, and most have its own."""
        call, said = Rehearsal(setup), list[object]()
        send = call.receiving.datagrams_to_send

        def noting(now: float) -> list[tuple[bytes, Address]]:
            out = send(now)
            said.extend(parse_control(data) for data, _ in out)
            return out

        call.receiving.datagrams_to_send = noting  # type: ignore[method-assign]
        call.connect()
        call.say(empty(30))
        (ssrc,) = {packet.ssrc for packet in said if isinstance(packet, App | Pli | Report)}
        assert ssrc == Challenges(b"receiver").ssrc(CALLER, call.sending.ssrc)
        assert {type(packet) for packet in said} == {App, Pli, Report}


class TestSendersThatComeBack:
    """L7: one that begins anew, or whose address changes, is taken again."""

    def test_another_address(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        call.connect()
        call.say(frames_of(packets)[:10])
        call.run(1.5)
        call.caller.address = (CALLER[0], 4711)  # a NAT has forgotten it
        call.say(frames_of(packets)[10:])
        assert only(call.events, Moved) == Moved((CALLER[0], 4711))
        assert call.receiving.peer == (CALLER[0], 4711)
        assert call.shots[-1].index > 15
        call.run(1)
        assert isinstance(call.sending.report, Report)

    def test_copies_from_elsewhere_do_not_move_it(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        call.connect()
        call.say(frames_of(packets)[:10])
        call.hear(bytes(Rtp(1, 2, call.sending.ssrc, b"xxx")), STRANGER)
        assert call.receiving.peer == CALLER

    def test_a_sender_that_was_started_anew(self, setup: Setup, packets: list[Packet]) -> None:
        call = Rehearsal(setup)
        call.connect()
        call.say(frames_of(packets)[:10])
        call.caller.is_there = False
        other = replace(setup.header, crop=replace(setup.header.crop, x=0))
        call.caller = call.add_caller((CALLER[0], 4712), seed=9, setup=Setup(other, setup.source_set))
        call.connect()
        begun = len(call.shots)
        call.say(frames_of(packets)[:20])
        joined = [event for event in call.events if isinstance(event, Joined)]
        assert [(event.address[1], event.is_new) for event in joined] == [(4000, True), (4712, False)]
        assert call.shots[begun].index == 0
        assert call.receiving.tally().decoded > 20  # of both
        assert not call.has("CallEnded")

    def test_another_frame_rate_is_another_call(self, setup: Setup, packets: list[Packet]) -> None:
        """It does not fit into the recording: told to be busy, or taken by the next call."""
        call = Rehearsal(setup)
        call.connect()
        call.say(frames_of(packets)[:10])
        call.caller.is_there = False
        other = Setup(replace(setup.header, fps=Fraction(9)), setup.source_set)
        second = call.add_caller((CALLER[0], 4712), seed=9, setup=other)
        call.run(9)
        assert only(second.events, SendEnded).reason == BUSY
        call.run(2)
        assert only(call.events, CallEnded).is_timeout


def test_whoever_waits_is_told_that_the_receiver_leaves(setup: Setup) -> None:
    """L6: BYE to callers whose set-up is under way, too."""
    call = Rehearsal(setup)
    call.builds = False
    call.run(2)
    call.receiving.close("the disk is full")
    call.run(0.1)
    assert only(call.caller.events, SendEnded) == SendEnded("the disk is full", was_there=True)


def test_is_idle_until_somebody_has_proved_an_address(setup: Setup) -> None:
    """L5: whoever waits for a call waits no longer where a set-up is on the way."""
    call = Rehearsal(setup, CLEAN)
    call.builds = False
    assert call.receiving.is_idle
    call.hear(bytes(App(PIECE, MEDIA, bytes(Piece(0, 1, 0, 1, b"x")))), VICTIM)
    assert call.receiving.is_idle
    call.run(1)
    assert not call.receiving.is_idle


def test_random_numbers_differ_from_call_to_call(setup: Setup) -> None:
    sessions = [SendSession(setup, Packetizer(0), 128_000, [RECEIVER], 9, 0.0) for _ in range(3)]
    assert len({session.ssrc for session in sessions}) == 3
    assert len({random.Random(session.ssrc).random() for session in sessions}) == 3

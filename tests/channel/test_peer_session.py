"""Two sides of a call over data channels, in simulated time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from channel_pair import Bottleneck, Pair
from long_talk import Talker, setup_and_samples

from fvc.codec.call.setup import Setup
from fvc.codec.channel.messages import CONTROL, MEDIA, Hello, Leave, Media, SetupPiece, parse_control
from fvc.codec.channel.peer import PeerLeft, PeerReady, PeerSession, SetupRefused
from fvc.codec.motion.concealment import Shown


def of(events: list, kind: type) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_a_call_without_loss_shows_every_frame() -> None:
    setup, _, _ = setup_and_samples()
    pair = Pair(Bottleneck(100_000))
    pair.connect(setup)
    pair.talk(6)
    pair.run(1)
    assert pair.b.session.playing is not None
    tally = pair.b.session.playing.decoder.tally
    assert tally.decoded == 90
    assert len(pair.b.shots) >= 90  # after the last one, the picture is held
    pair.a.session.close("bye", pair.now)
    pair.run(0.5)
    assert of(pair.b.events, PeerLeft) == [PeerLeft("bye")]


def test_both_sides_send() -> None:
    setup, _, _ = setup_and_samples()
    pair = Pair(Bottleneck(100_000), Bottleneck(100_000))
    pair.b.session.offer_setup(setup)
    pair.connect(setup)
    pair.run(2)
    assert pair.b.session.is_ready
    talker = Talker()
    for packet in [talker.packet() for _ in range(30)]:
        pair.a.session.send(packet, pair.now)
        pair.b.session.send(packet, pair.now)
        pair.run(1 / 15)
    pair.run(1)
    for side in (pair.a, pair.b):
        assert side.session.playing is not None
        assert side.session.playing.decoder.tally.decoded == 30


def test_the_first_face_comes_within_two_seconds_at_8_kbit_s() -> None:
    full, _, small = setup_and_samples()
    pair = Pair(Bottleneck(8000))
    assert pair.connect(small) < 2.0
    pair.a.session.offer_setup(full)
    pair.talk(40)
    assert len(of(pair.a.events, PeerReady)) == 2  # the better pictures came while frames went on
    playing = pair.b.session.playing
    assert playing is not None
    assert playing.header is not None
    assert pair.b.session.header is not None
    assert pair.b.session.header.sources_hash == full.header.sources_hash
    assert playing.decoder.shown != Shown.HELD


def test_the_other_side_falls_silent() -> None:
    pair = Pair(Bottleneck(100_000))
    pair.run(5)
    assert not pair.a.session.has_ended  # each says now and then that it is there
    pair.there.loss = 1.0
    now = pair.now
    while not pair.b.session.has_ended:
        pair.b.session.handle_timer(pair.now)
        pair.now += 0.1
    assert 9 < pair.now - now < 11
    assert pair.b.session.next_event() == PeerLeft(None)


def test_a_set_up_that_changes_the_call_is_refused() -> None:
    setup, _, _ = setup_and_samples()
    pair = Pair(Bottleneck(100_000))
    pair.connect(setup)
    other = replace(setup.header, keyframe_interval=7)
    pair.a.session.offer_setup(Setup(other, setup.source_set))
    pair.run(5)
    assert "more than the source pictures" in of(pair.a.events, SetupRefused)[0].reason
    assert pair.b.session.header == setup.header


def test_another_version_ends_the_call() -> None:
    session = PeerSession(0.2, 10, 0.0)
    session.receive(CONTROL, bytes(Hello(9)), 0.0)
    event = session.next_event()
    assert isinstance(event, PeerLeft)
    assert "version 9" in str(event.reason)


@pytest.mark.parametrize("channel", [CONTROL, MEDIA])
def test_nonsense_is_counted_and_dropped(channel: str) -> None:
    session = PeerSession(0.2, 10, 0.0)
    for data in (
        b"",
        b"\x01",
        b"\x02\xff",
        b"\x01" + bytes(5),
        b"\x03\x00\x01\x00",
        bytes(2000),
        b"\x01\x00\x05\x00\x02xx",
    ):
        session.receive(channel, data, 0.0)
    assert session.refused >= 5
    assert session.offer is None


def test_pieces_out_of_order_and_endless_set_ups_keep_nothing() -> None:
    session = PeerSession(0.2, 10, 0.0)
    full = bytes(400)
    session.receive(CONTROL, bytes(SetupPiece(1, 1, 3, full)), 0.0)
    session.receive(CONTROL, bytes(SetupPiece(1, 0, 3, full)), 0.0)
    session.receive(CONTROL, bytes(SetupPiece(1, 2, 3, full)), 0.0)
    assert session.refused == 2
    with pytest.raises(ValueError, match="out of range"):
        _raise(bytes(SetupPiece(1, 0, 2623, full)))
    assert session._pieces == []


def _raise(data: bytes) -> None:
    try:
        parse_control(data)
    except Exception as error:
        raise ValueError(str(error)) from None


def test_messages_read_what_they_write() -> None:
    media = Media(None, 7, b"abc")
    assert Media.parse(bytes(media)) == media
    assert parse_control(bytes(Leave("so long"))) == Leave("so long")
    assert parse_control(b"\x63later versions") is None

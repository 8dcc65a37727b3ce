"""The set-up of a call: pieces, challenges, acknowledgements, and what they become on bad links."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from call_support import setup_of
from conftest import Encoded

from fvc.codec.base.errors import StreamError
from fvc.codec.call.setup import Ack, Challenge, Piece, Setup, SetupReceiver, SetupSender

PEER, MEDIA = 7, 9  # SSRCs of receiver and sender


@pytest.fixture(scope="session")
def setup(encoded: Encoded) -> Setup:
    return setup_of(encoded)


def opened(number: int, blob: bytes, bitrate: float = 1e9) -> SetupSender:
    """A sender that the receiver has challenged."""
    sender = SetupSender(number, blob, bitrate)
    sender.restart()
    return sender


def acknowledged(sender: SetupSender, ack: Ack | None) -> None:
    assert ack is not None
    sender.acknowledge(Ack.parse(bytes(ack)))


def test_pieces_and_answers() -> None:
    piece = Piece(PEER, 3, 1, 2, b"x" * 5)
    assert bytes(piece).hex() == "00000007030001000278787878 78".replace(" ", "")
    assert Piece.parse(bytes(piece)) == piece
    ack = Ack(MEDIA, 3, frozenset({0, 8}), 9)
    assert bytes(ack).hex() == "000000090300098080"
    assert Ack.parse(bytes(ack)) == ack
    assert Challenge.parse(bytes(Challenge(MEDIA))) == Challenge(MEDIA)
    assert bytes(Challenge(MEDIA)).hex() == "00000009"


@pytest.mark.parametrize("data", ["", "0000000001", "000001000178", "00000000007878", "000000040178"])
def test_pieces_without_a_place(data: str) -> None:
    with pytest.raises(StreamError, match="piece"):
        Piece.parse(bytes(4) + bytes.fromhex(data))


@pytest.mark.parametrize("data", ["", "0000", "000000", "000001", "0000010000", "00ffff00"])
def test_acknowledgements_of_the_wrong_size(data: str) -> None:
    with pytest.raises(StreamError, match="acknowledgement"):
        Ack.parse(bytes(4) + bytes.fromhex(data))


@pytest.mark.parametrize("data", [b"", b"123", b"12345"])
def test_challenges_of_the_wrong_size(data: bytes) -> None:
    with pytest.raises(StreamError, match="challenge"):
        Challenge.parse(data)


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.5])
def test_all_of_it_arrives(loss: float) -> None:
    blob = random.Random(1).randbytes(20_000)
    sender, receiver, draw = opened(1, blob, 128_000), SetupReceiver(MEDIA), random.Random(2)
    now, sent, got = 0.0, 0, None
    while not sender.done and now < 60:
        for piece in sender.due(now, PEER):
            sent += len(piece.data)
            if draw.random() < loss:
                continue
            if receiver.add(piece) and receiver.whole() is not None:
                assert got is None
                got = receiver.whole()
                receiver.accept()
            ack = receiver.ack(piece.number)
            if draw.random() >= loss and ack is not None:
                acknowledged(sender, ack)
        due = sender.next_due()
        assert due is None or due >= now
        now += 0.02
    assert got == blob
    assert sent * 8 <= 128_000 * now + 8 * 4096  # the rate is kept
    assert sent >= len(blob)
    assert loss or sent < 1.5 * len(blob)


def test_the_last_acknowledgement_waits() -> None:
    sender, receiver = opened(1, b"x" * 3000), SetupReceiver(MEDIA)
    for piece in sender.due(0, PEER):
        assert receiver.add(piece)
        acknowledged(sender, receiver.ack(1))
    assert not sender.done
    assert [piece.index for piece in sender.due(1, PEER)] == [0]
    acknowledged(sender, receiver.accept())
    assert sender.done
    assert sender.next_due() is None


def test_one_piece_knocks() -> None:
    """To somebody who does not answer, only the first piece is sent, less and less often."""
    sender, sent = SetupSender(1, b"x" * 9000, 1e9), list[tuple[float, Piece]]()
    for n in range(1000):
        sent += [(n / 100, piece) for piece in sender.due(n / 100, 0)]
    assert {(piece.index, piece.peer) for _, piece in sent} == {(0, 0)}
    assert [round(moment, 1) for moment, _ in sent] == [0.0, 0.3, 0.9, 2.1, 4.5, 6.9, 9.3]
    sender.restart()
    assert [piece.index for piece in sender.due(10, PEER)] == [1, 2, 3, 4, 5, 6, 7, 8][:4]


def test_a_newer_set_up_replaces_an_older_one() -> None:
    receiver = SetupReceiver(MEDIA)
    old, new = opened(1, b"o" * 3000), opened(2, b"n" * 2000)
    old_pieces = old.due(0, PEER)
    assert receiver.add(old_pieces[0])
    assert all(receiver.add(piece) for piece in new.due(0, PEER))
    assert receiver.whole() == b"n" * 2000
    assert not receiver.add(old_pieces[1])
    assert receiver.ack(1) is None


def test_a_number_that_is_used_up_is_given_up() -> None:
    """Somebody has sent another set-up with this number: the receiver's acknowledgements fit nothing."""
    sender, sent = opened(2, b"x" * 11_600, 1e6), 0
    for n in range(60_000):
        sent += sum(len(piece.data) for piece in sender.due(n / 100, PEER))
        sender.acknowledge(Ack(MEDIA, 2, frozenset({0}), 1))
        if sender.is_exhausted:
            break
    assert sender.is_exhausted
    assert n < 6000


def test_what_does_not_belong_together(setup: Setup) -> None:
    with pytest.raises(StreamError, match="not that of its header"):
        Setup.parse(bytes(replace(setup.header, sources_hash=bytes(16))) + bytes(setup.source_set))
    assert Setup.parse(bytes(setup)).header == setup.header


@pytest.mark.parametrize("fps", [Fraction(1, 65535), Fraction(99, 100)])
def test_frames_that_would_own_minutes_of_sound(setup: Setup, fps: Fraction) -> None:
    slow = Setup(replace(setup.header, fps=fps), setup.source_set)
    with pytest.raises(StreamError, match=r"frame rate .* is below 1 per second \[E25\]"):
        Setup.parse(bytes(slow))
    assert Setup.parse(bytes(replace(slow, header=replace(slow.header, fps=Fraction(1))))).header.fps == 1

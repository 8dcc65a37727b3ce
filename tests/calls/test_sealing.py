"""Sealed packets: who lacks the key can neither read, forge, change nor repeat one."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from conftest import Run
from sealing_support import Wire

from fvc.calls.receive import receive
from fvc.calls.sealing import SealedTransport, new_key, parse_key
from fvc.calls.send import send
from fvc.codec.base.errors import UsageError
from fvc.codec.call.rtp import Bye, Pli, Rtp

KEY = bytes(range(16))
ANNE, BEN, MALLORY = ("192.0.2.1", 4000), ("192.0.2.2", 5000), ("192.0.2.66", 666)
MEDIA, CONTROL = bytes(Rtp(1, 2, 3, b"a picture")), bytes(Pli(1, 2))


class Ends:
    def __init__(self, key: bytes = KEY) -> None:
        self.wires = Wire(), Wire()
        self.anne, self.ben = SealedTransport(self.wires[0], KEY), SealedTransport(self.wires[1], key)

    def sealed(self, data: bytes) -> bytes:
        self.anne.send(data, BEN)
        return self.wires[0].sent.pop()[0]

    def hears(self, *packets: bytes, address: tuple[str, int] = ANNE) -> list[bytes]:
        self.wires[1].coming.extend((packet, address) for packet in packets)
        return [data for data, _ in self.ben.receive(0)]


def test_sealed_packets_arrive_once_in_any_order() -> None:
    ends = Ends()
    first = ends.sealed(CONTROL)
    media = [ends.sealed(bytes(Rtp(n, 0, 3, bytes([n])))) for n in range(50)]
    assert ends.hears(first) == [CONTROL]
    shuffled = random.Random(1).sample(media, len(media))
    assert len(ends.hears(*shuffled)) == 50
    assert ends.hears(*shuffled, first) == []
    assert ends.ben.refused == 51
    assert len(media[0]) == len(bytes(Rtp(0, 0, 3, b"0"))) + 11
    assert ends.anne.sent_extra == [50 * 11, 23]
    assert ends.ben.heard_extra == [50 * 11, 23]


def test_a_stranger_reads_nothing_and_every_change_is_noticed() -> None:
    ends = Ends()
    ends.hears(ends.sealed(CONTROL))
    sealed = ends.sealed(MEDIA)
    assert b"picture" not in sealed
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert ends.hears(bytes(changed)) == []
    for size in range(len(sealed)):
        assert ends.hears(sealed[:size]) == []
    assert ends.hears(sealed) == [MEDIA]


def test_packets_in_the_clear_of_another_key_and_thrown_back_are_dropped() -> None:
    ends, others = Ends(), Ends(bytes(16))
    assert ends.hears(CONTROL, MEDIA, bytes(Bye(1)), b"", b"\x01", bytes(40)) == []
    assert others.hears(others.sealed(CONTROL)) == []
    own = ends.sealed(CONTROL)
    ends.wires[0].coming.append((own, BEN))
    assert [*ends.anne.receive(0)] == []


def test_an_end_that_has_moved_is_known_and_one_without_a_session_is_not() -> None:
    ends = Ends()
    assert ends.hears(ends.sealed(MEDIA)) == []
    ends.hears(ends.sealed(CONTROL))
    assert ends.hears(ends.sealed(MEDIA), address=MALLORY) == [MEDIA]


def test_counters_beyond_16_bits_and_long_gaps() -> None:
    ends = Ends()
    ends.hears(ends.sealed(CONTROL))
    old = ends.sealed(MEDIA)
    ends.anne._count = 30_000
    assert ends.hears(ends.sealed(MEDIA)) == [MEDIA]
    ends.anne._count = 60_000
    assert ends.hears(ends.sealed(MEDIA)) == [MEDIA]
    ends.anne._count = 70_000
    assert ends.hears(ends.sealed(MEDIA)) == [MEDIA]
    assert ends.hears(old) == []  # too old to know whether it has come


def test_sessions_are_limited_and_none_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvc.calls.sealing._MOST_SESSIONS", 2)
    ends, packets = Ends(), []
    for _ in range(3):
        other = SealedTransport(ends.wires[0], KEY)
        other.send(CONTROL, BEN)
        packets.append(ends.wires[0].sent.pop()[0])
    assert ends.hears(*packets) == [CONTROL, CONTROL]
    assert ends.hears(*packets) == []


def test_keys() -> None:
    assert len(parse_key(new_key())) == 16
    for text in ("", "x", "a" * 21, "ü" * 22, "a" * 40):
        with pytest.raises(UsageError, match="the key is damaged"):
            parse_key(text)


def test_a_sealed_call_counts_what_it_sends(clip: Path, tmp_path: Path) -> None:
    ports, reports, key = [], [], new_key()
    opened = threading.Event()

    def listening(port: int) -> None:
        ports.append(port)
        opened.set()

    def take() -> None:
        reports.append(receive(0, tmp_path / "x.mp4", host="127.0.0.1", key=key, timeout=3, listening=listening))

    thread = threading.Thread(target=take)
    thread.start()
    assert opened.wait(20)
    sent = send(f"127.0.0.1:{ports[0]}", clip, key=key, enrol_seconds=1, redundancy=0)
    thread.join(60)
    assert reports[0]["frames_decoded"] > 30
    assert reports[0]["wire_bytes"] in range(sent["wire_bytes"] - 200, sent["wire_bytes"] + 1)  # a BYE or two fewer


def test_the_command_line_does_not_send_in_the_clear_unless_told(run: Run, clip: Path) -> None:
    result = run("send", "127.0.0.1:9", clip)
    assert result.code == 2
    assert "--key" in result.err
    assert "--clear" in result.err
    assert run("send", "127.0.0.1:9", clip, "--key", "nonsense").code == 2
    assert run("receive", "5004", "--show", "--key", "a" * 22, "--clear").code == 2

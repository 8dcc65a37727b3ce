"""RTP and RTCP packets, and what a receiver counts of a stream."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest

from fvc.codec.base.errors import StreamError
from fvc.codec.call.rtp import App, Bye, Pli, Report, Rtp, is_control, parse_control
from fvc.codec.call.rtp_stream import RtpSender, RtpStatistics


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
        report = Report(7, 8, -5 + size, 9, 10)
        for packet in (App(1, 7, b"abcdefgh"[:size]), Bye(7, "because of"[:size]), Pli(7, 8), report):
            data = bytes(packet)
            assert is_control(data)
            assert len(data) % 4 == 0
            assert parse_control(data) == packet
            for cut in range(len(data)):
                with pytest.raises(StreamError):
                    parse_control(data[:cut])

    def test_other_control_packets_mean_nothing(self) -> None:
        assert parse_control(bytes.fromhex("80c90001 00000007")) is None  # an empty receiver report
        assert parse_control(bytes.fromhex("80cc0002 00000007 46564331")) is None  # FVC1: the version before

    def test_a_report_is_that_of_rfc_3550(self) -> None:
        data = bytes.fromhex("81c90007 00000007 00000008 00ffffff 0001000a 0000000b 00000000 00000000")
        assert bytes(Report(7, 8, -1, 0x1000A, 11)) == data
        assert parse_control(data) == Report(7, 8, -1, 0x1000A, 11)

    def test_statistics(self) -> None:
        seen = RtpStatistics()
        for number in (65533, 65535, 65534, 0, 2):  # 1 is missing, the counter wraps
            seen.add(Rtp(number, (number & 7) * 9000, 1, b""), 0.1 * (number & 7))
        assert seen.lost == 1
        assert seen.jitter < 1e-9
        seen.add(Rtp(3, 3 * 9000, 1, b""), 0.3 + 0.16)
        assert seen.jitter == pytest.approx(0.01)

    def test_a_forged_number_changes_nothing(self) -> None:
        """One packet with a sequence number from nowhere, one that is replayed a minute later."""
        seen = RtpStatistics()
        for number in range(20):
            seen.add(Rtp(number, number * 9000, 1, b""), 0.1 * number)
            if number == 10:
                seen.add(Rtp(32_700, 0, 1, b""), 1.0)
        seen.add(Rtp(3, 3 * 9000, 1, b""), 61.0)
        assert seen.lost == 0
        assert seen.jitter < 1e-9

    def test_a_sender_that_begins_anew_is_followed(self) -> None:
        seen = RtpStatistics()
        for number in (1, 2, 4, 30_000, 30_001, 30_003):  # 3 is lost, then 30,002; of 30,000 nobody knew
            seen.add(Rtp(number, 0, 1, b""), 0.0)
        assert (seen.lost, seen.highest) == (2, 30_003)

    def test_datagrams_become_a_stream(self) -> None:
        stream = RtpSender(7, Fraction(10), sequence=0xFFFF, timestamp=0xFFFFFFFF)
        assert Rtp.parse(stream.packet(b"x", 0)) == Rtp(0, 0xFFFFFFFF, 7, b"x")
        assert Rtp.parse(stream.packet(b"y", 3)) == Rtp(1, 26_999, 7, b"y")

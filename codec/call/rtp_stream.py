"""Datagrams of a call as one RTP stream (bitstream_spec.md, 11.1), and the receiver's statistics of it (RFC 3550)."""

from __future__ import annotations

from fractions import Fraction

from fvc.codec.base.constants import RTP_CLOCK
from fvc.codec.call.rtp import Rtp

_MAX_DROPOUT, _MAX_MISORDER = 3000, 100  # packets; RFC 3550, A.1
_MAX_TRANSIT_CHANGE = 10.0  # seconds; more is another clock, or a time stamp that has wrapped


class RtpSender:
    """Numbers datagrams and stamps them with their frame's time.

    Args:
        sequence, timestamp: what the stream begins with, random as RFC 3550 demands.
    """

    def __init__(self, ssrc: int, fps: Fraction, sequence: int, timestamp: int) -> None:
        self.ssrc, self._fps, self._sequence, self._first = ssrc, fps, sequence, timestamp

    def packet(self, datagram: bytes, frame: int) -> bytes:
        """The RTP packet of a datagram whose newest frame is `frame`."""
        stamp = self._first + int(frame * RTP_CLOCK / self._fps) & 0xFFFFFFFF
        self._sequence = self._sequence + 1 & 0xFFFF
        return bytes(Rtp(self._sequence, stamp, self.ssrc, datagram))


class RtpStatistics:
    """Loss and jitter as RFC 3550 defines them (A.1, A.3, A.8).

    A sequence number far from all before counts only if the next packet has the one after it: a single forged or
    damaged number changes nothing.

    Attributes:
        jitter: in seconds, of packets that come in order.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._highest = self._received = self._lost_before = 0
        self._expected_restart: int | None = None
        self._transit: float | None = None
        self.jitter = 0.0

    @property
    def lost(self) -> int:
        """Packets that were expected and did not come; duplicates make up for lost ones."""
        now = 0 if self._first is None else max(self._highest - self._first + 1 - self._received, 0)
        return self._lost_before + now

    @property
    def highest(self) -> int:
        """The extended sequence number of the newest packet: 16 bits, and above them how often they have wrapped."""
        return self._highest & 0xFFFFFFFF

    def add(self, packet: Rtp, now: float) -> None:
        """Counts a packet."""
        ahead = packet.sequence - self._highest & 0xFFFF
        if self._first is None or self._begins_anew(packet.sequence, ahead):
            self.restart()
            self._first = self._highest = packet.sequence
        elif ahead < _MAX_DROPOUT:
            self._highest += ahead
        elif ahead <= 0x10000 - _MAX_MISORDER:
            return
        self._received += 1
        if packet.sequence == self._highest & 0xFFFF and (ahead or self._received == 1):
            self._measure_jitter(packet, now)

    def restart(self) -> None:
        """Begins again, for another sender or one that has restarted; losses so far stay counted."""
        self._lost_before, self._first = self.lost, None
        self._highest = self._received = 0
        self._expected_restart = self._transit = None

    def _begins_anew(self, sequence: int, ahead: int) -> bool:
        """Whether a number that is far from all earlier ones directly follows another such number."""
        if ahead < _MAX_DROPOUT or ahead > 0x10000 - _MAX_MISORDER:
            return False
        is_second, self._expected_restart = sequence == self._expected_restart, sequence + 1 & 0xFFFF
        return is_second

    def _measure_jitter(self, packet: Rtp, now: float) -> None:
        transit = now - packet.timestamp / RTP_CLOCK
        if self._transit is not None and (change := abs(transit - self._transit)) < _MAX_TRANSIT_CHANGE:
            self.jitter += (change - self.jitter) / 16
        self._transit = transit

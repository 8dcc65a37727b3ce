"""A link that loses, delays, reorders and duplicates datagrams. Deterministic by seed; knows nothing about content.

Gilbert-Elliott model: the link is good or bad and changes between the two at random; in each state it loses datagrams
at that state's rate. E. N. Gilbert, "Capacity of a burst-noise channel", 1960; E. O. Elliott, 1963.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

from fvc.codec.base.errors import OptionError, UsageError


@dataclass(frozen=True)
class Link:
    """Parameters of a link.

    Attributes:
        loss: share of the datagrams that is lost, 0 to 0.9.
        burst: mean length of a loss in datagrams; None: each is lost independently of the others.
        loss_when_bad: share that is lost in the bad state; none is in the good one.
        jitter_ms: mean of the exponentially distributed delay of each, so they overtake each other.
        doubled: share that arrives twice.
        flipped: share in which one bit is flipped.
    """

    loss: float = 0.0
    burst: float | None = None
    loss_when_bad: float = 1.0
    jitter_ms: float = 10.0
    doubled: float = 0.01
    flipped: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 0.9 or not self.loss < self.loss_when_bad <= 1:
            raise OptionError("loss", f"{100 * self.loss:g}", "must be 0 to 90 % and below the loss in the bad state")
        if self.burst is not None and not self.burst >= 1:
            raise OptionError("burst", f"{self.burst:g}", "must be at least 1 datagram")
        if not all(0 <= share <= 1 for share in (self.doubled, self.flipped)) or not 0 <= self.jitter_ms < 60_000:
            raise UsageError("the link's shares must be 0 to 1, its jitter below a minute")

    def transitions(self) -> tuple[float, float]:
        """Probabilities per datagram: from good to bad, and from bad to good."""
        share_bad = self.loss / self.loss_when_bad
        if self.burst is None:
            return share_bad, 1 - share_bad
        leave = 1 / self.burst
        return min(1.0, leave * share_bad / (1 - share_bad)), leave


class Channel:
    """Takes datagrams at their time of sending and returns them at their time of arrival, in seconds.

    Attributes:
        sent, lost: datagrams; bytes: of all that were sent.
    """

    def __init__(self, link: Link, seed: int) -> None:
        self._link, self._random = link, random.Random(seed)
        self._turn_bad, self._turn_good = link.transitions()
        self._is_bad = self._random.random() < link.loss / link.loss_when_bad
        self._in_flight: list[tuple[float, int, bytes]] = []
        self.sent = self.lost = self.bytes = 0

    def send(self, seconds: float, datagram: bytes) -> None:
        """Sends a datagram; times rise from call to call."""
        draw, link = self._random, self._link
        lost = self._is_bad and draw.random() < link.loss_when_bad
        self._is_bad = draw.random() < (1 - self._turn_good if self._is_bad else self._turn_bad)
        copies = 0 if lost else 1 + (draw.random() < link.doubled)
        for _ in range(copies):
            delay = draw.expovariate(1000 / link.jitter_ms) if link.jitter_ms else 0.0
            heapq.heappush(self._in_flight, (seconds + delay, draw.getrandbits(32), self._damaged(datagram)))
        self.sent, self.lost, self.bytes = self.sent + 1, self.lost + lost, self.bytes + len(datagram)

    def _damaged(self, datagram: bytes) -> bytes:
        if self._random.random() >= self._link.flipped:
            return datagram
        out = bytearray(datagram)
        bit = self._random.randrange(8 * len(out))
        out[bit // 8] ^= 1 << bit % 8
        return bytes(out)

    def arrived(self, seconds: float) -> list[bytes]:
        """The datagrams that arrive up to that time, in order of arrival."""
        out = []
        while self._in_flight and self._in_flight[0][0] <= seconds:
            out.append(heapq.heappop(self._in_flight)[2])
        return out

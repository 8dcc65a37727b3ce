"""What has come, and when: reports on media messages, made by one side and read by the other (spec, 12.3)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fvc.codec.base.constants import MAX_FEEDBACK
from fvc.codec.channel.congestion import LinkEstimate
from fvc.codec.channel.messages import TICK, Feedback, ticks

_INTERVAL = 0.3  # seconds between two reports
_ALONE = 0.6  # seconds after which a report goes without a datagram
_MOST_FLYING = 256  # messages whose time of sending is kept
_GIVEN_UP = 6.0  # seconds after which a message without a report counts as lost
_SPAN = 1.0  # seconds of messages that a report covers


class Arrivals:
    """When media messages came; the last ones, by number."""

    def __init__(self) -> None:
        self._times: dict[int, float] = {}  # sequence, unwrapped
        self._newest: int | None = None
        self._reported = float("-inf")
        self._is_new = False
        self._first_new = 0.0

    def add(self, sequence: int, now: float) -> None:
        """A message with this number came."""
        ahead = 0 if self._newest is None else (sequence - self._newest + 0x8000 & 0xFFFF) - 0x8000
        number = sequence if self._newest is None else self._newest + ahead
        if self._newest is not None and ahead <= -MAX_FEEDBACK:
            return
        self._newest = number if self._newest is None else max(self._newest, number)
        self._times.setdefault(number, now)
        self._times = {n: time for n, time in self._times.items() if n > self._newest - MAX_FEEDBACK}
        self._first_new = self._first_new if self._is_new else now
        self._is_new = True

    def is_due(self, now: float) -> bool:
        """Whether a report should go by itself: no datagram took it along."""
        return self._is_new and now >= self._first_new + _ALONE

    def take(self, now: float) -> Feedback | None:
        """The report to send along with a message now; None: there is nothing new, or the last one was just sent."""
        if not self._is_new or self._newest is None or now < self._reported + _INTERVAL:
            return None
        self._is_new, self._reported = False, now
        oldest = min((n for n, time in self._times.items() if time > now - _SPAN), default=self._newest)
        numbers = range(self._newest, oldest - 1, -1)
        times = tuple(ticks(self._times[n]) if n in self._times else None for n in numbers)
        return Feedback(self._newest & 0xFFFF, times)


@dataclass(frozen=True)
class _Flown:
    """A message that was sent: when, its bytes on the wire, and its place in the order of sending."""

    sent: float
    size: int
    place: int


class Flight:
    """Media messages that were sent, until the other side has reported on them; feeds a `LinkEstimate`."""

    def __init__(self, estimate: LinkEstimate) -> None:
        self._estimate = estimate
        self._flying: dict[int, _Flown] = {}  # by sequence
        self._sent = deque[tuple[float, int]](maxlen=_MOST_FLYING)
        self._next = 0
        self._count, self._known = 0, -1  # messages so far; place of the newest that is known to have come
        self._clock: float | None = None  # the other side's, unwrapped, in seconds

    def add(self, size: int, now: float) -> int:
        """The number of a message that is sent now."""
        number, self._next = self._next, self._next + 1 & 0xFFFF
        self._flying[number] = _Flown(now, size, self._count)
        self._count += 1
        self._sent.append((now, size))
        while len(self._flying) > _MOST_FLYING:
            del self._flying[next(iter(self._flying))]
        return number

    def rate(self, now: float) -> float:
        """Bits per second of the last second."""
        return 8.0 * sum(size for when, size in self._sent if when > now - 1)

    def take(self, feedback: Feedback, now: float) -> None:
        """Takes a report, oldest message first."""
        for back in range(len(feedback.times) - 1, -1, -1):
            time, number = feedback.times[back], feedback.newest - back & 0xFFFF
            if time is None or number not in self._flying:
                continue
            flown = self._flying.pop(number)
            self._known = max(self._known, flown.place)
            self._estimate.came(flown.sent, self.unwrap(time), flown.size, now)

    def unwrap(self, time: int) -> float:
        """A time of the other side's clock, in seconds; it may be off by any constant."""
        seconds, span = time * TICK, TICK * 0x10000
        if self._clock is not None:
            seconds = self._clock + (seconds - self._clock + span / 2) % span - span / 2
        self._clock = seconds if self._clock is None else max(self._clock, seconds)
        return seconds

    def handle_timer(self, now: float) -> None:
        """Gives up messages that nothing was heard of."""
        later = (flown.sent for flown in self._flying.values() if flown.place > self._known)
        self._estimate.handle_timer(now, min(later, default=None))
        for number in [n for n, flown in self._flying.items() if now > flown.sent + _GIVEN_UP]:
            del self._flying[number]
            self._estimate.lost()

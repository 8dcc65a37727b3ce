"""How fast a link of a few kbit/s may be sent to, from when the other side says that messages came.

Delay-based, as GCC and SCReAM are (RFC 8298; Carlucci et al., MMSys 2016), but with a handful of messages a second
there is no trend to fit: what counts is how much later than the quickest message of the last seconds each one came,
which is the queue in front of the link. Loss alone lowers nothing, since bad links lose without being full.

    `LinkEstimate`  feedback -> bits per second on the wire
    `Way`, `ways`   how a call uses them: frames a datagram, and copies of earlier frames

Knows neither sockets nor clocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

CHANNEL_HEADER_BYTES = 93  # of a message on the wire: IPv4, UDP, DTLS record, SCTP with one DATA chunk
START, LEAST, MOST = 7_000.0, 4_000.0, 500_000.0  # bits per second
_FULL, _EMPTY = 0.12, 0.05  # seconds of queue above which the link is full, below which it has room
_WINDOW = 15.0  # seconds over which the quickest message is known
_RECENT = 1.2  # seconds over which the rate of arrival is measured
_STANDING = 0.7  # seconds over which the least wait is the queue: jitter alone has quick messages among slow ones
_ENOUGH = 5  # messages for that, where they come faster
_START_GAIN, _START_INTERVAL = 1.25, 0.3  # a rise while the link has never been full
_HEADROOM = 1.35  # the rate may rise to so many times what is sent: nothing is known of what was not tried
_CRUISE, _DRAIN = 0.85, 0.75  # shares of what the link carries that are used, usually and behind a full queue
_PROBE, _PROBE_GAIN, _SETTLE = 0.8, 1.35, 2.0  # seconds that more is tried, how much, seconds until it is judged
_PAUSE, _MOST_PAUSE = 8.0, 64.0  # seconds between two probes: doubled each time that one fills the link
_FALL_INTERVAL = 0.7  # seconds, besides those that the queue needs to drain, before the rate falls again
_LOSS_WINDOW = 60  # messages
_SUSPECTED = 0.05  # share that counts as lost before half of so many were sent
_FRAMES, _COPIES = (8, 6, 5, 4, 3, 2, 1), (0, 1, 2, 3)  # of a datagram; MAX_AGE allows three copies of eight frames
_QUICK = 3  # frames a datagram: where these fit, further rate goes into copies and headers alike
_LOSSES = (0.03, 0.15)  # above the first one copy of each frame is due, above the second two
_CAREFUL = 1.05  # by how much the rate must exceed what a richer way needs
_SILENCE = 2.5  # seconds without a report after which the link counts as full


@dataclass(frozen=True)
class Way:
    """How packets become datagrams.

    Attributes:
        bits: per second that this needs on the wire, with room for keyframes.
    """

    frames: int
    copies: int
    bits: float


def ways(fps: float, motion: float, sound: float) -> list[Way]:
    """Ways of sending a call. `motion` and `sound` are bits per second without any headers."""
    return [Way(n, copies, _needed(fps / n, copies, motion, sound)) for n in _FRAMES for copies in _COPIES]


def _needed(datagrams: float, copies: int, motion: float, sound: float) -> float:
    own = 8 * datagrams * (CHANNEL_HEADER_BYTES + 3 + 8)  # heads of message and datagram, feedback
    entries = 8 * 3.0 * datagrams * (1 + copies)
    return own + entries + 1.15 * motion * (1 + copies) + sound


class LinkEstimate:
    """The rate at which to send to one peer.

    Rises until the link is full for the first time; from then on it knows what the link carries, stays below that, and
    tries more for a second now and then (as BBR does: Cardwell et al., ACM Queue 2016).

    Attributes:
        rate: bits per second on the wire, headers included.
        queue: seconds that messages wait in front of the link.
    """

    def __init__(self, rate: float = START) -> None:
        self.rate, self.queue = rate, 0.0
        self._carried: float | None = None  # bits per second of the link; None: it has never been full
        self._transits: deque[tuple[float, float]] = deque()  # (arrival, transit), transit rising
        self._waited: deque[tuple[float, float]] = deque()  # (when, seconds in the queue)
        self._came: deque[tuple[float, int]] = deque()  # (arrival, bytes)
        self._losses: deque[bool] = deque(maxlen=_LOSS_WINDOW)
        self._heard = float("-inf")  # when a message was last reported
        self._changed = float("-inf")  # when the rate last rose, or the queue was last full
        self._probe: float | None = None  # when the probe began that is under way, or not judged yet
        self._pause, self._next_probe, self._worst = _PAUSE, float("inf"), 0.0

    @property
    def loss(self) -> float:
        """Share of the last messages that did not come."""
        known = len(self._losses)
        return (
            sum(self._losses) / known
            if known >= _LOSS_WINDOW // 2
            else max(_SUSPECTED, sum(self._losses) / max(known, 1))
        )

    def lost(self) -> None:
        """A message is given up."""
        self._losses.append(True)

    def came(self, sent: float, arrived: float, size: int, now: float) -> None:
        """A message came.

        Args:
            sent: when, by our clock; arrived: when, by the other side's.
            size: bytes on the wire.
        """
        self._losses.append(False)
        self._heard = now
        transit = arrived - sent
        while self._transits and self._transits[-1][1] >= transit:
            self._transits.pop()
        self._transits.append((now, transit))
        while self._transits[0][0] < now - _WINDOW:
            self._transits.popleft()
        self._came.append((arrived, size))
        while self._came[0][0] < arrived - _RECENT:
            self._came.popleft()
        own = 8 * size / max(self.rate, 1)  # a message longer than others takes longer without any queue
        self._waited.append((now, max(transit - self._transits[0][1] - min(own, 0.25), 0.0)))
        while len(self._waited) > (2 if self._waited[0][0] < now - _STANDING else _ENOUGH):
            self._waited.popleft()
        self.queue = min(wait for _, wait in self._waited)
        self._adapt(now)

    def handle_timer(self, now: float, oldest: float | None) -> None:
        """Call it now and then with when the oldest unreported message was sent: silence is a full queue, too."""
        if oldest is not None and now - max(oldest, self._heard, self._changed) > _SILENCE:
            self._note_full(now, self.rate / 2)
        elif self._carried is not None:
            self._cruise(now, self._carried)

    def _adapt(self, now: float) -> None:
        self._worst = max(self._worst, self.queue)
        if self.queue > _FULL and now > self._changed + _FALL_INTERVAL + min(2 * self.queue, 1.0):
            self._note_full(now, self._arriving())
        elif self._carried is None and self.queue < _EMPTY and now >= self._changed + _START_INTERVAL:
            self._changed = now
            self.rate = max(self.rate, min(self.rate * _START_GAIN, _HEADROOM * max(self._arriving(), START), MOST))

    def _note_full(self, now: float, carried: float) -> None:
        """The queue in front of the link is full while so much comes out of it."""
        known = carried if self._carried is None else min(carried, _PROBE_GAIN * self._carried)
        self._carried, self._changed, self._probe = min(max(known, LEAST), MOST), now, None
        self._next_probe = now + self._pause
        self._pause = min(2 * self._pause, _MOST_PAUSE)
        self.rate = max((_DRAIN if self.queue < 0.3 else _DRAIN / 2) * self._carried, LEAST)

    def _cruise(self, now: float, carried: float) -> None:
        if self._probe is None and now >= self._next_probe and self.queue < _EMPTY:
            self._probe, self._worst = now, 0.0
        if self._probe is not None and now >= self._probe + _SETTLE:
            self._judge(now, carried)
        elif self._probe is not None and now < self._probe + _PROBE:
            self.rate = min(_PROBE_GAIN * carried, MOST)
        elif now > self._changed + _SETTLE or self._probe is not None:
            self.rate = max(_CRUISE * carried, LEAST)

    def _judge(self, now: float, carried: float) -> None:
        """A probe is over: where it did not fill the queue, the link carries what came."""
        self._probe = None
        if self._worst < _FULL / 2:
            came = min(self._arriving(), _PROBE_GAIN * carried)
            self._carried, self._pause = max(carried, came), _PAUSE
            self._next_probe = now + (0.5 if came > carried else self._pause)
        else:
            self._next_probe, self._pause = now + self._pause, min(2 * self._pause, _MOST_PAUSE)

    def _arriving(self) -> float:
        """Bits per second that came lately, by the other side's clock: what the link carries when it is full."""
        if len(self._came) < 3:
            return self.rate
        first, last = min(came[0] for came in self._came), max(came[0] for came in self._came)
        size = sum(came[1] for came in self._came) * (1 - 1 / len(self._came))
        return 8 * size / max(last - first, 0.8) / (1 - min(self.loss, 0.4))


def best_way(choices: Sequence[Way], rate: float, loss: float = 0.0, now_used: Way | None = None) -> Way:
    """The quickest way that fits the rate, with as many copies as the loss asks for, and more where there is room.

    A richer one than now is taken only with room to spare, so that it does not flap.
    """
    least = sum(loss > limit for limit in _LOSSES)
    limit = min(rate, max(now_used.bits, rate / _CAREFUL)) if now_used else rate
    fitting = [way for way in choices if way.bits <= limit and way.copies >= least]
    quick = [way for way in fitting if way.frames <= _QUICK]
    cheapest = min(choices, key=lambda way: way.bits)
    return max(quick or fitting, key=lambda way: way.bits if quick else -way.frames, default=cheapest)

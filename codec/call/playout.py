"""When the frames of a call fall due: as early as the network allows, plus a fixed delay that absorbs its jitter.

The sender's clock is known from frame numbers: frame n was captured at n / fps. The fastest datagram of the last
seconds tells the offset between that clock and ours, and the offset may drift. Packets wait in `codec.reassembly`; this
module only says for how long. Callers say what time it is, in seconds.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction

_WINDOW = 10.0  # seconds over which the fastest datagram is determined
_SLEW = 0.02  # seconds per second by which playout may slow down to follow a drifting clock
_JUMP = 2.0  # seconds; after a larger step of the clock, playout starts anew


class PlayoutClock:
    """See the module.

    Args:
        fps: frames per second.
        delay: seconds from the earliest possible moment to playout.

    Attributes:
        restarts: how often the sender's clock has jumped.
    """

    def __init__(self, fps: Fraction, delay: float) -> None:
        self._fps, self._delay = fps, delay
        self._base: float | None = None  # when frame 0 came, or would have
        self._moved = 0.0
        self._least: deque[tuple[float, float]] = deque()  # (when, frame 0's time of arrival), rising in both
        self.restarts = 0

    def arrived(self, frame: int, now: float) -> None:
        """A datagram came whose newest frame is this."""
        start = now - float(frame / self._fps)
        if self._base is not None and abs(start - self._base) > _JUMP + self._delay:
            self._base, self.restarts = None, self.restarts + 1
            self._least.clear()
        while self._least and self._least[-1][1] >= start:
            self._least.pop()
        self._least.append((now, start))
        while self._least[0][0] < now - _WINDOW:
            self._least.popleft()
        least = self._least[0][1]
        if self._base is None or least < self._base:
            self._base = least
        else:
            self._base += min(least - self._base, _SLEW * (now - self._moved))
        self._moved = now

    def time_of(self, frame: int) -> float | None:
        """When frame `frame` falls due; None before anything came."""
        return None if self._base is None else self._base + self._delay + float(frame / self._fps)

    def newest_due(self, now: float) -> int | None:
        """The newest frame that falls due up to `now`; None before the first."""
        if self._base is None or now < self._base + self._delay:
            return None
        return int((now - self._base - self._delay) * float(self._fps) + 1e-9)

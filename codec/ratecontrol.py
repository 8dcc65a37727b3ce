"""How finely each frame is coded: always as finely (constant quality), or so that the bits fit (constant rate).

    plan.quality   on the scale of `codec.decisions` for the next frame; None: the nearest integers, whatever they cost
    plan.room      bits that the next frame may have
    plan.spend(n)  the frame took n bits

Sender only: what a plan does is invisible in the format. Counted are the payloads of packets ("motion bits"), not
their heads and checksums.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from fvc.codec.decisions import BEST, LOWEST
from fvc.codec.errors import UsageError

MIN_KBPS, WINDOW = 0.5, 2.0  # the least rate that may be asked for; seconds over which it is kept
_AIM = 0.97  # of the rate is aimed at; the rest is for what cannot be foreseen
_STEP = 6.0  # points of quality for a frame that is twice as large as it should be


class Plan(Protocol):
    """See the module."""

    @property
    def quality(self) -> float | None: ...  # noqa: D102
    @property
    def room(self) -> float: ...  # noqa: D102
    def spend(self, bits: int) -> None: ...  # noqa: D102


class ConstantQuality:
    """Every frame alike. Raises UsageError for a quality that is not 0 to 100."""

    room = math.inf

    def __init__(self, quality: float | None) -> None:
        if quality is not None and not LOWEST <= quality <= BEST:
            raise UsageError(f"--quality {quality:g}: must be {LOWEST:g} (smallest) to {BEST:g} (best)")
        self.quality = quality

    def spend(self, bits: int) -> None:
        """Nothing follows from it."""


class ConstantRate:
    """At most `kbps` in any two seconds (the first frame alone may take more), and about as much as that on average.

    Quality follows what the last frames took. A frame that would not fit into its two seconds is coded again more
    coarsely (`quality` falls with each trial), and left out if that does not help: the receiver holds its last picture.

    Raises UsageError for a rate below 0.5.
    """

    def __init__(self, kbps: float, fps: float) -> None:
        if not MIN_KBPS <= kbps < math.inf:
            raise UsageError(f"--kbps {kbps:g}: must be at least {MIN_KBPS:g}")
        frames = max(round(WINDOW * fps), 1)
        self._budget = 1000 * kbps * WINDOW
        self._last: deque[int] = deque(maxlen=frames - 1)
        self._share = _AIM * self._budget / frames
        self._debt = 0.0  # bits that were taken beyond the frames' shares
        self.quality = 50.0 if kbps < 1.5 else 75.0

    @property
    def room(self) -> float:
        """Bits that are left of the two seconds that end with the next frame."""
        return self._budget - sum(self._last)

    def spend(self, bits: int) -> None:
        """Notes what a frame took; quality falls while frames take more than their share, and rises again."""
        self._last.append(bits)
        self._debt = max(self._debt + bits - self._share, -self._budget / 4)
        trend = _STEP * min(max(bits / self._share - 1, -1.0), 1.0) / 4
        debt = _STEP * self._debt / self._budget
        self.quality = min(max(self.quality - trend - debt, LOWEST), BEST)

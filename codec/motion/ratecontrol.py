"""How finely each frame is coded: always as finely (constant quality), or so that the bits fit (constant rate).

    plan.quality   on the scale of `codec.motion.rdo` for the next frame; None: the nearest integers, whatever they cost
    plan.room      bits that the next frame may have if it is a keyframe
    plan.motion_room  the same if it is not
    plan.spend(n, quality)  the frame took n bits, coded with this quality; None: it was left out
    plan.defer_keyframe()  a keyframe is due and there was no room for it: it is tried again with the next frame

Sender only: what a plan does is invisible in the format. Counted are the payloads of packets ("motion bits"), not
their heads and checksums.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from fvc.codec.errors import OptionError
from fvc.codec.motion.rdo import BEST, DEFAULT_QUALITY, LOWEST

MIN_KBPS, WINDOW = 0.5, 2.0  # the least rate that may be asked for; seconds over which it is kept
_RESERVE = 0.1  # of the two seconds' bits are kept for what cannot be foreseen
COARSEST = 18.0  # quality: below it, errors grow faster than bits fall, and leaving out frames is better
_COARSER = 15.0  # by how much quality falls from one attempt to the next
_START = ((0.8, 40.0), (1.2, 50.0), (2.0, 70.0), (math.inf, 90.0))  # (kbps below this, quality to begin with)


class Plan(Protocol):
    """See the module."""

    @property
    def quality(self) -> float | None: ...
    @property
    def room(self) -> float: ...
    @property
    def motion_room(self) -> float: ...
    def spend(self, bits: int, quality: float | None) -> None: ...
    def defer_keyframe(self) -> None: ...


class ConstantQuality:
    """Every frame alike. Raises OptionError for a quality that is not 0 to 100."""

    room = motion_room = math.inf

    def __init__(self, quality: float | None = DEFAULT_QUALITY) -> None:
        if quality is not None and not LOWEST <= quality <= BEST:
            raise OptionError("quality", f"{quality:g}", f"must be {LOWEST:g} (smallest) to {BEST:g} (best)")
        self.quality = quality

    def spend(self, bits: int, quality: float | None) -> None:
        """Nothing follows from it."""

    def defer_keyframe(self) -> None:
        """There is always room."""


class ConstantRate:
    """At most `kbps` in any two seconds, and about as much as that on average where motion needs it.

    Each frame has a share of what is left of the two seconds that end with it; quality follows from how much the last
    frame took of its share. A frame that would take more than twice that is coded again more coarsely, and left out if
    there is no room even for the coarsest: the receiver holds its last picture. Only the first frame, a keyframe, is
    sent in any case.

    Raises OptionError for a rate below 0.5.
    """

    def __init__(self, kbps: float, fps: float) -> None:
        if not MIN_KBPS <= kbps < math.inf:
            raise OptionError("kbps", f"{kbps:g}", f"must be at least {MIN_KBPS:g}")
        frames = max(round(WINDOW * fps), 2)
        self._budget = 1000 * kbps * WINDOW
        self._last: deque[int] = deque(maxlen=frames - 1)
        self._even = (1 - _RESERVE) * self._budget / frames
        self._saving = False
        self._left_out = 0  # frames in a row
        self.quality = next(quality for below, quality in _START if kbps < below)

    @property
    def _left(self) -> float:
        """Bits that are left of the two seconds that end with the next frame."""
        return self._budget - sum(self._last)

    @property
    def _share(self) -> float:
        """Bits that the next frame should have."""
        share = self._even * min(self._left / (_RESERVE * self._budget), 1.0)
        return max(share / 2 if self._saving else share, 1.0)

    @property
    def room(self) -> float:
        return self._left

    @property
    def motion_room(self) -> float:
        return min(self._left, max(2 * self._share, 0.8 * self._even) * (1 + self._left_out))

    def spend(self, bits: int, quality: float | None) -> None:
        """Notes what a frame took; quality falls when it took more than its share, and rises when it took less."""
        self._left_out = 0 if bits else self._left_out + 1
        if quality is not None:
            change = 12 * math.log2(max(bits, 4) / self._share)
            self.quality = min(max(quality - min(max(change, -4.0), 10.0), COARSEST), BEST)
        self._last.append(bits)
        self._saving = False

    def defer_keyframe(self) -> None:
        self._saving = True


class Sized(Protocol):
    """A frame coded on trial."""

    @property
    def bits(self) -> int: ...


Attempt = TypeVar("Attempt", bound=Sized)


def fit(quality: float | None, code: Callable[[float | None], Attempt], room: float, must_send: bool) -> Attempt | None:
    """Codes a frame more and more coarsely until it has at most `room` bits; None where no quality is coarse enough.

    Args:
        quality: of the first attempt; None: there is only one attempt, with the nearest integers.
        code: codes the frame at a quality.
        must_send: take the coarsest attempt rather than none.
    """
    while True:
        attempt = code(quality)
        is_coarsest = quality is None or quality <= COARSEST
        if attempt.bits <= room or (must_send and is_coarsest):
            return attempt
        if quality is None or is_coarsest:
            return None
        quality = max(quality - _COARSER, COARSEST)

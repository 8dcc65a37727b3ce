"""Rate control: the quality of each frame, either constant or such that a bit rate is kept.

Sender only: decisions of a plan are not visible in the format. Bits are those of packet payloads ("motion bits"),
without packet headers and checksums.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from fvc.codec.base.errors import OptionError
from fvc.codec.motion.rdo import BEST, DEFAULT_QUALITY, LOWEST

MIN_KBPS = 0.5  # the lowest rate that may be asked for
WINDOW = 2.0  # seconds: the rate is kept in any window of this length
COARSEST = 18.0  # quality: below it errors grow faster than bits fall, and dropping frames is better
_RESERVE = 0.1  # share of a window's bits that is kept for motion that cannot be foreseen
_RETRY_STEP = 15.0  # by how much quality falls from one attempt at a frame to the next
_START = ((0.8, 40.0), (1.2, 50.0), (2.0, 70.0), (math.inf, 90.0))  # (upper bound in kbit/s, initial quality)
_QUALITY_SLOPE = 12.0  # fall of quality for each doubling of a frame's bits relative to its share
_MAX_RISE, _MAX_FALL = 4.0, 10.0  # of quality from one frame to the next


class Plan(Protocol):
    """Decides how finely each frame is coded, from the bits of the frames before."""

    @property
    def quality(self) -> float | None:
        """Of the next frame, on the scale of `codec.motion.rdo`; None: the nearest integers, whatever they cost."""

    @property
    def room(self) -> float:
        """Bits that the next frame may take as a keyframe."""

    @property
    def motion_room(self) -> float:
        """Bits that it may take as a motion frame."""

    def spend(self, bits: int, quality: float | None) -> None:
        """Records the bits of a frame and its quality; None: its size says nothing about what motion costs."""

    def defer_keyframe(self) -> None:
        """Records that a keyframe was due and did not fit; the next frame tries again."""


class ConstantQuality:
    """The same quality for every frame. Raises OptionError for a quality outside 0..100."""

    room = motion_room = math.inf

    def __init__(self, quality: float | None = DEFAULT_QUALITY) -> None:
        if quality is not None and not LOWEST <= quality <= BEST:
            raise OptionError("quality", f"{quality:g}", f"must be {LOWEST:g} (smallest) to {BEST:g} (best)")
        self.quality = quality

    def spend(self, bits: int, quality: float | None) -> None:
        """Does nothing: quality does not depend on bits."""

    def defer_keyframe(self) -> None:
        """Is never called: there is always room."""


class ConstantRate:
    """At most `kbps` in any window of two seconds, and about that on average where there is motion.

    Each frame gets a share of the bits left in the window that ends with it. Quality falls when a frame took more than
    its share, and rises when it took less. A frame that needs more than twice its share is coded again, more coarsely;
    if even the coarsest does not fit it is dropped, and the receiver holds its last picture. The first frame, a
    keyframe, is always sent.

    Raises OptionError for a rate below 0.5.
    """

    def __init__(self, kbps: float, fps: float) -> None:
        if not MIN_KBPS <= kbps < math.inf:
            raise OptionError("motion_kbps", f"{kbps:g}", f"must be at least {MIN_KBPS:g}")
        frames = max(round(WINDOW * fps), 2)
        self._budget = 1000 * kbps * WINDOW
        self._last: deque[int] = deque(maxlen=frames - 1)
        self._even = (1 - _RESERVE) * self._budget / frames
        self._keyframe_deferred = False
        self._dropped = 0  # frames in a row
        self.quality = next(quality for below, quality in _START if kbps < below)

    @property
    def _left(self) -> float:
        """Bits left in the window that ends with the next frame."""
        return self._budget - sum(self._last)

    @property
    def _share(self) -> float:
        """Bits that the next frame should take."""
        share = self._even * min(self._left / (_RESERVE * self._budget), 1.0)
        return max(share / 2 if self._keyframe_deferred else share, 1.0)

    @property
    def room(self) -> float:
        return self._left

    @property
    def motion_room(self) -> float:
        return min(self._left, max(2 * self._share, 0.8 * self._even) * (1 + self._dropped))

    def spend(self, bits: int, quality: float | None) -> None:
        self._dropped = 0 if bits else self._dropped + 1
        if quality is not None:
            fall = _QUALITY_SLOPE * math.log2(max(bits, 4) / self._share)
            self.quality = min(max(quality - min(max(fall, -_MAX_RISE), _MAX_FALL), COARSEST), BEST)
        self._last.append(bits)
        self._keyframe_deferred = False

    def defer_keyframe(self) -> None:
        self._keyframe_deferred = True


def attempts(quality: float | None) -> Iterator[float | None]:
    """The qualities at which a frame is tried until it fits: falling, down to `COARSEST`.

    None, the nearest integers, is tried alone.
    """
    yield quality
    while quality is not None and quality > COARSEST:
        quality = max(quality - _RETRY_STEP, COARSEST)
        yield quality

"""Where the keypoints were lately: what a drawn frame takes from those before it (bitstream_spec.md, section 8.2).

A source that is left for another one takes with it what only it shows, as a hand. So that this fades and does not jump,
the networks are told the last poses too. Pictures still depend on samples alone, and can be drawn in any order.
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction

import numpy as np

from fvc.codec.sample import KEYPOINTS, DrivingSample

MOMENTS = 4
_APART = Fraction(1, 15)  # seconds between them


class Recent:
    """Adds to each sample that is shown the positions of `MOMENTS` before it. Keeps less than a second of them."""

    def __init__(self, fps: Fraction) -> None:
        self._back = [math.floor(k * _APART * fps + Fraction(1, 2)) for k in range(1, MOMENTS + 1)]  # frames
        self._shown: deque[tuple[int, np.ndarray]] = deque()

    def __call__(self, index: int, sample: DrivingSample) -> dict[str, np.ndarray]:
        """What to draw as frame `index`: the sample's parts, and "recent", float32 [MOMENTS, K, 2].

        These are the positions of the sample's K keypoints (sup, then unsup) in the frames shown last 1, 2, 3 and 4
        fifteenths of a second before, newest first; before the first frame, as in that. Indices rise.
        """
        position = np.concatenate([sample.parts[part] for part in KEYPOINTS if part in sample.parts])
        self._shown.append((index, position))
        while len(self._shown) > 1 and self._shown[1][0] <= index - self._back[-1]:
            self._shown.popleft()
        recent = [self._at(index - back) for back in self._back]
        return {**sample.parts, "recent": np.stack(recent)}

    def _at(self, index: int) -> np.ndarray:
        shown = (position for number, position in reversed(self._shown) if number <= index)
        return next(shown, self._shown[0][1])

"""The inputs of one picture: a driving sample, and where the head was just before (bitstream_spec.md, 8.2).

When blending moves from one source to another, content that only the first one shows (a hand, say) disappears. The
networks get the last few positions, so that it fades instead of popping. A picture still depends on its `DrawInputs`
alone: pictures can be drawn in any order and by several threads.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from fvc.codec.motion.sample import KEYPOINTS, DrivingSample

MOMENTS = 4  # earlier positions that a picture depends on
_INTERVAL = Fraction(1, 15)  # seconds from one to the next


@dataclass(frozen=True)
class DrawInputs:
    """Everything that one picture is drawn from.

    Attributes:
        parts: those of the driving sample, float32 (see `codec.motion.sample`).
        recent_positions: float32 [MOMENTS, K, 2], the positions of the sample's K keypoints (sup, then unsup) 1, 2, 3
            and 4 fifteenths of a second before, newest first.
        frame: its number in the stream.
    """

    parts: Mapping[str, np.ndarray]
    recent_positions: np.ndarray
    frame: int = 0

    @classmethod
    def still(cls, sample: DrivingSample) -> DrawInputs:
        """The inputs for a head that has not moved."""
        return cls(sample.parts, positions(sample.parts)[None].repeat(MOMENTS, 0))


class PoseHistory:
    """The positions of recently shown frames: less than half a second of them."""

    def __init__(self, fps: Fraction) -> None:
        self._frames_back = [math.floor(k * _INTERVAL * fps + Fraction(1, 2)) for k in range(1, MOMENTS + 1)]
        self._shown: deque[tuple[int, np.ndarray]] = deque()

    def add(self, index: int, sample: DrivingSample, is_cut: bool = False) -> DrawInputs:
        """Takes the sample of frame `index`; returns its inputs. Indices rise. Before the first, the head was still.

        Args:
            is_cut: the frame begins a new scene, and counts as the first.
        """
        if is_cut:
            self._shown.clear()
        self._shown.append((index, positions(sample.parts)))
        while len(self._shown) > 1 and self._shown[1][0] <= index - self._frames_back[-1]:
            self._shown.popleft()
        return DrawInputs(sample.parts, np.stack([self._at(index - back) for back in self._frames_back]), index)

    def _at(self, index: int) -> np.ndarray:
        shown = (position for number, position in reversed(self._shown) if number <= index)
        return next(shown, self._shown[0][1])


def positions(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The keypoints of a sample, float32 [K, 2]: sup, then unsup, as far as the sample has them."""
    return np.concatenate([parts[part] for part in KEYPOINTS if part in parts])

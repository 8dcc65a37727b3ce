"""Scene cuts: whether a frame begins a new scene, told from small pictures of it and of the frame before.

The difference of two thumbnails is compared with that of the last frames, so that neither a busy background nor a fast
head passes for a cut. What fades or flashes keeps its structure, and so is no cut either.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from statistics import median

import cv2
import numpy as np

_SIDE = 32  # pixels, of a thumbnail
_MEMORY = 8  # frames with whose differences a new one is compared
_QUIET = 2.0  # levels: the smallest difference from one frame to the next that is compared with
_UNKNOWN = 4.0  # levels: what is compared with at the start of a video
_RISE = 5.0  # a cut differs by this many times as much as the last frames
_ALIKE = 0.85  # correlation from which two thumbnails show one scene
# Measured on every fourth training clip at 15 fps (14 455 frames): 15 frames pass for cuts, most of which are.


class Change(Enum):
    """What a frame is to the one before."""

    NONE = "the same scene"
    SUDDEN = "a sudden change: perhaps a cut with the same background"
    CUT = "a new scene"


class CutDetector:
    """Looks at the frames of one video in order; keeps one thumbnail."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._differences = deque([_UNKNOWN] * (_MEMORY // 2), _MEMORY)

    def look(self, rgb: np.ndarray) -> Change:
        """How the frame `rgb` (uint8 [H, W, 3]) follows the one before; the first one follows without a change."""
        last, self._last = self._last, thumbnail(rgb)
        if last is None:
            return Change.NONE
        difference = cv2.norm(self._last, last, cv2.NORM_L1) / last.size
        usual = max(median(self._differences), _QUIET)
        self._differences.append(difference)
        if difference < _RISE * usual / 2:
            return Change.NONE
        is_cut = difference >= _RISE * usual and correlation(self._last, last) < _ALIKE
        return Change.CUT if is_cut else Change.SUDDEN


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """uint8 [32, 32, 3]; of large frames it averages only some rows and columns, to save time."""
    height, width = rgb.shape[:2]
    step = max(min(height, width) // (4 * _SIDE), 1)
    some = cv2.resize(rgb, (width // step, height // step), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(some, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two thumbnails, whatever their brightness and contrast."""
    a, b = (x - x.mean((0, 1)) for x in (a, b))
    return float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-6))

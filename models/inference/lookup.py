"""Colours looked up in the sources, with OpenCV on bytes: in half the time that a network takes.

A composed generator draws in two graphs (`export.openvino_graphs`), and this stands between and after them:

    moved     where the sources are sampled, and what each weighs, at 64x64 pixels
    here      -> both enlarged; the sources' colours at these places, summed by the weights
    redrawn   these colours at 256x256 -> the picture redrawn, and where the looked-up colours are kept
    here      -> both enlarged to the picture's side, and put together
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fvc.codec.base.constants import SIDE

_LEAST = 1 / 512  # a source that weighs less everywhere changes no byte


class LookUp:
    """Memory for the pictures of one frame at a time, so that none is allocated for each.

    Args:
        sources: the most that a frame is drawn from. side: of the pictures, 256 or 512 pixels.
    """

    def __init__(self, sources: int, side: int) -> None:
        self._side = side
        self._places = np.empty((side, side, 2), np.float32)
        self._colours = np.empty((sources, side, side, 3), np.uint8)
        self._weights = np.empty((sources, side, side), np.float32)

    def sampled(self, pictures: Sequence[np.ndarray], flow: np.ndarray, blend: np.ndarray) -> np.ndarray:
        """The colours of N sources where the flow leads, summed by the weights.

        Args:
            pictures: uint8 [S, S, 3] each.
            flow: [N, 64, 64, 2]: places in the sources, x and y in [-1, 1]; beyond the border its pixels repeat.
            blend: [N, 1, 64, 64]: weights, which sum to 1 over the sources.

        Returns:
            uint8 [S, S, 3], valid until the next call.
        """
        at = flow * (self._side / 2) + (self._side - 1) / 2
        weights = blend[:, 0] if self._side == SIDE else _sharpened(blend[:, 0])
        used = [n for n in range(len(pictures)) if not weights[n].max() < _LEAST]  # what is no number counts
        for n in used:
            cv2.resize(at[n], self._places.shape[:2], dst=self._places)
            cv2.remap(pictures[n], self._places, None, cv2.INTER_LINEAR, self._colours[n], cv2.BORDER_REPLICATE)
            cv2.resize(weights[n], self._places.shape[:2], dst=self._weights[n])
        first = used[0]
        for n in used[1:]:
            self._sum(self._colours[n], self._weights[n], self._colours[first], self._weights[first])
        return self._colours[first]

    def put_together(self, rgb: np.ndarray, redrawn: np.ndarray) -> np.ndarray:
        """The picture, uint8 [S, S, 3], a new array.

        Args:
            rgb: of `sampled`.
            redrawn: uint8 [256, 256, 4]: a picture, and how much of `rgb` takes its place, of 255.
        """
        keep = cv2.extractChannel(redrawn, 3).astype(np.float32) / 255
        drawn = cv2.cvtColor(redrawn, cv2.COLOR_RGBA2RGB)
        if self._side != SIDE:
            drawn, keep = (cv2.resize(given, (self._side, self._side)) for given in (drawn, keep))
        picture: np.ndarray = cv2.blendLinear(rgb, drawn, keep, 1 - keep)
        return picture

    @staticmethod
    def _sum(colours: np.ndarray, weights: np.ndarray, total: np.ndarray, weight: np.ndarray) -> None:
        """Adds to `total`, the mean of what weighs `weight` so far."""
        cv2.blendLinear(total, colours, weight, weights, dst=total)
        cv2.add(weight, weights, dst=weight)


def _sharpened(blend: np.ndarray) -> np.ndarray:
    """Weights [N, 64, 64] for pictures of 512 pixels, at which sources that do not quite agree blur each other more."""
    squares = np.square(blend)
    sharp: np.ndarray = squares / squares.sum(0)
    return sharp

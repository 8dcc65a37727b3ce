"""Plain margins around a picture. Needs NumPy only: machines that train have no video library."""

from __future__ import annotations

import numpy as np


def with_margins(rgb: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """A picture with plain margins of these widths in pixels, each in the mean colour of the edge next to it.

    Black would stand out where a face is near the edge, and streaks that continue the picture cost bits.

    Args:
        rgb: uint8 [H, W, 3].

    Returns:
        uint8 [top + H + bottom, left + W + right, 3].
    """
    height, width = rgb.shape[:2]
    out = np.empty((top + height + bottom, left + width + right, 3), np.uint8)
    inside = out[top : top + height]
    inside[:, left : left + width] = rgb
    inside[:, :left], inside[:, left + width :] = _mean_colour(rgb[:, 0]), _mean_colour(rgb[:, -1])
    out[:top], out[top + height :] = _mean_colour(rgb[0]), _mean_colour(rgb[-1])
    return out


def _mean_colour(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels.mean(0)).astype(np.uint8)

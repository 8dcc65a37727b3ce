"""How different two pictures look, from edges alone: for senders, who have no network that judges pictures.

Edges in eight directions at three scales, divided by how strong the edges of that place are, as the first layers of
networks see them. Where it was compared with LPIPS it ranks two versions of a picture alike far more often than the
squared error or SSIM do, which take blur for little (training/LOG.md).
"""

from __future__ import annotations

import cv2
import numpy as np

_SCALES = (1, 2, 4)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FLOOR = 4.0  # squared levels: edges weaker than this count as none


def edge_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The mean squared difference of normalised edges of two pictures, uint8 RGB [H, W, 3]; 0: none, 2: at most."""
    total = 0.0
    for scale in _SCALES:
        first, second = (_edges(_luma(picture, scale)) for picture in (a, b))
        total += float(np.square(first - second).sum(-1).mean())
    return total / len(_SCALES)


def _luma(picture: np.ndarray, scale: int) -> np.ndarray:
    luma = picture.astype(np.float32) @ _LUMA
    height, width = luma.shape
    return luma if scale == 1 else cv2.resize(luma, (width // scale, height // scale), interpolation=cv2.INTER_AREA)


def _edges(luma: np.ndarray) -> np.ndarray:
    """[H, W, 8]: how much brighter it gets in each of eight directions, of unit length where there is an edge."""
    x, y = (cv2.Sobel(luma, cv2.CV_32F, dx, 1 - dx, ksize=3) / 8 for dx in (1, 0))
    slants = [x, y, np.sqrt(0.5) * (x + y), np.sqrt(0.5) * (x - y)]
    directed = [np.maximum(sign * slant, 0) for slant in slants for sign in (1, -1)]
    edges = np.stack([cv2.blur(one.astype(np.float32), (3, 3)) for one in directed], -1)
    return edges / np.sqrt(np.square(edges).sum(-1, keepdims=True) + _FLOOR)

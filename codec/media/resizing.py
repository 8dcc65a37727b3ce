"""Square pictures at another size."""

from __future__ import annotations

import cv2
import numpy as np


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A square picture, uint8 RGB, at another size: averaged when it gets smaller, bicubic when it gets larger."""
    if picture.shape[0] == side:
        return picture
    how = cv2.INTER_AREA if side < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how))

"""The fixed square crop: choosing it, cutting it out, pasting the drawn face back. Knows nothing about networks.

One crop per clip (a moving one would have to be sent, and would make the background swim). It is the square around
everywhere the face went, with room for hair and shoulders, moved and shrunk to stay inside the frame where that is
possible.
"""

from __future__ import annotations

import cv2
import numpy as np

from fvc.codec.constants import MAX_CROP_SIDE, SIDE
from fvc.codec.wire.bitstream import Crop

_ROOM = 1.75  # side of the crop over the extent of all landmarks; the training clips have 1.76 (median)
_LEAST_ROOM = 1.25  # what is accepted rather than leave the frame
_FEATHER = 0.06  # width of the seam over the side of the crop
_BAND = 256  # rows that are blended at a time


def choose_crop(boxes: np.ndarray, width: int, height: int) -> Crop:
    """The crop for a clip.

    Args:
        boxes: [T, 4], left, top, right, bottom of the landmarks in each frame with a face, pixels.
        width, height: of the upright frame.
    """
    left, top = boxes[:, :2].min(0)
    right, bottom = boxes[:, 2:].max(0)
    extent = float(max(right - left, bottom - top, 8.0))
    side = extent * _ROOM
    inside = min(width, height)
    if side > inside:
        side = max(float(inside), extent * _LEAST_ROOM)
    side = int(np.clip(round(side), 16, MAX_CROP_SIDE))

    def place(low: float, high: float, limit: int) -> int:
        start = round((low + high - side) / 2)
        return int(np.clip(start, 0, limit - side)) if side <= limit else int(np.clip(start, limit - side, 0))

    return Crop(width, height, place(left, right, width), place(top, bottom, height), side)


def cut(rgb: np.ndarray, crop: Crop) -> np.ndarray:
    """uint8 [H, W, 3] of the crop's frame size -> uint8 [256, 256, 3]; beyond the frame its border goes on."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = max(crop.x, 0), max(crop.y, 0), min(crop.x + crop.side, width), min(crop.y + crop.side, height)
    square = rgb[y0:y1, x0:x1]
    if square.shape[:2] != (crop.side, crop.side):
        margins = (y0 - crop.y, crop.y + crop.side - y1, x0 - crop.x, crop.x + crop.side - x1)
        square = cv2.copyMakeBorder(square, *margins, borderType=cv2.BORDER_REPLICATE)
    how = cv2.INTER_AREA if crop.side > SIDE else cv2.INTER_CUBIC
    return square if crop.side == SIDE else cv2.resize(square, (SIDE, SIDE), interpolation=how)


def to_crop(points: np.ndarray, crop: Crop) -> np.ndarray:
    """Pixels of the frame [..., 2] -> [-1, 1] of the crop, float32."""
    return ((points - [crop.x, crop.y]) * (2 / crop.side) - 1).astype(np.float32)


def paste(canvas: np.ndarray, picture: np.ndarray, crop: Crop) -> np.ndarray:
    """A copy of `canvas` [H, W, 3] with the picture [256, 256, 3] in the crop's place, feathered at the seam."""
    interpolation = cv2.INTER_AREA if crop.side < SIDE else cv2.INTER_CUBIC
    square = picture
    if crop.side != SIDE:
        square = cv2.resize(picture, (crop.side, crop.side), interpolation=interpolation)
    distance = np.minimum(np.arange(crop.side) + 0.5, np.arange(crop.side)[::-1] + 0.5)
    ramp = distance / (_FEATHER * crop.side)
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = max(crop.x, 0), max(crop.y, 0), min(crop.x + crop.side, width), min(crop.y + crop.side, height)
    out = canvas.copy()
    if x0 >= x1:
        return out
    columns = slice(x0 - crop.x, x1 - crop.x)
    for top in range(y0, y1, _BAND):  # floats of a band at a time: crops may be thousands of pixels wide
        bottom = min(top + _BAND, y1)
        rows = slice(top - crop.y, bottom - crop.y)
        weight = np.clip(np.minimum.outer(ramp[rows], ramp[columns]), 0, 1)[..., None].astype(np.float32)
        mixed = square[rows, columns] * weight + out[top:bottom, x0:x1] * (1 - weight)
        out[top:bottom, x0:x1] = np.rint(mixed).astype(np.uint8)
    return out

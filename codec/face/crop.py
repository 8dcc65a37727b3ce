"""The fixed square crop: choosing it, cutting it out, pasting the drawn face back. Knows nothing about networks.

There is one crop per clip: a moving one would have to be sent, and would make the background move. It is the square
around all positions of the face, except short excursions, with room for hair and shoulders. It is moved and shrunk to
stay inside the frame as far as the face permits; what lies outside the frame is filled with plain margins.
"""

from __future__ import annotations

import numpy as np

from fvc.codec.base.constants import MAX_CROP_SIDE, SIDE
from fvc.codec.media.margins import with_margins
from fvc.codec.media.resizing import resized
from fvc.codec.wire.bitstream import Crop

_ROOM = 1.75  # ratio of the crop's side to the extent of all landmarks; in the training clips it is 1.76 (median)
_LEAST_ROOM = 1.02  # the same for a crop that is as large as the frame allows
_OUTER_ROOM = 1.1  # the same for a crop that must extend beyond the frame, because the face needs more room
_EXCURSION = 1.5  # excursions are left out of the crop if they would make it this many times larger
_SHORT = 0.12  # at most this share of the frames counts as excursions,
_SHORT_FRAMES, _SHORT_LONG = 30, 0.04  # and at most this many frames, or this share of them if that is more
_FEATHER = 0.06  # width of the seam, as a share of the crop's side
_BAND = 256  # rows that are blended at a time


def choose_crop(boxes: np.ndarray, width: int, height: int) -> Crop:
    """The crop for a clip.

    Args:
        boxes: [T, 4], left, top, right, bottom of the landmarks in each frame with a face, pixels.
        width, height: of the upright frame.
    """
    boxes = boxes[in_usual_place(boxes)]
    left, top = boxes[:, :2].min(0)
    right, bottom = boxes[:, 2:].max(0)
    extent = _extent(boxes)
    side = extent * _ROOM
    inside = float(min(width, height))
    if side > inside:
        side = inside if extent * _LEAST_ROOM <= inside else extent * _OUTER_ROOM
    side = int(np.clip(round(side), 16, MAX_CROP_SIDE))

    def place(low: float, high: float, limit: int) -> int:
        start = round((low + high - side) / 2)
        return int(np.clip(start, 0, limit - side)) if side <= limit else int(np.clip(start, limit - side, 0))

    return Crop(width, height, place(left, right, width), place(top, bottom, height), side)


def _extent(boxes: np.ndarray) -> float:
    """Side of the smallest square around all boxes, at least 8 pixels."""
    return float(max(*(boxes[:, 2:].max(0) - boxes[:, :2].min(0)), 8.0))


def in_usual_place(boxes: np.ndarray) -> np.ndarray:
    """Selects the faces for which the crop is chosen: all but a few far from the usual position.

    These are left out only if they would make the crop much larger.

    Args:
        boxes: [T, 4], as in `choose_crop`.

    Returns:
        bool [T].
    """
    count = len(boxes)
    few = int(min(_SHORT * count, max(_SHORT_FRAMES, _SHORT_LONG * count)))
    distance = np.abs(boxes - np.median(boxes, axis=0)).max(1)
    is_usual = np.zeros(count, bool)
    is_usual[np.argsort(distance, kind="stable")[: count - few]] = True
    return is_usual if _extent(boxes) > _EXCURSION * _extent(boxes[is_usual]) else np.ones(count, bool)


def cut(rgb: np.ndarray, crop: Crop, to: int = SIDE) -> np.ndarray:
    """uint8 [H, W, 3] of the crop's frame size -> uint8 [to, to, 3]; outside the frame there are plain margins."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = max(crop.x, 0), max(crop.y, 0), min(crop.x + crop.side, width), min(crop.y + crop.side, height)
    square = rgb[y0:y1, x0:x1]
    if square.shape[:2] != (crop.side, crop.side):
        margins = (y0 - crop.y, crop.y + crop.side - y1, x0 - crop.x, crop.x + crop.side - x1)
        square = with_margins(square, *margins)
    return resized(square, to)


def to_crop(points: np.ndarray, crop: Crop) -> np.ndarray:
    """Pixels of the frame [..., 2] -> [-1, 1] of the crop, float32."""
    return ((points - [crop.x, crop.y]) * (2 / crop.side) - 1).astype(np.float32)


def is_in_crop(points: np.ndarray) -> bool:
    """Whether half of a face's landmarks ([K, 2] in [-1, 1] of the crop) lie in it: else it cannot be drawn."""
    return bool((np.abs(points) <= 1).all(-1).mean() >= 0.5)


def from_crop(points: np.ndarray, crop: Crop) -> np.ndarray:
    """[-1, 1] of the crop [..., 2] -> pixels of the frame: the inverse of `to_crop`."""
    return (points + 1) * (crop.side / 2) + [crop.x, crop.y]


def to_picture(points: np.ndarray, side: int = SIDE) -> np.ndarray:
    """[-1, 1] of the crop [..., 2] -> columns and rows of a picture of this side, whose first pixel is at (0, 0)."""
    return (points + 1) * (side / 2) - 0.5


def from_picture(points: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The inverse of `to_picture`."""
    return (points + 0.5) / (side / 2) - 1


def paste(canvas: np.ndarray, picture: np.ndarray, crop: Crop) -> np.ndarray:
    """A copy of `canvas` [H, W, 3] with the square picture [S, S, 3] at the crop's position, feathered at the seam."""
    square = resized(picture, crop.side)
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

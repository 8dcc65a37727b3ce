"""Faces in a picture, what finds them (`FaceFinder`, `BoxDetector`), and a search for small ones.

Two trackers have this interface: `codec.face.mediapipe_faces` and `codec.face.own_faces`; `codec.face.finders` chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fvc.codec.face.landmarks import CHIN, EARS, FOREHEAD, N_LANDMARKS, SUP, openness

_WINDOW = 4.0  # side of a window over the size of the face in it
_SUITABLE = (2.5, 6.0)  # the same for windows that are kept as the face moves
_MARGIN = 0.5  # of the face's size, between it and the border of a window that is kept
_MIN_TILE = 480  # pixels: side of the smallest parts of a picture in which faces are searched for
_TILE_STEP = 0.7  # of a tile's side, from one to the next
_SAME = 0.3  # intersection over union of two boxes from which they are one face
_MOST_BOXES = 4


@dataclass(frozen=True)
class Face:
    """One tracked face.

    Attributes:
        landmarks: float32 [478, 3] of MediaPipe's face mesh, or the [33, 3] of `sup` alone from our own tracker; x
            right and y down in pixels of the frame, z in the same unit, smaller is nearer.
        count: how many faces the frame showed (the largest, or the one followed so far, is this one).
    """

    landmarks: np.ndarray
    count: int = 1

    @property
    def sup(self) -> np.ndarray:
        """float32 [33, 2], contiguous as OpenCV wants it: the sup landmarks in pixels of the frame."""
        return np.ascontiguousarray(self._points[:, :2])

    @property
    def _points(self) -> np.ndarray:
        """[33, 3]."""
        return self.landmarks[list(SUP)] if len(self.landmarks) == N_LANDMARKS else self.landmarks

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom of all landmarks, pixels."""
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def size(self) -> float:
        """The longer side of `box`, pixels."""
        return _size(self.box)

    @property
    def area(self) -> float:
        """Of `box`, square pixels."""
        return _area(self.box)

    @property
    def pose(self) -> tuple[float, float, float]:
        """(yaw, pitch, roll) in radians, uncalibrated.

        Yaw > 0: the nose points to the image's right; pitch > 0: it points down; roll > 0: the head leans clockwise.
        """
        point = self._points
        x = point[EARS[1]] - point[EARS[0]]
        x = x / np.linalg.norm(x)
        y = point[CHIN] - point[FOREHEAD]
        y = y - x * float(x @ y)
        y = y / np.linalg.norm(y)
        back = np.cross(x, y)  # out of the back of the head: +z for a frontal face
        yaw, pitch = np.arctan2(-back[0], back[2]), np.arctan2(-back[1], np.hypot(back[0], back[2]))
        return float(yaw), float(pitch), float(np.arctan2(x[1], x[0]))

    @property
    def eye_openness(self) -> float:
        """Lid distance over eye width, mean of both eyes: about 0.3 open, below 0.15 closed."""
        return openness(self.sup)


Box = tuple[float, float, float, float]  # left, top, right, bottom, pixels


@dataclass(frozen=True)
class Window:
    """The part of a picture in which a face is looked for, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, box: Box, rgb: np.ndarray) -> Window | None:
        """A window of four times the face's size, as far as it is inside the picture; None: that is all of it."""
        height, width = rgb.shape[:2]
        side = _WINDOW * _size(box)
        if side >= max(width, height):
            return None
        x, y = (box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2
        left, top = max(int(x), 0), max(int(y), 0)
        right, bottom = min(int(x + side), width), min(int(y + side), height)
        return cls(left, top, right, bottom) if right > left and bottom > top else None

    def suits(self, box: Box) -> bool:
        """Whether a face that has moved to `box` can still be followed in this window."""
        size = _size(box)
        room = min(box[0] - self.left, box[1] - self.top, self.right - box[2], self.bottom - box[3])
        side = max(self.right - self.left, self.bottom - self.top)
        return room >= _MARGIN * size and _SUITABLE[0] * size <= side <= _SUITABLE[1] * size

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """The pixels inside."""
        return rgb[self.top : self.bottom, self.left : self.right]


class FaceFinder(Protocol):
    """Finds faces in pictures that follow each other, or in each by itself."""

    def find(self, rgb: np.ndarray, window: Window | None = None) -> list[Face]:
        """The faces in uint8 [H, W, 3], or in a part of it; landmarks are in pixels of the whole."""

    def restart(self) -> None:
        """Forgets where faces were."""

    def close(self) -> None:
        """Frees what the finder holds."""


class BoxDetector(Protocol):
    """Finds where faces may be in a picture, of a twentieth of its longer side or more."""

    def boxes(self, rgb: np.ndarray) -> list[Box]:
        """Their boxes in uint8 [H, W, 3], pixels."""

    def close(self) -> None:
        """Frees what the detector holds."""


class FaceSearch:
    """Finds small faces, down to 32 pixels: a detector on the picture and on parts of it.

    Where the detector finds none, it looks at overlapping tiles of half the size, and so on down to 480 pixels.
    """

    def __init__(self, detector: BoxDetector) -> None:
        self._detector = detector

    def boxes(self, rgb: np.ndarray) -> list[Box]:
        """Boxes of what may be faces, at most four, the largest first."""
        tile = max(rgb.shape[:2])
        while True:
            found = [box for window in _tiles(rgb, tile) for box in self._detect(rgb, window)]
            if found or tile <= _MIN_TILE:
                return distinct(found)
            tile = max(-(-tile // 2), _MIN_TILE)

    def _detect(self, rgb: np.ndarray, window: Window) -> Iterator[Box]:
        for left, top, right, bottom in self._detector.boxes(window(rgb)):
            yield left + window.left, top + window.top, right + window.left, bottom + window.top

    def close(self) -> None:
        """Frees the detector."""
        self._detector.close()


def _tiles(rgb: np.ndarray, side: int) -> Iterator[Window]:
    """Overlapping parts of a picture that cover it."""
    starts = []
    for length in rgb.shape[:2]:
        count = 1 if length <= side else 1 + int(np.ceil((length - side) / (_TILE_STEP * side)))
        starts.append(np.linspace(0, max(length - side, 0), count).round().astype(int).tolist())
    height, width = rgb.shape[:2]
    for top in starts[0]:
        for left in starts[1]:
            yield Window(left, top, min(left + side, width), min(top + side, height))


def distinct(boxes: list[Box]) -> list[Box]:
    """The largest boxes, each face once."""
    kept: list[Box] = []
    for box in sorted(boxes, key=_area, reverse=True):
        if all(overlap(box, other) < _SAME for other in kept):
            kept.append(box)
    return kept[:_MOST_BOXES]


def _size(box: Box) -> float:
    """The longer side."""
    return max(box[2] - box[0], box[3] - box[1])


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    inside = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return inside / max(_area(a) + _area(b) - inside, 1e-9)

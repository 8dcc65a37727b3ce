"""Our own face tracker: two small networks through OpenVINO, without MediaPipe.

A detector says where faces are (`models.landmark_net.FaceDetector`); a second network looks at the upright square
around each and gives the 33 landmarks, their depths, and whether the square shows a face (`TrackerHead`). In a sequence
the square is where the face was in the last frame, and the detector looks for further faces only.

A *place* is a square as x and y of its middle and the vector from there to the middle of its right side, in pixels:
complex numbers `middle` and `right`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fvc.codec.base.inference import compile_file
from fvc.codec.face.detection import Box, Face, Window, distinct

NETWORKS = Path(__file__).parent / "networks"
_PICTURE_SIDE, _CELLS, _FACE_SIDE = 128, 16, 96  # as in `models.landmark_net`
_SCORE = 0.3  # of a cell, from which a square is looked at: the second network refuses what is no face
_PRESENCE = 0.5  # probability from which a square shows a face
_NEAR = 1.0  # of half a side of the larger square: nearer than that, two are about one face
_STEADY = 0.08  # of half a side: a square that moves by more is looked at once more, where the face is now
_LARGE_SQUARE = 3 * _FACE_SIDE  # pixels: larger ones are averaged down before they are turned
_BOX = 0.68  # half side of a face's box, in half sides of its square


@dataclass(frozen=True)
class Place:
    """A square around a face, see the module."""

    middle: complex
    right: complex

    @property
    def half_side(self) -> float:
        """Pixels."""
        return abs(self.right)

    def is_near(self, other: Place) -> bool:
        """Whether both are about the same face."""
        return abs(self.middle - other.middle) < _NEAR * max(self.half_side, other.half_side)


@dataclass(frozen=True)
class _Networks:
    detector: Any
    landmarks: Any
    mean_face: np.ndarray  # complex [33], about 0
    scale: float  # half side of the square around a face, in distances of the mean face's farthest landmark


@cache
def _networks() -> _Networks:
    about = json.loads((NETWORKS / "about.json").read_text())
    face = np.array(about["mean_face"]) @ [1, 1j]
    scale = about["square_scale"] * np.abs(np.array(about["mean_face"])).max()
    detector, landmarks = (compile_file(NETWORKS / f"{name}.xml") for name in ("detector", "landmarks"))
    return _Networks(detector, landmarks, face, scale)


def _place_of(landmarks: np.ndarray) -> Place:
    """The square around landmarks [33, 3]: that of the mean face, moved, turned and scaled to them."""
    networks = _networks()
    points = landmarks[:, :2] @ [1, 1j]
    middle = points.mean()
    turn = np.vdot(networks.mean_face, points - middle) / np.vdot(networks.mean_face, networks.mean_face)
    return Place(complex(middle), complex(turn * networks.scale))


def _square(rgb: np.ndarray, place: Place) -> np.ndarray:
    """The pixels of a place, upright, uint8 [96, 96, 3], sampled at twice that and halved; black outside."""
    shrink = max(int(2 * place.half_side / _LARGE_SQUARE), 1)
    if shrink > 1:  # the part of the picture around the square, averaged down
        reach = 1.5 * place.half_side + shrink
        low = np.maximum([place.middle.real - reach, place.middle.imag - reach], 0).astype(int) // shrink * shrink
        part = rgb[low[1] : int(place.middle.imag + reach), low[0] : int(place.middle.real + reach)]
        height, width = (length // shrink for length in part.shape[:2])
        if not height or not width:
            return np.zeros((_FACE_SIDE, _FACE_SIDE, 3), np.uint8)
        rgb = cv2.resize(part[: height * shrink, : width * shrink], (width, height), interpolation=cv2.INTER_AREA)
        place = Place((place.middle - complex(*low)) / shrink, place.right / shrink)
    step = place.right / _FACE_SIDE  # from one sample to the next: two a pixel
    start = place.middle - 0.5 - 0.5j + (1 + 1j) * (step / 2 - place.right)
    matrix = np.array([[step.real, -step.imag, start.real], [step.imag, step.real, start.imag]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(np.ascontiguousarray(rgb), matrix, (2 * _FACE_SIDE, 2 * _FACE_SIDE), flags=flags)
    return np.asarray(cv2.resize(fine, (_FACE_SIDE, _FACE_SIDE), interpolation=cv2.INTER_AREA))


def _look(rgb: np.ndarray, place: Place) -> np.ndarray | None:
    """The landmarks [33, 3] of the face in a square, in pixels; None where it shows none."""
    found = _networks().landmarks(_square(rgb, place)[None])
    points, presence = found[0][0], float(found[1][0])
    if presence < _PRESENCE or not np.isfinite(points).all():
        return None
    turned = place.middle + place.right * (points[:, :2] @ [1, 1j])
    return np.stack([turned.real, turned.imag, points[:, 2] * place.half_side], 1).astype(np.float32)


def _detect(rgb: np.ndarray) -> list[Place]:
    """Where faces may be, likeliest first, each once."""
    side = max(rgb.shape[:2])
    height, width = (max(round(length * _PICTURE_SIDE / side), 1) for length in rgb.shape[:2])
    top, left = (_PICTURE_SIDE - height) // 2, (_PICTURE_SIDE - width) // 2
    picture = np.zeros((1, _PICTURE_SIDE, _PICTURE_SIDE, 3), np.uint8)
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    picture[0, top : top + height, left : left + width] = small
    cells = _networks().detector(picture)[0][0]
    unit = side / _PICTURE_SIDE
    places: list[Place] = []
    rows, columns = np.nonzero(cells[0] >= _SCORE)
    for n in np.argsort(-cells[0, rows, columns]):
        r, c = rows[n], columns[n]
        _, x, y, size, angle = cells[:, r, c].astype(float)
        cell = _PICTURE_SIDE / _CELLS
        middle = complex((c + 0.5 + x) * cell - left, (r + 0.5 + y) * cell - top) * unit
        right = 2 ** min(size, 1.0) * _PICTURE_SIDE / 2 * unit * np.exp(1j * angle)
        place = Place(middle, complex(right))
        if np.isfinite([middle, right]).all() and not any(place.is_near(other) for other in places):
            places.append(place)
    return places


class OwnFaces:
    """A `detection.FaceFinder` of our own networks.

    Args:
        still: find faces in every picture anew, instead of where they were in the one before.
        max_faces: how many to look for.
    """

    def __init__(self, still: bool, max_faces: int) -> None:
        self._still, self._max_faces = still, max_faces
        self._known: list[Place] = []
        _networks()

    def find(self, rgb: np.ndarray, window: Window | None = None) -> list[Face]:
        """See `detection.FaceFinder`."""
        part, corner = (rgb, 0j) if window is None else (window(rgb), complex(window.left, window.top))
        known = [] if self._still else [Place(p.middle - corner, p.right) for p in self._known]
        found = list(self._faces(part, known))
        self._known = [Place(place.middle + corner, place.right) for place, _ in found]
        shift = np.array([corner.real, corner.imag, 0], np.float32)
        return [Face(landmarks + shift, len(found)) for _, landmarks in found]

    def _faces(self, rgb: np.ndarray, known: list[Place]) -> Iterator[tuple[Place, np.ndarray]]:
        """Each face once: those that were known first, then what the detector finds beside them."""
        kept: list[Place] = []

        def add(place: Place) -> Iterator[tuple[Place, np.ndarray]]:
            for _ in range(2):
                landmarks = _look(rgb, place)
                if landmarks is None:
                    return
                before, place = place, _place_of(landmarks)
                if abs(place.middle - before.middle) + abs(place.right - before.right) < _STEADY * before.half_side:
                    break
            if landmarks is not None and not any(place.is_near(other) for other in kept):
                kept.append(place)
                yield place, landmarks

        for place in known:
            yield from add(place)
        if len(kept) < self._max_faces:
            for place in _detect(rgb):
                if len(kept) < self._max_faces and not any(place.is_near(other) for other in kept):
                    yield from add(place)

    def restart(self) -> None:
        """See `detection.FaceFinder`."""
        self._known = []

    def close(self) -> None:
        """Nothing to free: the networks serve all finders."""


class OwnBoxes:
    """A `detection.BoxDetector` of our own detector."""

    def boxes(self, rgb: np.ndarray) -> list[Box]:
        """See `detection.BoxDetector`."""
        found = []
        for place in _detect(rgb):
            x, y, half = place.middle.real, place.middle.imag, _BOX * place.half_side
            found.append((x - half, y - half, x + half, y + half))
        return distinct(found)

    def close(self) -> None:
        """Nothing to free."""

"""Samples for the networks of our own tracker: squares near faces, and pictures with faces of all sizes.

Both are altered: moved, turned, scaled, mirrored, tinted, darkened, blurred, made coarser, partly covered. Targets come
from MediaPipe's landmarks in the unaltered frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from fvc.codec.base.constants import SIDE
from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.models.landmark_net import CELLS, FACE_SIDE, PICTURE_SIDE
from fvc.training.others.student import View, place_of, tinted
from fvc.training.others.tracked_frames import TrackedFrames

Tensors = tuple[Tensor, Tensor, Tensor]
SQUARE_SCALE = 1.15  # as `student.SQUARE_SCALE`; nearer than for phones: there is a face in the last frame to go by
_MASKED = 0.08  # share of the faces that wear a mask
_ABSENT = 0.12  # share of the squares that show no face
_SMALLEST = 5.0  # half side of a face's square in pixels of the detector's input, from which it should be found
_MOST_PASTED = 3


def _points(frames: TrackedFrames, index: int) -> np.ndarray:
    """[33, 3] of a frame: x and y in [-1, 1], depth in the same unit."""
    points = frames.landmarks[index][list(SUP)] * (2 / SIDE)
    return np.asarray(points - [1, 1, points[:, 2].mean()])


def average_face(frames: TrackedFrames) -> np.ndarray:
    """[33, 2] about 0, symmetric: the mean of all people."""
    people = [frames.landmarks[frames.people == n][:, list(SUP), :2].mean(0) for n in np.unique(frames.people)]
    face = np.mean(people, 0) * (2 / SIDE)
    face = face - face.mean(0)
    return np.asarray((face + face[list(SUP_MIRROR)] * [-1, 1]) / 2)


class _Frames:
    """Frames drawn at random: people with many less often, heads that are turned more often.

    Attributes:
        face: [33, 2], the mean face, which squares are fitted to.
    """

    def __init__(self, frames: TrackedFrames, batch: int, face: np.ndarray | None = None) -> None:
        self.frames, self.batch = frames, batch
        self.face = average_face(frames) if face is None else face
        count = np.bincount(frames.people)[frames.people]
        ears = frames.landmarks[:, [234, 454]]
        turned = np.abs(ears[:, 0, 2] - ears[:, 1, 2]) / np.linalg.norm(ears[:, 0] - ears[:, 1], axis=-1)
        weight = (1 + 2 * (turned > 0.35) + 5 * (turned > 0.5)) / np.sqrt(count)
        self._share = weight / weight.sum()

    def _draw(self, rng: np.random.Generator) -> int:
        return int(rng.choice(len(self._share), p=self._share))


def worsened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [256, 256, 3], perhaps blurred, coarser, noisy or partly covered."""
    kind = rng.random()
    if kind < 0.1:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.5))
    elif kind < 0.35:
        side = int(SIDE * 2 ** rng.uniform(-2.6, -0.7))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(
            small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
        )
    elif kind < 0.45:
        noise = rng.normal(0, rng.uniform(2, 18), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.15:
        image, (x, y), (width, height) = image.copy(), rng.integers(0, 156, 2), rng.integers(20, 100, 2)
        other = image[-height:, :width].copy()
        image[y : y + height, x : x + width] = rng.integers(0, 256, 3) if rng.random() < 0.5 else other
    return image


def masked(image: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [256, 256, 3] whose face at `place` (`student.place_of`) has its lower half covered."""
    top, wide = rng.uniform(-0.15, 0.35), rng.uniform(0.6, 0.85)
    outline = np.array([[-wide, top], [0, top - 0.12], [wide, top], [0.8 * wide, 0.75], [0, 1.0], [-0.8 * wide, 0.75]])
    outline = (outline + rng.normal(0, 0.03, outline.shape)) @ [1, 1j]
    points = place[0] + 1j * place[1] + (place[2] + 1j * place[3]) * outline
    pixels = ((np.stack([points.real, points.imag], 1) + 1) * (SIDE / 2)).round().astype(np.int32)
    cover = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(cover, cv2.convexHull(pixels), 255, cv2.LINE_AA)
    colour = rng.integers(0, 256, 3) if rng.random() < 0.7 else np.full(3, rng.integers(150, 256))
    cloth = colour + rng.normal(0, rng.uniform(0, 12)) * np.linspace(-1, 1, image.shape[0])[:, None, None]
    alpha = cover[..., None] / 255
    return np.asarray(np.clip(alpha * cloth + (1 - alpha) * image, 0, 255).astype(np.uint8))


def lit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture of another tint and brightness, now and then very dark, with the noise of a camera in the dark."""
    image = tinted(image, rng)
    if rng.random() < 0.18:
        gain, gamma = 2 ** rng.uniform(-4, -0.5), rng.uniform(0.8, 1.6)
        image = cv2.LUT(image, (255 * gain * (np.arange(256) / 255) ** gamma).round().astype(np.uint8))
        if rng.random() < 0.6:
            noise = rng.normal(0, rng.uniform(0.5, 6), image.shape).astype(np.float32)
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def _moved(place: np.ndarray, shift: np.ndarray, scale: float, radians: float) -> np.ndarray:
    """A place [4] (`student.place_of`), moved by half sides, scaled and turned."""
    turn = (place[2] + 1j * place[3]) * scale * np.exp(1j * radians)
    return np.array([*(place[:2] + shift * abs(place[2] + 1j * place[3])), turn.real, turn.imag])


class HeadSamples(_Frames):
    """Batches for the landmark network: squares [B, 3, 96, 96], landmarks [B, 33, 3], presence [B]."""

    def __call__(self, step: int) -> Tensors:
        """The batch of a step."""
        rng = np.random.default_rng([1, step])
        rows = [self._one(rng) for _ in range(self.batch)]
        squares, points, present = (np.stack(column) for column in zip(*rows, strict=True))
        return tensor(squares), torch.from_numpy(points), torch.from_numpy(present)

    def plain(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Unaltered squares around the landmarks, and the landmarks [B, 33, 2] in them."""
        squares, points = [], []
        for index in indices:
            true = _points(self.frames, index)[:, :2]
            view = View.of(place_of(true, self.face, SQUARE_SCALE), False)
            squares.append(view.picture(self.frames.pictures[index], FACE_SIDE, cv2.BORDER_CONSTANT))
            points.append(view.points(true).astype(np.float32))
        return tensor(np.stack(squares)), torch.from_numpy(np.stack(points))

    def _one(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        index = self._draw(rng)
        image, points = self.frames.pictures[index], _points(self.frames, index)
        place, mirrored = place_of(points[:, :2], self.face, SQUARE_SCALE), bool(rng.random() < 0.5)
        image = worsened(masked(image, place, rng) if rng.random() < _MASKED else image, rng)
        present = rng.random() >= _ABSENT
        if present:
            spread = 0.06 * rng.uniform(0, 1.6)
            place = _moved(place, rng.normal(0, spread, 2), np.exp(rng.normal(0, spread)), rng.normal(0, 0.08))
        else:
            place = self._elsewhere(place, rng)
        border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        view = View.of(place, mirrored)
        named = points[list(SUP_MIRROR)] if mirrored else points
        depth = named[:, 2:] / np.hypot(*place[2:])
        within = np.concatenate([view.points(named[:, :2]), depth], 1).astype(np.float32)
        return lit(view.picture(image, FACE_SIDE, border), rng), within, np.asarray(present, np.float32)

    def _elsewhere(self, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A square that does not show a face as it should: beside it, or of another size."""
        angle, kind = rng.uniform(-np.pi, np.pi), rng.random()
        far = rng.uniform(0.9, 2.2) if kind < 0.7 else rng.uniform(0, 0.5)
        scale = 2 ** rng.uniform(-1.5, 0.7) if kind < 0.7 else 2 ** rng.choice([-2.3, -1.8, 1.9, 2.4])
        return _moved(place, far * np.array([np.cos(angle), np.sin(angle)]), scale, rng.normal(0, 0.5))


class DetectorSamples(_Frames):
    """Batches for the detector: pictures [B, 3, 128, 128], cells [B, 5, 16, 16], weight of the scores [B, 16, 16].

    Cells hold 1 where a face's middle is, then its place as `models.landmark_net.FaceDetector` gives it.
    """

    def __call__(self, step: int) -> Tensors:
        """The batch of a step."""
        rng = np.random.default_rng([2, step])
        rows = [self._one(rng) for _ in range(self.batch)]
        pictures, cells, weight = (np.stack(column) for column in zip(*rows, strict=True))
        return tensor(pictures), torch.from_numpy(cells), torch.from_numpy(weight)

    def _one(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        canvas = self._background(rng)
        places: list[np.ndarray] = []
        if rng.random() < 0.45:
            places.append(self._fill(canvas, rng))
        for _ in range(int(rng.integers(0, _MOST_PASTED + 1)) if rng.random() < 0.75 else 0):
            self._paste(canvas, places, rng)
        return lit(canvas, rng), *cells_of(places)

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        """Without faces: smooth noise, or a corner of a frame, enlarged."""
        if rng.random() < 0.4:
            coarse = rng.integers(0, 256, (int(rng.integers(1, 12)), int(rng.integers(1, 12)), 3)).astype(np.uint8)
            return cv2.resize(coarse, (PICTURE_SIDE, PICTURE_SIDE), interpolation=int(rng.integers(0, 3)))
        side = int(rng.integers(24, 60))
        image = self.frames.pictures[self._draw(rng)]
        corner = image[:side, :side] if rng.random() < 0.5 else image[:side, -side:]
        return np.ascontiguousarray(cv2.resize(np.tile(corner, (2, 2, 1)), (PICTURE_SIDE, PICTURE_SIDE)))

    def _view(self, rng: np.random.Generator, half_side: float, middle: np.ndarray) -> tuple[np.ndarray, ...]:
        """A frame whose face has that half side and middle, in [-1, 1] of the canvas: picture, mask, place."""
        index, mirrored = self._draw(rng), bool(rng.random() < 0.5)
        image, points = self.frames.pictures[index], _points(self.frames, index)[:, :2]
        if mirrored:
            image, points = np.ascontiguousarray(image[:, ::-1]), (points * [-1, 1])[list(SUP_MIRROR)]
        place = place_of(points, self.face, SQUARE_SCALE)
        image = worsened(masked(image, place, rng) if rng.random() < _MASKED else image, rng)
        scale = half_side / np.hypot(*place[2:])
        radians = rng.normal(0, 0.3) if rng.random() < 0.8 else rng.uniform(-1.7, 1.7)
        turn = scale * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
        shift = middle - turn @ place[:2]
        unit, start = PICTURE_SIDE / SIDE, (SIDE - 1) / 2
        centre = PICTURE_SIDE / 2 * (shift + 1) - 0.5
        matrix = np.concatenate([unit * turn, (centre - unit * turn @ [start, start])[:, None]], 1)
        if scale * unit < 0.6:
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / (scale * unit))
        size = (PICTURE_SIDE, PICTURE_SIDE)
        picture = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
        cover = np.full((SIDE, SIDE), 255, np.uint8)
        if rng.random() < 0.5:
            cover[:] = 0
            x, y = (place[:2] + 1) * SIDE / 2
            reach = np.hypot(*place[2:]) * SIDE / 2 * rng.uniform(0.95, 1.5)
            cv2.ellipse(cover, (int(x), int(y)), (int(0.85 * reach), int(1.1 * reach)), 0, 0, 360, 255, -1)
        mask = cv2.warpAffine(cover, matrix, size, flags=cv2.INTER_LINEAR)
        right = (place[2] + 1j * place[3]) * scale * np.exp(1j * radians)
        return picture, mask, np.array([*middle, right.real, right.imag])

    def _fill(self, canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A frame that covers the canvas, or most of it."""
        picture, _, place = self._view(rng, 2 ** rng.uniform(-1.6, 0.3), rng.uniform(-0.6, 0.6, 2))
        border = picture.max(-1) > 0
        if rng.random() < 0.5:
            canvas[:] = 0
        canvas[border] = picture[border]
        return place

    def _paste(self, canvas: np.ndarray, places: list[np.ndarray], rng: np.random.Generator) -> None:
        """One more face, where it covers none."""
        half_side = 2 ** rng.uniform(np.log2(2 * _SMALLEST / PICTURE_SIDE), -1.2)
        middle = rng.uniform(-1, 1, 2)
        if any(np.abs(middle - p[:2]).max() < 1.3 * half_side + 1.1 * np.hypot(*p[2:]) for p in places):
            return
        picture, mask, place = self._view(rng, half_side, middle)
        for known in places:  # the frame around the face must not cover others
            x, y = ((known[:2] + 1) * PICTURE_SIDE / 2).astype(int)
            reach = int(1.1 * np.hypot(*known[2:]) * PICTURE_SIDE / 2) + 1
            mask[max(y - reach, 0) : max(y + reach, 0), max(x - reach, 0) : max(x + reach, 0)] = 0
        alpha = (mask[..., None] / 255.0).astype(np.float32)
        canvas[:] = (alpha * picture + (1 - alpha) * canvas).astype(np.uint8)
        places.append(place)


def cells_of(places: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Targets of the detector [5, 16, 16] and the weight of each cell's score [16, 16]; faces as `student.place_of`."""
    cells, weight = np.zeros((5, CELLS, CELLS), np.float32), np.ones((CELLS, CELLS), np.float32)
    for x, y, right, down in places:
        size = np.hypot(right, down)
        column, row = (x + 1) * CELLS / 2, (y + 1) * CELLS / 2
        if not (0 <= column < CELLS and 0 <= row < CELLS):
            continue
        c, r = int(column), int(row)
        reach = int(np.clip(0.25 * size * CELLS, 0, 2)) if size * CELLS / 2 > 1 else 0
        weight[max(r - reach, 0) : r + reach + 1, max(c - reach, 0) : c + reach + 1] = 0
        cells[:, r, c] = 1, column - c - 0.5, row - r - 0.5, np.log2(size), np.arctan2(down, right)
    weight[cells[0] > 0] = 1
    return cells, weight


def tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [0, 1], channels last."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255

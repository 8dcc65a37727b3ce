"""A video -> face tubes: stretches in which a fixed square box holds one head (Oquab et al., 2022, section 3.3).

    frames --detector--> boxes --overlap in time--> tracks --scene cut, lost face, walk, length--> tubes

Each face of a video has tubes of its own. Dropped tubes are counted by reason. Coordinates are pixels of the upright
frame; a *tick* is one examined frame (`PrepareOptions.fps` per second).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from fvc.codec.face.crop import choose_crop
from fvc.codec.media.native import native_stderr_closed
from fvc.codec.media.video import Frame
from fvc.codec.wire.bitstream import Crop

MIN_OVERLAP = 0.3  # intersection over union with a track's last box that a box needs to belong to it
MIN_CUT, MIN_CUT_RATIO = 0.12, 3.0  # least change of the thumbnail at a scene cut, and least ratio to the ticks before
MAX_MISSED = 3  # ticks that the detector may miss a face before it counts as lost
MAX_EXTENT = 2.0  # most extent of all boxes of a tube, in median boxes; beyond, the face would be small in the tube
MESH_SCALE = 1.06  # extent of the 478 landmarks over the detector's box, which ends at the brow
MAX_TICKS = 600  # of a tube; longer ones are cut, so that memory is bounded


class FaceDetector:
    """MediaPipe's full-range detector: faces up to some five metres away, several per frame."""

    def __init__(self, confidence: float = 0.5) -> None:
        with native_stderr_closed():
            from mediapipe.python.solutions.face_detection import FaceDetection

            self._net: Any = FaceDetection(min_detection_confidence=confidence, model_selection=1)
            self._net.process(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> boxes [faces, 4], left, top, right, bottom, about as large as all landmarks."""
        found = self._net.process(np.ascontiguousarray(rgb)).detections or []
        boxes = []
        for face in found:
            box = face.location_data.relative_bounding_box
            x, y, half = box.xmin + box.width / 2, box.ymin + box.height / 2, MESH_SCALE * box.width / 2
            height = MESH_SCALE * box.height / 2
            boxes.append((x - half, y - height, x + half, y + height))
        scale = np.tile(rgb.shape[1::-1], 2)
        return np.array(boxes, np.float64).reshape(-1, 4) * scale

    def close(self) -> None:
        """Frees the native graph."""
        self._net.close()

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class Tube:
    """Ticks [first, last) in which `crop` holds the head of one person.

    `number` distinguishes faces that a video shows at the same time; 0 is the largest.
    """

    first: int
    last: int
    crop: Crop
    number: int = 0


@dataclass
class _Track:
    first: int
    boxes: list[np.ndarray] = field(default_factory=list)
    missed: int = 0

    @property
    def last(self) -> int:
        return self.first + len(self.boxes)

    def wanders(self, box: np.ndarray) -> bool:
        """Whether the face has moved so far that a box around all positions would be much larger than the face."""
        every = np.array([*self.boxes, box])
        extent = max(every[:, 2].max() - every[:, 0].min(), every[:, 3].max() - every[:, 1].min())
        return bool(extent > MAX_EXTENT * np.median(every[:, 3] - every[:, 1]))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.clip(sides, 0, None)))
    return both / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both + 1e-9)


class CutDetector:
    """Distinguishes scene cuts from fast motion: a cut changes much of the picture, and suddenly."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._changes: list[float] = []

    def __call__(self, thumbnail: np.ndarray) -> bool:
        """Whether a cut lies between the last grey thumbnail and this one, float [32, 32] in [0, 1]."""
        before, self._before = self._before, thumbnail
        if before is None:
            return False
        change = float(np.abs(thumbnail - before).mean())
        usual = float(np.mean(self._changes[-5:])) if self._changes else 0.0
        self._changes.append(change)
        return change > max(MIN_CUT, MIN_CUT_RATIO * usual)


def follow(frames: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[list[_Track], Counter[str]]:
    """Links boxes over time.

    Args:
        frames: per tick the boxes [faces, 4] and a grey thumbnail float [32, 32] in [0, 1].

    Returns:
        Tracks, and how often each reason ended one.
    """
    running: list[_Track] = []
    done: list[_Track] = []
    ended: Counter[str] = Counter()

    def end(track: _Track, why: str) -> None:
        del track.boxes[len(track.boxes) - track.missed :]
        running.remove(track)
        done.append(track)
        ended[why] += 1

    is_cut = CutDetector()
    for tick, (found, thumbnail) in enumerate(frames):
        boxes = list(found)
        if is_cut(thumbnail):
            for track in list(running):
                end(track, "scene cut")
        for track in sorted(running, key=lambda t: t.first):
            box = max(boxes, key=lambda b: overlap(b, track.boxes[-1]), default=None)
            if box is None or overlap(box, track.boxes[-1]) < MIN_OVERLAP:
                track.missed += 1
                track.boxes.append(track.boxes[-1])
                if track.missed > MAX_MISSED:
                    end(track, "face lost")
                continue
            if track.wanders(box) or len(track.boxes) >= MAX_TICKS:
                end(track, "face wanders" if len(track.boxes) < MAX_TICKS else "longer than a minute")
                continue  # the box is free to begin the next track
            boxes = [b for b in boxes if b is not box]
            track.missed = 0
            track.boxes.append(box)
        running += [_Track(tick, [box]) for box in boxes]
    for track in list(running):
        end(track, "end of video")
    return sorted(done, key=lambda t: t.first), ended


def find_tubes(
    frames: Iterable[Frame],
    detector: FaceDetector,
    width: int,
    height: int,
    min_ticks: int,
    min_side: int,
    max_ticks: float = math.inf,
) -> tuple[list[Tube], Counter[str]]:
    """Tubes of a video, and counts of what was found and left out.

    In a square video that the face fills, the whole frame is the box.
    """

    def looked_at() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for frame in frames:
            grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
            yield detector(frame.rgb), cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA) / np.float32(255)

    tracks, counts = follow(looked_at())
    counts = Counter({f"tracks ended: {why}": n for why, n in counts.items()})
    found: list[tuple[float, int, int, Crop]] = []
    for track in tracks:
        boxes = np.array(track.boxes)
        if len(boxes) < min_ticks:
            counts["tubes dropped: too short"] += 1
            continue
        if len(boxes) > max_ticks:
            counts["tubes dropped: too long"] += 1
            continue
        crop = choose_crop(boxes, width, height)
        if width == height and crop.side > 0.6 * width:
            crop = Crop(width, height, 0, 0, width)
        if crop.side < min_side:
            counts["tubes dropped: box too small"] += 1
            continue
        found.append((float(np.median(boxes[:, 3] - boxes[:, 1])), track.first, track.last, crop))
    tubes: list[Tube] = []
    for _, first, last, crop in sorted(found, key=lambda tube: -tube[0]):
        taken = {tube.number for tube in tubes if tube.first < last and first < tube.last}
        tubes.append(Tube(first, last, crop, next(n for n in range(len(taken) + 1) if n not in taken)))
    counts["videos with several faces at once"] = int(any(tube.number for tube in tubes))
    return sorted(tubes, key=lambda tube: tube.first), counts

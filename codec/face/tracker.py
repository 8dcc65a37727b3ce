"""Face tracking: one frame in, 478 landmarks and a head pose out. The only file that knows MediaPipe.

The 33 *sup* landmarks (the paper's number; which ones it does not say) were chosen for what a generator must redraw:

    outline   6   forehead, chin, both ears' level, both jaw angles: position, scale and rotation of the head, open jaw
    brows     6   outer, middle, inner of each
    eyes      8   both corners and both lids of each: blinks and squints
    irises    2   their centres: gaze
    nose      3   tip (the strongest yaw and pitch cue) and both wings
    lips      8   outer corners, outer top and bottom, inner corners, inner top and bottom: speech

They are ordered in mirror pairs so that `SUP_MIRROR` permutes them when a picture is flipped.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from fvc.codec.media.quiet import native_stderr_closed

N_LANDMARKS = 478

_MIDDLE = (
    10,
    152,
    1,
    0,
    17,
    13,
    14,
)  # forehead, chin, nose tip, lips: outer top, outer bottom, inner top, inner bottom
_PAIRS = (  # image left of a frontal face, image right
    (234, 454),
    (172, 397),  # ear level, jaw angle
    (70, 300),
    (105, 334),
    (107, 336),  # brow: outer, middle, inner
    (33, 263),
    (159, 386),
    (133, 362),
    (145, 374),  # eye: outer corner, upper lid, inner corner, lower lid
    (468, 473),  # iris centre
    (98, 327),  # nose wing
    (61, 291),
    (78, 308),  # lip corner: outer, inner
)
SUP: tuple[int, ...] = _MIDDLE + tuple(i for pair in _PAIRS for i in pair)
EYES = tuple(tuple(SUP.index(n) for n in eye) for eye in ((33, 159, 133, 145, 468), (263, 386, 362, 374, 473)))
MOUTH = tuple(SUP.index(n) for n in (0, 17, 13, 14, 61, 291, 78, 308))  # positions in SUP, as in `EYES`
SUP_MIRROR: tuple[int, ...] = (*range(len(_MIDDLE)), *(len(_MIDDLE) + (n ^ 1) for n in range(2 * len(_PAIRS))))

_MAX_SIDE = 1280  # larger frames are halved until they fit: the tracker looks at 256x256 anyway


@dataclass(frozen=True)
class Face:
    """One tracked face.

    Attributes:
        landmarks: float32 [478, 3], x right and y down in pixels of the frame, z in the same unit, smaller is nearer.
        count: how many faces the frame showed (the largest, or the one followed so far, is this one).
    """

    landmarks: np.ndarray
    count: int = 1

    @property
    def sup(self) -> np.ndarray:
        """float32 [33, 2]: the sup landmarks in pixels of the frame."""
        return self.landmarks[list(SUP), :2]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom of all landmarks, pixels."""
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def pose(self) -> tuple[float, float, float]:
        """(yaw, pitch, roll) in radians, uncalibrated.

        Yaw > 0: the nose points to the image's right; pitch > 0: it points down; roll > 0: the head leans clockwise.
        """
        point = self.landmarks
        x = point[454] - point[234]
        x = x / np.linalg.norm(x)
        y = point[152] - point[10]
        y = y - x * float(x @ y)
        y = y / np.linalg.norm(y)
        back = np.cross(x, y)  # out of the back of the head: +z for a frontal face
        yaw, pitch = np.arctan2(-back[0], back[2]), np.arctan2(-back[1], np.hypot(back[0], back[2]))
        return float(yaw), float(pitch), float(np.arctan2(x[1], x[0]))

    @property
    def eye_openness(self) -> float:
        """Lid distance over eye width, mean of both eyes: about 0.3 open, below 0.15 closed."""
        return openness(self.sup)


def openness(sup: np.ndarray) -> float:
    """`Face.eye_openness` of sup landmarks [33, 2] in any unit."""

    def ratio(outer: int, top: int, inner: int, bottom: int, _: int) -> float:
        return float(np.linalg.norm(sup[top] - sup[bottom]) / (np.linalg.norm(sup[outer] - sup[inner]) + 1e-6))

    return float(np.mean([ratio(*eye) for eye in EYES]))


class FaceTracker:
    """Follows one face through a video (or finds it in a still).

    Args:
        still: treat every picture by itself, as for source frames.
        max_faces: how many faces to look for; the largest is taken at first, then the one that continues it.
    """

    def __init__(self, still: bool = False, max_faces: int = 2) -> None:
        self._still = still
        self._last: Face | None = None
        self._noted = False
        with native_stderr_closed():
            from mediapipe.python.solutions.face_mesh import FaceMesh  # slow to import, and only senders need it

            self._mesh: Any = FaceMesh(static_image_mode=still, max_num_faces=max_faces, refine_landmarks=True)
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))

    def track(self, rgb: np.ndarray) -> Face | None:
        """Returns the face in `rgb` (uint8 [H, W, 3]), or None when there is none."""
        height, width = rgb.shape[:2]
        while max(rgb.shape[:2]) > _MAX_SIDE:
            rgb = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
        with contextlib.nullcontext() if self._noted else native_stderr_closed():
            found = self._mesh.process(np.ascontiguousarray(rgb)).multi_face_landmarks or []
        self._noted = self._noted or bool(found)  # the last of the notes comes with the first face
        scale = np.array([width, height, width], np.float32)  # z shares x's unit
        faces = []
        for face in found:
            landmarks = np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * scale
            if np.isfinite(landmarks).all() and len(landmarks) == N_LANDMARKS:
                faces.append(Face(landmarks, len(found)))
        self._last = self._choose(faces)
        return self._last

    def _choose(self, faces: list[Face]) -> Face | None:
        if not faces:
            return None
        if self._last is None or self._still:
            return max(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))
        before = self._last.landmarks[:, :2].mean(0)
        return min(faces, key=lambda face: float(np.linalg.norm(face.landmarks[:, :2].mean(0) - before)))

    def close(self) -> None:
        """Frees the native graph."""
        self._mesh.close()

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

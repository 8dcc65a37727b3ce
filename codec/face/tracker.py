"""Face tracking: one frame in, 478 landmarks and a head pose out. The only file that knows MediaPipe.

Which of the landmarks the codec uses, and what each of them is: `codec.face.landmarks`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from fvc.codec.face.landmarks import N_LANDMARKS, SUP, Mesh, openness
from fvc.codec.media.quiet import native_stderr_closed

_MAX_TRACKED_SIDE = 1280  # pixels; larger frames are halved until they fit: the tracker looks at 256x256 anyway


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
        x = point[Mesh.RIGHT_EAR_LEVEL] - point[Mesh.LEFT_EAR_LEVEL]
        x = x / np.linalg.norm(x)
        y = point[Mesh.CHIN] - point[Mesh.FOREHEAD]
        y = y - x * float(x @ y)
        y = y / np.linalg.norm(y)
        back = np.cross(x, y)  # out of the back of the head: +z for a frontal face
        yaw, pitch = np.arctan2(-back[0], back[2]), np.arctan2(-back[1], np.hypot(back[0], back[2]))
        return float(yaw), float(pitch), float(np.arctan2(x[1], x[0]))

    @property
    def eye_openness(self) -> float:
        """Lid distance over eye width, mean of both eyes: about 0.3 open, below 0.15 closed."""
        return openness(self.sup)


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
        while max(rgb.shape[:2]) > _MAX_TRACKED_SIDE:
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

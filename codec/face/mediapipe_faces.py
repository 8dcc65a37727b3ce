"""MediaPipe's face tracker. The only file of the codec that knows MediaPipe."""

from __future__ import annotations

import contextlib
from typing import Any

import cv2
import numpy as np

from fvc.codec.face.detection import Box, Face, Window
from fvc.codec.face.landmarks import N_LANDMARKS
from fvc.codec.media.native import native_stderr_closed

_MAX_TRACKED_SIDE = 1280  # pixels; larger pictures are halved until they fit: MediaPipe looks at 256x256 anyway


class FaceMesh:
    """MediaPipe's FaceMesh.

    Args:
        still: find faces in every picture anew, instead of where they were in the one before.
        max_faces: how many to look for.
    """

    def __init__(self, still: bool, max_faces: int) -> None:
        self._noted = False
        with native_stderr_closed():
            from mediapipe.python.solutions.face_mesh import FaceMesh  # slow to import, and only senders need it

            self._mesh: Any = FaceMesh(static_image_mode=still, max_num_faces=max_faces, refine_landmarks=True)
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))

    def find(self, rgb: np.ndarray, window: Window | None = None) -> list[Face]:
        """The faces in uint8 [H, W, 3], or in a part of it; landmarks are in pixels of the whole."""
        if window is not None:
            rgb = window(rgb)
        height, width = rgb.shape[:2]
        while max(rgb.shape[:2]) > _MAX_TRACKED_SIDE:
            half = max(rgb.shape[1] // 2, 1), max(rgb.shape[0] // 2, 1)  # a frame may be thousands of pixels by one
            rgb = cv2.resize(rgb, half, interpolation=cv2.INTER_AREA)
        with contextlib.nullcontext() if self._noted else native_stderr_closed():
            found = self._mesh.process(np.ascontiguousarray(rgb)).multi_face_landmarks or []
        self._noted = self._noted or bool(found)  # the last of the notes comes with the first face
        scale = np.array([width, height, width], np.float32)  # z shares x's unit
        faces = []
        for face in found:
            landmarks = np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * scale
            if window is not None:
                landmarks += np.array([window.left, window.top, 0], np.float32)
            if np.isfinite(landmarks).all() and len(landmarks) == N_LANDMARKS:
                faces.append(Face(landmarks, len(found)))
        return faces

    def restart(self) -> None:
        """Forgets where faces were."""
        self._noted = False  # the graph is made anew, and prints its notes again
        with native_stderr_closed():
            self._mesh.reset()

    def close(self) -> None:
        """Frees the native graph."""
        self._mesh.close()


class MediaPipeBoxes:
    """MediaPipe's full-range detector: faces of a twentieth of a picture's width or more."""

    def __init__(self) -> None:
        with native_stderr_closed():
            from mediapipe.python.solutions.face_detection import FaceDetection

            self._detector: Any = FaceDetection(min_detection_confidence=0.5, model_selection=1)
            self._detector.process(np.zeros((64, 64, 3), np.uint8))

    def boxes(self, rgb: np.ndarray) -> list[Box]:
        """See `detection.BoxDetector`."""
        height, width = rgb.shape[:2]
        found = []
        for detection in self._detector.process(np.ascontiguousarray(rgb)).detections or []:
            box = detection.location_data.relative_bounding_box
            left, top = box.xmin * width, box.ymin * height
            if box.width > 0 and box.height > 0:
                found.append((left, top, left + box.width * width, top + box.height * height))
        return found

    def close(self) -> None:
        """Frees the native graph."""
        self._detector.close()

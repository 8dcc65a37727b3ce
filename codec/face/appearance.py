"""What faces and their surroundings look like, looked at now and then: to tell the scenes of a clip apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fvc.codec.face.cuts import thumbnail
from fvc.codec.face.detection import Face
from fvc.codec.face.identity import FaceLooks

_EVERY = 16  # frames from one look at a face to the next
_NEW = 3  # frames that are looked at after something may have begun


@dataclass(frozen=True)
class Appearance:
    """What a face and its surroundings look like.

    Attributes:
        look: of the face, see `FaceLooks`, float16 to save memory.
        thumbnail: uint8 [32, 32, 3], of the whole frame.
    """

    look: np.ndarray
    thumbnail: np.ndarray


class SceneWatch:
    """Looks at the faces of a clip's frames in order: now and then, and where something may begin."""

    def __init__(self) -> None:
        self._looks: FaceLooks | None = None
        self._count = 0  # of faces in the frame before
        self._due = 0  # frames until the next look
        self._left = 0  # frames to look at since something may have begun

    def see(self, rgb: np.ndarray, faces: Sequence[Face], is_sudden: bool) -> list[Appearance | None]:
        """The appearance of each face of the next frame; None where they are not looked at.

        Args:
            rgb: uint8 [H, W, 3]; is_sudden: the frame differs suddenly from the one before.
        """
        if is_sudden or len(faces) != self._count:
            self._left = _NEW
        self._count = len(faces)
        self._due -= 1
        if not faces or (self._left <= 0 and self._due > 0):
            return [None] * len(faces)
        self._due, self._left = _EVERY, self._left - 1
        self._looks = self._looks or FaceLooks(faces[0].sup)
        small = thumbnail(rgb)
        return [Appearance(self._looks(rgb, face.sup).astype(np.float16), small) for face in faces]

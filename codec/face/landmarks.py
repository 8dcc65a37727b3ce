"""Landmark roles: which points of MediaPipe's face mesh the codec uses, in which order, and what each of them is.

MediaPipe's face mesh has 478 landmarks. The 33 *sup* landmarks (supervised keypoints: the paper's number; which ones
it does not say) were chosen for what a generator must redraw:

    outline   6   forehead, chin, both ears' level, both jaw angles: position, scale and rotation of the head, open jaw
    brows     6   outer, middle, inner of each
    eyes      8   both corners and both lids of each: blinks and squints
    irises    2   their centres: gaze
    nose      3   tip (the strongest yaw and pitch cue) and both wings
    lips      8   outer corners, outer top and bottom, inner corners, inner top and bottom: speech

Two numberings meet here. `Mesh` gives each landmark its number in the face mesh (0..477). All other names are *sup
indices* (0..32): rows of an array [33, 2]. LEFT and RIGHT are sides of the image, of a face that looks into the camera.

The order of `Mesh` is part of the bitstream. This module needs neither MediaPipe nor OpenCV nor torch.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

N_LANDMARKS = 478  # of MediaPipe's face mesh with irises


class Mesh(IntEnum):
    """Number in MediaPipe's face mesh of each sup landmark, in the order of the part `sup`."""

    FOREHEAD = 10
    CHIN = 152
    NOSE_TIP = 1
    OUTER_LIP_TOP = 0
    OUTER_LIP_BOTTOM = 17
    INNER_LIP_TOP = 13
    INNER_LIP_BOTTOM = 14
    LEFT_EAR_LEVEL = 234
    RIGHT_EAR_LEVEL = 454
    LEFT_JAW_ANGLE = 172
    RIGHT_JAW_ANGLE = 397
    LEFT_BROW_OUTER = 70
    RIGHT_BROW_OUTER = 300
    LEFT_BROW_MIDDLE = 105
    RIGHT_BROW_MIDDLE = 334
    LEFT_BROW_INNER = 107
    RIGHT_BROW_INNER = 336
    LEFT_EYE_OUTER = 33
    RIGHT_EYE_OUTER = 263
    LEFT_LID_UPPER = 159
    RIGHT_LID_UPPER = 386
    LEFT_EYE_INNER = 133
    RIGHT_EYE_INNER = 362
    LEFT_LID_LOWER = 145
    RIGHT_LID_LOWER = 374
    LEFT_IRIS = 468
    RIGHT_IRIS = 473
    LEFT_NOSE_WING = 98
    RIGHT_NOSE_WING = 327
    LEFT_OUTER_LIP_CORNER = 61
    RIGHT_OUTER_LIP_CORNER = 291
    LEFT_INNER_LIP_CORNER = 78
    RIGHT_INNER_LIP_CORNER = 308


SUP: tuple[int, ...] = tuple(int(landmark) for landmark in Mesh)  # sup index -> number in the face mesh


class Eye(NamedTuple):
    """Sup indices of one eye."""

    outer: int
    upper_lid: int
    inner: int
    lower_lid: int
    iris: int


def _index(landmark: Mesh) -> int:
    return SUP.index(landmark)


def _eye(side: str) -> Eye:
    names = ("EYE_OUTER", "LID_UPPER", "EYE_INNER", "LID_LOWER", "IRIS")
    return Eye(*(_index(Mesh[f"{side}_{name}"]) for name in names))


def _mirrored(landmark: Mesh) -> Mesh:
    """The landmark that takes this one's place when the picture is flipped."""
    side, _, role = landmark.name.partition("_")
    opposite = {"LEFT": "RIGHT", "RIGHT": "LEFT"}.get(side)
    return landmark if opposite is None else Mesh[f"{opposite}_{role}"]


FOREHEAD, CHIN, NOSE_TIP = _index(Mesh.FOREHEAD), _index(Mesh.CHIN), _index(Mesh.NOSE_TIP)
EARS = _index(Mesh.LEFT_EAR_LEVEL), _index(Mesh.RIGHT_EAR_LEVEL)  # left and right of the image, as all pairs below
JAW_ANGLES = _index(Mesh.LEFT_JAW_ANGLE), _index(Mesh.RIGHT_JAW_ANGLE)
NOSE_WINGS = _index(Mesh.LEFT_NOSE_WING), _index(Mesh.RIGHT_NOSE_WING)
OUTER_LIPS = _index(Mesh.OUTER_LIP_TOP), _index(Mesh.OUTER_LIP_BOTTOM)  # top and bottom
INNER_LIPS = _index(Mesh.INNER_LIP_TOP), _index(Mesh.INNER_LIP_BOTTOM)
OUTER_LIP_CORNERS = _index(Mesh.LEFT_OUTER_LIP_CORNER), _index(Mesh.RIGHT_OUTER_LIP_CORNER)
INNER_LIP_CORNERS = _index(Mesh.LEFT_INNER_LIP_CORNER), _index(Mesh.RIGHT_INNER_LIP_CORNER)
LEFT_EYE, RIGHT_EYE = EYES = _eye("LEFT"), _eye("RIGHT")
OUTER_EYE_CORNERS = LEFT_EYE.outer, RIGHT_EYE.outer  # their distance is the unit of landmark errors
LIDS = tuple((eye.upper_lid, eye.lower_lid) for eye in EYES)
MOUTH: tuple[int, ...] = (*OUTER_LIPS, *INNER_LIPS, *OUTER_LIP_CORNERS, *INNER_LIP_CORNERS)
SUP_MIRROR: tuple[int, ...] = tuple(_index(_mirrored(landmark)) for landmark in Mesh)  # order in a flipped picture


def openness(sup: np.ndarray) -> float:
    """How open the eyes are: lid distance over eye width, mean of both eyes. About 0.3 open, below 0.15 closed.

    Args:
        sup: landmarks [33, 2] in any unit.
    """

    def ratio(eye: Eye) -> float:
        lids = np.linalg.norm(sup[eye.upper_lid] - sup[eye.lower_lid])
        return float(lids / (np.linalg.norm(sup[eye.outer] - sup[eye.inner]) + 1e-6))

    return float(np.mean([ratio(eye) for eye in EYES]))


def eye_distance(sup: np.ndarray) -> np.ndarray:
    """Distance of the outer eye corners of landmarks [..., 33, 2] -> [...]: the unit of landmark errors."""
    left, right = OUTER_EYE_CORNERS
    return np.asarray(np.linalg.norm(sup[..., left, :] - sup[..., right, :], axis=-1))


def landmark_error(found: np.ndarray, true: np.ndarray, unit: np.ndarray | None = None) -> np.ndarray:
    """Normalised mean error (NME): mean distance of landmarks [..., 33, 2] from the true ones, over `unit` -> [...].

    Args:
        unit: [...]; None: the eye distance of the true landmarks.
    """
    return np.asarray(np.linalg.norm(found - true, axis=-1).mean(-1) / (eye_distance(true) if unit is None else unit))

"""Landmark roles: their names are MediaPipe's numbers, and a real face has them where the names say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fvc.codec.face import landmarks
from fvc.codec.face.landmarks import EYES, MOUTH, SUP, SUP_MIRROR, Mesh
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.motion.sample import N_SUP


def mesh_of(indices: tuple[int, ...]) -> set[int]:
    return {SUP[index] for index in indices}


def test_the_order_that_streams_have() -> None:
    """Annex of the specification and all weights depend on it; `shape.bin` and `priors.bin` too."""
    assert SUP[:7] == (10, 152, 1, 0, 17, 13, 14)
    assert SUP[7:17] == (234, 454, 172, 397, 70, 300, 105, 334, 107, 336)
    assert SUP[17:27] == (33, 263, 159, 386, 133, 362, 145, 374, 468, 473)
    assert SUP[27:] == (98, 327, 61, 291, 78, 308)
    assert len(SUP) == len(set(SUP)) == N_SUP


def test_names_are_mediapipes_numbers() -> None:
    """MediaPipe names its contours by the person's sides: its left eye is at the right of the image."""
    from mediapipe.python.solutions import face_mesh_connections as contours

    def points(*edges: frozenset[tuple[int, int]]) -> set[int]:
        return set(itertools.chain.from_iterable(itertools.chain.from_iterable(edges)))

    left, right = (mesh_of(eye[:4]) for eye in EYES)
    assert left <= points(contours.FACEMESH_RIGHT_EYE)
    assert right <= points(contours.FACEMESH_LEFT_EYE)
    assert mesh_of(MOUTH) <= points(contours.FACEMESH_LIPS)
    assert {Mesh.NOSE_TIP, Mesh.LEFT_NOSE_WING, Mesh.RIGHT_NOSE_WING} <= points(contours.FACEMESH_NOSE)
    brows = {side: {m for m in Mesh if m.name.startswith(f"{side}_BROW")} for side in ("LEFT", "RIGHT")}
    assert brows["LEFT"] <= points(contours.FACEMESH_RIGHT_EYEBROW)
    assert brows["RIGHT"] <= points(contours.FACEMESH_LEFT_EYEBROW)
    outline = {Mesh.FOREHEAD, Mesh.CHIN, *(m for m in Mesh if "EAR" in m.name or "JAW" in m.name)}
    assert outline <= points(contours.FACEMESH_FACE_OVAL)
    # each iris is a ring around its centre, which has the number before the ring's
    assert min(points(contours.FACEMESH_RIGHT_IRIS)) - 1 == Mesh.LEFT_IRIS
    assert min(points(contours.FACEMESH_LEFT_IRIS)) - 1 == Mesh.RIGHT_IRIS


def test_a_mirror_swaps_sides_and_nothing_else() -> None:
    assert [SUP_MIRROR[index] for index in SUP_MIRROR] == list(range(N_SUP))
    for index, landmark in enumerate(Mesh):
        mirrored = list(Mesh)[SUP_MIRROR[index]]
        swapped = {"LEFT": "RIGHT", "RIGHT": "LEFT"}.get(landmark.name.partition("_")[0])
        assert (mirrored == landmark) == (swapped is None)
        assert mirrored.name.partition("_")[2] == landmark.name.partition("_")[2]


def test_a_real_face_has_them_where_the_names_say(faces: list[np.ndarray]) -> None:
    with FaceTracker(still=True) as tracker:
        face = tracker.track(faces[0])
    assert face is not None
    x, y = face.sup.T
    order = [landmarks.FOREHEAD, landmarks.NOSE_TIP, *landmarks.OUTER_LIPS, landmarks.CHIN]
    assert (np.diff(y[order]) > 0).all()
    assert y[landmarks.INNER_LIPS[0]] <= y[landmarks.INNER_LIPS[1]]
    assert np.isin(landmarks.EARS, [x.argmin(), x.argmax()]).all()
    for name in ("EARS", "JAW_ANGLES", "NOSE_WINGS", "OUTER_LIP_CORNERS", "INNER_LIP_CORNERS", "OUTER_EYE_CORNERS"):
        left, right = getattr(landmarks, name)
        assert x[left] < x[landmarks.NOSE_TIP] < x[right], name
    assert x[landmarks.LEFT_EYE.outer] < x[landmarks.LEFT_EYE.iris] < x[landmarks.LEFT_EYE.inner]
    assert x[landmarks.RIGHT_EYE.inner] < x[landmarks.RIGHT_EYE.iris] < x[landmarks.RIGHT_EYE.outer]
    for eye, lids in zip(EYES, landmarks.LIDS, strict=True):
        assert lids == (eye.upper_lid, eye.lower_lid)
        assert y[eye.upper_lid] < y[eye.lower_lid]


def test_openness_is_lid_distance_over_eye_width() -> None:
    sup = np.zeros((N_SUP, 2))
    for eye, lids in zip(EYES, (0.3, 0.1), strict=True):
        sup[eye.outer], sup[eye.inner] = [-1, 0], [1, 0]
        sup[eye.upper_lid], sup[eye.lower_lid] = [0, -lids], [0, lids]
    assert landmarks.openness(sup) == pytest.approx(0.2, rel=1e-4)

"""Metrics of faces: each is a function of what trackers and networks found in the input and in the drawn pictures.

    @face_metric("mouth")
    def mouth(original: Reference, drawn: Reference) -> float | None: ...

The name must be one of `catalog.CATALOG`. Frames in which one side has no face are NaN in the columns of a `Reference`
and left out of all means but that of "lost". None: a column that the metric needs is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fvc.codec.face.landmarks import INNER_LIPS, LIDS, eye_distance, landmark_error
from fvc.evaluation.metrics.reference import Reference

FaceMetric = Callable[[Reference, Reference], float | None]
FACE_METRICS: dict[str, FaceMetric] = {}  # by name in the catalog

_WIDEST = 10  # one of so many frames counts among the widest mouths
_SHUT = 0.02  # lip gap over eye distance, below which a mouth is shut and a ratio says nothing
_MAX_INTENSITY = 5.0  # of an action unit, on OpenFace's scale


def face_metric(name: str) -> Callable[[FaceMetric], FaceMetric]:
    """Registers a function as the metric `name` of the catalog."""

    def register(compute: FaceMetric) -> FaceMetric:
        FACE_METRICS[name] = compute
        return compute

    return register


@face_metric("nme")
def nme(original: Reference, drawn: Reference) -> float:
    """Normalised mean error of the sup landmarks."""
    return _mean(landmark_error(drawn.columns["sup"], original.columns["sup"]))


@face_metric("nme_landmarker")
def nme_landmarker(original: Reference, drawn: Reference) -> float | None:
    """The same error of the face landmarker's landmarks, in the same unit."""
    if "landmarker" not in original.columns:
        return None
    unit = eye_distance(original.columns["sup"])[:: original.every]
    return _mean(landmark_error(drawn.columns["landmarker"], original.columns["landmarker"], unit))


@face_metric("pose_deg")
def pose_deg(original: Reference, drawn: Reference) -> float:
    """Mean absolute error of yaw, pitch and roll, degrees."""
    return _mean(_pose_errors(original, drawn))


def _axis_deg(axis: int, original: Reference, drawn: Reference) -> float:
    return _mean(_pose_errors(original, drawn)[:, axis])


for _axis, _angle in enumerate(("yaw", "pitch", "roll")):
    face_metric(f"{_angle}_deg")(partial(_axis_deg, _axis))


def _pose_errors(original: Reference, drawn: Reference) -> np.ndarray:
    """[T, 3]: absolute errors of yaw, pitch and roll, degrees."""
    turn = drawn.columns["pose"] - original.columns["pose"]
    return np.asarray(np.abs(np.degrees((turn + np.pi) % (2 * np.pi) - np.pi)))


@face_metric("mouth")
def mouth(original: Reference, drawn: Reference) -> float:
    """Mean absolute error of the inner lips' gap, in units of each face's own eye distance."""
    return _mean(_gap_errors(original, drawn, INNER_LIPS))


@face_metric("eyes")
def eyes(original: Reference, drawn: Reference) -> float:
    """Mean absolute error of the lids' gap of both eyes, in the same unit."""
    return _mean(np.stack([_gap_errors(original, drawn, lids) for lids in LIDS]))


def _gap_errors(original: Reference, drawn: Reference, pair: tuple[int, int]) -> np.ndarray:
    """[T]: absolute differences of the distance between two sup landmarks over the eye distance."""
    return np.abs(_gaps(original, pair) - _gaps(drawn, pair))


def _gaps(side: Reference, pair: tuple[int, int]) -> np.ndarray:
    """[T]: distance between two sup landmarks over the eye distance."""
    sup = side.columns["sup"]
    return np.asarray(np.linalg.norm(sup[:, pair[0]] - sup[:, pair[1]], axis=-1) / eye_distance(sup))


def widest_mouths(original: Reference, every: int = 1) -> np.ndarray:
    """Of frames 0, every, 2 every ..., the tenth (at least one) whose inner lips are farthest apart: their numbers."""
    gaps = _gaps(original, INNER_LIPS)[::every]
    seen = np.flatnonzero(~np.isnan(gaps))
    wanted = -(-len(seen) // _WIDEST)
    return np.sort(seen[np.argsort(-gaps[seen], kind="stable")[:wanted]]) * every


@face_metric("mouth_opening")
def mouth_opening(original: Reference, drawn: Reference) -> float | None:
    """Mean ratio of the drawn lips' gap to the input's, of the widest mouths. None: no mouth opens."""
    widest = widest_mouths(original)
    true, found = (_gaps(side, INNER_LIPS)[widest] for side in (original, drawn))
    opened = true > _SHUT
    return _mean(found[opened] / true[opened]) if opened.any() else None


@face_metric("lost")
def lost(original: Reference, drawn: Reference) -> float:
    """Share of the frames with a face whose drawing shows none."""
    has_face = ~np.isnan(original.columns["sup"][:, 0, 0])
    return _mean(np.isnan(drawn.columns["sup"][has_face, 0, 0]).astype(float))


def _cosine(column: str, original: Reference, drawn: Reference) -> float | None:
    """Mean cosine of embeddings, which have length 1."""
    if column not in original.columns:
        return None
    return _mean(np.clip((original.columns[column] * drawn.columns[column]).sum(-1), -1, 1))


face_metric("csim")(partial(_cosine, "identity"))
face_metric("csim_casia")(partial(_cosine, "identity_casia"))


@face_metric("expr")
def expr(original: Reference, drawn: Reference) -> float | None:
    """One minus the mean absolute difference of blendshapes."""
    if "blendshapes" not in original.columns:
        return None
    return 1 - _mean(np.abs(original.columns["blendshapes"] - drawn.columns["blendshapes"]).mean(-1))


@face_metric("expr_au")
def expr_au(original: Reference, drawn: Reference) -> float | None:
    """One minus the mean absolute difference of action-unit intensities over their range, calibrated to the person."""
    if not {"action_units", "calibration"} <= set(original.columns):
        return None
    calibration = original.columns["calibration"]
    a, b = (np.clip(side.columns["action_units"] - calibration, 0, _MAX_INTENSITY) for side in (original, drawn))
    return 1 - _mean(np.abs(a - b).mean(-1)) / _MAX_INTENSITY


def _mean(values: np.ndarray) -> float:
    """Over all values that are not NaN; NaN where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")

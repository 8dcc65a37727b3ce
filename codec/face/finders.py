"""Which tracker finds faces: MediaPipe's, or our own networks (`codec.face.own_faces`) where it cannot be installed."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fvc.codec.base.errors import OptionError
from fvc.codec.face.detection import FaceFinder, FaceSearch

AUTO, MEDIAPIPE, OWN = "auto", "mediapipe", "own"
TRACKERS = (AUTO, MEDIAPIPE, OWN)
_MODEL = Path("modules", "face_landmark", "face_landmark_with_attention.tflite")
VARIABLE = "FVC_TRACKER"  # environment variable: the tracker where no option names one


@cache
def has_mediapipe() -> bool:
    """Whether a MediaPipe with its face models is installed; up to 0.10.21 its wheel has them. Does not import it."""
    try:
        spec = find_spec("mediapipe")
    except ValueError:  # somebody put None or a module without a spec in its place
        return False
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or []]
    return any((folder / _MODEL).is_file() for folder in folders)


def tracker_named(name: str | None = None) -> str:
    """ "mediapipe" or "own". "auto" is MediaPipe where it is installed; None: what `FVC_TRACKER` says, else "auto".

    Raises:
        OptionError: there is no such tracker, or it is not installed.
    """
    name = (os.environ.get(VARIABLE) or AUTO) if name is None else name
    if name not in TRACKERS:
        raise OptionError("tracker", name[:40], f"must be {', '.join(TRACKERS[:-1])} or {TRACKERS[-1]}")
    if name == AUTO:
        return MEDIAPIPE if has_mediapipe() else OWN
    if name == MEDIAPIPE and not has_mediapipe():
        fault = "MediaPipe 0.10.21 is not installed; it needs Python 3.11 or 3.12 and has no wheel for Linux on ARM"
        raise OptionError("tracker", name, fault)
    return name


def make_finder(tracker: str, still: bool, max_faces: int) -> FaceFinder:
    """The finder of a tracker that `tracker_named` gave.

    Args:
        still: find faces in every picture anew, instead of where they were in the one before.
        max_faces: how many to look for.
    """
    if tracker == MEDIAPIPE:
        from fvc.codec.face.mediapipe_faces import FaceMesh  # slow to import, and only senders need it

        return FaceMesh(still, max_faces)
    from fvc.codec.face.own_faces import OwnFaces

    return OwnFaces(still, max_faces)


def make_search(tracker: str) -> FaceSearch:
    """The search for small faces of a tracker that `tracker_named` gave."""
    if tracker == MEDIAPIPE:
        from fvc.codec.face.mediapipe_faces import MediaPipeBoxes

        return FaceSearch(MediaPipeBoxes())
    from fvc.codec.face.own_faces import OwnBoxes

    return FaceSearch(OwnBoxes())

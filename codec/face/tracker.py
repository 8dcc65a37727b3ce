"""Face tracking: one frame in, 478 landmarks and a head pose out.

Which of the landmarks the codec uses, and what each of them is: `codec.face.landmarks`. How they are found in a
picture: `codec.face.detection`.
"""

from __future__ import annotations

import numpy as np

from fvc.codec.face.cuts import Change, CutDetector
from fvc.codec.face.detection import Face, FaceFinder, FaceSearch, Window
from fvc.codec.face.face_choice import MOST_FACES
from fvc.codec.face.finders import make_finder, make_search, tracker_named

_LARGE = 0.2  # width of a face over the longer side of the frame: whole frames are enough to find it again
_SEARCH_EVERY = 8  # frames, while no face is there
_APART = 0.7  # of a face's size: nearer than that, two faces are one that was found twice
_DRAGGED = 0.08  # of the face's size: landmarks that are off by more on average are those of the scene before


class FaceTracker:
    """Follows one face through a video (or finds it in a still).

    A finder (`codec.face.finders`) looks for faces in the whole frame, where it finds those of a tenth of the frame's
    width or more. Where it finds none, smaller ones are searched for (`FaceSearch`), down to 32 pixels; such a face is
    then followed in a square window around it. At a scene cut the tracker starts anew: what the finder remembers of the
    face before would drag the landmarks for several frames.

    Somebody who was seen beside the face that is followed is not taken for it when that one is lost, for as long as the
    scene lasts.

    Args:
        still: treat every picture by itself, as for source frames.
        max_faces: how many faces to look for; the largest is taken at first, then the one that continues it.
        place: x and y in pixels, where the face was seen before: the nearest is taken at first, not the largest.
        tracker: "mediapipe", "own" or "auto"; None: see `finders.tracker_named`.

    Raises:
        OptionError: there is no such tracker, or it is not installed.

    Attributes:
        is_cut: whether the newest frame began a new scene.
        is_sudden: whether it differs suddenly from the one before: perhaps a new scene that looks like the old one.
        others: the faces of the newest frame that are not followed.
    """

    def __init__(
        self,
        still: bool = False,
        max_faces: int = MOST_FACES,
        place: np.ndarray | None = None,
        tracker: str | None = None,
    ) -> None:
        self._still, self._max_faces, self._place = still, max_faces, place
        self._kind = tracker_named(tracker)
        self.others: list[Face] = []
        self._strangers: list[Face] = []  # as they were seen last
        self._last: Face | None = None
        self._window: Window | None = None  # where a small face is looked for; None: in the whole frame
        self._missed = 0  # frames without a face, up to the newest
        self._is_large = False  # whether the face that was followed last is one that is found in whole frames
        self._cuts = CutDetector()
        self.is_cut = self.is_sudden = False
        self._searcher: FaceSearch | None = None
        self._stills: FaceFinder | None = None
        self._finder = make_finder(self._kind, still, max_faces)

    def track(self, rgb: np.ndarray) -> Face | None:
        """Returns the face in `rgb` (uint8 [H, W, 3]), or None when there is none."""
        change = Change.NONE if self._still else self._cuts.look(rgb)
        self.is_cut, self.is_sudden = change == Change.CUT, change != Change.NONE
        if self._still or self.is_cut:
            self._restart()
        face = self._follow(rgb)
        if change == Change.SUDDEN and face is not None and self._is_dragged(rgb, face):
            self.is_cut = True
            self._restart()
            face = self._follow(rgb)
        self._last = face
        self._missed = 0 if self._last else self._missed + 1
        return self._last

    def _restart(self) -> None:
        """Forgets the face that was followed."""
        self._last = self._window = None
        self._missed, self._is_large, self._strangers = 0, False, []
        if not self._still:
            self._finder.restart()

    def _is_dragged(self, rgb: np.ndarray, face: Face) -> bool:
        """Whether a face lies elsewhere than where it is found without knowledge of the frames before."""
        if self._stills is None:
            self._stills = make_finder(self._kind, True, self._max_faces)
        found = _nearest(self._stills.find(rgb, self._window), _centre(face))
        return found is not None and bool(np.linalg.norm(found.sup - face.sup, axis=1).mean() > _DRAGGED * found.size)

    def _follow(self, rgb: np.ndarray) -> Face | None:
        if self._window is not None:
            face = self._choose(self._finder.find(rgb, self._window))
            if face is not None:
                if not self._window.suits(face.box):
                    self._look_at(Window.around(face.box, rgb))
                return face
            self._look_at(None)
        face = self._choose(self._finder.find(rgb))
        if face is not None:
            self._is_large = face.size >= _LARGE * max(rgb.shape[:2])
            return face
        if self._is_large or self.others:
            return None
        return self._find_small(rgb)

    def _find_small(self, rgb: np.ndarray) -> Face | None:
        """A face that is too small to be found in the whole frame."""
        boxes = []
        if self._last is not None:  # lost in this frame: it is probably still near
            boxes.append(self._last.box)
        if self._missed % _SEARCH_EVERY == 0:
            self._searcher = self._searcher or make_search(self._kind)
            boxes += self._searcher.boxes(rgb)
        for box in boxes:
            self._look_at(Window.around(box, rgb))
            face = self._choose(self._finder.find(rgb, self._window))
            if face is not None:
                return face
        self._look_at(None)
        return None

    def _look_at(self, window: Window | None) -> None:
        if window != self._window:
            self._window = window
            if not self._still:
                self._finder.restart()

    def _choose(self, faces: list[Face]) -> Face | None:
        """The face to follow; the others are kept, to know them for strangers."""
        face = self._pick([face for face in faces if not self._is_stranger(face)])
        self.others = [other for other in faces if other is not face]
        apart = [other for other in self.others if face is None or _distance(other, face) > _APART * face.size]
        unseen = [known for known in self._strangers if not any(_is_same(known, seen) for seen in faces)]
        self._strangers = [] if self._still else [*apart, *unseen]
        return face

    def _pick(self, faces: list[Face]) -> Face | None:
        if self._last is not None and not self._still:
            return _nearest(faces, _centre(self._last))
        if self._place is not None:
            return _nearest(faces, self._place)
        return max(faces, key=lambda face: face.area, default=None)

    def _is_stranger(self, face: Face) -> bool:
        near = [_distance(face, known) for known in self._strangers if _is_same(known, face)]
        return bool(near) and (self._last is None or min(near) < _distance(face, self._last))

    def close(self) -> None:
        """Frees the native graphs."""
        for graph in (self._finder, self._stills, self._searcher):
            if graph is not None:
                graph.close()

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _centre(face: Face) -> np.ndarray:
    return np.asarray(face.landmarks[:, :2].mean(0))


def _distance(a: Face, b: Face) -> float:
    """Of the centres, pixels."""
    return float(np.linalg.norm(_centre(a) - _centre(b)))


def _is_same(known: Face, face: Face) -> bool:
    """Whether a face may be one that was seen before: it is not far from there."""
    return _distance(known, face) <= known.size


def _nearest(faces: list[Face], point: np.ndarray) -> Face | None:
    """The face whose centre is nearest to a point, pixels."""
    return min(faces, key=lambda face: float(np.linalg.norm(_centre(face) - point)), default=None)

"""First look at a clip: every frame is tracked once, so that crop and source frames are known before coding starts.

Keeps 0.3 kB per frame, not the frames: an hour at 15 fps is 17 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fvc.codec.face.crop import choose_crop, in_usual_place
from fvc.codec.face.detection import Face
from fvc.codec.face.face_choice import FaceChoice, Sighting, follow
from fvc.codec.face.source_choice import choose_donors, choose_sources
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame
from fvc.codec.wire.bitstream import Crop

_STEADY = 5  # frames


@dataclass(frozen=True)
class Survey:
    """What tracking a clip gave.

    Attributes:
        frames: number of frames.
        n_faces: how many faces were seen at once, for a third of a second at 15 fps or more.
        index: [T] int, the frames that show the face; all other arrays have one row for each of these.
        sup: [T, 33, 2], landmarks in pixels.
        boxes: [T, 4], left, top, right, bottom of all landmarks in pixels.
        yaw: [T], radians.
        openness: [T], of the eyes (`Face.eye_openness`).
        contrast: [T], standard deviation of the face's pixels.
        cuts: frames that begin a new scene, in order; the first frame is none of them.
    """

    frames: int
    n_faces: int
    index: np.ndarray
    sup: np.ndarray
    boxes: np.ndarray
    yaw: np.ndarray
    openness: np.ndarray
    contrast: np.ndarray
    cuts: tuple[int, ...] = ()

    def sup_of(self) -> dict[int, np.ndarray]:
        """frame index -> sup landmarks."""
        return dict(zip(self.index.tolist(), self.sup, strict=True))

    def sources(self, count: int | None = None) -> list[int]:
        """Frame indices of the source frames, the most useful first; `count` None: as many as are worth it."""
        rows = np.flatnonzero(in_usual_place(self.boxes))  # in other places the face is not in the crop
        chosen = choose_sources(self.sup[rows], self.openness[rows], self.contrast[rows], count)
        return [int(self.index[rows[i]]) for i in chosen]

    def donors(self, chosen: Sequence[int]) -> dict[str, int]:
        """Part ("eyes", "mouth") -> frame from which the patched picture takes it (`codec.face.patching`)."""
        rows = np.flatnonzero(in_usual_place(self.boxes))
        at = np.searchsorted(self.index[rows], chosen).tolist()
        found = choose_donors(self.sup[rows], self.openness[rows], self.contrast[rows], self.yaw[rows], at)
        return {part: int(self.index[rows[row]]) for part, row in found.items()}

    def crop(self, width: int, height: int) -> Crop:
        """The clip's fixed crop."""
        return choose_crop(self.boxes, width, height)


def contrast_of(rgb: np.ndarray, face: Face) -> float:
    """Standard deviation of the face's pixels, in levels: small in a fade or a blur."""
    left, top, right, bottom = (max(int(edge), 0) for edge in face.box)
    patch = rgb[top : max(bottom, top + 8) : 4, left : max(right, left + 8) : 4]
    return float(patch.std()) if patch.size else 0.0


def survey(
    frames: Iterable[Frame],
    tracker: FaceTracker,
    each: Callable[[], None] = lambda: None,
    choice: FaceChoice | None = None,
) -> Survey:
    """Tracks all frames; calls `each` after every one.

    Args:
        choice: which of several faces is followed; None: the one that the tracker follows.
    """
    count, faces, cuts = 0, list[int](), list[int]()
    followed, scenes = list[Sighting](), [list[list[Sighting]]()]
    for frame in frames:
        count += 1
        face = tracker.track(frame.rgb)
        if tracker.is_cut:
            cuts.append(frame.index)
            scenes.append([])
        found = [] if face is None else [face]
        faces += [face.count for face in found]
        seen = [Sighting.of(frame.index, f, contrast_of(frame.rgb, f)) for f in [*found, *tracker.others]]
        followed += seen[: len(found)]
        scenes[-1].append(seen)
        each()
    steady = sorted(faces, reverse=True)[: _STEADY if count >= 2 * _STEADY else 1]  # one face may pass for two briefly
    n_faces = steady[-1] if steady else 0
    if n_faces > 1 and choice is not None:
        followed = [sighting for scene in scenes for sighting in follow(scene, choice)]
    return _table(count, n_faces, followed, cuts)


def _table(frames: int, n_faces: int, rows: Sequence[Sighting], cuts: Sequence[int]) -> Survey:
    columns = [(r.frame, r.sup, r.box, r.yaw, r.openness, r.contrast) for r in rows]
    index, sup, boxes, yaw, openness, contrasts = (np.array(c) for c in list(zip(*columns, strict=True)) or [()] * 6)
    return Survey(frames, n_faces, index.astype(int), sup, boxes, yaw, openness, contrasts, tuple(cuts))

"""First look at a clip: every frame is tracked once, so that crop and source frames are known before coding starts.

Keeps 0.8 kB per frame, not the frames: an hour at 15 fps is 45 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from fvc.codec.base.constants import MAX_SOURCES
from fvc.codec.face.appearance import SceneWatch
from fvc.codec.face.crop import choose_crop, in_usual_place
from fvc.codec.face.detection import Face
from fvc.codec.face.face_choice import FaceChoice, Sighting, follow
from fvc.codec.face.scene_groups import groups
from fvc.codec.face.source_choice import choose_donors, choose_sources
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame
from fvc.codec.wire.bitstream import Crop

_STEADY = 5  # frames
_LEAST_SECONDS = 0.5  # of a group of scenes that has source pictures
_COLUMNS = ("index", "sup", "boxes", "yaw", "openness", "contrast", "groups")  # of a survey: one row for each face


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
        groups: [T], which group of scenes each frame belongs to, from 0: those of one person in one place
            (`codec.face.scene_groups`).
    """

    frames: int
    n_faces: int
    index: np.ndarray
    sup: np.ndarray
    boxes: np.ndarray
    yaw: np.ndarray
    openness: np.ndarray
    contrast: np.ndarray
    cuts: tuple[int, ...]
    groups: np.ndarray

    def by_group(self) -> list[Survey]:
        """Of each group its own frames, the group with the most frames first; at least one, empty without a face.

        Frames in which the face is not in the crop are left out, but for groups that have no others.
        """
        usual = in_usual_place(self.boxes) if len(self.boxes) else np.ones(0, bool)
        sizes = np.bincount(self.groups[usual], minlength=1)
        order = [int(group) for group in np.argsort(-sizes, kind="stable") if sizes[group]]
        return [self._of(usual & (self.groups == group)) for group in order or [0]]

    def worth_pictures(self, least: int) -> Survey:
        """Without the groups that have fewer frames than `least`, or that there are too many of: nobody sees them.

        The largest group stays in any case.
        """
        kept = [int(group.groups[0]) for group in self.by_group()[:MAX_SOURCES] if len(group.index) >= least]
        kept = kept or [int(group.groups[0]) for group in self.by_group()[:1] if len(group.index)]
        return self._of(np.isin(self.groups, kept))

    def _of(self, rows: np.ndarray) -> Survey:
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})

    def sup_of(self) -> dict[int, np.ndarray]:
        """frame index -> sup landmarks."""
        return dict(zip(self.index.tolist(), self.sup, strict=True))

    def sources(self, count: int | None = None) -> list[int]:
        """Frame indices of the source frames, the most useful first; `count` None: as many as are worth it.

        Takes all frames for those of one person in one place: see `by_group`.
        """
        return [int(self.index[row]) for row in choose_sources(self.sup, self.openness, self.contrast, count)]

    def donors(self, chosen: Sequence[int]) -> dict[str, int]:
        """Part ("eyes", "mouth") -> frame from which the patched picture takes it (`codec.face.patching`)."""
        at = np.searchsorted(self.index, chosen).tolist()
        found = choose_donors(self.sup, self.openness, self.contrast, self.yaw, at)
        return {part: int(self.index[row]) for part, row in found.items()}

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
    rate: Fraction = Fraction(15),
) -> Survey:
    """Tracks all frames; calls `each` after every one.

    Scenes that are too short for source pictures of their own count as frames without a face: drawn from others'
    pictures they would show nobody's face.

    Args:
        choice: which of several faces is followed; None: the one that the tracker follows.
        rate: frames per second.
    """
    count, faces, cuts, sudden, watch = 0, list[int](), list[int](), set[int](), SceneWatch()
    followed, scenes = list[Sighting](), [list[list[Sighting]]()]
    for frame in frames:
        count += 1
        face = tracker.track(frame.rgb)
        if tracker.is_cut:
            cuts.append(frame.index)
            scenes.append([])
        if tracker.is_sudden:
            sudden.add(frame.index)
        found = [] if face is None else [face]
        faces += [face.count for face in found]
        seen = _sightings(frame, [*found, *tracker.others], watch, tracker.is_sudden)
        followed += seen[: len(found)]
        scenes[-1].append(seen)
        each()
    steady = sorted(faces, reverse=True)[: _STEADY if count >= 2 * _STEADY else 1]  # one face may pass for two briefly
    n_faces = steady[-1] if steady else 0
    if n_faces > 1 and choice is not None:
        followed = [sighting for scene in scenes for sighting in follow(scene, choice)]
    table = _table(count, n_faces, followed, cuts, groups(followed, sudden))
    return table.worth_pictures(round(_LEAST_SECONDS * float(rate)))


def _sightings(frame: Frame, faces: Sequence[Face], watch: SceneWatch, is_sudden: bool) -> list[Sighting]:
    looks = watch.see(frame.rgb, faces, is_sudden)
    contrasts = [contrast_of(frame.rgb, face) for face in faces]
    return [Sighting.of(frame.index, *seen) for seen in zip(faces, contrasts, looks, strict=True)]


def _table(frames: int, n_faces: int, rows: Sequence[Sighting], cuts: Sequence[int], groups_of: np.ndarray) -> Survey:
    columns = [(r.frame, r.sup, r.box, r.yaw, r.openness, r.contrast) for r in rows]
    index, sup, boxes, yaw, openness, contrasts = (np.array(c) for c in list(zip(*columns, strict=True)) or [()] * 6)
    index = index.astype(int)
    others = index[1:][np.diff(groups_of) != 0].tolist()  # somebody else came without a cut
    all_cuts = tuple(sorted({*cuts, *others}))
    return Survey(frames, n_faces, index, sup, boxes, yaw, openness, contrasts, all_cuts, groups_of)

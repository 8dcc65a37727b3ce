"""Which of several faces is followed: the one at a place, the largest, or the one that moves and talks.

A clip is looked at whole before it is coded, so it does not matter what the tracker followed in the meantime: the faces
of all frames are joined to people, scene by scene, and one of them is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fvc.codec.base.errors import OptionError
from fvc.codec.face.appearance import Appearance
from fvc.codec.face.detection import Face
from fvc.codec.face.landmarks import EYES, MOUTH, eye_distance

MOST_FACES = 4  # that are looked for in a frame
MOVING = "moving"
_RULES = ("left", "right", "largest", MOVING)
_REACH = 1.0  # of a face's size: how far its centre may move from one sighting to the next
_BRIEF = 0.25  # of the sightings of who is seen most: who is seen less often cannot be chosen
_LIVELY = 0.5  # of the motion of the liveliest: of all who move so much, the largest is followed
_EXPRESSIVE = [*MOUTH, *(point for eye in EYES for point in eye)]  # mouth, lids and irises


@dataclass(frozen=True)
class FaceChoice:
    """Which face is followed. Raises OptionError for what names none.

    Attributes:
        named: "left", "right" (in the picture), "largest", "moving": the one whose mouth and eyes move, and of several
            such the largest; or a number as "2": counted from the left, from 1. Where fewer are seen, the rightmost.
    """

    named: str | int = MOVING

    def __post_init__(self) -> None:
        text = str(self.named)
        is_number = text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_FACES
        if text not in _RULES and not is_number:
            fault = f"must be left, right, largest, moving or a number from 1 to {MOST_FACES}, counted from the left"
            raise OptionError("face", text[:40], fault)

    @property
    def label(self) -> str:
        """For notes."""
        text = str(self.named)
        if text == MOVING:
            return "the largest of those that move"
        if text.isdigit():
            return f"number {text} from the left"
        return "the largest" if text == "largest" else f"the one on the {text}"

    def __call__(self, people: Sequence[Person]) -> Person:
        """One of several people, at least one."""
        text = str(self.named)
        if text == "largest":
            return max(people, key=lambda person: person.size)
        if text == MOVING:
            motions = [person.motion for person in people]
            lively = [p for p, motion in zip(people, motions, strict=True) if motion >= _LIVELY * max(motions)]
            return max(lively, key=lambda person: person.size)
        in_order = sorted(people, key=lambda person: person.x)
        number = {"left": 1, "right": len(people)}.get(text) or int(text)
        return in_order[min(number, len(people)) - 1]


@dataclass(frozen=True)
class Sighting:
    """A face in a frame, as a survey keeps it: see `Survey` for the numbers; `appearance`: see `SceneWatch`."""

    frame: int
    sup: np.ndarray
    box: tuple[float, float, float, float]
    yaw: float
    openness: float
    contrast: float
    appearance: Appearance | None = None

    @classmethod
    def of(cls, frame: int, face: Face, contrast: float, appearance: Appearance | None = None) -> Sighting:
        """What is kept of a face."""
        return cls(frame, face.sup, face.box, face.pose[0], face.eye_openness, contrast, appearance)

    @property
    def centre(self) -> np.ndarray:
        """Of the box, pixels."""
        left, top, right, bottom = self.box
        return np.array([left + right, top + bottom]) / 2

    @property
    def size(self) -> float:
        """The longer side of the box, pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


@dataclass
class Person:
    """The sightings of one face in a scene, in order, at most one a frame."""

    sightings: list[Sighting] = field(default_factory=list)

    @property
    def x(self) -> float:
        """Column of the centre, pixels, median."""
        return float(np.median([seen.centre[0] for seen in self.sightings]))

    @property
    def size(self) -> float:
        """Pixels, median."""
        return float(np.median([seen.size for seen in self.sightings]))

    @property
    def motion(self) -> float:
        """How much mouth and eyes move in the face, over the distance of the outer eye corners."""
        return expressiveness(np.array([seen.sup for seen in self.sightings]))

    def distance(self, seen: Sighting) -> float:
        """From where the face was last to another sighting, over its size there."""
        last = self.sightings[-1]
        return float(np.linalg.norm(last.centre - seen.centre)) / max(last.size, 1e-6)

    @property
    def frames(self) -> set[int]:
        """In which it is seen."""
        return {seen.frame for seen in self.sightings}


def expressiveness(sup: np.ndarray) -> float:
    """Motion of mouth and eyes in the face: root mean square, over the distance of the outer eye corners.

    The place, size and pose of the head are taken out by an affine map of each face to the mean face: so a photo that
    is carried about, or filmed by a moving camera, does not move.

    Args:
        sup: [T, 33, 2], in any unit.
    """
    unit = max(float(np.median(eye_distance(sup))), 1e-6)
    mean = (sup - sup.mean(1, keepdims=True)).mean(0)
    moved = []
    for points in sup:
        known = np.column_stack([points - points.mean(0), np.ones(len(points))])
        moved.append(known @ np.linalg.lstsq(known, mean, rcond=None)[0])
    shapes = np.array(moved)[:, _EXPRESSIVE]
    return float(np.sqrt(((shapes - shapes.mean(0)) ** 2).sum(-1).mean())) / unit


def follow(scene: Sequence[Sequence[Sighting]], choice: FaceChoice) -> list[Sighting]:
    """The sightings of the person to follow in a scene, in order.

    Frames without the chosen person show none, unless somebody is there who was never seen beside that person: the
    same, far from where the face was lost, or who came instead.

    Args:
        scene: of each of its frames, all faces.
    """
    people = _people(scene)
    if not people:
        return []
    most = max(len(person.sightings) for person in people)
    chosen = choice([person for person in people if len(person.sightings) >= _BRIEF * most])
    for other in sorted(people, key=lambda person: -len(person.sightings)):
        if not chosen.frames & other.frames:
            chosen = Person([*chosen.sightings, *other.sightings])
    return sorted(chosen.sightings, key=lambda sighting: sighting.frame)


def _people(seen: Sequence[Sequence[Sighting]]) -> list[Person]:
    """Joins the faces of a scene's frames: each to the person who was nearest, if near enough."""
    people: list[Person] = []
    for faces in seen:
        known, left = set(range(len(people))), set(range(len(faces)))
        pairs = [(people[k].distance(faces[n]), k, n) for k in known for n in left]
        for distance, k, n in sorted(pairs):
            if k in known and n in left and distance <= _REACH:
                people[k].sightings.append(faces[n])
                known.remove(k)
                left.remove(n)
        people += [Person([faces[n]]) for n in sorted(left)]
    return people

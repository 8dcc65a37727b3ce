"""Which moments of a clip need source pictures of their own: those that show another person, or another place.

A clip is divided where something else may begin: at cuts, where the face was away for a moment, and where it is
suddenly elsewhere. The parts are then compared by the look of the face (`codec.face.identity`) and by thumbnails of
the whole frame. Parts that are alike in both form a group, such as the shots of one camera in an interview.

Two groups for one person cost bytes; one group for two people tears their faces. So in doubt there are two.

Measured on 60 pairs of training clips, two seconds each: two people that follow each other are one group in three
pairs, and two moments of one clip two groups in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import numpy as np

from fvc.codec.face.appearance import Appearance
from fvc.codec.face.cuts import correlation
from fvc.codec.face.face_choice import Sighting
from fvc.codec.face.identity import distances

_AWAY = 4  # frames without the face after which somebody else may be there
_REACH = 1.0  # of a face's size: how far it moves from one frame to the next
_SAME_FACE = 0.8  # distance of two looks; that of most looks instead (0.55) separated more moments of one person
_SAME_PLACE = 0.5  # correlation of thumbnails; a head that moves before a plain wall leaves 0.76, another place 0.14
_MOST_LOOKS = 12  # of a part, that are compared
_MOST_PARTS = 200  # that are compared; further ones, the shortest, belong to the part before them


def groups(sightings: Sequence[Sighting], sudden: Set[int]) -> np.ndarray:
    """Which of a clip's groups each sighting belongs to: int [T], numbered by their length, the longest first.

    Args:
        sightings: of the face that is followed, in order.
        sudden: frames that differ suddenly from the ones before, cuts among them.
    """
    parts = _parts(sightings, sudden)
    shown = [[seen.appearance for seen in sightings[part] if seen.appearance] for part in parts]
    compared = sorted((n for n, looks in enumerate(shown) if looks), key=lambda n: parts[n].start - parts[n].stop)
    known: list[list[Appearance]] = []
    group_of = dict[int, int]()
    for n in sorted(compared[:_MOST_PARTS]):
        looks = _spread(shown[n])
        alike = [g for g, members in enumerate(known) if _are_alike(looks, members)]
        group_of[n] = alike[0] if alike else len(known)
        if alike:
            known[alike[0]] = _spread([*known[alike[0]], *looks], 4 * _MOST_LOOKS)
        else:
            known.append(looks)
    result, last = np.zeros(len(sightings), int), 0
    for n, part in enumerate(parts):
        result[part] = last = group_of.get(n, last)
    order = np.argsort(-np.bincount(result, minlength=1), kind="stable")
    return np.argsort(order, kind="stable")[result]


def _parts(sightings: Sequence[Sighting], sudden: Set[int]) -> list[slice]:
    """Divides the sightings where something else may begin."""
    begins = [n for n in range(1, len(sightings)) if _begins(sightings[n - 1], sightings[n], sudden)]
    return [slice(*ends) for ends in zip([0, *begins], [*begins, len(sightings)], strict=True)]


def _begins(last: Sighting, sighting: Sighting, sudden: Set[int]) -> bool:
    is_sudden = any(frame in sudden for frame in range(last.frame + 1, sighting.frame + 1))
    is_away = sighting.frame - last.frame > _AWAY
    return is_sudden or is_away or float(np.linalg.norm(sighting.centre - last.centre)) > _REACH * last.size


def _are_alike(some: Iterable[Appearance], others: Sequence[Appearance]) -> bool:
    """Whether any two appearances have one face, and any two one surrounding."""
    looks = np.stack([other.look for other in others]).astype(np.float32)
    some = list(some)
    is_face = any(distances(one.look.astype(np.float32), looks).min() <= _SAME_FACE for one in some)
    return is_face and any(correlation(a.thumbnail, b.thumbnail) >= _SAME_PLACE for a in some for b in others)


def _spread(looks: Sequence[Appearance], most: int = _MOST_LOOKS) -> list[Appearance]:
    """At most so many of them, evenly spaced."""
    if len(looks) <= most:
        return list(looks)
    return [looks[n] for n in np.linspace(0, len(looks) - 1, most).round().astype(int)]

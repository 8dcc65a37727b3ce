"""Which frames of a clip become its source frames. Numbers only: knows nothing about pixels or files."""

from __future__ import annotations

import numpy as np

from fvc.codec.face.landmarks import MOUTH, OUTER_EYE_CORNERS
from fvc.codec.face.patching import PARTS, placed_landmarks

SOURCES = 3  # as in the paper (section 3.3), or more where they are worth it, or are asked for
_MOST = 6  # of those that are not asked for: drawing from 7 still keeps up on two cores
_WORTH = 1.1  # by so many times a further one must lower the mean distance to the nearest source
PICTURES = SOURCES + 1  # what a call begins with, with the one that `choose_donors` is for
_OPEN = 0.8  # an eye is open from this share of the clip's median openness
SHARP = 0.6  # a picture is usable from this share of the clip's median contrast (fades from black or white are not)
_PLACE = 0.25  # what a shift of the whole face counts, against as large a change of pose or expression
_CANDIDATES, _JUDGES = 240, 480  # frames that may be chosen, and that say how near the chosen ones are
_PASSES = 20
SHUT = 0.75  # eyes are shut below this share of the least open source's openness
_NEWS = 0.1  # share of the mean distance to the nearest source's mouth that one more must take away
_ALIKE = 0.04  # of the outer eye corners' distance that eyes and nose may be off, laid upon the first source's
_TURNED = 1.0  # what a radian of yaw away from the first source counts, against the openness of a median eye


def choose_sources(sup: np.ndarray, openness: np.ndarray, contrast: np.ndarray, count: int | None = None) -> list[int]:
    """The frames that are least far from all others: k-medoids of the landmarks, the best of them first.

    How far the landmarks of a frame are from those of the nearest source says best how well it can be drawn. (The
    paper, section 3.3, takes a frontal frame and the two extremes of yaw, which few frames are near to; 18 % more
    LPIPS, see training/LOG.md.) Faded frames are not taken. The first is the one that serves the clip best alone, of
    those with open eyes if there are any. Clips of one or two frames repeat them.

    Args:
        sup: [T, 33, 2], landmarks in any unit; openness of the eyes, contrast: [T], of every frame with a face.
        count: how many; None: 3 to 6, as many as are worth their bytes: heads that move about much need more.

    Returns:
        indices into the given arrays.
    """
    usable = np.flatnonzero(contrast >= SHARP * np.median(contrast))
    candidates, judges = _spread(usable, _CANDIDATES), _spread(usable, _JUDGES)
    far = distances(sup[judges], sup[candidates])
    sets = [_medoids(far, n) for n in (range(SOURCES, _MOST + 1) if count is None else [count])]
    chosen = min(sets, key=lambda chosen: float(far[:, chosen].min(1).mean()) * _WORTH ** len(chosen))
    awake = openness[candidates] >= _OPEN * np.median(openness[usable])
    chosen.sort(key=lambda n: (not awake[n], far[:, n].mean()))
    chosen += chosen[:1] * ((count or SOURCES) - len(chosen))
    return [int(candidates[n]) for n in chosen]


def choose_donors(
    sup: np.ndarray, openness: np.ndarray, contrast: np.ndarray, yaw: np.ndarray, chosen: list[int]
) -> dict[str, int]:
    """Frames whose eyes or mouth the first source frame shall be sent with once more (`codec.face.patching`).

    "eyes": those that are shut most, of a head turned about as the first source's; "mouth": of heads turned as
    that one, the one that brings the mouths of all frames nearest to one that was sent. Either is left out where it
    would say little new.

    Args:
        sup, openness, contrast: as in `choose_sources`; yaw: [T] radians; chosen: what that returned.

    Returns:
        part -> index into the given arrays.
    """
    is_usable = contrast >= SHARP * np.median(contrast)
    candidates = _spread(np.flatnonzero(is_usable), _CANDIDATES * 4)
    donors = {}
    turned = np.abs(yaw[candidates] - yaw[chosen[0]])
    shut = candidates[(openness[candidates] / max(float(np.median(openness)), 1e-6) + _TURNED * turned).argmin()]
    if openness[shut] < SHUT * openness[chosen].min():
        donors["eyes"] = int(shut)
    base, lips = sup[chosen[0]], list(MOUTH)
    on_base = np.stack([placed_landmarks(base, points, "mouth") for points in sup[[*candidates, *chosen]]])
    mouths = on_base[:, lips] - on_base[:, lips].mean(1, keepdims=True)  # their shapes, wherever they are
    mouths, known = mouths[: len(candidates)], mouths[len(candidates) :]
    anchors = list(PARTS["mouth"][1])
    turned = distances(on_base[: len(candidates), anchors], base[None, anchors])[:, 0]
    alike = np.flatnonzero(turned <= _ALIKE * np.linalg.norm(base[OUTER_EYE_CORNERS[0]] - base[OUTER_EYE_CORNERS[1]]))
    near = distances(mouths, known).min(1)
    few = _spread(alike, _CANDIDATES)
    saved = np.maximum(near[:, None] - distances(mouths, mouths[few]), 0).mean(0) if len(few) else np.zeros(1)
    if saved.max() > _NEWS * near.mean():
        donors["mouth"] = int(candidates[few[saved.argmax()]])
    return donors


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of them, evenly spaced."""
    return indices if len(indices) <= count else indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[A, K, 2], [B, K, 2] -> [A, B]: root mean square over the landmarks, of centred faces and of their centres."""
    centre_a, centre_b = a.mean(1, keepdims=True), b.mean(1, keepdims=True)
    total = _PLACE * ((centre_a[:, None] - centre_b[None]) ** 2).sum((2, 3))
    for k in range(a.shape[1]):  # one landmark at a time: little memory
        total += (((a - centre_a)[:, None, k] - (b - centre_b)[None, :, k]) ** 2).sum(-1) / a.shape[1]
    return np.sqrt(total)


def _medoids(far: np.ndarray, count: int) -> list[int]:
    """At most `count` candidates [columns] such that the mean distance of all judges [rows] to the nearest is small."""
    chosen: list[int] = []
    for _ in range(min(count, far.shape[1])):
        chosen.append(int(_costs(far, chosen).argmin()))
    for _ in range(_PASSES):
        before = list(chosen)
        for n in range(len(chosen)):
            chosen[n] = int(_costs(far, chosen[:n] + chosen[n + 1 :]).argmin())
        if chosen == before:
            break
    return chosen


def _costs(far: np.ndarray, others: list[int]) -> np.ndarray:
    """[candidates]: the mean distance to the nearest source, if the candidate joins `others`; taken ones: infinite."""
    nearest = far[:, others].min(1, keepdims=True) if others else np.inf
    costs = np.minimum(far, nearest).mean(0)
    costs[others] = np.inf
    return costs

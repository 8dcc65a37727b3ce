"""Chooses the frames of a clip that become source pictures. Numbers only: knows nothing about pixels or files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvc.codec.face.landmarks import MOUTH, OUTER_EYE_CORNERS
from fvc.codec.face.patching import PARTS, placed_landmarks

SOURCES = 3  # source frames, as in the paper (section 3.3); more if they help enough, or the caller asks for them
_MAX_AUTO_SOURCES = 6  # 7 with the patched picture, which can still be drawn in real time on two cores
_MIN_GAIN = 1.1  # each further source must lower the mean distance to the nearest source by this factor
_STILL = 0.01  # a face counts as still up to this mean distance, in distances of the outer eye corners: tracker noise
INITIAL_PICTURES = SOURCES + 1  # what a call begins with: the source frames and the patched picture
_OPEN = 0.8  # an eye is open from this share of the clip's median openness
SHARP = 0.6  # a picture is usable from this share of the clip's median contrast (fades from black or white are not)
_SHIFT_WEIGHT = 0.25  # weight of a shift of the whole face, relative to an equally large change of pose or expression
_CANDIDATES, _SAMPLES = 240, 480  # frames that may be chosen, and frames that the distances are averaged over
_PASSES = 20  # most passes of k-medoids
SHUT = 0.75  # eyes are shut below this share of the least open source's openness
_MIN_MOUTH_GAIN = 0.1  # a donor of the mouth must lower the mean distance to the nearest mouth by this share
_SAME_POSE = 0.04  # most distance of eyes and nose from the first source's, in distances of the outer eye corners
_YAW_WEIGHT = 1.0  # weight of a radian of yaw between donor and first source, relative to the openness of a median eye


def choose_sources(sup: np.ndarray, openness: np.ndarray, contrast: np.ndarray, count: int | None = None) -> list[int]:
    """Chooses the frames with the smallest mean distance from all frames to the nearest one: k-medoids of landmarks.

    The distance of a frame's landmarks to those of the nearest source predicts best how well it can be drawn. (The
    paper, section 3.3, takes a frontal frame and the two extremes of yaw, which few frames are near to: 18 % more
    LPIPS, see training/LOG.md.) Faded frames are not taken. The most useful source comes first: the one that would
    serve the clip best alone, among those with open eyes if there are any.

    Args:
        sup: [T, 33, 2], landmarks in any unit, of every frame with a face.
        openness: [T], of the eyes.
        contrast: [T], of the face's pixels.
        count: how many, where clips with fewer frames repeat the first; None: 3 to 6, more for heads that move
            much; 1 or 2 for a face that does not move.

    Returns:
        indices into the given arrays.
    """
    usable = np.flatnonzero(contrast >= SHARP * np.median(contrast))
    candidates, samples = _spread(usable, _CANDIDATES), _spread(usable, _SAMPLES)
    far = distances(sup[samples], sup[candidates])
    eyes = sup[samples][:, OUTER_EYE_CORNERS[0]] - sup[samples][:, OUTER_EYE_CORNERS[1]]
    chosen = (
        _best_set(far, _STILL * float(np.median(np.linalg.norm(eyes, axis=1))))
        if count is None
        else _medoids(far, count)
    )
    awake = openness[candidates] >= _OPEN * np.median(openness[usable])
    chosen.sort(key=lambda n: (not awake[n], far[:, n].mean()))
    chosen += chosen[:1] * ((count or 0) - len(chosen))
    return [int(candidates[n]) for n in chosen]


def share_out(frames: Sequence[int], wanted: Sequence[int], most: int) -> list[int]:
    """How many source pictures each group of scenes gets: what it wants, or less where all together are too many.

    The picture that serves the fewest frames of its group goes first; the last one of a group goes only where there are
    more groups than pictures, those with the most frames first.

    Args:
        frames: of each group; wanted: pictures that it would have alone, at least 1; most: in all.
    """
    counts = list(wanted)
    while sum(counts) > most:
        spare = [n for n in range(len(counts)) if counts[n] > 1] or [n for n in range(len(counts)) if counts[n]]
        counts[min(spare, key=lambda n: frames[n] / counts[n])] -= 1
    return counts


def choose_donors(
    sup: np.ndarray, openness: np.ndarray, contrast: np.ndarray, yaw: np.ndarray, chosen: list[int]
) -> dict[str, int]:
    """Frames from which the patched picture takes its eyes or mouth (`codec.face.patching`).

    "eyes": the frame with the most closed eyes, with a yaw near the first source's. "mouth": among frames with the
    first source's head pose, the one whose mouth most reduces the distance of all frames to the nearest transmitted
    mouth. Either is left out where it would add little.

    Args:
        sup, openness, contrast: as in `choose_sources`; yaw: [T] radians; chosen: what that returned.

    Returns:
        part -> index into the given arrays.
    """
    is_usable = contrast >= SHARP * np.median(contrast)
    candidates = _spread(np.flatnonzero(is_usable), _CANDIDATES * 4)
    donors = {}
    turned = np.abs(yaw[candidates] - yaw[chosen[0]])
    shut = candidates[(openness[candidates] / max(float(np.median(openness)), 1e-6) + _YAW_WEIGHT * turned).argmin()]
    if openness[shut] < SHUT * openness[chosen].min():
        donors["eyes"] = int(shut)
    base, lips = sup[chosen[0]], list(MOUTH)
    on_base = np.stack([placed_landmarks(base, points, "mouth") for points in sup[[*candidates, *chosen]]])
    mouths = on_base[:, lips] - on_base[:, lips].mean(1, keepdims=True)  # shapes, without their positions
    mouths, known = mouths[: len(candidates)], mouths[len(candidates) :]
    anchors = list(PARTS["mouth"][1])
    turned = distances(on_base[: len(candidates), anchors], base[None, anchors])[:, 0]
    alike = np.flatnonzero(
        turned <= _SAME_POSE * np.linalg.norm(base[OUTER_EYE_CORNERS[0]] - base[OUTER_EYE_CORNERS[1]])
    )
    near = distances(mouths, known).min(1)
    few = _spread(alike, _CANDIDATES)
    saved = np.maximum(near[:, None] - distances(mouths, mouths[few]), 0).mean(0) if len(few) else np.zeros(1)
    if saved.max() > _MIN_MOUTH_GAIN * near.mean():
        donors["mouth"] = int(candidates[few[saved.argmax()]])
    return donors


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the indices, evenly spaced."""
    return indices if len(indices) <= count else indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances of faces: root mean square over the landmarks of centred faces; their centres count less.

    Args:
        a, b: [A, K, 2] and [B, K, 2], landmarks in any unit.

    Returns:
        [A, B], in the same unit.
    """
    centre_a, centre_b = a.mean(1, keepdims=True), b.mean(1, keepdims=True)
    total = _SHIFT_WEIGHT * ((centre_a[:, None] - centre_b[None]) ** 2).sum((2, 3))
    for k in range(a.shape[1]):  # one landmark at a time: little memory
        total += (((a - centre_a)[:, None, k] - (b - centre_b)[None, :, k]) ** 2).sum(-1) / a.shape[1]
    return np.sqrt(total)


def _best_set(far: np.ndarray, still: float) -> list[int]:
    """3 to 6 medoids (see `_MIN_GAIN`); one or two where the mean distance to the nearest is at most `still`."""
    for count in range(1, SOURCES):
        chosen = _medoids(far, count)
        if _mean_distance(far, chosen) <= still:
            return chosen
    sets = [_medoids(far, count) for count in range(SOURCES, _MAX_AUTO_SOURCES + 1)]
    return min(sets, key=lambda chosen: _mean_distance(far, chosen) * _MIN_GAIN ** len(chosen))


def _mean_distance(far: np.ndarray, chosen: list[int]) -> float:
    """Of all samples (rows) to the nearest chosen candidate (columns)."""
    return float(far[:, chosen].min(1).mean())


def _medoids(far: np.ndarray, count: int) -> list[int]:
    """K-medoids: at most `count` candidates (columns) with a small mean distance of all samples to the nearest."""
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
    """[candidates]: mean distance to the nearest source if the candidate joins `others`; infinite for those."""
    nearest = far[:, others].min(1, keepdims=True) if others else np.inf
    costs = np.minimum(far, nearest).mean(0)
    costs[others] = np.inf
    return costs

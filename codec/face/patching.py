"""The patched picture: the first source picture once more, with the eyes or the mouth of another frame.

Source frames are chosen with open eyes, so closed lids are seldom among them, and what no source shows is drawn badly.
The patched picture has the eyes of a frame in which they are closed, and a mouth that is unlike those of all sources,
pasted over its own. AV1 predicts the rest from the first picture, so it costs a few hundred bytes.

Geometry only, in pixels of the crop: landmarks -> similarity transform and soft mask; `patched` applies them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.face.crop import from_picture, to_picture
from fvc.codec.face.landmarks import EYES, MOUTH, NOSE_TIP, NOSE_WINGS

_CORNERS = tuple(corner for eye in EYES for corner in (eye.outer, eye.inner))
_NOSE = (NOSE_TIP, *NOSE_WINGS)
# Part -> (landmark groups, whose convex hulls are pasted; landmarks that are aligned with those of the base picture)
PARTS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "eyes": (EYES, _CORNERS),
    "mouth": ((MOUTH,), _CORNERS + _NOSE),
}
_GROW, _SOFT = 0.025, 0.01  # shares of the crop's side: margin around the hull, standard deviation of its soft edge


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The similarity transform [2, 3] that brings points `a` [K, 2] nearest to `b`, by least squares."""
    centre_a, centre_b = a.mean(0), b.mean(0)
    x, y = ((p - c) @ [1, 1j] for p, c in ((a, centre_a), (b, centre_b)))
    z = complex((np.conj(x) * y).sum() / max(float((np.abs(x) ** 2).sum()), 1e-12))
    matrix = np.array([[z.real, -z.imag], [z.imag, z.real]])
    return np.c_[matrix, centre_b - matrix @ centre_a]


def _moved(sup: np.ndarray, donor: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The transform that aligns a part of the donor with the base, and the donor's landmarks under it; any unit."""
    anchors = list(PARTS[part][1])
    matrix = similarity(donor[anchors], sup[anchors])
    return matrix, donor @ matrix[:, :2].T + matrix[:, 2]


def placed_landmarks(sup: np.ndarray, donor: np.ndarray, part: str) -> np.ndarray:
    """The donor's landmarks [33, 2] after this part of it is aligned with a base with landmarks `sup`."""
    return _moved(sup, donor, part)[1]


def placed(
    sup: np.ndarray, donor: np.ndarray, part: str, side: int = SIDE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How a part of the donor is pasted over a base.

    Args:
        sup, donor: landmarks [33, 2] of base and donor, in [-1, 1].
        part: "eyes" or "mouth".
        side: of the pictures, pixels.

    Returns:
        the similarity transform donor -> base in pixels [2, 3], a mask float32 [side, side] in [0, 1] of the base's
        pixels, and the base's landmarks with the donor's for this part.
    """
    base, other = to_picture(sup, side), to_picture(donor, side)
    matrix, moved = _moved(base, other, part)
    mask, landmarks = np.zeros((side, side), np.float32), np.array(sup, np.float32)
    for group in map(list, PARTS[part][0]):
        spot = cv2.convexHull(np.concatenate([moved[group], base[group]]).astype(np.float32))
        cv2.fillConvexPoly(mask, np.rint(spot).astype(np.int32), 1.0)
        landmarks[group] = from_picture(moved[group], side)
    grow = 2 * round(_GROW * side) + 1
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grow, grow)))
    return matrix, cv2.GaussianBlur(mask, (0, 0), _SOFT * side), landmarks


def patched(
    picture: np.ndarray, sup: np.ndarray, donor: np.ndarray, donor_sup: np.ndarray, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a part ("eyes", "mouth") of the donor's pasted over its own, and its landmarks.

    Args:
        picture, donor: uint8 [S, S, 3].
        sup, donor_sup: their landmarks [33, 2] in [-1, 1].
    """
    side = len(picture)
    matrix, mask, landmarks = placed(sup, donor_sup, part, side)
    warped = cv2.warpAffine(donor, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mixed = picture + (warped.astype(np.float32) - picture) * mask[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), landmarks


Picture = tuple[np.ndarray, np.ndarray]  # uint8 [S, S, 3] and its landmarks [33, 2]


def with_patched(sources: Sequence[Picture], donors: Mapping[str, Picture]) -> list[Picture]:
    """The sources, followed by the patched picture, which is made from the first; without donors the sources only.

    Args:
        donors: part -> the picture that it is taken from.
    """
    picture, sup = sources[0]
    for part, donor in donors.items():
        picture, sup = patched(picture, sup, *donor, part)
    return [*sources, (picture, sup)] if donors else list(sources)

"""A source picture with the eyes or the mouth of another frame: shut lids cost a few hundred bytes, not a picture.

Source frames are chosen with open eyes, and among three there is seldom one with shut ones; lids that no source shows
are drawn badly. So the first source picture is sent once more with the eyes of a frame that has them shut, and the
mouth of one that has it unlike all sources, pasted where its own are. AV1 predicts all else from the first.

Geometry only, in pixels of the 256x256 crop: landmarks -> similarity and soft mask; `patched` applies them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from fvc.codec.constants import SIDE
from fvc.codec.face.landmarks import EYES, MOUTH, NOSE_TIP, NOSE_WINGS

_CORNERS = tuple(corner for eye in EYES for corner in (eye.outer, eye.inner))
_NOSE = (NOSE_TIP, *NOSE_WINGS)
# what is pasted -> (landmark groups, each of which is a convex spot; landmarks that must come to lie on the base's)
PARTS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "eyes": (EYES, _CORNERS),
    "mouth": ((MOUTH,), _CORNERS + _NOSE),
}
_GROW, _SOFT = 0.025, 0.01  # of the crop's side: room around the spot, standard deviation of its edge


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift [2, 3] that takes points `a` [K, 2] nearest to `b`, by least squares."""
    centre_a, centre_b = a.mean(0), b.mean(0)
    x, y = ((p - c) @ [1, 1j] for p, c in ((a, centre_a), (b, centre_b)))
    z = complex((np.conj(x) * y).sum() / max(float((np.abs(x) ** 2).sum()), 1e-12))
    matrix = np.array([[z.real, -z.imag], [z.imag, z.real]])
    return np.c_[matrix, centre_b - matrix @ centre_a]


def _moved(sup: np.ndarray, donor: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The similarity that brings a part of the donor onto the base, and the donor's landmarks there; any unit."""
    anchors = list(PARTS[part][1])
    matrix = similarity(donor[anchors], sup[anchors])
    return matrix, donor @ matrix[:, :2].T + matrix[:, 2]


def placed_landmarks(sup: np.ndarray, donor: np.ndarray, part: str) -> np.ndarray:
    """The donor's landmarks [33, 2] where it lies on a base with landmarks `sup`, as far as this part is concerned."""
    return _moved(sup, donor, part)[1]


def placed(sup: np.ndarray, donor: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How a part of the donor (landmarks [33, 2] in [-1, 1]) comes to lie on a base with landmarks `sup`.

    Returns the similarity donor -> base in pixels [2, 3], a mask float32 [256, 256] in [0, 1] of the base's pixels,
    and the base's landmarks with the donor's for this part.
    """
    base, other = ((points + 1) * (SIDE / 2) - 0.5 for points in (sup, donor))
    matrix, moved = _moved(base, other, part)
    mask, landmarks = np.zeros((SIDE, SIDE), np.float32), np.array(sup, np.float32)
    for group in map(list, PARTS[part][0]):
        spot = cv2.convexHull(np.concatenate([moved[group], base[group]]).astype(np.float32))
        cv2.fillConvexPoly(mask, np.rint(spot).astype(np.int32), 1.0)
        landmarks[group] = (moved[group] + 0.5) / (SIDE / 2) - 1
    grow = 2 * round(_GROW * SIDE) + 1
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grow, grow)))
    return matrix, cv2.GaussianBlur(mask, (0, 0), _SOFT * SIDE), landmarks


def patched(
    picture: np.ndarray, sup: np.ndarray, donor: np.ndarray, donor_sup: np.ndarray, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 [256, 256, 3] with a part ("eyes", "mouth") of the donor's, and its landmarks [33, 2]."""
    matrix, mask, landmarks = placed(sup, donor_sup, part)
    warped = cv2.warpAffine(donor, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mixed = picture + (warped.astype(np.float32) - picture) * mask[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), landmarks


Shown = tuple[np.ndarray, np.ndarray]  # a picture and its landmarks


def with_patched(sources: Sequence[Shown], donors: Mapping[str, Shown]) -> list[Shown]:
    """The sources, and behind them the first once more with what the donors (part -> frame that has it) have for it.

    Without donors nothing is added.
    """
    picture, sup = sources[0]
    for part, donor in donors.items():
        picture, sup = patched(picture, sup, *donor, part)
    return [*sources, (picture, sup)] if donors else list(sources)

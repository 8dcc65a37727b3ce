"""Whether a face is still that of the same person, after a moment in which somebody else may have come.

A face is compared by its look: its pixels, moved onto the landmarks of the first face that was seen, so that place,
size and most of the pose are taken out; its pattern and its colour each give a distance. The shape of the landmarks
does not tell people apart: turns and expressions change it as much as another face does.

Nobody comes while a face is followed from frame to frame. So looks are collected meanwhile, turns and expressions with
them, and compared only after a sudden change of the picture, or when the face was away.

Measured on 110 training clips of as many people, up to 8 s at 15 fps: one is taken for another person as it is, none
when the face has been away for half a second. On 40 others, two and a half seconds later, and on 240 pairs of them:
after half a second nobody is above 0.8, and 42 of the pairs are below; after two seconds nobody is above 0.55, and 16
of the pairs are below. (The distance of aligned 3-D landmarks, averaged over half a second, finds 5 % at 1 % false
alarms.)
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from fractions import Fraction

import cv2
import numpy as np

_SIDE = 48  # pixels, of a look
_EXTENT = 36  # pixels of the look that the landmarks extend over
_SKIN = slice(12, 44), slice(10, 38)  # rows and columns whose colour is compared
_COLOUR_UNIT = 0.25  # in logarithms of red and blue over green: counts like patterns that have nothing in common
_BLACK = 4.0  # levels that are added to each colour: dark ones are noisy
_OTHER = 0.55  # distance from which a face is somebody else's, in the median of many looks
_OTHER_AT_ONCE = 0.8  # the same, of few looks
_SURE = 0.4  # distance up to which one look suffices
_AWAY = 0.3  # seconds without a face after which somebody else may have come
_DOUBT = 0.5  # seconds that are looked at then, in which nobody is shown
_LONG_DOUBT = 2.0  # seconds that are looked at where these leave doubts
_LOOK_INTERVAL = 0.5  # seconds between two looks that are kept
_MOST_LOOKS = 48


class Person(Enum):
    """Whose face a frame shows."""

    KNOWN = "the same person's"
    UNSURE = "perhaps another person's"
    OTHER = "another person's"


class FaceLooks:
    """Takes looks of faces that can be compared with each other.

    Args:
        shape: landmarks [33, 2], in any unit, onto which all faces are moved.
    """

    def __init__(self, shape: np.ndarray) -> None:
        extent = float((shape.max(0) - shape.min(0)).max())
        self._shape = (shape - (shape.max(0) + shape.min(0)) / 2) * (_EXTENT / extent) + _SIDE / 2

    def __call__(self, rgb: np.ndarray, sup: np.ndarray) -> np.ndarray:
        """float32 [48 * 48 + 2]: the pattern, with mean 0 and length 1, and the colour in units of `_COLOUR_UNIT`.

        Args:
            rgb: uint8 [H, W, 3]; sup: landmarks [33, 2] in pixels.
        """
        known = np.column_stack([sup, np.ones(len(sup))])
        there = np.linalg.lstsq(known, self._shape, rcond=None)[0].T
        finer = int(np.clip(np.ceil(np.sqrt(1 / max(abs(np.linalg.det(there[:, :2])), 1e-6))), 1, 16))
        square = cv2.warpAffine(rgb, finer * there, (finer * _SIDE, finer * _SIDE), borderMode=cv2.BORDER_REPLICATE)
        small = cv2.GaussianBlur(cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), (0, 0), 1.0)
        red, green, blue = small[_SKIN].reshape(-1, 3).mean(0) + _BLACK
        colour = np.log([red / green, blue / green]) / _COLOUR_UNIT  # the same in another light
        pattern = small.astype(np.float32).mean(-1).ravel()
        pattern -= pattern.mean()
        pattern /= max(float(np.linalg.norm(pattern)), 1e-3)
        return np.concatenate([pattern, colour]).astype(np.float32)


def distances(look: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """Of one look to each of several: 1 - correlation of the patterns, and the distance of the colours."""
    return 1 - looks[:, :-2] @ look[:-2] + np.linalg.norm(looks[:, -2:] - look[-2:], axis=1)


class FaceWatch:
    """Looks at the frames of one video in order.

    Args:
        known: pictures uint8 [H, W, 3] of the person, with landmarks [33, 2] in pixels; at least one.
        rate: frames per second.
    """

    def __init__(self, known: Iterable[tuple[np.ndarray, np.ndarray]], rate: Fraction) -> None:
        pictures = list(known)
        self._look = FaceLooks(pictures[0][1])
        self._looks = [self._look(*picture) for picture in pictures]
        self._rate = rate
        self._seen: float | None = None  # seconds: when the face was there last
        self._next_look = 0.0
        self._doubts: list[float] | None = None  # distances since somebody else may have come

    def see(self, index: int, rgb: np.ndarray, sup: np.ndarray | None, is_sudden: bool) -> Person:
        """Whose face frame `index` shows; KNOWN where it shows none.

        Args:
            rgb: uint8 [H, W, 3]; sup: landmarks [33, 2] in pixels, None: no face.
            is_sudden: the picture differs suddenly from the one before.
        """
        seconds = float(index / self._rate)
        if is_sudden or (self._seen is not None and seconds - self._seen > _AWAY and self._doubts is None):
            self._doubts = []
        if sup is None:
            return Person.KNOWN
        self._seen = seconds
        if self._doubts is not None:
            return self._compare(self._look(rgb, sup))
        if seconds >= self._next_look:
            self._next_look = seconds + _LOOK_INTERVAL
            self._keep(self._look(rgb, sup))
        return Person.KNOWN

    def _compare(self, look: np.ndarray) -> Person:
        """Decides by the looks since somebody else may have come."""
        doubts = self._doubts = [*(self._doubts or []), float(distances(look, np.array(self._looks)).min())]
        if doubts[-1] <= _SURE:
            self._doubts = None
            return Person.KNOWN
        few, many = (max(round(seconds * self._rate), 1) for seconds in (_DOUBT, _LONG_DOUBT))
        if len(doubts) < few:
            return Person.UNSURE
        limit = {few: _OTHER_AT_ONCE, many: _OTHER}.get(len(doubts), np.inf)  # in between, more looks are waited for
        if float(np.median(doubts)) > limit:
            return Person.OTHER
        if len(doubts) >= many:
            self._doubts = None
        return Person.KNOWN

    def _keep(self, look: np.ndarray) -> None:
        """Keeps a look; where there are too many, one of the two that are most alike is dropped."""
        self._looks.append(look)
        if len(self._looks) > _MOST_LOOKS:
            looks = np.array(self._looks)
            between = np.array([distances(one, looks) for one in looks])
            np.fill_diagonal(between, np.inf)
            self._looks.pop(int(between.min(1).argmin()))

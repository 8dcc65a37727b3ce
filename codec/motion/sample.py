"""The driving sample: the motion of one frame as a few arrays, its parts. Knows nothing of pixels, bits or networks.

A profile is the choice of parts that a stream carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fvc.codec.base.errors import OptionError

N_SUP = 33  # tracked landmarks (`codec.face.landmarks.SUP`)
N_UNSUP = 10  # learned keypoints
N_EXPRESSION = 16  # numbers of an expression code
NEUTRAL_EXPRESSION = 0.5  # each number of the code where a stream carries none

PART_SHAPES: dict[str, tuple[int, ...]] = {
    "sup": (N_SUP, 2),
    "unsup": (N_UNSUP, 2),
    "jac": (N_UNSUP, 2, 2),
    "expr": (N_EXPRESSION,),
}
KEYPOINTS = ("sup", "unsup")  # the parts that are positions in the crop


class Profile(IntEnum):
    """Which parts a stream carries; the value is the header's `profile` field."""

    SUP = 0
    SUP_UNSUP = 1
    SUP_UNSUP_EXPR = 2
    UNSUP_JAC = 3
    UNSUP_JAC_EXPR = 8
    SUP_UNSUP_JAC_EXPR = 9

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts in coding order."""
        return _PARTS[self]

    @property
    def is_learned(self) -> bool:
        """Whether it has parts that networks find; a sender of "sup" needs the tracker only."""
        return self.parts != ("sup",)

    @property
    def label(self) -> str:
        """The name users type, e.g. "sup+unsup"."""
        return "+".join(self.parts)

    @classmethod
    def named(cls, label: str) -> Profile:
        """The profile with this label; raises OptionError for an unknown one."""
        for profile in cls:
            if profile.label == label:
                return profile
        raise OptionError("profile", label, f"unknown; choose from {', '.join(p.label for p in cls)}")


_PARTS = {
    Profile.SUP: ("sup",),
    Profile.SUP_UNSUP: ("sup", "unsup"),
    Profile.SUP_UNSUP_EXPR: ("sup", "unsup", "expr"),
    Profile.UNSUP_JAC: ("unsup", "jac"),
    Profile.UNSUP_JAC_EXPR: ("unsup", "jac", "expr"),
    Profile.SUP_UNSUP_JAC_EXPR: ("sup", "unsup", "jac", "expr"),
}


@dataclass(frozen=True)
class DrivingSample:
    """Motion of one frame.

    Attributes:
        parts: part name -> float32 array of its shape in `PART_SHAPES`. Keypoints lie in [-1, 1] of the crop (x right,
            y down, pixel centres), expression codes in [0, 1], Jacobians are 2x2 matrices near the identity.
    """

    parts: Mapping[str, np.ndarray]

    def only(self, parts: tuple[str, ...]) -> DrivingSample:
        """The sample reduced to the named parts, those of a profile."""
        return DrivingSample({part: self.parts[part] for part in parts})

"""The 33 tracked landmarks drawn as lines, one map for each part of the face: what SPADE layers and NTH look at.

forehead -- ears -- jaw -- chin | brows | left eye | right eye | irises | nose | outer lips | inner lips
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from fvc.codec.face.landmarks import (
    CHIN,
    EARS,
    FOREHEAD,
    INNER_LIP_CORNERS,
    INNER_LIPS,
    JAW_ANGLES,
    LEFT_EYE,
    NOSE_TIP,
    NOSE_WINGS,
    OUTER_LIP_CORNERS,
    OUTER_LIPS,
    RIGHT_EYE,
    SUP,
    Eye,
    Mesh,
)
from fvc.models.layers import identity_grid

THICKNESS = 0.02  # deviation of the Gaussian across a line; half side of the crop = 1
_SMALL = 1e-6


def _brow(side: str) -> tuple[int, ...]:
    return tuple(SUP.index(Mesh[f"{side}_BROW_{part}"]) for part in ("OUTER", "MIDDLE", "INNER"))


def _outline_of(eye: Eye) -> tuple[int, ...]:
    return eye.outer, eye.upper_lid, eye.inner, eye.lower_lid, eye.outer


def _lips(corners: tuple[int, int], lips: tuple[int, int]) -> tuple[int, ...]:
    return corners[0], lips[0], corners[1], lips[1], corners[0]


# Each part: lines through these landmarks; one that is named twice in a row is a dot.
PARTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "outline": ((FOREHEAD, EARS[0], JAW_ANGLES[0], CHIN, JAW_ANGLES[1], EARS[1], FOREHEAD),),
    "brows": (_brow("LEFT"), _brow("RIGHT")),
    "left eye": (_outline_of(LEFT_EYE),),
    "right eye": (_outline_of(RIGHT_EYE),),
    "irises": tuple((eye.iris, eye.iris) for eye in (LEFT_EYE, RIGHT_EYE)),
    "nose": ((NOSE_WINGS[0], NOSE_TIP, NOSE_WINGS[1]),),
    "outer lips": (_lips(OUTER_LIP_CORNERS, OUTER_LIPS),),
    "inner lips": (_lips(INNER_LIP_CORNERS, INNER_LIPS),),
}
N_MAPS = len(PARTS)


class LandmarkMaps(nn.Module):
    """Landmarks [B, 33, 2] in [-1, 1] of the crop, their presence [B, 33] -> maps [B, 8, side, side] in [0, 1]."""

    grid: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        segments = [[segment for line in lines for segment in itertools.pairwise(line)] for lines in PARTS.values()]
        self.counts = [len(part) for part in segments]
        self.begins, self.ends = (list(column) for column in zip(*itertools.chain(*segments), strict=True))
        self.register_buffer("grid", identity_grid(side).reshape(1, -1, 2), persistent=False)

    def forward(self, sup: Tensor, presence: Tensor) -> Tensor:
        begin, line = sup[:, self.begins], sup[:, self.ends] - sup[:, self.begins]  # [B, S, 2]
        # How far along each segment the nearest point lies, in [0, 1]: (x - begin) . line / |line|^2
        along = self.grid @ line.transpose(1, 2) - (begin * line).sum(-1)[:, None]  # [B, P, S]
        along = (along / (line.square().sum(-1)[:, None] + _SMALL)).clamp(0, 1)
        x, y = (self.grid[..., n : n + 1] - begin[:, None, :, n] - along * line[:, None, :, n] for n in range(2))
        distances = (x.square() + y.square()).split(self.counts, -1)
        nearest = torch.stack([part.amin(-1) for part in distances], 1)  # [B, 8, P]
        maps = torch.exp(-nearest / (2 * THICKNESS**2)) * presence[:, :1, None]
        return maps.unflatten(-1, (self.side, self.side))

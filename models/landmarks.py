"""A landmark network for phones: the 33 *sup* landmarks (`codec.tracking`) from the face crop, without MediaPipe.

    crop 3x128x128 -> stem, block -> 32x32 -> Hourglass -> features -> 33 heatmaps -> softmax -> centre of mass
                                                                \\-> 33 x 2 offsets, weighted by the heatmaps

A student of the tracker, see `training.student`. The centre of mass finds fractions of a cell (Sun et al., "Integral
human pose regression", ECCV 2018); the offsets correct what a centre of mass cannot reach, places beside the crop.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fvc.models.layers import Hourglass, InvertedResidual, identity_grid, stem
from fvc.models.presets import N_SUP

LANDMARK_SIDE = 128
_MAP_SIDE = 32


class LandmarkNet(nn.Module):
    """[B, 3, 256, 256] in [0, 1] -> [B, 33, 2] in [-1, 1] of the crop."""

    grid: Tensor
    temperature = 0.1

    def __init__(self, base: int = 48) -> None:
        super().__init__()
        self.stem = nn.Sequential(stem(16), InvertedResidual(16, 24, 3, down=True), InvertedResidual(24, 24, 3))
        self.hourglass = Hourglass(24, base, depth=4, widest=160)
        self.refine = InvertedResidual(base, base, 3)
        self.heatmaps, self.offsets = nn.Conv2d(base, N_SUP, 1), nn.Conv2d(base, 2 * N_SUP, 1)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)
        self.register_buffer("grid", identity_grid(_MAP_SIDE).reshape(-1, 2), persistent=False)

    def forward(self, crop: Tensor) -> Tensor:
        """The crop is reduced to 128x128 by averaging 2x2 pixels."""
        features, _ = self.hourglass(self.stem(F.avg_pool2d(crop, crop.shape[-1] // LANDMARK_SIDE)))
        features = self.refine(features)
        heat = (self.heatmaps(features).flatten(2) / self.temperature).softmax(-1)
        offsets = self.offsets(features).flatten(2).unflatten(1, (N_SUP, 2))
        return heat @ self.grid + (offsets * heat[:, :, None]).sum(-1)

"""The sender's networks: learned (unsup) keypoints with Jacobians, and the expression code.

    crop 3x64x64 -> Hourglass -> features -> K heatmaps -> spatial softmax -> centre of mass -> keypoints   [K, 2]
                        |           |             '-> weighted mean
                        |           '-> K x 4 maps ----------^----------------------------> Jacobians   [K, 2, 2]
                        |
                        '-> central feature, 512 numbers -> ExpressionMLP ------------------> expression       [16]

Keypoints are in [-1, 1] of the crop, expression codes in [0, 1]. Oquab et al., CVPRW 2022, sections 3.2.2 and 6.1; the
Jacobians are the first-order model's (Siarohin et al., NeurIPS 2019).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.motion.sample import N_EXPRESSION, N_UNSUP
from fvc.models.layers import Hourglass, identity_grid

INPUT_SIDE = 64


class KeypointNet(nn.Module):
    """[B, 3, 64, 64] in [0, 1] -> keypoints [B, 10, 2], Jacobians [B, 10, 2, 2], central feature [B, 512]."""

    temperature = 0.1  # of the softmax over heatmaps

    def __init__(self, base: int = 16) -> None:
        super().__init__()
        self.hourglass = Hourglass(3, base, depth=5, widest=128)
        self.heatmaps = nn.Conv2d(base, N_UNSUP, 3, padding=1)
        self.jacobians = nn.Conv2d(base, 4 * N_UNSUP, 1)
        nn.init.zeros_(self.jacobians.weight)
        with torch.no_grad():
            self.jacobians.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(N_UNSUP))
        self.register_buffer("grid", identity_grid(INPUT_SIDE).reshape(-1, 2), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, centre = self.hourglass(x)  # [B, base, 64, 64], [B, 128, 2, 2]
        heat = (self.heatmaps(features).float().flatten(2) / self.temperature).softmax(-1)  # [B, K, 64 * 64]
        jacobians = self.jacobians(features).float().flatten(2).unflatten(1, (N_UNSUP, 4))  # [B, K, 4, 64 * 64]
        jacobians = (jacobians * heat[:, :, None]).sum(-1).unflatten(-1, (2, 2))  # [B, K, 2, 2]
        return heat @ self.grid, jacobians, centre.flatten(1)


class ExpressionMLP(nn.Sequential):
    """Central feature [B, 512], of dense models [B, 4096] -> expression code [B, 16] in [0, 1] (section 6.1.2)."""

    def __init__(self, inputs: int = 512) -> None:
        super().__init__(
            nn.Linear(inputs, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, N_EXPRESSION), nn.Sigmoid()
        )


class MotionNet(nn.Module):
    """Both networks: crop [B, 3, 256, 256] in [0, 1] -> keypoints [B, 10, 2], Jacobians [B, 10, 2, 2], code [B, 16]."""

    kind_of_expression: ClassVar[str] = "free"  # only the loss of the picture teaches the code

    def __init__(self) -> None:
        super().__init__()
        self.keypoints = KeypointNet()
        self.expression = ExpressionMLP()

    @staticmethod
    def shrink(crop: Tensor) -> Tensor:
        """[B, 3, 256, 256] -> the keypoint network's input [B, 3, 64, 64], by averaging 4x4 pixels."""
        return F.avg_pool2d(crop, crop.shape[-1] // INPUT_SIDE)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keypoints, jacobians, centre = self.keypoints(self.shrink(crop))
        return keypoints, jacobians, self.expression(centre.float()).float()

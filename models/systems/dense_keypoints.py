"""The sender's networks of the dense models, and of a model that sends tracked landmarks only.

    crop 3x256x256 -> 64x64 -> DenseHourglass -> K heatmaps -> spatial softmax -> centre of mass -> keypoints   [K, 2]
                                      |              '-> weighted mean of K x 4 maps ------------> Jacobians   [K, 2, 2]
                                      '-> central feature, 4096 numbers -> ExpressionMLP --------> expression       [16]

Keypoints as in the first-order model (Siarohin et al., NeurIPS 2019; its configuration "vox-256"), the code as in Oquab
et al., sections 3.2.2 and 6.1.2.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fvc.codec.motion.sample import N_EXPRESSION, N_UNSUP, NEUTRAL_EXPRESSION
from fvc.models.keypoints import INPUT_SIDE, ExpressionMLP
from fvc.models.layers import identity_grid
from fvc.models.systems.action_units import OracleExpression
from fvc.models.systems.dense_layers import DenseHourglass, Shrink, scaled

EXPRESSIONS = ("none", "free", "supervised", "oracle")


class DenseKeypointNet(nn.Module):
    """[B, 3, 64, 64] in [0, 1] -> keypoints [B, 10, 2], Jacobians [B, 10, 2, 2], central feature [B, 4096 * width].

    The heads are 7x7 convolutions without padding, so heatmaps have 58x58 pixels: those at least three from the border.
    """

    grid: Tensor
    kernel, temperature = 7, 0.1

    def __init__(self, width: float) -> None:
        super().__init__()
        self.hourglass = DenseHourglass(3, scaled(32, width), scaled(1024, width))
        self.heatmaps = nn.Conv2d(self.hourglass.outputs, N_UNSUP, self.kernel)
        self.jacobians = nn.Conv2d(self.hourglass.outputs, 4 * N_UNSUP, self.kernel)
        nn.init.zeros_(self.jacobians.weight)
        with torch.no_grad():
            self.jacobians.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(N_UNSUP))
        edge = self.kernel // 2
        inner = identity_grid(INPUT_SIDE)[edge:-edge, edge:-edge]
        self.register_buffer("grid", inner.reshape(-1, 2).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, centre = self.hourglass(x)
        heat = (self.heatmaps(features).float().flatten(2) / self.temperature).softmax(-1)  # [B, K, 58 * 58]
        jacobians = self.jacobians(features).float().flatten(2).unflatten(1, (N_UNSUP, 4))  # [B, K, 4, 58 * 58]
        jacobians = (jacobians * heat[:, :, None]).sum(-1).unflatten(-1, (2, 2))
        return heat @ self.grid, jacobians, centre.flatten(1)


class DenseMotionNet(nn.Module):
    """Crop [B, 3, 256, 256] in [0, 1] -> keypoints [B, 10, 2], Jacobians [B, 10, 2, 2], code [B, 16] in [0, 1].

    Args:
        expression: which code it gives (Oquab et al., Table 2). none: `NEUTRAL_EXPRESSION`; free: an MLP that only the
            loss of the picture teaches; supervised: the same, and training pulls it towards the action units; oracle:
            the action units themselves (`action_units`).
        width: of the published channels.
    """

    def __init__(self, expression: str = "none", width: float = 1.0) -> None:
        super().__init__()
        if expression not in EXPRESSIONS:
            raise ValueError(f"expression {expression}: choose from {', '.join(EXPRESSIONS)}")
        self.kind_of_expression = expression
        self.shrink, self.keypoints = Shrink(), DenseKeypointNet(width)
        self.expression: nn.Module | None = None
        if expression == "oracle":
            self.expression = OracleExpression()
        elif expression != "none":
            self.expression = ExpressionMLP(4 * self.keypoints.hourglass.centre)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keypoints, jacobians, centre = self.keypoints(self.shrink(crop))
        if self.expression is None:
            return keypoints, jacobians, torch.full_like(centre[:, :N_EXPRESSION].float(), NEUTRAL_EXPRESSION)
        given = crop if self.kind_of_expression == "oracle" else centre.float()
        return keypoints, jacobians, self.expression(given).float()


class NoMotion(nn.Module):
    """The sender of a model that has tracked landmarks only: nothing is computed, and there is nothing to learn."""

    kind_of_expression: ClassVar[str] = "none"
    keypoints: ClassVar[None] = None

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keypoints in the centre, Jacobians the identity, the neutral code, for crops [B, 3, 256, 256]."""
        nothing = crop[:, :1, :1, :1].flatten(1).float() * 0  # [B, 1]: exported graphs must read their input
        jacobians = torch.eye(2, device=crop.device).expand(N_UNSUP, 2, 2) + nothing[:, None, None]
        return (
            nothing[:, :, None].repeat(1, N_UNSUP, 2),
            jacobians,
            nothing.repeat(1, N_EXPRESSION) + NEUTRAL_EXPRESSION,
        )

"""Joins the frame of a video layer with what the generator drew of the same moment (bitstream_spec.md, section 8.4).

The layer, a standard codec at a few kbit/s, knows where everything is, but is blurred and blocky. The drawn picture is
sharp, but things are a little off their places, or wrong where no source picture shows them. The network moves the
drawn picture's details to where the layer has them, chooses between both for each pixel, and adds a correction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.models.layers import ResidualBlock, identity_grid, resize_flow, warp

REACH = 0.125  # how far details may be moved, in half sides of the picture: 16 pixels


def _zeroed(conv: nn.Conv2d, bias: float = 0.0) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]
    return conv


class Fusion(nn.Module):
    """A coarse network at a quarter and an eighth of the resolution, a fine one at a half: 0.29 G multiply-adds.

    Untrained, it gives the mean of both pictures.
    """

    def __init__(self, widths: tuple[int, int, int] = (16, 24, 32)) -> None:
        super().__init__()
        fine, middle, deep = widths
        self.middle_stem = nn.Conv2d(24, middle, 3, padding=1)
        self.middle_in, self.middle_out = ResidualBlock(middle), ResidualBlock(middle)
        self.to_deep, self.from_deep = nn.Conv2d(middle, deep, 3, 2, 1), nn.Conv2d(deep, middle, 1)
        self.deep = nn.Sequential(ResidualBlock(deep), ResidualBlock(deep))
        self.flow = _zeroed(nn.Conv2d(middle, 2, 3, padding=1))
        self.fine_stem, self.from_middle = nn.Conv2d(24, fine, 3, padding=1), nn.Conv2d(middle, fine, 1)
        self.fine, self.out = nn.Conv2d(fine, fine, 3, padding=1), _zeroed(nn.Conv2d(fine, 16, 3, padding=1))

    def forward(self, layer: Tensor, drawn: Tensor) -> Tensor:
        """Two pictures [B, 3, H, H] in [0, 1], H a multiple of 16 -> the fused one [B, 3, H, H] in [0, 1]."""
        coarse = self._coarse(layer, drawn)
        side = int(layer.shape[-1])
        moved = REACH * torch.tanh(self.flow(coarse)) * (256 / side)
        flow = identity_grid(side).to(moved) + resize_flow(moved.permute(0, 2, 3, 1), side)
        drawn = warp(drawn, flow)
        fine = self.fine_stem(torch.cat([F.pixel_unshuffle(layer, 2), F.pixel_unshuffle(drawn, 2)], 1))
        fine = F.relu(fine + F.interpolate(self.from_middle(coarse), scale_factor=2.0, mode="nearest"))
        found = F.pixel_shuffle(self.out(F.relu(self.fine(fine))).float(), 2)
        keep = torch.sigmoid(found[:, 3:])
        return (layer + keep * (drawn - layer) + found[:, :3]).clamp(0, 1)

    def _coarse(self, layer: Tensor, drawn: Tensor) -> Tensor:
        """Features [B, middle, H / 4, H / 4] of both pictures at half resolution."""
        halves = F.pixel_unshuffle(F.avg_pool2d(torch.cat([layer, drawn], 1), 2), 2)
        middle = self.middle_in(F.relu(self.middle_stem(halves)))
        deep = self.deep(F.relu(self.to_deep(middle)))
        middle = middle + F.interpolate(self.from_deep(deep), scale_factor=2.0, mode="nearest")
        features: Tensor = self.middle_out(middle)
        return features

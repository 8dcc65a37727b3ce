"""Building blocks of all networks: MobileNetV2 blocks (Sandler et al., 2018), the hourglass, sampling on grids.

Coordinates are in [-1, 1] of the crop, x right, y down, pixel centres (`align_corners=False`). A *flow*
[B, H, W, 2] gives for each output pixel the position at which to sample.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_joined(conv: nn.Conv2d, *parts: Tensor) -> Tensor:
    """conv(torch.cat(parts, 1)) without the copy. A part [B, C, 1, 1] stands for constant maps (1x1 kernels only)."""
    ends = list(itertools.accumulate(part.shape[1] for part in parts))
    weights = [conv.weight[:, end - part.shape[1] : end] for part, end in zip(parts, ends, strict=True)]
    first, *rest = (F.conv2d(x, w, None, conv.stride, conv.padding) for x, w in zip(parts, weights, strict=True))
    total = sum(rest, first)
    return total if conv.bias is None else total + conv.bias[:, None, None]


def run_joined(layers: nn.Sequential, *parts: Tensor) -> Tensor:
    """layers(torch.cat(parts, 1)), whose first layer is a convolution, as `conv_joined` does it."""
    return layers[1:](conv_joined(layers[0], *parts))


class InvertedResidual(nn.Module):
    """1x1 expand, 3x3 depthwise, 1x1 project; skip connection where the shape allows it.

    `up` doubles the resolution after the expansion: nearest up-sampling and 1x1 convolutions commute, so expanding
    first gives the same result for a quarter of the work.
    """

    def __init__(self, inputs: int, outputs: int, expansion: float = 2, up: bool = False, down: bool = False) -> None:
        super().__init__()
        hidden = round(inputs * expansion)
        self.up, self.skip = up, inputs == outputs and not up and not down
        self.expand = nn.Sequential(nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6())
        stride = 2 if down else 1
        self.filter = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, *parts: Tensor) -> Tensor:
        """[B, inputs, H, W], perhaps in several parts of the channels -> [B, outputs, H', W']."""
        x, y = parts[0], run_joined(self.expand, *parts)
        if self.up:
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        y = self.project(self.filter(y))
        return x + y if self.skip else y


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip connection; no norms, which would remove a picture's contrast."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        y: Tensor = self.second(F.relu(self.first(x)))
        return x + y


def stem(channels: int) -> nn.Sequential:
    """[B, 3, H, W] -> [B, channels, H / 2, W / 2]."""
    return nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6())


class Hourglass(nn.Module):
    """U-shaped network with additive skips (the paper's figure 15); returns its last and its central feature map."""

    def __init__(self, inputs: int, base: int, depth: int, widest: int = 128) -> None:
        super().__init__()
        width = [min(base * 2**d, widest) for d in range(depth + 1)]
        self.stem = nn.Sequential(nn.Conv2d(inputs, base, 3, 1, 1, bias=False), nn.BatchNorm2d(base), nn.ReLU6())
        self.down = nn.ModuleList(InvertedResidual(width[d], width[d + 1], down=True) for d in range(depth))
        self.up = nn.ModuleList(InvertedResidual(width[d + 1], width[d], up=True) for d in reversed(range(depth)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, inputs, H, W] -> [B, base, H, W], [B, widest, H / 2^depth, W / 2^depth]."""
        levels = [self.stem(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        centre = y = levels.pop()
        for up in self.up:
            y = up(y) + levels.pop()
        return y, centre


def identity_grid(side: int) -> Tensor:
    """[side, side, 2]: the flow that leaves a picture as it is."""
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1)


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Samples x [B, C, H, W] at the positions of flow [B, H', W', 2]; beyond the border, border pixels repeat."""
    return F.grid_sample(x, flow.to(x.dtype), mode="bilinear", padding_mode="border", align_corners=False)


@cache
def bilinear(given: int, wanted: int) -> tuple[Tensor, Tensor]:
    """The matrix [wanted, given] of bilinear resizing from `given` values to `wanted`, and its transpose.

    Made without torch: operations of torch would be recorded when a network is traced for export.
    """
    places = np.clip((np.arange(wanted) + 0.5) * given / wanted - 0.5, 0, given - 1)
    matrix = np.maximum(1 - np.abs(places[:, None] - np.arange(given)), 0).astype(np.float32)
    return torch.from_numpy(matrix), torch.from_numpy(matrix.T.copy())


def resize(x: Tensor, side: int) -> Tensor:
    """[B, C, H, H] -> [B, C, side, side], bilinear, as two matrix products: runtimes do these ten times faster."""
    if x.shape[-1] == side:
        return x
    down, across = (matrix.to(x.device) for matrix in bilinear(int(x.shape[-1]), int(side)))
    with torch.autocast(x.device.type, enabled=False):  # it may be a flow
        return down @ (x.float() @ across)


_NEAR_FAR = (0.25, 0.75, 0.0), (0.0, 0.75, 0.25)  # of the pixel before, at and after: for the even and the odd pixel


def doubled(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2 H, 2 W], bilinear. As four small convolutions: runtimes do these six times faster."""
    filters = np.stack([np.outer(rows, columns) for rows in _NEAR_FAR for columns in _NEAR_FAR]).astype(np.float32)
    weight = torch.from_numpy(filters)[:, None].repeat(x.shape[1], 1, 1, 1).to(x)  # [4 C, 1, 3, 3]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.pixel_shuffle(F.conv2d(padded, weight, groups=x.shape[1]), 2)


def resize_flow(flow: Tensor, side: int) -> Tensor:
    """[B, H, W, 2] -> [B, side, side, 2]."""
    return resize(flow.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1)

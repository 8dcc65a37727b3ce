"""Blocks of the dense (server) models: the first-order model's as its authors published it (Siarohin et al., 2019).

Channels are those of the published configuration "vox-256", times `width`. At width 1 the numbers of parameters and of
multiply-adds are the published ones (`tests/models/test_systems.py`, `tests/models/test_dense_counts.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.motion.sample import N_EXPRESSION

DENSE_SIDE = 64  # of features and flows
ENCODED = 256  # channels of the encoder's output


def scaled(channels: int, width: float) -> int:
    """`channels` of the published model times `width`, as a multiple of 8."""
    return max(8, round(channels * width / 8) * 8)


def conv_block(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU: [B, inputs, H, W] -> [B, outputs, H, W]."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs), nn.ReLU())


def doubled(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2 H, 2 W], nearest."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class ResidualBlock(nn.Module):
    """Batch norm, ReLU and convolution, twice, around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.first = nn.BatchNorm2d(channels), conv_block(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W], the same."""
        return x + self.second(self.first(F.relu(self.norm(x))))


class DenseHourglass(nn.Module):
    """U-shaped network with concatenated skips: [B, inputs, H, W] -> [B, outputs, H, W], `outputs` = base + inputs.

    Also returns the central feature map, [B, widest, H / 32, W / 32].
    """

    blocks = 5

    def __init__(self, inputs: int, base: int, widest: int) -> None:
        super().__init__()
        width = [min(base * 2**n, widest) for n in range(self.blocks + 1)]
        entries = [inputs, *width[1:-1]]
        self.down = nn.ModuleList(conv_block(entries[n], width[n + 1]) for n in range(self.blocks))
        self.up = nn.ModuleList(
            conv_block(width[n + 1] * (1 if n == self.blocks - 1 else 2), width[n])
            for n in reversed(range(self.blocks))
        )
        self.outputs, self.centre = base + inputs, width[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        levels = [x]
        for block in self.down:
            levels.append(F.avg_pool2d(block(levels[-1]), 2))
        centre = y = levels.pop()
        for block in self.up:
            y = torch.cat([block(doubled(y)), levels.pop()], 1)
        return y, centre


class Shrink(nn.Module):
    """[B, 3, 256, 256] -> [B, 3, 64, 64]: Gaussian blur with a deviation of 1.5 pixels, then every fourth pixel."""

    kernel: Tensor
    deviation, radius, factor = 1.5, 6, 4

    def __init__(self) -> None:
        super().__init__()
        line = torch.exp(-((torch.arange(2 * self.radius + 1) - self.radius) ** 2) / (2 * self.deviation**2))
        kernel = line[:, None] * line / line.sum() ** 2
        self.register_buffer("kernel", kernel.expand(3, 1, -1, -1).contiguous(), persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        return F.conv2d(picture, self.kernel, stride=self.factor, padding=self.radius, groups=3)


class DenseEncoder(nn.Sequential):
    """[B, 3, 256, 256] -> [B, 256 * width, 64, 64]."""

    def __init__(self, width: float) -> None:
        channels = [scaled(64, width), scaled(128, width), scaled(ENCODED, width)]
        super().__init__(
            conv_block(3, channels[0], 7),
            conv_block(channels[0], channels[1]),
            nn.AvgPool2d(2),
            conv_block(channels[1], channels[2]),
            nn.AvgPool2d(2),
        )


class DenseDecoder(nn.Module):
    """Features [B, 256 * width, 64, 64], perhaps an expression code [B, 16] -> picture [B, 3, 256, 256] in [0, 1].

    The code becomes constant maps beside the features (Oquab et al., section 3.2.2). A 1x1 convolution takes both to
    the published number of channels; without a code there is no such layer.
    """

    def __init__(self, width: float, has_code: bool) -> None:
        super().__init__()
        channels = scaled(ENCODED, width)
        self.join = nn.Conv2d(channels + N_EXPRESSION, channels, 1) if has_code else None
        self.bottleneck = nn.Sequential(*(ResidualBlock(channels) for _ in range(6)))
        self.up1 = conv_block(channels, scaled(128, width))
        self.up2 = conv_block(scaled(128, width), scaled(64, width))
        self.out = nn.Conv2d(scaled(64, width), 3, 7, padding=3)

    def forward(self, features: Tensor, expression: Tensor) -> Tensor:
        if self.join is not None:
            features = self.join(torch.cat([features, as_maps(expression, features)], 1))
        y = self.up2(doubled(self.up1(doubled(self.bottleneck(features)))))
        return torch.sigmoid(self.out(y).float())


def as_maps(expression: Tensor, like: Tensor) -> Tensor:
    """An expression code [B, 16] as constant maps [B, 16, H, W] of the size of `like` [B, ..., H, W]."""
    return expression[:, :, None, None].expand(-1, -1, like.shape[-2], like.shape[-1])

"""The first-order model in its published, dense form, for timing only: random weights, the receiver's per-frame part.

Siarohin et al., "First Order Motion Model for Image Animation", NeurIPS 2019, with the settings that the authors
published for VoxCeleb at 256x256 (vox-256): 10 keypoints, block_expansion 64, max_features 512, 2 down blocks,
6 residual blocks; dense motion with block_expansion 64, max_features 1024, 5 blocks, scale 0.25, occlusion map.

    once       source -> 7x7, 2 down blocks -> [1, 256, 64, 64];  source at 64x64                  not timed
    per frame  10 keypoints with Jacobians -> heatmaps, sparse motions, deformed sources [1, 44, 64, 64]
               -> hourglass -> masks -> flow, occlusion;  features, warped and occluded -> 6 residual blocks,
               2 up blocks, 7x7 -> picture [1, 3, 256, 256]
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.models.layers import identity_grid

N_KEYPOINTS = 10
_SIDE = 64  # of features and flow
_VARIANCE = 0.01


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.first = nn.BatchNorm2d(channels), _conv(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(F.relu(self.norm(x))))


class _Hourglass(nn.Module):
    """The authors' hourglass: the encoder doubles channels up to 1024, the decoder concatenates skips."""

    def __init__(self, inputs: int, base: int = 64, blocks: int = 5, widest: int = 1024) -> None:
        super().__init__()
        width = [min(base * 2**n, widest) for n in range(blocks + 1)]
        self.down = nn.ModuleList(_conv(inputs if n == 0 else width[n], width[n + 1]) for n in range(blocks))
        self.up = nn.ModuleList(
            _conv(width[n + 1] * (1 if n == blocks - 1 else 2), width[n]) for n in reversed(range(blocks))
        )
        self.outputs = base + inputs

    def forward(self, x: Tensor) -> Tensor:
        levels = [x]
        for block in self.down:
            levels.append(F.avg_pool2d(block(levels[-1]), 2))
        y = levels.pop()
        for block in self.up:
            y = torch.cat([block(F.interpolate(y, scale_factor=2.0)), levels.pop()], 1)
        return y


class DenseFirstOrder(nn.Module):
    """The per-frame part.

    Takes keypoints [1, 10, 2] and Jacobians [1, 10, 2, 2] of the driving frame, the same of the source, the source's
    features [1, 256, 64, 64] and the source at a quarter of its size, [1, 3, 64, 64]. Returns a picture
    [1, 3, 256, 256] in [0, 1].
    """

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.hourglass = _Hourglass((N_KEYPOINTS + 1) * 4)
        self.mask = nn.Conv2d(self.hourglass.outputs, N_KEYPOINTS + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.outputs, 1, 7, padding=3)
        self.bottleneck = nn.Sequential(*(_Residual(256) for _ in range(6)))
        self.up1, self.up2 = _conv(256, 128), _conv(128, 64)
        self.final = nn.Conv2d(64, 3, 7, padding=3)
        self.register_buffer("grid", identity_grid(_SIDE), persistent=False)

    def forward(
        self,
        driving: Tensor,
        driving_jacobian: Tensor,
        source: Tensor,
        source_jacobian: Tensor,
        features: Tensor,
        small: Tensor,
    ) -> Tensor:
        a, b = driving_jacobian[..., 0, 0], driving_jacobian[..., 0, 1]
        c, d = driving_jacobian[..., 1, 0], driving_jacobian[..., 1, 1]
        adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
        matrix = source_jacobian @ (adjugate / (a * d - b * c)[..., None, None])
        offset = self.grid[None, None] - driving[:, :, None, None]  # [1, 10, 64, 64, 2]
        motion = (matrix[:, :, None, None] @ offset[..., None])[..., 0] + source[:, :, None, None]
        motion = torch.cat([self.grid[None, None], motion], 1)  # [1, 11, 64, 64, 2]; the first is the background's
        deformed = F.grid_sample(small.expand(N_KEYPOINTS + 1, -1, -1, -1), motion[0], align_corners=False)[None]
        from_source = ((self.grid[None, None] - source[:, :, None, None]) ** 2).sum(-1)
        heat = torch.exp(-(offset**2).sum(-1) / _VARIANCE / 2) - torch.exp(-from_source / _VARIANCE / 2)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], 1)
        y = self.hourglass(torch.cat([heat[:, :, None], deformed], 2).flatten(1, 2))
        flow = (self.mask(y).softmax(1)[..., None] * motion).sum(1)
        x = F.grid_sample(features, flow, align_corners=False) * torch.sigmoid(self.occlusion(y))
        x = self.bottleneck(x)
        x = self.up2(F.interpolate(self.up1(F.interpolate(x, scale_factor=2.0)), scale_factor=2.0))
        return torch.sigmoid(self.final(x))


def example() -> tuple[Tensor, ...]:
    """Inputs of the right shapes."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    eye = torch.eye(2).repeat(1, N_KEYPOINTS, 1, 1)
    points = (rand(1, N_KEYPOINTS, 2) - 0.5, eye, rand(1, N_KEYPOINTS, 2) - 0.5, eye)
    return (*points, rand(1, 256, _SIDE, _SIDE), rand(1, 3, _SIDE, _SIDE))

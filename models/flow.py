"""Sparse and dense motion between two sets of keypoints.

`Points` are keypoints with local affine frames (Jacobians; the identity where none are known) and a presence that is
0 for parts that the stream's profile does not carry: an absent keypoint neither moves nor votes, so one set of
weights serves all profiles. The first-order model's local motion takes a place x near keypoint `at_k` to

    to_k + A_k (x - at_k),   A_k = J_to J_at^-1                                  (Siarohin et al., 2019, eq. 4)

and the sparse motion averages these over k by softmax(bias_k - |x - at_k|^2 / s_k).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fvc.models.layers import Hourglass, identity_grid

FLOW_SIDE = 64  # the sparse motion's resolution: eyelids move by less than a cell of a 32x32 flow
NET_SIDE = 32  # the hourglass's
_HEAT = 0.01  # variance of the displacement maps' Gaussians


class Points(NamedTuple):
    """position [B, K, 2] in [-1, 1], jacobian [B, K, 2, 2], presence [B, K] in {0, 1}."""

    position: Tensor
    jacobian: Tensor
    presence: Tensor

    def each(self, count: int) -> Points:
        """Repeats every item `count` times: [B, ...] -> [B * count, ...]."""
        return Points(*(t.repeat_interleave(count, 0) for t in self))


class Reference(nn.Module):
    """The learned frontal reference position p_r: sup part starts at the data's mean, unsup near the centre."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        unsup = torch.randn(n_unsup, 2, generator=generator) * 0.2
        self.position = nn.Parameter(torch.cat([mean_sup.float(), unsup]))
        self.register_buffer("jacobian", torch.eye(2).repeat(len(self.position), 1, 1), persistent=False)

    def like(self, points: Points) -> Points:
        """The reference as Points with the batch size and the presence of `points`."""
        batch = points.position.shape[0]
        return Points(
            self.position[None].expand(batch, -1, -1), self.jacobian[None].expand(batch, -1, -1, -1), points.presence
        )


def _squared_distance(grid: Tensor, position: Tensor) -> Tensor:
    """[P, 2], [B, K, 2] -> [B, P, K]."""
    return ((grid[None, :, None] - position[:, None]) ** 2).sum(-1)


def inverse(jacobian: Tensor) -> Tensor:
    """Of matrices [..., 2, 2]; where the determinant is below 0.1 in size, as if it were that."""
    a, b = jacobian[..., 0, 0], jacobian[..., 0, 1]
    c, d = jacobian[..., 1, 0], jacobian[..., 1, 1]
    determinant = a * d - b * c
    safe = determinant.sign() * determinant.abs().clamp(min=0.1) + (determinant == 0) * 0.1
    return torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2) / safe[..., None, None]


def _affine(at: Points, to: Points) -> Tensor:
    """The local motions x -> offset + M x of all keypoints as rows (offset, M - I): [B, K, 6]."""
    matrix = to.jacobian @ inverse(at.jacobian) - torch.eye(2, device=at.jacobian.device)
    offset = to.position - at.position - (matrix @ at.position[..., None])[..., 0]
    return torch.cat([offset, matrix.flatten(2)], -1)


def weighted(weights: Tensor, values: Tensor) -> Tensor:
    """weights [B, P, K] of values [B * N, K, C] -> [B * N, P, C]; the weights are read once for all N."""
    batch, channels = weights.shape[0], values.shape[-1]  # no len(): it would freeze the number of sources in exports
    columns = values.unflatten(0, (batch, values.shape[0] // batch)).transpose(1, 2).flatten(2)  # [B, K, N * C]
    return (weights @ columns).unflatten(-1, (-1, channels)).transpose(1, 2).flatten(0, 1)


class SparseMotion(nn.Module):
    """Closed-form motion on a grid of `side`: who votes where (weights), and the displacement that the votes give."""

    grid: Tensor

    def __init__(self, n_sup: int, n_unsup: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.log_variance = nn.Parameter(torch.full((n_sup + n_unsup,), 0.01).log())
        # Learned keypoints are noise at first: where tracked ones are near, they have little to say.
        self.bias = nn.Parameter(torch.cat([torch.zeros(n_sup), torch.full((n_unsup,), -3.0)]))
        self.register_buffer("grid", identity_grid(side).reshape(-1, 2), persistent=False)

    def weights(self, at: Points) -> tuple[Tensor, Tensor]:
        """Returns softmax weights [B, P, K] and their log-sum before normalisation [B, P] (how near the face is)."""
        logits = self.bias - _squared_distance(self.grid, at.position) / self.log_variance.exp()
        logits = logits + (at.presence[:, None] - 1) * 1e4
        return logits.softmax(-1), logits.logsumexp(-1)

    def displacement(self, weights: Tensor, at: Points, to: Points) -> Tensor:
        """[B * N, P, 2]: by how much each place moves when nothing but the keypoints is known.

        Weights [B, P, K], `at` and `to` [B * N, ...].
        """
        motion = weighted(weights, _affine(at, to))
        x, y = self.grid[:, 0], self.grid[:, 1]
        dx = motion[..., 0] + motion[..., 2] * x + motion[..., 3] * y
        dy = motion[..., 1] + motion[..., 4] * x + motion[..., 5] * y
        return torch.stack([dx, dy], -1)

    def image(self, x: Tensor) -> Tensor:
        """[B, P, C] -> [B, C, side, side]."""
        return x.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)


class DenseMotion(nn.Module):
    """Hourglass on keypoint displacement maps and the sparse motion: Frontalizer and dense motion net are such.

    Returns `outputs` maps [B, outputs, 32, 32], zero at the start of training, and features [B, base, 32, 32].
    """

    def __init__(self, n_sup: int, n_unsup: int, outputs: int, base: int = 32) -> None:
        super().__init__()
        self.coarse = SparseMotion(n_sup, n_unsup, NET_SIDE)
        self.background = nn.Parameter(torch.tensor(-4.0))
        self.hourglass = Hourglass(n_sup + n_unsup + 2, base, depth=4)
        self.head = nn.Conv2d(base, outputs, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, at: Points, to: Points) -> tuple[Tensor, Tensor, Tensor]:
        """Returns maps, features and the coarse displacement [B, 2, 32, 32] that the maps refine."""
        with torch.autocast(at.position.device.type, enabled=False):
            weights, near = self.coarse.weights(at)
            move = self.coarse.displacement(weights, at, to) * torch.sigmoid(near - self.background)[..., None]
            grid = self.coarse.grid
            heat = torch.exp(-_squared_distance(grid, at.position) / _HEAT)
            heat = (heat - torch.exp(-_squared_distance(grid, to.position) / _HEAT)) * at.presence[:, None]
            coarse, maps = self.coarse.image(move), self.coarse.image(heat)
        features, _ = self.hourglass(torch.cat([maps, coarse], 1))
        return self.head(features).float(), features, coarse

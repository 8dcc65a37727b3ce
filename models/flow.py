"""Sparse and dense motion between two sets of keypoints (Siarohin et al., "First Order Motion Model", NeurIPS 2019).

A flow goes from a picture to the one it is sampled from: from the driving frame to a source. Near keypoint k, the
local motion takes a position x of the first (keypoint `at_k`) to a position of the second (keypoint `to_k`):

    x -> to_k + A_k (x - at_k),   A_k = J_to J_at^-1                                          (equation 4)

    kp at, kp to -> local motions [K] --weights: softmax_k(bias_k - |x - at_k|^2 / s_k)--> sparse motion
                                                                                                 |
    kp at, kp to -> Gaussians at `at` minus Gaussians at `to` [K maps] ---------------------- hourglass -> maps

The sparse motion is in closed form (`SparseMotion`); the maps, which the generators use as residual flow, occlusion
and so on, are the network's (`DenseMotion`). Parts that a stream's profile does not carry have presence 0: an absent
keypoint has no influence on the flow, so one set of weights serves all profiles.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fvc.models.layers import Hourglass, identity_grid

FLOW_SIDE = 64  # the sparse motion's resolution: eyelids move by less than a cell of a 32x32 flow
NET_SIDE = 32  # the hourglass's resolution
RESIDUAL_SCALE = 0.3  # residual flows are in this share of the crop's half side, which suits training's step size
OCCLUSION_BIAS = 2.0  # added to occlusion logits, which begin at zero: at first nearly everything is kept
_HEAT_VARIANCE = 0.01  # of the Gaussians in the displacement maps
_MAX_EXPONENT = 60.0  # of these Gaussians: smaller values would be denormal numbers, which CPUs compute with slowly
_CORRECTIONS = 2  # of `SparseMotion.exact_displacement`
_ABSENT = 1e4  # subtracted from the logits of absent keypoints
_MIN_DETERMINANT = 0.1  # of Jacobians that are inverted


class Points(NamedTuple):
    """Keypoints, sup first."""

    position: Tensor  # [B, K, 2] in [-1, 1] of the crop, x right, y down
    jacobian: Tensor  # [B, K, 2, 2], local affine frames; the identity where none are known
    presence: Tensor  # [B, K], 1, or 0 for keypoints that the profile does not carry

    def each(self, count: int) -> Points:
        """Repeats every item `count` times: [B, ...] -> [B * count, ...]."""
        return Points(*(t.repeat_interleave(count, 0) for t in self))


class Reference(nn.Module):
    """The learned keypoints of a face seen from the front (the Frontalizer's p_r).

    The sup part starts at the data's mean, unsup near the centre. Jacobians are the identity.
    """

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


def _squared_distance(places: Tensor, position: Tensor) -> Tensor:
    """[P, 2] or [B, P, 2], [B, K, 2] -> [B, P, K].

    x and y apart: an innermost axis of two values costs runtimes ten times as much.
    """
    x, y = (places[..., n, None] - position[:, None, :, n] for n in range(2))
    return x * x + y * y


def _heat(places: Tensor, position: Tensor) -> Tensor:
    """A Gaussian around each keypoint: [P, 2], [B, K, 2] -> [B, P, K]."""
    return torch.exp(-(_squared_distance(places, position) / _HEAT_VARIANCE).clamp(max=_MAX_EXPONENT))


def inverse(jacobian: Tensor) -> Tensor:
    """Of matrices [..., 2, 2]; determinants nearer to 0 than 0.1 are taken for 0.1 of the same sign."""
    a, b = jacobian[..., 0, 0], jacobian[..., 0, 1]
    c, d = jacobian[..., 1, 0], jacobian[..., 1, 1]
    determinant = a * d - b * c
    safe = determinant.sign() * determinant.abs().clamp(min=_MIN_DETERMINANT) + (determinant == 0) * _MIN_DETERMINANT
    return torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2) / safe[..., None, None]


def _affine(at: Points, to: Points) -> Tensor:
    """The local motions x -> offset + M x of all keypoints as rows (offset, M - I): [B, K, 6]."""
    matrix = to.jacobian @ inverse(at.jacobian) - torch.eye(2, device=at.jacobian.device)
    offset = to.position - at.position - (matrix @ at.position[..., None])[..., 0]
    return torch.cat([offset, matrix.flatten(2)], -1)


def weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sums over keypoints: weights [B, P, K], values [B * N, K, C] -> [B * N, P, C].

    One matrix product for all N sources, so that the large `weights` are read once.
    """
    batch, channels = weights.shape[0], values.shape[-1]  # no len(): it would freeze the number of sources in exports
    columns = values.unflatten(0, (batch, values.shape[0] // batch)).transpose(1, 2).flatten(2)  # [B, K, N * C]
    return (weights @ columns).unflatten(-1, (-1, channels)).transpose(1, 2).flatten(0, 1)


def _moved(motion: Tensor, places: Tensor) -> Tensor:
    """Displacement [B, P, 2] of places [P, 2] or [B, P, 2] by affine motions [B, P, 6] (rows as of `_affine`)."""
    x, y = places[..., 0], places[..., 1]
    dx = motion[..., 0] + motion[..., 2] * x + motion[..., 3] * y
    dy = motion[..., 1] + motion[..., 4] * x + motion[..., 5] * y
    return torch.stack([dx, dy], -1)


class SparseMotion(nn.Module):
    """Motion in closed form on a grid of P = `side` * `side` pixels: keypoint weights and their displacement."""

    grid: Tensor

    def __init__(self, n_sup: int, n_unsup: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.log_variance = nn.Parameter(torch.full((n_sup + n_unsup,), 0.01).log())
        # Learned keypoints are noise at first: near tracked ones they should count little.
        self.bias = nn.Parameter(torch.cat([torch.zeros(n_sup), torch.full((n_unsup,), -3.0)]))
        self.register_buffer("grid", identity_grid(side).reshape(-1, 2), persistent=False)

    def weights(self, at: Points) -> tuple[Tensor, Tensor]:
        """Softmax weights [B, P, K], and the log-sum-exp of their logits [B, P]: how near the face is."""
        logits = self._logits(self.grid, at)
        weights = logits.softmax(-1)
        # The largest weight is exp(its logit - log-sum-exp), and runtimes find maxima faster than sums of exponentials.
        return weights, logits.amax(-1) - weights.amax(-1).log()

    def _logits(self, places: Tensor, at: Points) -> Tensor:
        """Of the keypoints' weights at places [P, 2] or [B, P, 2] -> [B, P, K]."""
        logits = self.bias - _squared_distance(places, at.position) / self.log_variance.exp()
        return logits + (at.presence[:, None] - 1) * _ABSENT

    def displacement(self, weights: Tensor, at: Points, to: Points) -> Tensor:
        """Displacement [B * N, P, 2] of each pixel, from weights [B, P, K] and keypoints `at`, `to` [B * N, ...].

        At a keypoint it is not exactly the keypoint's own, since its neighbours weigh there too.
        """
        return _moved(weighted(weights, _affine(at, to)), self.grid)

    def exact_displacement(self, weights: Tensor, at: Points, to: Points, exact: Tensor) -> Tensor:
        """The same for N sources, but more nearly exact at some keypoints: `at` [B, ...], `to` [B * N, ...].

        Lips are nearer to each other than their weights are wide, so a plain mean opens mouths too little. The motions
        are corrected by what is missing at the keypoints (Richardson's iteration for scattered-data interpolation).

        Args:
            exact: [K], 1 for these keypoints, else 0.
        """
        own = self._logits(at.position, at).softmax(-1)  # [B, K, K]: weights at the keypoints themselves
        each = at.each(to.position.shape[0] // at.position.shape[0])
        motion = _affine(each, to)
        offset, matrix = motion[..., :2], motion[..., 2:]
        corrected = (each.presence * exact)[..., None]
        for _ in range(_CORRECTIONS):
            found = _moved(weighted(own, torch.cat([offset, matrix], -1)), each.position)
            offset = offset + (to.position - each.position - found) * corrected
        return _moved(weighted(weights, torch.cat([offset, matrix], -1)), self.grid)

    def image(self, x: Tensor) -> Tensor:
        """[B, P, C] -> [B, C, side, side]."""
        return x.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)


class DenseMotion(nn.Module):
    """Hourglass on displacement maps and sparse motion: used as the Frontalizer and as the dense motion network.

    `outputs` maps are zero at the start of training.
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
        """Maps [B, outputs, 32, 32], features [B, base, 32, 32], and the sparse displacement [B, 2, 32, 32]."""
        with torch.autocast(at.position.device.type, enabled=False):
            # 1. Sparse motion, fading out where no keypoint is near
            weights, near = self.coarse.weights(at)  # [B, P, K], [B, P]
            move = self.coarse.displacement(weights, at, to) * torch.sigmoid(near - self.background)[..., None]
            # 2. Displacement maps: where keypoint k comes from and where it goes
            grid = self.coarse.grid
            heat = (_heat(grid, at.position) - _heat(grid, to.position)) * at.presence[:, None]  # [B, P, K]
            sparse, displacement_maps = self.coarse.image(move), self.coarse.image(heat)
        # 3. Hourglass
        features, _ = self.hourglass(torch.cat([displacement_maps, sparse], 1))
        return self.head(features).float(), features, sparse

"""The systems that ours is measured against, built of the same blocks (same interface: `embed` and `draw`).

`FusedGenerator`, the paper's mobile Frontalizer (Oquab et al., CVPRW 2022, figure 3 and section 6.1):

    source_n -> Encoder -> 32x32x32 --warp by Frontalizer flow_n--> reference position --softmax(confidence_n)-->
    embedding
    driving  -> DenseMotion -> flow, occlusion;  embedding --warp, occlude--> Decoder(+ expression code) -> picture

`MultiScaleGenerator`, between that and ours: the same fusion in the reference position, of features at 32 and 64 and
of the RGB, all of which the decoder gets to see.

`FirstOrderGenerator`, the first-order model (Siarohin et al., NeurIPS 2019) in the paper's mobile form: one flow
straight from the driving keypoints to a source's. With several sources it switches to the one whose keypoints are
nearest (the paper's "FOM-Mult"); it is trained with one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvc.codec.motion.sample import N_EXPRESSION
from fvc.models.flow import FLOW_SIDE, NET_SIDE, DenseMotion, Points, Reference
from fvc.models.generator import LevelsGenerator, Size
from fvc.models.layers import InvertedResidual, identity_grid, resize, resize_flow, stem, warp


def _encoder() -> nn.Sequential:
    """[B, 3, 256, 256] -> [B, 32, 32, 32]."""
    return nn.Sequential(
        stem(16),
        InvertedResidual(16, 16),
        InvertedResidual(16, 24, 4, down=True),
        InvertedResidual(24, 24, 4),
        InvertedResidual(24, 32, 4, down=True),
        *(InvertedResidual(32, 32, 4) for _ in range(2)),
    )


def _decoder() -> nn.Sequential:
    """[B, 32 + 16, 32, 32] -> [B, 3, 256, 256], before the sigmoid."""
    return nn.Sequential(
        nn.Conv2d(32 + N_EXPRESSION, 64, 1),
        *(InvertedResidual(64, 64, 4) for _ in range(4)),
        InvertedResidual(64, 48, up=True),
        InvertedResidual(48, 48, 4),
        InvertedResidual(48, 32, up=True),
        InvertedResidual(32, 32, 4),
        InvertedResidual(32, 16, up=True),
        nn.Conv2d(16, 3, 3, padding=1),
    )


def _flow(grid: Tensor, coarse: Tensor, maps: Tensor) -> Tensor:
    """[B, 32, 32, 2]: the sparse motion `coarse` [B, 2, 32, 32] with the residual in the first two maps."""
    return grid + (coarse + 0.3 * maps[:, :2]).permute(0, 2, 3, 1)


def _decode(decoder: nn.Module, features: Tensor, expression: Tensor) -> Tensor:
    """Features [B, 32, 32, 32] and expression code [B, 16] -> picture [B, 3, 256, 256] in [0, 1]."""
    code = expression[:, :, None, None].expand(-1, -1, NET_SIDE, NET_SIDE)
    return torch.sigmoid(decoder(torch.cat([features, code], 1)).float())


class FusedGenerator(nn.Module):
    """The paper's mobile Frontalizer. Embedding: features in the reference position [B, 32, 32, 32]."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__()
        points = len(mean_sup), n_unsup
        self.reference = Reference(mean_sup, n_unsup)
        self.frontalizer, self.dense_motion = DenseMotion(*points, 3), DenseMotion(*points, 3)
        self.encoder, self.decoder = _encoder(), _decoder()
        self.register_buffer("grid", identity_grid(NET_SIDE), persistent=False)

    def embed(self, sources: Tensor, points: Points) -> tuple[Tensor, ...]:
        """sources [B, N, 3, 256, 256], their points [B * N, ...] -> (embedding,)."""
        batch, count = sources.shape[:2]
        features = self.encoder(sources.flatten(0, 1)).float()
        maps, _, coarse = self.frontalizer(self.reference.like(points), points)
        flow = _flow(self.grid, coarse, maps)
        weights = maps[:, 2:].unflatten(0, (batch, count)).softmax(1)
        return ((warp(features, flow).unflatten(0, (batch, count)) * weights).sum(1),)

    def draw(
        self, embedding: tuple[Tensor, ...], points: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """Points [B, ...], expression [B, 16] -> [B, 3, 256, 256] in [0, 1]; `recent` is not looked at."""
        maps, _, coarse = self.dense_motion(points, self.reference.like(points))
        flow = _flow(self.grid, coarse, maps)
        return _decode(self.decoder, warp(embedding[0], flow) * torch.sigmoid(maps[:, 2:] + 2), expression)


_SIDES = NET_SIDE, FLOW_SIDE, 256  # of the levels


class MultiScaleGenerator(LevelsGenerator):
    """A Frontalizer that fuses more than 32x32 features. Embedding: levels as of `LevelsGenerator`, [B, ...] each."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__(Size())
        points = len(mean_sup), n_unsup
        self.reference = Reference(mean_sup, n_unsup)
        # maps of the dense motion: 2 driving -> reference, 2 occlusions
        self.frontalizer, self.dense_motion = DenseMotion(*points, 3), DenseMotion(*points, 4)
        self.register_buffer("grid", identity_grid(NET_SIDE), persistent=False)

    def embed(self, sources: Tensor, points: Points) -> tuple[Tensor, ...]:
        """sources [B, N, 3, 256, 256], their points [B * N, ...]."""
        count = sources.shape[1]
        maps, _, coarse = self.frontalizer(self.reference.like(points), points)
        flow, weights = _flow(self.grid, coarse, maps), maps[:, 2:].unflatten(0, (-1, count)).softmax(1).flatten(0, 1)

        def fused(level: Tensor, side: int) -> Tensor:
            return (warp(level, resize_flow(flow, side)) * resize(weights, side)).unflatten(0, (-1, count)).sum(1)

        return tuple(map(fused, self.levels(sources), _SIDES))

    def draw(
        self, embedding: tuple[Tensor, ...], points: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """Points [B, ...], expression [B, 16] -> [B, 3, 256, 256] in [0, 1]; `recent` is not looked at."""
        maps, features, coarse = self.dense_motion(points, self.reference.like(points))
        flow = _flow(self.grid, coarse, maps)
        deep, middle, rgb = (
            warp(level, resize_flow(flow, side)) for level, side in zip(embedding, _SIDES, strict=True)
        )
        return self.redraw((deep, middle, rgb), maps[:, 2:], features, expression)


class FirstOrderGenerator(nn.Module):
    """The mobile first-order model. Embedding: features [B * N, 32, 32, 32], keypoints and Jacobians of the sources."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__()
        self.dense_motion = DenseMotion(len(mean_sup), n_unsup, 3)
        self.encoder, self.decoder = _encoder(), _decoder()
        self.register_buffer("grid", identity_grid(NET_SIDE), persistent=False)

    def embed(self, sources: Tensor, points: Points) -> tuple[Tensor, ...]:
        """sources [B, N, 3, 256, 256], their points [B * N, ...]."""
        return self.encoder(sources.flatten(0, 1)).float(), points.position, points.jacobian

    def draw(
        self, embedding: tuple[Tensor, ...], points: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """Points [B, ...], expression [B, 16] -> [B, 3, 256, 256] in [0, 1]; `recent` is not looked at."""
        batch = points.position.shape[0]
        features, position, jacobian = (t.unflatten(0, (batch, t.shape[0] // batch)) for t in embedding)
        apart = ((position - points.position[:, None]) ** 2).sum(-1) * points.presence[:, None]  # [B, N, K]
        nearest = nn.functional.one_hot(apart.sum(-1).argmin(1), features.shape[1]).to(features.dtype)  # [B, N]
        features = torch.einsum("bn,bnchw->bchw", nearest, features)
        source = Points(
            torch.einsum("bn,bnkx->bkx", nearest, position),
            torch.einsum("bn,bnkxy->bkxy", nearest, jacobian),
            points.presence,
        )
        maps, _, coarse = self.dense_motion(points, source)
        flow = _flow(self.grid, coarse, maps)
        return _decode(self.decoder, warp(features, flow) * torch.sigmoid(maps[:, 2:] + 2), expression)

"""The baselines that ours is compared with, built from the same blocks (interface: `models.interface.Generator`).

`FusedGenerator`, the paper's mobile Frontalizer (Oquab et al., CVPRW 2022, figure 3 and section 6.1):

    once       source_n -> encoder -> 32x32x32 --warp by the Frontalizer's flow_n--> reference position
                        --sum over n, weights softmax(confidence_n)--> embedding

    per frame  driving -> dense motion -> flow, occlusion
               embedding --warp, occlude--> decoder(+ expression code) -> picture

`MultiScaleGenerator`, between that and ours: the same fusion in the reference position, but of features at 32 and 64
pixels and of the RGB, all of which the decoder sees.

`FirstOrderGenerator`, the first-order model (Siarohin et al., NeurIPS 2019) in the paper's mobile form:

    once       source_n -> encoder -> 32x32x32; kp_source_n

    per frame  n = the source whose keypoints are nearest (the paper's "FOM-Mult"; training has one source)
               kp_driving, kp_source_n -> dense motion -> flow, occlusion
               features_n --warp, occlude--> decoder(+ expression code) -> picture

None of them uses recent poses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fvc.codec.motion.sample import N_EXPRESSION
from fvc.models.flow import FLOW_SIDE, NET_SIDE, OCCLUSION_BIAS, RESIDUAL_SCALE, DenseMotion, Points, Reference
from fvc.models.generator import PICTURE_SIDE, LevelsGenerator, Size
from fvc.models.layers import InvertedResidual, identity_grid, resize, resize_flow, stem, warp

# Channels of the motion networks' maps: a residual flow, then confidence (Frontalizer) or occlusion (dense motion).
FLOW, REST = slice(0, 2), slice(2, None)
LEVEL_SIDES = NET_SIDE, FLOW_SIDE, PICTURE_SIDE  # of the levels of `LevelsGenerator`


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


def _flow(grid: Tensor, sparse: Tensor, maps: Tensor) -> Tensor:
    """The flow [B, 32, 32, 2]: identity, sparse motion [B, 2, 32, 32], and the residual in the first two maps."""
    return grid + (sparse + RESIDUAL_SCALE * maps[:, FLOW]).permute(0, 2, 3, 1)


def _occluded(features: Tensor, occlusion: Tensor) -> Tensor:
    """Features [B, 32, 32, 32] and occlusion logits [B, 1, 32, 32] -> what is kept of the features."""
    return features * torch.sigmoid(occlusion + OCCLUSION_BIAS)


def _decode(decoder: nn.Module, features: Tensor, expression: Tensor) -> Tensor:
    """Features [B, 32, 32, 32], code [B, 16] -> picture [B, 3, 256, 256] in [0, 1]."""
    code = expression[:, :, None, None].expand(-1, -1, NET_SIDE, NET_SIDE)
    return torch.sigmoid(decoder(torch.cat([features, code], 1)).float())


def nearest_source(
    embedding: Sequence[Tensor], position: Tensor, jacobian: Tensor, kp_driving: Points
) -> tuple[list[Tensor], Points]:
    """The source whose keypoints are nearest to those of the frame (the paper's "FOM mult").

    Args:
        embedding: tensors [B * N, C, H, W], a row for each source. position, jacobian: of the sources' keypoints,
            [B * N, K, ...].

    Returns:
        The embedding of that source, [B, C, H, W] each, and its keypoints [B, K, ...].
    """
    batch = kp_driving.position.shape[0]
    position, jacobian = (t.unflatten(0, (batch, t.shape[0] // batch)) for t in (position, jacobian))
    distances = ((position - kp_driving.position[:, None]) ** 2).sum(-1) * kp_driving.presence[:, None]  # [B, N, K]
    # As a one-hot vector, so that N stays free in exported graphs
    nearest = nn.functional.one_hot(distances.sum(-1).argmin(1), position.shape[1]).to(position.dtype)  # [B, N]
    found = [torch.einsum("bn,bnchw->bchw", nearest, t.unflatten(0, (batch, t.shape[0] // batch))) for t in embedding]
    kp_source = Points(
        torch.einsum("bn,bnkx->bkx", nearest, position),
        torch.einsum("bn,bnkxy->bkxy", nearest, jacobian),
        kp_driving.presence,
    )
    return found, kp_source


class FusedGenerator(nn.Module):
    """The paper's mobile Frontalizer. Embedding: features in the reference position [B, 32, 32, 32]."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__()
        points = len(mean_sup), n_unsup
        self.reference = Reference(mean_sup, n_unsup)
        self.frontalizer, self.dense_motion = DenseMotion(*points, 3), DenseMotion(*points, 3)
        self.encoder, self.decoder = _encoder(), _decoder()
        self.register_buffer("grid", identity_grid(NET_SIDE), persistent=False)

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """See `models.interface.Generator.embed`."""
        batch, count = pictures.shape[:2]
        features = self.encoder(pictures.flatten(0, 1)).float()  # [B * N, 32, 32, 32]
        maps, _, sparse = self.frontalizer(self.reference.like(kp_source), kp_source)
        fronted = warp(features, _flow(self.grid, sparse, maps)).unflatten(0, (batch, count))
        weights = maps[:, REST].unflatten(0, (batch, count)).softmax(1)  # [B, N, 1, 32, 32]
        return ((fronted * weights).sum(1),)

    def warped(self, embedding: tuple[Tensor, ...], kp_driving: Points) -> Tensor:
        """The embedding's features where the frame shows them, occluded: [B, 32, 32, 32]."""
        maps, _, sparse = self.dense_motion(kp_driving, self.reference.like(kp_driving))
        return _occluded(warp(embedding[0], _flow(self.grid, sparse, maps)), maps[:, REST])

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `recent` is ignored."""
        return _decode(self.decoder, self.warped(embedding, kp_driving), expression)


class MultiScaleGenerator(LevelsGenerator):
    """A Frontalizer that fuses more than 32x32 features. Embedding: levels as of `LevelsGenerator`, [B, ...] each."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__(Size())
        points = len(mean_sup), n_unsup
        self.reference = Reference(mean_sup, n_unsup)
        self.frontalizer, self.dense_motion = DenseMotion(*points, 3), DenseMotion(*points, 4)  # two occlusions
        self.register_buffer("grid", identity_grid(NET_SIDE), persistent=False)

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """See `models.interface.Generator.embed`."""
        count = pictures.shape[1]
        maps, _, sparse = self.frontalizer(self.reference.like(kp_source), kp_source)
        flow = _flow(self.grid, sparse, maps)
        weights = maps[:, REST].unflatten(0, (-1, count)).softmax(1).flatten(0, 1)  # [B * N, 1, 32, 32]
        fused = []
        for level, side in zip(self.levels(pictures), LEVEL_SIDES, strict=True):
            fronted = warp(level, resize_flow(flow, side)) * resize(weights, side)
            fused.append(fronted.unflatten(0, (-1, count)).sum(1))
        return tuple(fused)

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `recent` is ignored."""
        maps, features, sparse = self.dense_motion(kp_driving, self.reference.like(kp_driving))
        flow = _flow(self.grid, sparse, maps)
        deep, middle, rgb = (
            warp(level, resize_flow(flow, side)) for level, side in zip(embedding, LEVEL_SIDES, strict=True)
        )
        return self.redraw((deep, middle, rgb), maps[:, REST], features, expression).over(rgb)


class FirstOrderGenerator(nn.Module):
    """The mobile first-order model. Embedding: features [B * N, 32, 32, 32], keypoints and Jacobians of the sources."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__()
        self.dense_motion = DenseMotion(len(mean_sup), n_unsup, 3)
        self.encoder, self.decoder = _encoder(), _decoder()
        self.register_buffer("grid", identity_grid(NET_SIDE), persistent=False)

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """See `models.interface.Generator.embed`."""
        return self.encoder(pictures.flatten(0, 1)).float(), kp_source.position, kp_source.jacobian

    def warped(self, embedding: tuple[Tensor, ...], kp_driving: Points) -> Tensor:
        """The nearest source's features where the frame shows them, occluded: [B, 32, 32, 32]."""
        features, position, jacobian = embedding
        (features,), kp_source = nearest_source([features], position, jacobian, kp_driving)
        maps, _, sparse = self.dense_motion(kp_driving, kp_source)
        return _occluded(warp(features, _flow(self.grid, sparse, maps)), maps[:, REST])

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `recent` is ignored."""
        return _decode(self.decoder, self.warped(embedding, kp_driving), expression)

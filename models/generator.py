"""The receiver's networks: source frames -> embedding (once), embedding + driving sample -> picture (per frame).

Nothing is fused into one blurred reference picture, as the paper's Frontalizer does (`models.baselines`). The sources
keep their features at 32 and 64, and their RGB at 256, which is also all that the decoder sees of them at 128; the
reference position stays the hub, so that there is one dense motion network per frame and not N:

    once        Frontalizer(reference -> source_n): residual flow_n, confidence_n              cached
    per frame   DenseMotion(driving -> reference): where each pixel lies in the reference, background mask, occlusion
                flow to source_n = sparse motion (driving -> source_n, exact at keypoints, zero on the background)
                                 + residual_n looked up at the reference position + shared residual
                every level is sampled once, straight from the source, and blended by
                softmax(confidence_n + learned vote + nearness of the head pose + nearness of the local keypoints
                        - heads that do not lie on each other)
                beside the head only the pose counts, but more, and as a mean over the last poses: walls and shoulders
                want one source, and what only that one shows, as a hand, shall not come and go between two frames
                the Decoder redraws, and keeps the warped RGB where its mask says so

Presence masks (see `models.flow.Points`) let one set of weights serve all profiles.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.face.tracker import EYES, MOUTH
from fvc.codec.motion.sample import N_EXPRESSION
from fvc.models.flow import FLOW_SIDE, NET_SIDE, DenseMotion, Points, Reference, SparseMotion, weighted
from fvc.models.layers import InvertedResidual, identity_grid, resize, resize_flow, run_joined, stem, warp

# The head's ellipse, from forehead to chin being 1: its half axes, how much higher its centre is, how sharp its edge;
# how far it lies behind a nose that is beside the line from forehead to chin, of which so much counts.
_HEIGHT, _WIDTH, _LIFT, _EDGE = 0.72, 0.5, 0.12, 8.0
_BEHIND, _TURNED = 3.0, 0.3
_WALL, _SLACK = 1.3, 0.05  # radius from where on a place is wall; how much nearer it may be looked up than it lies
_EVEN = 0.5  # of the mean square distance to the sources: what makes a ratio of two distances less
_BESIDE, _SOFT = 1.2, 4.0  # radius from where on a place is beside the head, and how soft that limit is


class Embedding(NamedTuple):
    """What a composed generator keeps of N sources (all float32, N innermost in the batch: [B * N, ...])."""

    deep: Tensor  # [B * N, Size.deep_kept, 32, 32]
    middle: Tensor  # [B * N, Size.middle_kept, 64, 64]
    rgb: Tensor  # [B * N, 3, 256, 256]
    residual: Tensor  # [B * N, 3, 32, 32]: residual flow and confidence in the reference position
    position: Tensor  # [B * N, K, 2]
    jacobian: Tensor  # [B * N, K, 2, 2]


class _Flows(NamedTuple):
    """Where places of the drawing are looked up in each source (N innermost in the batch), and what speaks for it."""

    flow: Tensor  # [B * N, 64, 64, 2]
    heads: Tensor  # [B * N, 1, 64, 64], see `_beside_heads`
    seen_heads: Tensor  # the same
    logits: Tensor  # [B * N, 1, 64, 64]
    moments: Tensor  # [B * N, 1 + M, 64, 64]: what is to be added at the present and at each recent moment


class Size(NamedTuple):
    """Channels that decide what a frame costs; what is done once per source set is the same for all sizes."""

    deep_kept: int = 32
    middle_kept: int = 16
    deep: int = 72
    blocks: int = 3
    middle: int = 48
    fine: int = 16


def _inside(n_sup: int, n_unsup: int) -> Tensor:
    """[K, K]: takes from each keypoint the mean of its group; eyes, mouth, the rest of `sup`, `unsup`."""
    groups = [list(group) for group in (*EYES, MOUTH)]
    parts = {k for group in groups for k in group}
    groups += [[k for k in range(n_sup) if k not in parts], list(range(n_sup, n_sup + n_unsup))]
    matrix = torch.eye(n_sup + n_unsup)
    for group in groups:
        matrix[torch.tensor(group)[:, None], torch.tensor(group)] -= 1 / len(group)
    return matrix


def _from_head(points: Points, at: Tensor) -> tuple[Tensor, Tensor]:
    """Where places lie from the middle of the head, hair and all: an ellipse about forehead and chin.

    Of a head that turns, more is seen behind the face: its middle is then on the other side of the nose.

    points [B, ...], at [B, H, W, 2] -> offset [B, H, W, 2], and radius [B, H, W], 1 on the outline, large where `sup`
    is absent.
    """
    forehead, chin, nose = (points.position[:, n, None, None] for n in range(3))
    middle, upwards = (forehead + chin) / 2, forehead - chin
    square = upwards.square().sum(-1) + 1e-6
    sideways = torch.stack([upwards[..., 1], -upwards[..., 0]], -1)
    turned = (((nose - middle) * sideways).sum(-1) / square).clamp(-_TURNED, _TURNED)
    offset = at - middle - _LIFT * upwards + _BEHIND * turned[..., None] * sideways
    along = (offset * upwards).sum(-1) / (_HEIGHT * square)
    across = (offset * sideways).sum(-1) / (_WIDTH * square)
    absent = 1 - points.presence[:, 0, None, None]
    return offset, (along.square() + across.square() + 1e-6).sqrt() + 100 * absent


def _pose_distances(poses: Tensor, sources: Points) -> Tensor:
    """Mean square distances of keypoints about their centre: [B, M, K, 2] to the sources' -> [B, M]."""
    present = sources.presence[:, None, :, None]
    total = present.sum(2, keepdim=True) + 1e-6

    def centred(position: Tensor) -> Tensor:
        return (position - (position * present).sum(2, keepdim=True) / total) * present

    apart = (centred(poses) - centred(sources.position[:, None])) ** 2
    return apart.sum((2, 3)) / total[:, :, 0, 0]


def _beside_heads(flow: Tensor, lies: Tensor, sources: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Has what lies beside the driving head looked up beside the source's, though all sources may have theirs there.

    Args:
        flow: [B, H, W, 2], where places are looked up in the sources.
        lies: [B, H, W], the radius of these places about the driving head, see `_from_head`.

    Returns:
        flow, moved outwards from the sources' heads; and [B, 1, H, W] in [0, 1], soft at outlines and 0 without `sup`:
        whether places lie inside the driving head, and whether they were looked up inside the source's.
    """
    offset, seen = _from_head(sources, flow)
    inside, seen_inside = (torch.sigmoid(_EDGE * (1 - radius))[:, None] for radius in (lies, seen))
    short = F.relu(lies.clamp(max=_WALL) - _SLACK - seen) * (1 - inside[:, 0])
    return flow + offset * (short / seen)[..., None], inside, seen_inside


class LevelsGenerator(nn.Module):
    """What reads the sources at 32, 64 and 256 pixels, and what redraws a picture from such levels."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.encode_fine = nn.Sequential(stem(16), InvertedResidual(16, 16))
        self.encode_middle = nn.Sequential(InvertedResidual(16, 32, 4, down=True), InvertedResidual(32, 32, 3))
        self.encode_deep = nn.Sequential(
            InvertedResidual(32, 48, 3, down=True), InvertedResidual(48, 48, 3), InvertedResidual(48, 48, 3)
        )
        self.keep_middle, self.keep_deep = nn.Conv2d(32, size.middle_kept, 1), nn.Conv2d(48, size.deep_kept, 1)
        self.deep = nn.Sequential(
            nn.Conv2d(size.deep_kept + 32 + N_EXPRESSION, size.deep, 1),
            *(InvertedResidual(size.deep, size.deep, 3) for _ in range(size.blocks)),
        )
        self.up_middle = InvertedResidual(size.deep, size.middle, 1, up=True)
        self.join_middle = InvertedResidual(size.middle + size.middle_kept, size.middle, 1.5)
        self.up_fine = InvertedResidual(size.middle, size.fine, 1, up=True)
        self.join_fine = InvertedResidual(size.fine + 12, size.fine)
        self.out = nn.Conv2d(size.fine, 16, 3, padding=1)

    def levels(self, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, 3, 256, 256] -> deep [B * N, Size.deep_kept, 32, 32], middle [..., 64, 64] and RGB, all float32."""
        rgb = sources.flatten(0, 1)
        middle = self.encode_middle(self.encode_fine(rgb))
        deep, middle = self.keep_deep(self.encode_deep(middle)), self.keep_middle(middle)
        return deep.float(), middle.float(), rgb.float()

    def redraw(
        self, levels: tuple[Tensor, Tensor, Tensor], occlusion: Tensor, motion_features: Tensor, expression: Tensor
    ) -> Tensor:
        """Levels where the driving sample wants them, occlusion [B, 2, 32, 32] before the sigmoid, features of the
        dense motion [B, 32, 32, 32] and expression [B, 16] -> [B, 3, 256, 256] in [0, 1]."""
        deep, middle, rgb = levels
        occlusion = torch.sigmoid(occlusion + 2)
        deep = deep * occlusion[:, 0:1]
        middle = middle * resize(occlusion[:, 1:2], FLOW_SIDE)
        y = run_joined(self.deep, deep, motion_features.float(), expression[:, :, None, None])
        y = self.join_middle(self.up_middle(y), middle)
        y = self.join_fine(self.up_fine(y), F.pixel_unshuffle(rgb, 2))
        y = torch.sigmoid(self.out(y).float())
        redrawn, keep = F.pixel_shuffle(y[:, :12], 2), F.pixel_shuffle(y[:, 12:], 2)
        return redrawn + keep * (rgb - redrawn)


class ComposedGenerator(LevelsGenerator):
    """Composed flows with local blending. Embedding: see `Embedding`."""

    def __init__(self, mean_sup: Tensor, n_unsup: int, **channels: int) -> None:
        size = Size(**channels)
        super().__init__(size)
        points = len(mean_sup), n_unsup
        self.reference = Reference(mean_sup, n_unsup)
        # maps of the dense motion: 2 driving -> reference, 2 shared residual, 1 background, 2 occlusions
        self.frontalizer, self.dense_motion = DenseMotion(*points, 3), DenseMotion(*points, 7)
        self.sparse = SparseMotion(*points, FLOW_SIDE)
        self.background = nn.Parameter(torch.tensor(-4.0))
        self.near_pose, self.near_local = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(2.0))
        self.near_part = nn.Parameter(torch.zeros(sum(points)))  # what `near_local` is more at each keypoint
        self.near_beside = nn.Parameter(torch.tensor(12.0))  # `near_pose` beside the head
        self.near_outline = nn.Parameter(torch.tensor(20.0))
        seen = 2 * size.middle_kept + 3  # features, by how much others differ, logit, head, the source's head
        self.vote = nn.Sequential(nn.Conv2d(seen, 8, 1), nn.ReLU6(), nn.Conv2d(8, 1, 3, padding=1))
        self.register_buffer("grid", identity_grid(FLOW_SIDE), persistent=False)
        self.register_buffer("inside", _inside(*points), persistent=False)

    def embed(self, sources: Tensor, points: Points) -> Embedding:
        """sources [B, N, 3, 256, 256], their points [B * N, ...]."""
        residual, _, _ = self.frontalizer(self.reference.like(points), points)
        return Embedding(*self.levels(sources), residual, points.position, points.jacobian)

    def draw(
        self, embedding: tuple[Tensor, ...], points: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """Points [B, ...], expression [B, 16] -> [B, 3, 256, 256] in [0, 1].

        recent [B, M, K, 2]: positions of the same points at M moments before; None: the head has been still.
        """
        source = Embedding(*embedding)
        batch = points.position.shape[0]
        count = source.rgb.shape[0] // batch
        maps, motion_features, coarse = self.dense_motion(points, self.reference.like(points))
        with torch.autocast(maps.device.type, enabled=False):
            flow, heads, seen_heads, logits, moments = self._flows(source, points, recent, maps, coarse, count)

        def among(x: Tensor) -> Tensor:
            return x.unflatten(0, (batch, count))

        def mix(level: Tensor, side: int) -> Tensor:
            return among(warp(level, resize_flow(flow, side)) * resize(blend, side)).sum(1)

        # A source that would show its hair beside the head, or a wall on it, is out, unless all would.
        matched = logits - self.near_outline * (heads - seen_heads).abs()
        # The vote needs the warped middle level before it is blended.
        middle = warp(source.middle, flow)
        usual = (among(middle) * among(matched).softmax(1)).sum(1, keepdim=True)
        differs = (among(middle) - usual).abs().flatten(0, 1)
        matched = matched + run_joined(self.vote, middle, logits, differs, heads, seen_heads).float()
        blend = among(matched + moments).softmax(1).mean(2, keepdim=True).flatten(0, 1)
        levels = mix(source.deep, NET_SIDE), among(middle * blend).sum(1), mix(source.rgb, 256)
        return self.redraw(levels, maps[:, 5:7], motion_features, expression)

    def _flows(
        self, source: Embedding, points: Points, recent: Tensor | None, maps: Tensor, coarse: Tensor, count: int
    ) -> _Flows:
        image, batch = self.sparse.image, points.position.shape[0]
        weights, near = self.sparse.weights(points)
        fine_maps = resize(torch.cat([maps[:, :5], coarse], 1), FLOW_SIDE)
        person = torch.sigmoid(image(near[..., None]) - self.background - fine_maps[:, 4:5])
        to_reference = self.grid + (fine_maps[:, 5:7] + 0.3 * fine_maps[:, 0:2]).permute(0, 2, 3, 1)
        shared = 0.3 * fine_maps[:, 2:4]

        looked_up = warp(source.residual, to_reference.repeat_interleave(count, 0))
        sources = Points(source.position, source.jacobian, points.presence.repeat_interleave(count, 0))
        driving = points.each(count)
        direct = image(self.sparse.displacement(weights, driving, sources))
        move = direct * person.repeat_interleave(count, 0) + shared.repeat_interleave(count, 0) + 0.3 * looked_up[:, :2]
        flow = self.grid + move.permute(0, 2, 3, 1)

        def nearness(x: Tensor) -> Tensor:  # by ratios: far sources make near ones less alike than by differences
            x = x.unflatten(0, (batch, count))
            return -(x / (x.mean(1, keepdim=True) + 1e-4) + _EVEN).log().flatten(0, 1)

        _, lies = _from_head(points, self.grid.expand(batch, -1, -1, -1))
        beside = torch.sigmoid(_SOFT * (lies - _BESIDE)) * points.presence[:, :1, None]
        lies, beside = lies.repeat_interleave(count, 0), beside.repeat_interleave(count, 0)[:, None]
        poses = points.position[:, None] if recent is None else torch.cat([points.position[:, None], recent], 1)
        pose = nearness(_pose_distances(poses.repeat_interleave(count, 0), sources))[..., None, None]
        calm = pose.mean(1, keepdim=True)  # of all moments
        inside = ((self.inside @ (driving.position - sources.position)) ** 2).sum(-1) * driving.presence
        local = weighted(weights, inside[..., None])[..., 0]  # [B * N, P]
        urgent = (weights * (self.near_local + self.near_part)).sum(-1).repeat_interleave(count, 0)  # [B * N, P]
        face = self.near_pose * pose[:, :1] + image((urgent * nearness(local))[..., None])
        logits = looked_up[:, 2:] + face + beside * (self.near_beside * calm - face)
        return _Flows(*_beside_heads(flow, lies, sources), logits, beside * self.near_beside * (pose - calm))

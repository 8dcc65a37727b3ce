"""The receiver's networks: source pictures -> embedding (once), embedding + driving sample -> picture (per frame).

First-order-model motion (Siarohin et al., NeurIPS 2019) through the reference position of the Frontalizer (Oquab et
al., CVPRW 2022), but without fusing the sources into one picture there, which blurs (`models.baselines` has that). The
sources keep their features at 32 and 64 pixels and their RGB at 256, each level is sampled once per frame, straight
from the source, and the reference position stays the hub, so that a frame costs one dense motion network, not N:

    once per source set
        sources, kp_source -> encoder -> levels at 32, 64 and 256 pixels
        Frontalizer(reference -> source_n) -> residual flow_n, confidence_n

    per frame
        1  dense_motion(driving -> reference) -> flow to the reference, shared residual, background, occlusion
        2  flow to source_n = sparse motion(driving -> source_n)     nearly exact at lips, zero on the background
                            + residual flow_n, looked up in the reference position
                            + shared residual
        3  blend weight of source_n = softmax over n of
               confidence_n + learned vote_n
               + how near the head pose is + how near the keypoints around this pixel are
               - how much the head masks of driving and source disagree
        4  warp each level by the flows, sum by the weights
        5  decoder: redraws, and keeps the warped RGB where its mask says so

Outside the head (walls, shoulders) only the head pose counts in step 3, more strongly, averaged over the last poses:
when the nearest source changes, content that only the old one shows (a hand, say) fades instead of popping.

Presence masks (`models.flow.Points`) let one set of weights serve all profiles.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.face.landmarks import CHIN, EYES, FOREHEAD, INNER_LIPS, MOUTH, NOSE_TIP, OUTER_LIPS
from fvc.codec.motion.sample import N_EXPRESSION
from fvc.models.flow import (
    FLOW_SIDE,
    NET_SIDE,
    OCCLUSION_BIAS,
    RESIDUAL_SCALE,
    DenseMotion,
    Points,
    Reference,
    SparseMotion,
    weighted,
)
from fvc.models.layers import InvertedResidual, identity_grid, resize, resize_flow, run_joined, stem, warp

PICTURE_SIDE = 256
LIPS = (*OUTER_LIPS, *INNER_LIPS)  # sup indices: their upper and lower middles, where the flow is made nearly exact

# The head, hair included, is an ellipse. Unit of the first five: the distance h from forehead to chin (`from_head`).
HEAD_HALF_HEIGHT = 0.72
HEAD_HALF_WIDTH = 0.5
HEAD_LIFT = 0.12  # from the middle of forehead and chin up to the centre: hair reaches higher than chins reach low
TURN_SHIFT = 3.0  # the centre moves away from the nose by this many times its distance from the line forehead-chin
MAX_TURN = 0.3  # limit of that distance
# Unit of the radii below: 1 on the ellipse.
OUTLINE_SHARPNESS = 8.0  # slope of the sigmoid that makes a soft head mask of a radius
ABSENT_RADIUS = 100.0  # where `sup` is absent, everything lies far outside
WALL_RADIUS = 1.3  # pixels beyond it count as equally far outside
PUSH_TOLERANCE = 0.05  # a pixel's radius in the source may be smaller than in the driving head by this much
BESIDE_RADIUS, BESIDE_SHARPNESS = 1.2, 4.0  # where "beside the head" begins, and the slope of the sigmoid there

RATIO_OFFSET = 0.5  # added to ratios of squared distances before the logarithm: damps small differences of sources

# Channels of the dense motion's maps
TO_REFERENCE = slice(0, 2)  # residual flow, driving -> reference
SHARED_RESIDUAL = slice(2, 4)  # residual flow, the same for all sources
BACKGROUND = slice(4, 5)  # logit: sparse motion does not apply here
OCCLUSION = slice(5, 7)  # logits: keep the features at 32 and at 64 pixels
N_MAPS = 7


class Embedding(NamedTuple):
    """What a composed generator stores for N sources (all float32, N innermost in the batch: [B * N, ...])."""

    deep: Tensor  # [B * N, Size.deep_kept, 32, 32]
    middle: Tensor  # [B * N, Size.middle_kept, 64, 64]
    rgb: Tensor  # [B * N, 3, 256, 256]
    residual: Tensor  # [B * N, 3, 32, 32]: residual flow and confidence in the reference position
    position: Tensor  # [B * N, K, 2]
    jacobian: Tensor  # [B * N, K, 2, 2]


class SourceMotion(NamedTuple):
    """For each pixel and source: where the source is sampled, and the inputs of its blend weight."""

    flow: Tensor  # [B * N, 64, 64, 2]
    driving_head: Tensor  # [B * N, 1, 64, 64]: whether the pixel lies in the driving head, see `push_off_heads`
    source_head: Tensor  # [B * N, 1, 64, 64]: whether it would be sampled in the source's head without the push
    logits: Tensor  # [B * N, 1, 64, 64]: of the blend weights
    moments: Tensor  # [B * N, 1 + M, 64, 64]: added to the logits, at the present and at each of M recent moments
    occlusion: Tensor  # [B, 2, 32, 32]: logits
    features: Tensor  # [B, 32, 32, 32]: of the dense motion's hourglass


class Redrawn(NamedTuple):
    """What the decoder makes of the warped levels."""

    picture: Tensor  # [B, 3, 256, 256] in [0, 1], redrawn everywhere
    keep: Tensor  # [B, 1, 256, 256] in [0, 1]: how much of the warped RGB takes its place

    def over(self, rgb: Tensor) -> Tensor:
        """The picture, with the warped RGB, [B, 3, H, W] both, of the size of `picture`."""
        return self.picture + self.keep * (rgb - self.picture)


class Moved(NamedTuple):
    """Where the sources are sampled, and all that was sampled and blended but the RGB."""

    flow: Tensor  # [B * N, 64, 64, 2]
    blend: Tensor  # [B * N, 1, 64, 64]: weights, which sum to 1 over the sources
    deep: Tensor  # [B, Size.deep_kept, 32, 32]
    middle: Tensor  # [B, Size.middle_kept, 64, 64]
    occlusion: Tensor  # see `SourceMotion`
    features: Tensor  # likewise


class Size(NamedTuple):
    """Channels that set the cost of a frame; what is computed once per source set is the same for all sizes."""

    deep_kept: int = 32
    middle_kept: int = 16
    deep: int = 72
    blocks: int = 3
    middle: int = 48
    fine: int = 16


def group_centring(n_sup: int, n_unsup: int) -> Tensor:
    """[K, K]: subtracts from each keypoint the mean of its group: either eye, the mouth, the rest of `sup`, `unsup`."""
    groups = [list(group) for group in (*EYES, MOUTH)]
    parts = {k for group in groups for k in group}
    groups += [[k for k in range(n_sup) if k not in parts], list(range(n_sup, n_sup + n_unsup))]
    matrix = torch.eye(n_sup + n_unsup)
    for group in groups:
        matrix[torch.tensor(group)[:, None], torch.tensor(group)] -= 1 / len(group)
    return matrix


def from_head(points: Points, at: Tensor) -> tuple[Tensor, Tensor]:
    """Positions relative to the head, hair included, as an ellipse around forehead and chin.

              .-'''''''-.        -+-
            .'           '.       |
           /   forehead    \\      |  0.72 h = HEAD_HALF_HEIGHT
          |       |         |     |
          |       |   c     |    -+-  c  centre, 0.12 h = HEAD_LIFT above m
          |       m   |-----|         m  middle of forehead and chin, h apart
          |       |     0.5 h = HEAD_HALF_WIDTH
           \\      |        /
            '.   chin    .'
              '-._____.-'

    The centre lies above m in a face seen from the front. When a head turns, more of it is seen behind the face: the
    centre moves sideways, away from the nose (TURN_SHIFT).

    Args:
        points: keypoints [B, K, ...].
        at: positions [B, H, W, 2].

    Returns:
        offset [B, H, W, 2] from the centre, and radius [B, H, W]: 0 in the centre, 1 on the ellipse, ABSENT_RADIUS and
        more where `sup` is absent.
    """
    forehead, chin, nose = (points.position[:, n, None, None] for n in (FOREHEAD, CHIN, NOSE_TIP))  # [B, 1, 1, 2]
    middle, upwards = (forehead + chin) / 2, forehead - chin
    square = upwards.square().sum(-1) + 1e-6  # [B, 1, 1]: h squared
    sideways = torch.stack([upwards[..., 1], -upwards[..., 0]], -1)
    turned = (((nose - middle) * sideways).sum(-1) / square).clamp(-MAX_TURN, MAX_TURN)
    offset = at - middle - HEAD_LIFT * upwards + TURN_SHIFT * turned[..., None] * sideways  # [B, H, W, 2]
    along = (offset * upwards).sum(-1) / (HEAD_HALF_HEIGHT * square)  # [B, H, W]
    across = (offset * sideways).sum(-1) / (HEAD_HALF_WIDTH * square)
    absent = 1 - points.presence[:, FOREHEAD, None, None]
    return offset, (along.square() + across.square() + 1e-6).sqrt() + ABSENT_RADIUS * absent


def push_off_heads(flow: Tensor, radius: Tensor, kp_source: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Moves the sampling positions of background pixels out of the sources' heads.

    So hair is never drawn on the wall, even where every source shows its head.

    Args:
        flow: [B, H, W, 2], where pixels are sampled in the sources.
        radius: [B, H, W], of these pixels from the driving head, see `from_head`.

    Returns:
        The flow; and soft masks [B, 1, H, W] in [0, 1], 0 without `sup`: whether pixels lie in the driving head, and
        whether they would have been sampled from the source's head.
    """
    offset, source_radius = from_head(kp_source, flow)
    driving_head, source_head = (
        torch.sigmoid(OUTLINE_SHARPNESS * (1 - distance))[:, None] for distance in (radius, source_radius)
    )
    missing = F.relu(radius.clamp(max=WALL_RADIUS) - PUSH_TOLERANCE - source_radius) * (1 - driving_head[:, 0])
    return flow + offset * (missing / source_radius)[..., None], driving_head, source_head


def pose_distances(poses: Tensor, kp_source: Points) -> Tensor:
    """Mean square distance of centred keypoints: poses [B, M, K, 2] to the source's -> [B, M]."""
    present = kp_source.presence[:, None, :, None]  # [B, 1, K, 1]
    total = present.sum(2, keepdim=True) + 1e-6

    def centred(position: Tensor) -> Tensor:
        return (position - (position * present).sum(2, keepdim=True) / total) * present

    squared = (centred(poses) - centred(kp_source.position[:, None])) ** 2  # [B, M, K, 2]
    return squared.sum((2, 3)) / total[:, :, 0, 0]


def nearness(distances: Tensor, count: int) -> Tensor:
    """Squared distances [B * N, ...] to N = `count` sources -> logits: high for sources nearer than the mean.

    It uses ratios, not differences: so a very distant source does not make the near ones look alike.
    """
    x = distances.unflatten(0, (-1, count))  # [B, N, ...]
    return -(x / (x.mean(1, keepdim=True) + 1e-4) + RATIO_OFFSET).log().flatten(0, 1)


def blended(level: Tensor, flow: Tensor, blend: Tensor, side: int, batch: int) -> Tensor:
    """A level [B * N, C, side, side] of the sources, warped and summed by the weights -> [B, C, side, side].

    `flow` [B * N, 64, 64, 2] and `blend` [B * N, 1, 64, 64] are enlarged.
    """
    warped = warp(level, resize_flow(flow, side)) * resize(blend, side)
    return warped.unflatten(0, (batch, -1)).sum(1)


class LevelsGenerator(nn.Module):
    """An encoder of sources into levels at 32, 64 and 256 pixels, and a decoder from such levels to a picture."""

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

    def levels(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, 3, 256, 256] -> deep [B * N, Size.deep_kept, 32, 32], middle [..., 64, 64] and RGB, all float32."""
        rgb = pictures.flatten(0, 1)  # [B * N, 3, 256, 256]
        middle = self.encode_middle(self.encode_fine(rgb))  # [B * N, 32, 64, 64]
        deep, middle = self.keep_deep(self.encode_deep(middle)), self.keep_middle(middle)
        return deep.float(), middle.float(), rgb.float()

    def redraw(
        self, levels: tuple[Tensor, Tensor, Tensor], occlusion: Tensor, motion_features: Tensor, expression: Tensor
    ) -> Redrawn:
        """The decoder: levels warped to the driving pose -> what it redraws.

        Args:
            levels: deep, middle and RGB as of `levels`, one of each for the picture, [B, ...].
            occlusion: logits [B, 2, 32, 32]. motion_features: [B, 32, 32, 32]. expression: [B, 16].
        """
        deep, middle, rgb = levels
        maps = self.maps((deep, middle, F.pixel_unshuffle(rgb, 2)), occlusion, motion_features, expression)
        return Redrawn(F.pixel_shuffle(maps[:, :12], 2), F.pixel_shuffle(maps[:, 12:], 2))

    def maps(
        self, levels: tuple[Tensor, Tensor, Tensor], occlusion: Tensor, motion_features: Tensor, expression: Tensor
    ) -> Tensor:
        """As `redraw`, but with pictures in quarters, as `pixel_unshuffle` makes them.

        The RGB is [B, 12, 128, 128]; returns picture and mask, [B, 12 + 4, 128, 128].
        """
        deep, middle, rgb = levels
        occlusion = torch.sigmoid(occlusion + OCCLUSION_BIAS)
        deep = deep * occlusion[:, 0:1]
        middle = middle * resize(occlusion[:, 1:2], FLOW_SIDE)
        y = run_joined(self.deep, deep, motion_features.float(), expression[:, :, None, None])  # [B, deep, 32, 32]
        y = self.join_middle(self.up_middle(y), middle)  # [B, middle, 64, 64]
        y = self.join_fine(self.up_fine(y), rgb)  # [B, fine, 128, 128]
        return torch.sigmoid(self.out(y).float())


class ComposedGenerator(LevelsGenerator):
    """Composed flows with local blending (`models.interface.Generator`). Embedding: see `Embedding`."""

    def __init__(self, mean_sup: Tensor, n_unsup: int, **channels: int) -> None:
        size = Size(**channels)
        super().__init__(size)
        points = len(mean_sup), n_unsup
        self.reference = Reference(mean_sup, n_unsup)
        self.frontalizer, self.dense_motion = DenseMotion(*points, 3), DenseMotion(*points, N_MAPS)
        self.sparse = SparseMotion(*points, FLOW_SIDE)
        self.background = nn.Parameter(torch.tensor(-4.0))  # of `SparseMotion.weights`: below this nearness, no motion
        # Weights of the nearness terms in the blend logits
        self.near_pose, self.near_local = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(2.0))
        self.near_part = nn.Parameter(torch.zeros(sum(points)))  # per keypoint, added to `near_local`
        self.near_beside = nn.Parameter(torch.tensor(12.0))  # replaces `near_pose` outside the head
        self.near_outline = nn.Parameter(torch.tensor(20.0))  # penalty of disagreeing head masks
        # Inputs of the vote: warped features, their difference from the usual blend, logit, both head masks
        vote_inputs = 2 * size.middle_kept + 3
        self.vote = nn.Sequential(nn.Conv2d(vote_inputs, 8, 1), nn.ReLU6(), nn.Conv2d(8, 1, 3, padding=1))
        self.register_buffer("grid", identity_grid(FLOW_SIDE), persistent=False)
        exact = torch.tensor([float(k in LIPS) for k in range(sum(points))])
        self.register_buffer("exact", exact, persistent=False)
        self.register_buffer("centring", group_centring(*points), persistent=False)

    def embed(self, pictures: Tensor, kp_source: Points) -> Embedding:
        """See `models.interface.Generator.embed`."""
        residual, _, _ = self.frontalizer(self.reference.like(kp_source), kp_source)
        return Embedding(*self.levels(pictures), residual, kp_source.position, kp_source.jacobian)

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`."""
        source, batch = Embedding(*embedding), kp_driving.position.shape[0]
        moved = self.moved(source, kp_driving, recent)
        rgb = blended(source.rgb, moved.flow, moved.blend, PICTURE_SIDE, batch)  # [B, 3, 256, 256]
        return self.redrawn(moved, rgb, expression).over(rgb)

    def redrawn(self, moved: Moved, rgb: Tensor, expression: Tensor) -> Redrawn:
        """Step 5; `rgb` [B, 3, 256, 256], warped and blended."""
        return self.redraw((moved.deep, moved.middle, rgb), moved.occlusion, moved.features, expression)

    def moved(self, source: Embedding, kp_driving: Points, recent: Tensor | None) -> Moved:
        """Steps 1 to 4, without the RGB."""
        batch = kp_driving.position.shape[0]
        count = source.rgb.shape[0] // batch

        # Steps 1 and 2, and the logits of step 3
        motion = self.source_motion(source, kp_driving, recent)

        # Step 3: blend weights. A source whose head mask disagrees is suppressed, unless all disagree alike.
        agreeing = motion.logits - self.near_outline * (motion.driving_head - motion.source_head).abs()
        middle = warp(source.middle, motion.flow)  # [B * N, C, 64, 64]: the vote needs it before it is blended
        by_source = middle.unflatten(0, (batch, count))  # [B, N, C, 64, 64]
        usual = (by_source * agreeing.unflatten(0, (batch, count)).softmax(1)).sum(1, keepdim=True)
        differs = (by_source - usual).abs().flatten(0, 1)
        vote = run_joined(self.vote, middle, motion.logits, differs, motion.driving_head, motion.source_head)
        logits = agreeing + vote.float() + motion.moments  # [B * N, 1 + M, 64, 64]
        blend = logits.unflatten(0, (batch, count)).softmax(1).mean(2, keepdim=True).flatten(0, 1)  # [B * N, 1, 64, 64]

        # Step 4: warp and blend the features
        deep = blended(source.deep, motion.flow, blend, NET_SIDE, batch)  # [B, C, 32, 32]
        middle = (by_source * blend.unflatten(0, (batch, count))).sum(1)  # [B, C, 64, 64]
        return Moved(motion.flow, blend, deep, middle, motion.occlusion, motion.features)

    def source_motion(self, source: Embedding, kp_driving: Points, recent: Tensor | None = None) -> SourceMotion:
        """Steps 1 and 2 of the module's description, and all of step 3 that needs no pixels."""
        count = source.rgb.shape[0] // kp_driving.position.shape[0]
        maps, features, sparse_to_reference = self.dense_motion(kp_driving, self.reference.like(kp_driving))
        with torch.autocast(maps.device.type, enabled=False):
            resized = resize(torch.cat([maps[:, : OCCLUSION.start], sparse_to_reference], 1), FLOW_SIDE)
            kp_source = Points(source.position, source.jacobian, kp_driving.presence.repeat_interleave(count, 0))
            weights, near = self.sparse.weights(kp_driving)  # [B, P, K], [B, P]; P = 64 * 64
            flow, confidence = self._flow(source, kp_source, kp_driving, resized, weights, near, count)
            _, radius = from_head(kp_driving, self.grid.expand(kp_driving.position.shape[0], -1, -1, -1))
            logits, moments = self._logits(confidence, kp_source, kp_driving, recent, weights, radius, count)
            flow, driving_head, source_head = push_off_heads(flow, radius.repeat_interleave(count, 0), kp_source)
        return SourceMotion(flow, driving_head, source_head, logits, moments, maps[:, OCCLUSION], features)

    def _flow(
        self,
        source: Embedding,
        kp_source: Points,
        kp_driving: Points,
        maps: Tensor,
        weights: Tensor,
        near: Tensor,
        count: int,
    ) -> tuple[Tensor, Tensor]:
        """Flow to each source [B * N, 64, 64, 2], and its confidence [B * N, 1, 64, 64] from the reference position.

        `maps` [B, 7, 64, 64]: those of the dense motion without the occlusion, then the sparse flow to the reference.
        """
        image = self.sparse.image
        to_reference = self.grid + (maps[:, 5:7] + RESIDUAL_SCALE * maps[:, TO_REFERENCE]).permute(0, 2, 3, 1)
        in_reference = warp(source.residual, to_reference.repeat_interleave(count, 0))  # [B * N, 3, 64, 64]
        person = torch.sigmoid(image(near[..., None]) - self.background - maps[:, BACKGROUND])  # [B, 1, 64, 64]
        sparse = image(self.sparse.exact_displacement(weights, kp_driving, kp_source, self.exact))
        shared = RESIDUAL_SCALE * maps[:, SHARED_RESIDUAL]
        moved = sparse * person.repeat_interleave(count, 0) + shared.repeat_interleave(count, 0)
        moved = moved + RESIDUAL_SCALE * in_reference[:, :2]
        return self.grid + moved.permute(0, 2, 3, 1), in_reference[:, 2:]

    def _logits(
        self,
        confidence: Tensor,
        kp_source: Points,
        kp_driving: Points,
        recent: Tensor | None,
        weights: Tensor,
        radius: Tensor,
        count: int,
    ) -> tuple[Tensor, Tensor]:
        """Confidence [B * N, 1, 64, 64] and nearness of the sources as logits of the blend weights, the same shape.

        Also returns what is to be added to them at each moment, [B * N, 1 + M, 64, 64].

        `weights`: of `SparseMotion.weights`; `radius` [B, 64, 64]: from the driving head.
        """
        beside = torch.sigmoid(BESIDE_SHARPNESS * (radius - BESIDE_RADIUS)) * kp_driving.presence[:, :1, None]
        beside = beside.repeat_interleave(count, 0)[:, None]  # [B * N, 1, 64, 64]

        # Nearness of the head pose, at the present and at the recent moments
        now = kp_driving.position[:, None]  # [B, 1, K, 2]
        poses = now if recent is None else torch.cat([now, recent], 1)  # [B, 1 + M, K, 2]
        pose = nearness(pose_distances(poses.repeat_interleave(count, 0), kp_source), count)[..., None, None]
        mean_pose = pose.mean(1, keepdim=True)  # [B * N, 1, 1, 1]

        # Nearness of the keypoints around each pixel, relative to their group: opened mouths, closed eyes
        driving = kp_driving.each(count)
        squared = ((self.centring @ (driving.position - kp_source.position)) ** 2).sum(-1) * driving.presence
        local = nearness(weighted(weights, squared[..., None])[..., 0], count)  # [B * N, P]
        strength = (weights * (self.near_local + self.near_part)).sum(-1).repeat_interleave(count, 0)  # [B * N, P]
        face = self.near_pose * pose[:, :1] + self.sparse.image((strength * local)[..., None])

        logits = confidence + face + beside * (self.near_beside * mean_pose - face)
        return logits, beside * self.near_beside * (pose - mean_pose)

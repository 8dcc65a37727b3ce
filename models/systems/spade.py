"""Mobile systems whose decoder has SPADE layers (Park et al., CVPR 2019) that look at the landmarks.

After "Low bandwidth video-chat compression using deep generative models" (Oquab et al., CVPR Mobile AI workshop 2021,
the paper's [11]): warped features say what a face looks like, maps of the landmarks where its eyes and lips lie.

    landmarks -> maps at 32, 64 and 128 pixels
    features at 32 pixels -> blocks -> SPADE(maps) -> up -> SPADE(maps) -> up -> SPADE(maps) -> up -> picture

`FusedSpadeGenerator` is the last row of the paper's Table 3, `HybridSpadeGenerator` stands for [11] in Table 5: the
first-order motion of one source. That paper's networks and its landmarks are not published; channels are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.motion.sample import N_EXPRESSION, N_SUP
from fvc.models.baselines import FirstOrderGenerator, FusedGenerator
from fvc.models.flow import NET_SIDE, Points
from fvc.models.layers import InvertedResidual
from fvc.models.systems.landmark_maps import N_MAPS, LandmarkMaps

_HIDDEN = 16  # channels between maps and modulation
_SIDES = NET_SIDE, 2 * NET_SIDE, 4 * NET_SIDE  # where the decoder looks at the maps


class Spade(nn.Module):
    """Normalises features [B, C, H, W], then scales and shifts each pixel as maps [B, 8, H, W] say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.hidden = nn.Sequential(nn.Conv2d(N_MAPS, _HIDDEN, 3, padding=1), nn.ReLU6())
        self.modulation = nn.Conv2d(_HIDDEN, 2 * channels, 3, padding=1)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        scale, shift = self.modulation(self.hidden(maps)).chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class SpadeDecoder(nn.Module):
    """Features [B, 32, 32, 32], code [B, 16], landmarks -> picture [B, 3, 256, 256], before the sigmoid.

    The paper's mobile decoder (figure 16) with a SPADE layer at each resolution but the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maps = LandmarkMaps(_SIDES[-1])
        self.join = nn.Conv2d(32 + N_EXPRESSION, 64, 1)
        self.deep = nn.Sequential(*(InvertedResidual(64, 64, 4) for _ in range(4)))
        self.up_middle, self.middle = InvertedResidual(64, 48, up=True), InvertedResidual(48, 48, 4)
        self.up_fine, self.fine = InvertedResidual(48, 32, up=True), InvertedResidual(32, 32, 4)
        self.spades = nn.ModuleList(Spade(channels) for channels in (64, 48, 32))
        self.up_out, self.out = InvertedResidual(32, 16, up=True), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, features: Tensor, expression: Tensor, sup: Tensor, presence: Tensor) -> Tensor:
        maps = self.maps(sup.float(), presence)  # [B, 8, 128, 128]
        levels = [F.avg_pool2d(maps, _SIDES[-1] // side) if side < _SIDES[-1] else maps for side in _SIDES]
        code = expression[:, :, None, None].expand(-1, -1, NET_SIDE, NET_SIDE)
        y = self.spades[0](self.deep(self.join(torch.cat([features, code], 1))), levels[0])
        y = self.middle(self.spades[1](self.up_middle(y), levels[1]))
        y = self.fine(self.spades[2](self.up_fine(y), levels[2]))
        return self.out(self.up_out(y))


def _drawn(decoder: nn.Module, features: Tensor, expression: Tensor, kp_driving: Points) -> Tensor:
    sup, presence = kp_driving.position[:, :N_SUP], kp_driving.presence[:, :N_SUP]
    return torch.sigmoid(decoder(features, expression, sup, presence).float())


class FusedSpadeGenerator(FusedGenerator):
    """The mobile Frontalizer with SPADE layers in its decoder; see `models.interface.Generator`."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__(mean_sup, n_unsup)
        self.decoder = SpadeDecoder()

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `recent` is ignored."""
        return _drawn(self.decoder, self.warped(embedding, kp_driving), expression, kp_driving)


class HybridSpadeGenerator(FirstOrderGenerator):
    """The mobile first-order model with SPADE layers in its decoder; see `models.interface.Generator`."""

    def __init__(self, mean_sup: Tensor, n_unsup: int) -> None:
        super().__init__(mean_sup, n_unsup)
        self.decoder = SpadeDecoder()

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `recent` is ignored."""
        return _drawn(self.decoder, self.warped(embedding, kp_driving), expression, kp_driving)

"""Removes AV1's artefacts from decoded source pictures, once per picture, before it is embedded.

Source pictures are coded in a few kilobytes each. The losses are similar in all faces: skin is smoothed, hair and
lashes are smeared, edges ring.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fvc.models.layers import ResidualBlock


class Restorer(nn.Module):
    """A U-Net on blocks of 2x2 pixels: 2.5 G multiply-adds for a 256x256 picture. Untrained, it is the identity."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        fine, middle, deep = widths
        self.stem = nn.Conv2d(12, fine, 3, padding=1)
        self.fine_in, self.fine_out = ResidualBlock(fine), ResidualBlock(fine)
        self.to_middle = nn.Conv2d(fine, middle, 3, 2, 1)
        self.middle_in = nn.Sequential(ResidualBlock(middle), ResidualBlock(middle))
        self.to_deep = nn.Conv2d(middle, deep, 3, 2, 1)
        self.deep = nn.Sequential(ResidualBlock(deep), ResidualBlock(deep), ResidualBlock(deep))
        self.from_deep = nn.Conv2d(deep, middle, 1)
        self.middle_out = nn.Sequential(ResidualBlock(middle), ResidualBlock(middle))
        self.from_middle, self.out = nn.Conv2d(middle, fine, 1), nn.Conv2d(fine, 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1], sides multiples of 8 -> the same."""
        fine = self.fine_in(self.stem(F.pixel_unshuffle(pictures, 2)))
        middle = self.middle_in(F.relu(self.to_middle(fine)))
        deep = self.deep(F.relu(self.to_deep(middle)))
        middle = self.middle_out(middle + F.interpolate(self.from_deep(deep), scale_factor=2.0, mode="nearest"))
        fine = self.fine_out(fine + F.interpolate(self.from_middle(middle), scale_factor=2.0, mode="nearest"))
        return (pictures + F.pixel_shuffle(self.out(fine), 2).float()).clamp(0, 1)

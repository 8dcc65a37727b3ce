"""Source pictures as AV1 left them -> nearer to what they were: run once per picture, before anything is drawn of it.

A few kilobytes are all that a picture may cost on a thin link. What is lost is much the same in all faces: skin
smoothed over, hair and lashes smeared, ringing along edges.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3x3 convolutions beside a skip connection; without norms, which would take a picture's contrast away."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        y: Tensor = self.second(F.relu(self.first(x)))
        return x + y


class Restorer(nn.Module):
    """A U-Net on 2x2 pixels at a time: 2.5 G multiply-adds for a picture of 256x256. Begins as the identity."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        fine, middle, deep = widths
        self.stem = nn.Conv2d(12, fine, 3, padding=1)
        self.fine_in, self.fine_out = _Block(fine), _Block(fine)
        self.to_middle, self.middle_in = nn.Conv2d(fine, middle, 3, 2, 1), nn.Sequential(_Block(middle), _Block(middle))
        self.to_deep = nn.Conv2d(middle, deep, 3, 2, 1)
        self.deep = nn.Sequential(_Block(deep), _Block(deep), _Block(deep))
        self.from_deep, self.middle_out = nn.Conv2d(deep, middle, 1), nn.Sequential(_Block(middle), _Block(middle))
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

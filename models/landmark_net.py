"""Networks that find faces without MediaPipe: one for phones, two for our own tracker.

For phones, `LandmarkNet`: the 33 *sup* landmarks (`codec.face.tracker`) from the face crop.

    crop 3x256x256 -> 64x64 -> Locator -> square: centre and half side, turned with the head
          \\-> that square, 3x96x96 -> LandmarkHead -> points within it -> points of the crop

Distilled from the tracker (`training.others.student`). Like it, the network has two stages: upright, centred faces of
one size take fewer pictures to learn. The second stage adds the centre of mass of heatmaps, exact to
fractions of a cell (Sun et al., "Integral human pose regression", ECCV 2018), offsets weighted by the heatmaps, and a
fully connected layer that sees the whole face, so that landmarks inform each other.

For the tracker (`codec.face.own_finder`, trained by `training.others.tracker_networks`):

    picture, padded to a square, 3x128x128 -> FaceDetector -> 16x16 cells: is a face's middle there, where exactly, how
                                                              large is the face, how turned
    the square around a face, upright, 3x96x96 -> TrackerHead -> 33 landmarks within it, their depths, whether it is one

The detector is a single-shot network like BlazeFace (Bazarevsky et al., 2019), without anchors: one cell answers for
the face whose middle lies in it (Zhou et al., "Objects as points", 2019). The head looks where the face was in the
last frame, or where the detector says.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.motion.sample import N_SUP
from fvc.models.layers import identity_grid, warp

LOOK_SIDE, FACE_SIDE = 64, 96  # sides of the inputs of Locator and LandmarkHead
PICTURE_SIDE, CELLS = 128, 16  # of the detector's input and of its output
FINE_SIDE = 2 * FACE_SIDE  # the square is sampled at twice its side, and halved by averaging


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    """x + two 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W], the same."""
        return F.relu(x + self.second(self.first(x)))


class Locator(nn.Module):
    """[B, 3, 64, 64] -> [B, 4]: x, y of the face's middle; the vector from there to the middle of its right side.

    Both are a linear function of the centres of mass of heatmaps, which have no loss of their own.
    """

    grid: Tensor
    temperature = 0.1

    def __init__(self, points: int = 16) -> None:
        super().__init__()
        self.quarter = nn.Sequential(_conv(3, 16, 2), _conv(16, 32, 2), _conv(32, 32))
        self.eighth = nn.Sequential(_conv(32, 64, 2), _conv(64, 64))
        self.up, self.last = nn.Conv2d(64, 32, 1), _conv(32, 32)
        self.heatmaps, self.place = nn.Conv2d(32, points, 1), nn.Linear(2 * points, 4)
        nn.init.normal_(self.place.weight, 0, 0.1)
        with torch.no_grad():
            self.place.bias.copy_(torch.tensor([0.0, 0.0, 0.7, 0.0]))
        self.register_buffer("grid", identity_grid(LOOK_SIDE // 4).reshape(-1, 2), persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        quarter = self.quarter(picture)
        y = self.last(quarter + F.interpolate(self.up(self.eighth(quarter)), scale_factor=2.0, mode="nearest"))
        heat = (self.heatmaps(y).float().flatten(2) / self.temperature).softmax(-1)
        place: Tensor = self.place((heat @ self.grid).flatten(1))
        return place


class LandmarkHead(nn.Module):
    """[B, 3, 96, 96] -> [B, 33, 2] in [-1, 1] of the square."""

    grid: Tensor
    temperature = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.quarter = nn.Sequential(_conv(3, 24, 2), _conv(24, 48, 2), _Residual(48))
        self.eighth = nn.Sequential(_conv(48, 96, 2), _conv(96, 96), _Residual(96))
        self.sixteenth = nn.Sequential(_conv(96, 128, 2), _conv(128, 128))
        self.whole = nn.Sequential(
            nn.Conv2d(128, 32, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(32 * 36, 2 * N_SUP)
        )
        self.up = nn.ModuleList([nn.Conv2d(128, 96, 1), nn.Conv2d(96, 48, 1)])
        self.last = _conv(48, 48)
        self.heatmaps, self.offsets = nn.Conv2d(48, N_SUP, 1), nn.Conv2d(48, 2 * N_SUP, 1)
        for layer in (self.offsets, self.whole[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("grid", identity_grid(FACE_SIDE // 4).reshape(-1, 2), persistent=False)

    def forward(self, face: Tensor) -> Tensor:
        return self.points(face)[0]

    def points(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """The landmarks, and features of the whole face [B, 1152], after their activation."""
        quarter = self.quarter(face)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        seen = self.whole[:3](sixteenth)
        whole = self.whole[3](seen).float().unflatten(1, (N_SUP, 2))
        y = eighth + F.interpolate(self.up[0](sixteenth), scale_factor=2.0, mode="nearest")
        y = self.last(quarter + F.interpolate(self.up[1](y), scale_factor=2.0, mode="nearest"))
        heat = (self.heatmaps(y).float().flatten(2) / self.temperature).softmax(-1)
        offsets = self.offsets(y).float().flatten(2).unflatten(1, (N_SUP, 2))
        return heat @ self.grid + (offsets * heat[:, :, None]).sum(-1) + whole, seen


def turned(points: Tensor, place: Tensor) -> Tensor:
    """Points [B, N, 2] in [-1, 1] of the squares at `place` [B, 4] -> points of the crop."""
    x, y, right, down = (place[:, n : n + 1] for n in range(4))
    return torch.stack(
        [x + right * points[..., 0] - down * points[..., 1], y + down * points[..., 0] + right * points[..., 1]], -1
    )


class LandmarkNet(nn.Module):
    """[B, 3, 256, 256] in [0, 1] -> [B, 33, 2] in [-1, 1] of the crop."""

    square: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.locator, self.head = Locator(), LandmarkHead()
        self.register_buffer("square", identity_grid(FINE_SIDE).reshape(1, -1, 2), persistent=False)

    def forward(self, crop: Tensor) -> Tensor:
        place = self.locator(F.avg_pool2d(crop, crop.shape[-1] // LOOK_SIDE))
        face = warp(crop, turned(self.square, place).unflatten(1, (FINE_SIDE, FINE_SIDE)))
        return turned(self.head(F.avg_pool2d(face, 2)), place)


class FaceDetector(nn.Module):
    """[B, 3, 128, 128] in [0, 1] -> [B, 5, 16, 16].

    Of each cell: the logit of a face's middle being in it; x and y of that middle, in cells from the cell's centre;
    log2 of the half side of the face's square, in half sides of the picture; by how much it is turned clockwise, rad.
    """

    def __init__(self) -> None:
        super().__init__()
        self.quarter = nn.Sequential(_conv(3, 16, 2), _conv(16, 24, 2), _conv(24, 24))
        self.eighth = nn.Sequential(_conv(24, 48, 2), _conv(48, 48))
        self.sixteenth = nn.Sequential(_conv(48, 64, 2), _conv(64, 64))
        self.low = nn.Sequential(_conv(64, 96, 2), _conv(96, 96), _conv(96, 96))
        self.up = nn.ModuleList([nn.Conv2d(96, 64, 1), nn.Conv2d(64, 48, 1)])
        self.last = nn.ModuleList([_conv(64, 64), _conv(48, 48)])
        self.cells = nn.Conv2d(48, 5, 1)
        nn.init.normal_(self.cells.weight, 0, 0.01)
        with torch.no_grad():
            self.cells.bias.copy_(torch.tensor([-4.0, 0.0, 0.0, -2.0, 0.0]))

    def forward(self, picture: Tensor) -> Tensor:
        eighth = self.eighth(self.quarter(picture - 0.5))
        sixteenth = self.sixteenth(eighth)
        y = self.up[0](self.low(sixteenth))
        y = self.last[0](sixteenth + F.interpolate(y, scale_factor=2.0, mode="nearest"))
        y = self.last[1](eighth + F.interpolate(self.up[1](y), scale_factor=2.0, mode="nearest"))
        cells: Tensor = self.cells(y).float()
        return cells


class TrackerHead(LandmarkHead):
    """[B, 3, 96, 96] in [0, 1] -> [B, 33, 3], [B]: x, y in [-1, 1] of the square and depth in the same unit; a logit.

    Depths have the landmarks' mean as their origin, smaller is nearer. The logit says whether the square shows a face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.presence = nn.Linear(32 * 36, N_SUP), nn.Linear(32 * 36, 1)
        for layer in (self.depth, self.presence):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        points, seen = self.points(face)
        return torch.cat([points, self.depth(seen).float()[..., None]], -1), self.presence(seen).float()[:, 0]

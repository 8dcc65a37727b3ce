"""Draws 512x512 pixels with the networks of a composed generator, which see and draw 256x256; nothing is trained anew.

All that decides where pixels come from stays as it is: the sources are averaged down to 256 pixels for the networks,
and flows, blend weights, redrawn picture and its mask are theirs. Only colours are looked up at 512:

    sources 512 --mean of 2x2--> embed --> flows, blend weights (models.generator)
         |                                        | enlarged
         +--------------> look-up and blend at 512 <
                            |                |
                            |          mean of 2x2 --> decoder: redrawn picture, mask
                            |                                        | enlarged
                            +--> picture <---------------------------+

So the same motion and the same weights draw either size. Blend weights are squared, because at 512 sources that do not
quite agree blur each other more.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.base.constants import LARGE_SIDE
from fvc.models.flow import FLOW_SIDE, Points
from fvc.models.generator import PICTURE_SIDE, ComposedGenerator, Embedding, Redrawn
from fvc.models.layers import bilinear, doubled, resize, warp


@cache
def _interleaved(given: int, wanted: int) -> tuple[Tensor, Tensor]:
    """The matrices of `enlarged_flow`: of rows [wanted, given], and of interleaved columns [2 given, 2 wanted]."""
    rows, columns = bilinear(given, wanted)
    return rows, torch.from_numpy(np.kron(columns.numpy(), np.eye(2, dtype=np.float32)))


def enlarged_flow(flow: Tensor) -> Tensor:
    """[B, 64, 64, 2] -> [B, 512, 512, 2], as `resize_flow`, but x and y stay side by side: no axes are exchanged."""
    rows, columns = (matrix.to(flow.device) for matrix in _interleaved(FLOW_SIDE, LARGE_SIDE))
    return (rows @ (flow.flatten(2) @ columns)).unflatten(2, (LARGE_SIDE, 2))


class LargeGenerator(nn.Module):
    """A composed generator that draws 512x512 pixels (`models.interface.Generator`, but for the size).

    The embedding is that of the composed generator, then the sources [B * N, 3, 512, 512].
    """

    def __init__(self, generator: ComposedGenerator) -> None:
        super().__init__()
        self.generator = generator
        self.reference = generator.reference

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """As `Generator.embed`, of pictures [B, N, 3, 512, 512]."""
        large = pictures.flatten(0, 1)
        small = F.avg_pool2d(large, LARGE_SIDE // PICTURE_SIDE).unflatten(0, (pictures.shape[0], -1))
        return (*self.generator.embed(small, kp_source), large.float())

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """As `Generator.draw`: float32 [B, 3, 512, 512] in [0, 1]."""
        *small, large = embedding
        source, batch = Embedding(*small), kp_driving.position.shape[0]
        moved = self.generator.moved(source, kp_driving, recent)
        sharp = moved.blend.unflatten(0, (batch, -1)).square()  # [B, N, 1, 64, 64]: see above
        blend = (sharp / sharp.sum(1, keepdim=True)).flatten(0, 1)
        warped = warp(large, enlarged_flow(moved.flow)) * resize(blend, LARGE_SIDE)
        rgb = warped.unflatten(0, (batch, -1)).sum(1)  # [B, 3, 512, 512]
        redrawn = self.generator.redrawn(moved, F.avg_pool2d(rgb, LARGE_SIDE // PICTURE_SIDE), expression)
        return Redrawn(*map(doubled, redrawn)).over(rgb)
